// SPDX-License-Identifier: GPL-2.0-or-later
//! What happens round a node: clocks that are wrong, peers that are silent, slow, lie or die, and datagrams that are none of ours.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use super::now;
use crate::suite::adversary::judged;
use crate::suite::fleet::{Fleet, Node, Start};
use crate::suite::person::Person;
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, missing, must};

const CLOCK: &str = "lisp-dht, RECORD 3.4";
const PEERS: &str = "lisp-dht, RECORD 3.6";
/// A command ends in less, whatever its peers do.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const PROBES: &[Probe<Fleet>] = &[
    must("FA-05.1", CLOCK, "a clock an hour ahead, and one an hour behind, of five peers", clocks),
    must("FA-05.2", CLOCK, "a clock an hour behind, and a peer whose certificate is younger", younger),
    must("FA-06.1", PEERS, "a peer that falls silent", silent),
    must("FA-06.2", PEERS, "datagrams of garbage", datagrams),
    must(
        "FA-06.3",
        PEERS,
        "peers that store nothing, answer garbage, old records, slowly, or only with each other",
        |fleet| bench(fleet, &["--nodes", "24", "--hostile", "0.25"], 95),
    ),
    must("FA-06.4", PEERS, "half of the nodes die at once, lookups ten seconds later", |fleet| {
        bench(fleet, &["--nodes", "24", "--kill", "0.5", "--settle", "10"], 100)
    }),
];

/// Somebody whose certificates are older than the clocks here are wrong: they hold by each of them.
fn settled() -> Result<Person, Fault> {
    Person::new(now() - Duration::from_secs(2 * 3600))
}

/// Its certificate does not hold by the slow clock, so it is no peer; but its word says that a clock is wrong.
fn younger(fleet: &Fleet) -> Judgement {
    let peer = fleet.node(&Start::default())?;
    let start = Start { bootstrap: vec![peer.address.clone()], more: vec!["--clock-offset", "-3600"] };
    let node = fleet.node_of(&settled()?, &start)?;
    fleet
        .wait(&node, "a certificate refused for its dates", |stats| stats["admission"]["refused"]["dates"].is_u64())?;
    let told = fleet.log(&node).contains("is this one right?");
    expect(told, format!("to be told that this clock may be the wrong one: {told}"))
}

fn clocks(fleet: &Fleet) -> Judgement {
    let mut cloud = vec![fleet.node_of(&settled()?, &Start::default())?];
    let bootstrap = vec![cloud[0].address.clone()];
    for _ in 1..5 {
        cloud.push(fleet.node_of(&settled()?, &Start { bootstrap: bootstrap.clone(), more: Vec::new() })?);
    }
    for node in &cloud {
        fleet.peers(node, 4)?;
    }
    let mut told = Vec::new();
    for offset in ["3600", "-3600"] {
        let more = vec!["--clock-offset", offset];
        let node = fleet.node_of(&settled()?, &Start { bootstrap: bootstrap.clone(), more })?;
        let is_wrong = |stats: &serde_json::Value| stats["admission"]["clock"]["state"] == "wrong";
        let stats = fleet.wait(&node, "a clock found wrong", is_wrong)?;
        std::thread::sleep(Duration::from_secs(1));
        let log = fleet.log(&node);
        let lines = log.lines().filter(|line| line.contains("WARN") && line.contains("clock")).count();
        if lines != 1 {
            return Err(broken(format!("one warning expected; came {lines}: {log}")));
        }
        told.push(format!("{offset} s: behind by {} ms, told once", stats["admission"]["clock"]["behind_ms"]));
    }
    let right = fleet.stats(&cloud[1])?["admission"]["clock"]["state"].clone();
    expect(right != "wrong", format!("{}; the clock of the others {right}", told.join("; ")))
}

fn signal(node: &Node, name: &str) -> Result<(), Fault> {
    let pid = node.pid().ok_or_else(|| broken("the node has ended"))?.to_string();
    let sent = Command::new("kill").args([name, &pid]).status().map_err(missing)?;
    if sent.success() { Ok(()) } else { Err(missing(format!("kill {name} {pid}: {sent}"))) }
}

fn silent(fleet: &Fleet) -> Judgement {
    let cloud = fleet.cloud(4, &[])?;
    let (before, after) = (Person::new(now())?, Person::new(now())?);
    fleet.publish(&cloud[0], &before.mapping(now(), 1)?)?;
    signal(&cloud[3], "-STOP")?;
    let begun = Instant::now();
    let stored = fleet.publish(&cloud[0], &after.mapping(now(), 2)?);
    let (put, begun) = (begun.elapsed(), Instant::now());
    let found = [fleet.get(&cloud[1], &before.eid()), fleet.get(&cloud[2], &after.eid())];
    let got = begun.elapsed();
    signal(&cloud[3], "-CONT")?;
    let stored = stored?["stored"].clone();
    for found in found {
        let found = found?;
        if found["result"] != "mapping" {
            return Err(broken(format!("a mapping expected; came {found}")));
        }
    }
    expect(put < PATIENCE && got < 2 * PATIENCE, format!("stored by {stored} in {put:.1?}, two found in {got:.1?}"))
}

fn datagrams(fleet: &Fleet) -> Judgement {
    let mut node = fleet.node(&Start::default())?;
    let parts: Vec<&str> = node.address.split('/').collect();
    let [_, "ip4", address, "udp", port, ..] = parts[..] else { return Err(broken(&node.address)) };
    let target = format!("{address}:{port}");
    let socket = UdpSocket::bind("127.1.242.1:0").map_err(missing)?;
    let mut octet = 1_u32;
    for length in 0..1400_usize {
        let garbage: Vec<u8> = std::iter::repeat_with(|| {
            octet = octet.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            octet.to_be_bytes()[0]
        })
        .take(length)
        .collect();
        socket.send_to(&garbage, &target).map_err(missing)?;
    }
    let owner = Person::new(now())?;
    fleet.publish(&node, &owner.mapping(now(), 3)?)?;
    let found = fleet.get(&node, &owner.eid())?["result"].clone();
    expect(node.is_running() && found == "mapping", format!("after 1400 of all lengths: {found}"))
}

fn bench(fleet: &Fleet, fault: &[&str], least: u64) -> Judgement {
    let answer = fleet.run(&[&["lab", "--memory", "--lookups", "100", "--json"], fault].concat())?;
    if answer.report.is_null() { Err(answer.came("figures")) } else { judged(&answer.report, least) }
}
