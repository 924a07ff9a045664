// SPDX-License-Identifier: GPL-2.0-or-later
//! What happens round a node: clocks that are wrong, peers that are silent, slow, lie or die, and datagrams that are none of ours.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use super::now;
use crate::suite::adversary::judged;
use crate::suite::fleet::{Fleet, Node, Start};
use crate::suite::person::Person;
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, missing, must, should};

const CLOCK: &str = "lisp-dht, RECORD 3.4";
const PEERS: &str = "lisp-dht, RECORD 3.6";
/// Where the node of a check shows its health.
const CLOCKS_HEALTH: &str = "127.1.243.1:19243";
/// The same of another one beside it.
const YOUNGER_HEALTH: &str = "127.1.244.1:19243";
/// A command ends in less, whatever its peers do, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const PROBES: &[Probe<Fleet>] = &[
    must("FA-05.1", CLOCK, "clocks an hour ahead, an hour behind, and forty days ahead of five peers", clocks),
    must("FA-05.2", CLOCK, "a clock an hour behind, and one peer, whose certificate is younger", younger),
    should("FA-05.3", CLOCK, "a restart with a clock an hour behind what is on disk", slow_start),
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

/// Its certificate does not hold by the slow clock, so it is no peer, and one alone may lie about the time: but the operator is
/// told, and with the clock set all is well.
fn younger(fleet: &Fleet) -> Judgement {
    let peer = fleet.node(&Start::default())?;
    let bootstrap = vec![peer.address.clone()];
    let more = vec!["--clock-offset", "-3600", "--metrics", YOUNGER_HEALTH];
    let mut node = fleet.node(&Start { bootstrap: bootstrap.clone(), more })?;
    let stats = fleet
        .wait(&node, "a certificate refused for its dates", |stats| stats["admission"]["refused"]["dates"].is_u64())?;
    let lines = warnings(fleet, &node);
    let health = health(YOUNGER_HEALTH)?;
    let is_told = lines.len() == 1 && health.starts_with("HTTP/1.1 503") && health.contains("is this one right?");
    if !is_told || stats["admission"]["clock"]["state"] != "unknown" {
        return Err(broken(format!("to be told once that this clock may be wrong; came {lines:?}, {health}, {stats}")));
    }
    node.stop()?;
    let node = fleet.again(&node, &Start { bootstrap, more: Vec::new() })?;
    fleet.peers(&node, 1)?;
    Ok("refused, counted, told once, unhealthy; with the clock set, a peer".to_owned())
}

/// Warnings that speak of a clock.
fn warnings(fleet: &Fleet, node: &Node) -> Vec<String> {
    let log = fleet.log(node);
    log.lines().filter(|line| line.contains("WARN") && line.contains("clock")).map(str::to_owned).collect()
}

/// What a node says of its health.
fn health(at: &str) -> Result<String, Fault> {
    let mut stream = TcpStream::connect(at).map_err(broken)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").map_err(broken)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(broken)?;
    crate::exchange::ran(format_args!("GET http://{at}/health"), &answer);
    Ok(answer)
}

/// All of them have just got their certificates, and the wrong ones know one node only: by a clock that is behind it is none, and
/// so by one that is so far ahead that its certificate has ended.
fn clocks(fleet: &Fleet) -> Judgement {
    let cloud = fleet.cloud(5, &[])?;
    let bootstrap = vec![cloud[0].address.clone()];
    let mut told = Vec::new();
    for offset in ["3600", "-3600", "3456000"] {
        let owner = Person::new(now())?;
        let more = vec!["--clock-offset", offset, "--rloc", "192.0.2.7", "--metrics", CLOCKS_HEALTH];
        let node = fleet.node_of(&owner, &Start { bootstrap: bootstrap.clone(), more })?;
        let is_wrong = |stats: &serde_json::Value| {
            stats["admission"]["clock"]["state"] == "wrong" && stats["admission"]["clock_alarms"] == 1
        };
        let stats = fleet.wait(&node, "a clock found wrong", is_wrong)?;
        let behind = stats["admission"]["clock"]["behind_ms"].as_i64().unwrap_or_default();
        let alarms: Vec<String> = warnings(fleet, &node).into_iter().filter(|line| line.contains("set it")).collect();
        let health = health(CLOCKS_HEALTH)?;
        if alarms.len() != 1 || !health.starts_with("HTTP/1.1 503") || !health.contains("nothing is published") {
            return Err(broken(format!("one alarm and no health expected; came {alarms:?}: {health}")));
        }
        let said = fleet.get(&cloud[1], &owner.eid())?["result"].clone();
        if said == "mapping" {
            return Err(broken(format!("{offset} s: what it signs is taken")));
        }
        told.push(format!("{offset} s: behind by {behind} ms, told once, unhealthy, its record {said}"));
    }
    let right = fleet.stats(&cloud[1])?["admission"]["clock"]["state"].clone();
    expect(right != "wrong", format!("{}; the clock of the others {right}", told.join("; ")))
}

/// A start with a slow clock costs nothing that is on disk.
fn slow_start(fleet: &Fleet) -> Judgement {
    let mut node = fleet.node(&Start::default())?;
    let (owner, at) = (Person::new(now())?, now());
    fleet.publish(&node, &owner.mapping(at, 1)?)?;
    node.stop()?;
    let more = vec!["--clock-offset", "-3600"];
    let mut node = fleet.again(&node, &Start { bootstrap: Vec::new(), more })?;
    let stats = fleet.wait(&node, "a record that waits", |stats| stats["records_waiting"] == 1)?;
    let shown = fleet.get(&node, &owner.eid())?["result"].clone();
    if stats["records"] != 0 || shown == "mapping" {
        return Err(broken(format!("shown though it is from the future: {shown}, {stats}")));
    }
    node.stop()?;
    let node = fleet.again(&node, &Start::default())?;
    let found = fleet.get(&node, &owner.eid())?["result"].clone();
    expect(found == "mapping", format!("by the slow clock {shown}, then {found}"))
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
