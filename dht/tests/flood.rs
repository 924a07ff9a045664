// SPDX-License-Identifier: GPL-2.0-or-later
//! What strangers can take of a node: few of its places from one block of addresses, never those of servers, and newcomers find
//! room all the same. Real QUIC on loopback, where each 127.x.y.0/24 is a block.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod field;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use cgeid::Network;
use common::key_of;
use dht::shell::limits;
use dht::shell::node::{Counters, Multiaddr, Node, NodeConfig};
use dht::shell::shelf::Shelf;
use field::{Field, is_possible};
use futures::StreamExt as _;
use interop::bench::flood::Flood;
use interop::lab::{self, Topology};
use libp2p::{Swarm, SwarmBuilder, identify};

const LIMIT: Duration = Duration::from_secs(60);

fn start(block: u8, bootstrap: &[Multiaddr]) -> Node {
    let config = NodeConfig {
        listen: vec![IpAddr::V4(Ipv4Addr::new(127, 70, block, 1))],
        port: 0,
        bootstrap: bootstrap.to_vec(),
        ..NodeConfig::server(&key_of([block; 32]))
    };
    let shelf = Shelf::in_memory(Network::LAB, config.place());
    Node::start(config, Box::new(shelf)).unwrap()
}

/// Dials the victim from 127.71.`block`.1 and holds the connection as long as it is let.
fn stranger(block: u8, victim: &Multiaddr) -> Swarm<identify::Behaviour> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic()
        .with_behaviour(|keypair| {
            identify::Behaviour::new(identify::Config::new("/ipv6mesh/1".to_owned(), keypair.public()))
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    swarm.listen_on(format!("/ip4/127.71.{block}.1/udp/0/quic-v1").parse().unwrap()).unwrap();
    swarm.dial(victim.clone()).unwrap();
    swarm
}

/// Lets strangers come, a few at a time, and keeps them alive in a task each.
async fn crowd(blocks: impl Iterator<Item = u8>, victim: &Multiaddr) {
    for block in blocks {
        let mut swarm = stranger(block, victim);
        tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

async fn wait_for(node: &Node, what: &str, mut holds: impl FnMut(usize, Counters) -> bool) {
    let begun = Instant::now();
    loop {
        let stats = node.stats().await.unwrap();
        if holds(stats.connections, stats.counters) {
            println!("{what}: {:?}", begun.elapsed());
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{what}: {} connections, {:?}", stats.connections, stats.counters);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn strangers_leave_room_for_newcomers_and_for_servers() {
    let victim = start(1, &[]);
    let address = victim.listen_addrs()[0].clone();
    let per_block = limits::INCOMING_PER_BLOCK;

    // One block takes what one block may have.
    crowd(std::iter::repeat_n(1, per_block * 2), &address).await;
    wait_for(&victim, "one block is bounded", |connections, counters| {
        connections == per_block && counters.block_refused >= per_block as u64
    })
    .await;

    // Others fill the places of guests.
    let left = u8::try_from(limits::GUESTS - per_block).unwrap();
    crowd(2..2 + left, &address).await;
    wait_for(&victim, "all places of guests are taken", |connections, _| connections == limits::GUESTS).await;

    // A newcomer of a new block takes the place of one of many.
    crowd(200..203, &address).await;
    wait_for(&victim, "newcomers find room", |connections, counters| {
        connections == limits::GUESTS && counters.guests_replaced == 3
    })
    .await;

    // Servers come in, and are entered.
    let server = start(2, std::slice::from_ref(&address));
    let begun = Instant::now();
    while victim.peer_set().peers != 1 || server.peer_set().peers != 1 {
        assert!(begun.elapsed() < LIMIT, "the server is kept out");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// As published, libp2p-quic would give all places for handshakes to the flood, and 20 kB of memory to each Initial.
#[test]
fn a_newcomer_gets_in_through_a_flood_of_spoofed_initials() {
    if !is_possible(&[]) {
        return;
    }
    let lan = Topology::default()
        .switch("lan")
        .with(lab::Node::host("server").port("eth0", "lan", &["192.0.2.53/24"]).default_route("192.0.2.66", "eth0"))
        .with(lab::Node::host("newcomer").port("eth0", "lan", &["192.0.2.2/24"]))
        .with(lab::Node::host("stranger").port("eth0", "lan", &["192.0.2.66/24"]));
    let field = Field::new(&lan);
    let quiet = ["--discovery", "off"];
    let server = field.node("server", &quiet);
    field::wait_for("the server runs", LIMIT, || field.stats("server").is_some());
    let target = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 53), 43420);
    let flood = Flood::start(field.lab.namespace("stranger").unwrap(), target, 2000).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let newcomer = field.node("newcomer", &[&quiet[..], &["--bootstrap", "192.0.2.53:43420"]].concat());
    field::wait_for("the newcomer is in", LIMIT, || field.peers("server") == 1 && field.peers("newcomer") == 1);
    assert!(flood.end().unwrap() > 3000);
    let resident = field.stats("server").unwrap()["rss_bytes"].as_u64().unwrap();
    assert!(resident < 64 << 20, "{resident} octets");
    drop((server, newcomer));
}
