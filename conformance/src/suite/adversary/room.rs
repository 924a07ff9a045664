// SPDX-License-Identifier: GPL-2.0-or-later
//! What a node has no room for, or is not near to: refused before its signatures are looked at.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use dht::publish::Publication;
use sha2::{Digest as _, Sha256};

use super::records::counted_at;
use super::{Arena, now};
use crate::suite::bounded;
use crate::suite::fleet::Start;
use crate::suite::person::{LAB, Person};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, missing, must, should};

const STORE: &str = "lisp-signed-dht 7.7";
/// Nodes of a network in which each knows the forty whose reach bounds what it keeps: most of them find a place in its table.
const NODES: &str = "72";
/// It stands in less, also on a busy machine.
const JOINED: Duration = Duration::from_secs(120);
/// People among whom is one whose key lies far from a node.
const PEOPLE: usize = 64;

pub(super) const PROBES: &[Probe<Arena>] = &[
    must("AD-05.1", STORE, "more from one block of addresses than its share of the store", share),
    must("AD-05.2", STORE, "a record for a full store that holds a nearer one", full),
    should("AD-05.3", STORE, "a record whose key is near to forty others", not_near),
];

fn share(arena: &Arena) -> Judgement {
    // A hundredth of it is two.
    let node = arena.fleet.node(&Start { more: vec!["--store-bundles", "200"], ..Start::default() })?;
    for last in 1..=2 {
        arena.fleet.publish(&node, &Person::new(now())?.mapping(now(), last)?)?;
    }
    let third = Person::new(now())?.mapping(now(), 3)?;
    counted_at(arena, &node, "share", &third.key.encode(), &third.value)
}

fn full(arena: &Arena) -> Judgement {
    let owner = near_itself()?;
    // What the node says of itself is all that it holds.
    let more = vec!["--store-bundles", "1", "--rloc", "192.0.2.1"];
    let node = arena.fleet.node_of(&owner, &Start { more, ..Start::default() })?;
    arena.fleet.wait(&node, "1 record", |stats| stats["records"] == 1)?;
    let farther = farthest(&owner)?;
    counted_at(arena, &node, "full", &farther.key.encode(), &farther.value)
}

fn not_near(arena: &Arena) -> Judgement {
    let network = Lab::start(arena)?;
    let owner = near_itself()?;
    let node = arena.fleet.node_of(&owner, &Start { bootstrap: vec![network.address.clone()], more: Vec::new() })?;
    arena.fleet.wait(&node, "a region of its own", |stats| !stats["region_bits"].is_null())?;
    let farther = farthest(&owner)?;
    // The others put what they say meanwhile, some of it too far from here.
    arena.fleet.carry(&node, &farther.key.encode(), &farther.value, &["--direct"])?.refused()?;
    let refused = arena.fleet.stats(&node)?["refused"]["not-near"].as_u64().unwrap_or_default();
    let found = arena.fleet.get(&node, &farther.key.writer.address(LAB).to_string())?["result"].clone();
    expect(refused > 0 && found == "not-found", format!("refused {refused} times as not-near, and then {found}"))
}

/// Somebody whose own key is in his node's half of the space, so that others' are farther.
fn near_itself() -> Result<Person, Fault> {
    for _ in 0..PEOPLE {
        let owner = Person::new(now())?;
        if (place(&owner)?[0] ^ owner.node_key().point()[0]) < 0x80 {
            return Ok(owner);
        }
    }
    Err(broken(format!("{PEOPLE} people, and none is near to his key")))
}

/// What somebody says whose key is far from a person's node, and from that person's own key.
fn farthest(owner: &Person) -> Result<Publication, Fault> {
    let here = place(owner)?;
    let mut all = Vec::new();
    for _ in 0..PEOPLE {
        all.push(Person::new(now())?.mapping(now(), 9)?);
    }
    let distance = |point: [u8; 32]| -> Vec<u8> { point.iter().zip(here).map(|(one, other)| one ^ other).collect() };
    let farthest = all.into_iter().max_by_key(|one| distance(one.key.point()));
    let beyond = farthest.filter(|one| distance(one.key.point()) > distance(owner.node_key().point()));
    beyond.ok_or_else(|| broken(format!("{PEOPLE} keys, and none is far")))
}

/// Where the node of an operational key is in the Kademlia space: SHA-256 of its peer ID, which is the identity multihash of the
/// key as libp2p writes it.
fn place(owner: &Person) -> Result<[u8; 32], Fault> {
    /// Identity multihash of 36 octets: a protobuf of the kind of key (Ed25519) and its 32 octets.
    const PEER: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    let key =
        owner.key.certificate().key().ed25519().ok_or_else(|| broken("an operational key that is not Ed25519"))?;
    Ok(Sha256::digest([&PEER[..], &key].concat()).into())
}

/// A network of many nodes in one process, for as long as this is held.
struct Lab {
    process: Child,
    /// One of its nodes.
    address: String,
}

impl Lab {
    fn start(arena: &Arena) -> Result<Self, Fault> {
        arena.fleet.trusted(|| Self::joined(arena))
    }

    fn joined(arena: &Arena) -> Result<Self, Fault> {
        let lab = ["lab", "--nodes", NODES, "--lookups", "0", "--idle", "120", "--json"];
        let mut command = arena.fleet.command(&lab);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(missing)?;
        let said = process.stderr.take().ok_or_else(|| broken("no standard error"))?;
        let mut lab = Self { process, address: String::new() };
        let (lines, until, mut all) = (bounded::lines(said), Instant::now() + JOINED, String::new());
        while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Some((_, address)) = line.split_once("join by ") {
                address.clone_into(&mut lab.address);
                return Ok(lab);
            }
            all = all + &line + "\n";
        }
        Err(broken(format!("a network of {NODES} nodes in {} s; came {all}", JOINED.as_secs())))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
