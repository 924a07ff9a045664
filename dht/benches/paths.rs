// SPDX-License-Identifier: GPL-2.0-or-later
//! What a lookup costs by one path or by several: `cargo bench -p dht --bench paths`.
//!
//! Forty real nodes over QUIC on loopback, all honest, and again with eight of them that acknowledge what they are given, store
//! nothing and answer with rubbish. Twenty records are put, and each is read by a client that has just started, with three
//! requests at once or eight on one path, and with four or eight disjoint paths. *Requests* is what the sort of lookup costs,
//! *rounds* how many of them were waited for one after the other.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/mesh/mod.rs"]
mod mesh;

use std::num::NonZeroUsize;
use std::time::Duration;

use common::LAB;
use dht::shell::lookup;
use dht::shell::node::{Paths, Role};
use mesh::{Manner, Owner, disjoint, mesh, node, octet};

/// Nodes of a network.
const NODES: usize = 40;
/// Of them, those that lie.
const HOSTILE: usize = 8;
/// Whose records are put and read.
const OWNERS: std::ops::Range<u8> = 20..40;

/// What reading all records took.
#[derive(Default)]
struct Cost {
    right: usize,
    requests: usize,
    rounds: usize,
    first: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let paths = |count: usize| NonZeroUsize::new(count).unwrap();
    let ways = [
        ("one path, 3 at once", Paths::Joint(paths(3))),
        ("one path, 8 at once", Paths::Joint(paths(8))),
        ("4 disjoint paths", Paths::Disjoint(paths(4))),
        ("8 disjoint paths", disjoint()),
    ];
    println!("{NODES} nodes, {} records; requests and rounds of a lookup on average", OWNERS.len());
    println!("  {:<20} {:>8} {:>6} {:>9} {:>7} {:>9}", "way", "hostile", "right", "requests", "rounds", "first");
    // Each network has a second octet of its own.
    let mut network = 71;
    for (name, way) in ways {
        for hostile in [0, HOSTILE] {
            row(name, hostile, &measure(network, way, hostile).await);
            network += 1;
        }
    }
}

async fn measure(network: u8, way: Paths, hostile: usize) -> Cost {
    let lie = Manner::Gives(b"garbage".to_vec());
    // The first is the one that all others know.
    let manner = |number: usize| if (1..=hostile).contains(&number) { lie.clone() } else { Manner::Honest };
    let nodes = mesh(network, (0..NODES).map(manner).collect(), way).await;
    let mut cost = Cost::default();
    for number in OWNERS {
        let said = Owner::new(number).says(60, 1);
        nodes[NODES - 1].put(said.key.encode(), said.value).await.unwrap();
        let reader = node(network, 100 + number, Role::Client, &nodes[0].listen_addrs(), Manner::Honest, way);
        let found = lookup::get(&reader, LAB, &said.key).await.unwrap();
        cost.right += usize::from(octet(&said.key, &found.values) == Some(1));
        cost.requests += found.requests;
        cost.rounds += found.rounds;
        cost.first += found.first.unwrap_or_default();
        reader.shutdown().await;
    }
    for node in nodes {
        node.shutdown().await;
    }
    cost
}

#[allow(clippy::cast_precision_loss)]
fn row(name: &str, hostile: usize, cost: &Cost) {
    let count = OWNERS.len();
    let mean = |sum: usize| sum as f64 / count as f64;
    let first = cost.first.as_secs_f64() * 1e3 / count as f64;
    let (requests, rounds) = (mean(cost.requests), mean(cost.rounds));
    println!("  {name:<20} {hostile:>8} {:>6} {requests:>9.1} {rounds:>7.1} {first:>6.1} ms", cost.right);
}
