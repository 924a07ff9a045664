// SPDX-License-Identifier: GPL-2.0-or-later
//! What happens to a node's file: kills, tears, garbage, a full disk, and another node that wants it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dht::publish::Publication;

use super::now;
use crate::suite::fleet::{Fleet, Node, Start};
use crate::suite::person::{Person, seconds};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, missing, must};

const DISK: &str = "lisp-signed-dht 7.5";
/// Changes are on disk in less.
const WRITTEN: Duration = Duration::from_secs(3);
/// A file that may not grow beyond this takes no transaction.
const FULL: &str = "4096";

pub(super) const PROBES: &[Probe<Fleet>] = &[
    must("FA-01.1", DISK, "kill -9 while PUTs come in", killed),
    must("FA-01.2", DISK, "kill -9 three times", killed_again),
    must("FA-02.1", DISK, "a database torn at half its length", |fleet| {
        damaged(fleet, |file| file.truncate(file.len() / 2))
    }),
    must("FA-02.2", DISK, "a database torn at 100 octets", |fleet| damaged(fleet, |file| file.truncate(100))),
    must("FA-02.3", DISK, "a database with a page of zeros", |fleet| {
        damaged(fleet, |file| file.iter_mut().skip(4096).take(4096).for_each(|octet| *octet = 0))
    }),
    must("FA-02.4", DISK, "garbage in place of a database", garbage),
    must("FA-02.5", DISK, "an empty file in place of a database", |fleet| damaged(fleet, Vec::clear)),
    must("FA-03.1", DISK, "a disk that is full during writes, and has room again", full),
    must("FA-04.1", DISK, "two nodes and one state folder", shared),
];

/// People and what they have published at a node.
fn held(fleet: &Fleet, node: &Node, count: u8) -> Result<Vec<(Person, Publication)>, Fault> {
    let mut all = Vec::new();
    for last in 1..=count {
        let owner = Person::new(now())?;
        fleet.publish(node, &owner.mapping(now(), last)?)?;
        let old = owner.mapping(now() - seconds(60), 200)?;
        all.push((owner, old));
    }
    Ok(all)
}

/// All of it is there, and nothing older is taken in its place.
fn all_there(fleet: &Fleet, node: &Node, all: &[(Person, Publication)]) -> Judgement {
    for (owner, old) in all {
        let found = fleet.get(node, &owner.eid())?;
        if found["result"] != "mapping" {
            return Err(broken(format!("a mapping of {} expected; came {found}", owner.eid())));
        }
        fleet.carry(node, &old.key.encode(), &old.value, &[])?.refused()?;
    }
    let refused = fleet.stats(node)?["refused"]["old-sequence"].as_u64().unwrap_or_default();
    let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
    expect(refused >= count, format!("{count} records there, {refused} older ones refused"))
}

fn killed(fleet: &Fleet) -> Judgement {
    let mut node = fleet.node(&Start::default())?;
    let before = held(fleet, &node, 3)?;
    std::thread::sleep(WRITTEN);
    let mut writers = Vec::new();
    for last in 1..=6 {
        let file = fleet.file("bundle", &Person::new(now())?.mapping(now(), last)?.value)?;
        let mut put = fleet.command(&["put", "--bundle", &file, "--bootstrap", &node.address]);
        writers.push(put.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(missing)?);
    }
    let begun = Instant::now();
    while fleet.stats(&node)?["records"].as_u64() < Some(5) && begun.elapsed() < WRITTEN {}
    node.kill();
    for mut writer in writers {
        let _ = writer.kill();
        let _ = writer.wait();
    }
    let node = fleet.again(&node, &Start::default())?;
    let records = fleet.stats(&node)?["records"].clone();
    Ok(format!("{}; {records} records in all", all_there(fleet, &node, &before)?))
}

fn killed_again(fleet: &Fleet) -> Judgement {
    let mut node = fleet.node(&Start::default())?;
    let before = held(fleet, &node, 2)?;
    std::thread::sleep(WRITTEN);
    for _ in 0..3 {
        node.kill();
        node = fleet.again(&node, &Start::default())?;
    }
    all_there(fleet, &node, &before)
}

/// A node whose file was changed while it was stopped starts, and does its work; what was in the file may be lost.
fn damaged(fleet: &Fleet, damage: impl FnOnce(&mut Vec<u8>)) -> Judgement {
    let mut node = fleet.node(&Start::default())?;
    let before = held(fleet, &node, 2)?;
    node.stop()?;
    let path = fleet.path(&node.database().to_string_lossy());
    let mut file = std::fs::read(&path).map_err(missing)?;
    damage(&mut file);
    std::fs::write(&path, &file).map_err(missing)?;
    let mut node = fleet.again(&node, &Start::default())?;
    let kept = fleet.stats(&node)?["records"].as_u64().unwrap_or_default();
    // Of an empty file there is nothing to keep.
    let aside = file.is_empty() || path.with_extension("damaged").exists();
    if kept < 2 && !(aside && fleet.log(&node).contains("record database damaged")) {
        return Err(broken(format!("{kept} of 2 records left, and nobody told: {}", fleet.log(&node))));
    }
    // Whoever publishes again finds all as before, now and after the next kill.
    let owner = Person::new(now())?;
    fleet.publish(&node, &owner.mapping(now(), 9)?)?;
    for (owner, _) in &before {
        fleet.publish(&node, &owner.mapping(now(), 8)?)?;
    }
    std::thread::sleep(WRITTEN);
    node.kill();
    let node = fleet.again(&node, &Start::default())?;
    let records = fleet.stats(&node)?["records"].clone();
    expect(
        records == 3,
        format!("{kept} of 2 records left, moved aside: {aside}; 3 after the next kill expected, came {records}"),
    )
}

fn garbage(fleet: &Fleet) -> Judgement {
    let octets: Vec<u8> = (0..9000_u32).map(|n| u8::try_from((n * 7919 / 13) % 251).unwrap_or_default()).collect();
    let mut node = fleet.node(&Start::default())?;
    node.stop()?;
    let path = fleet.path(&node.database().to_string_lossy());
    std::fs::write(&path, &octets).map_err(missing)?;
    let node = fleet.again(&node, &Start::default())?;
    let kept = std::fs::read(path.with_extension("damaged")).is_ok_and(|aside| aside == octets);
    let owner = Person::new(now())?;
    fleet.publish(&node, &owner.mapping(now(), 1)?)?;
    let found = fleet.get(&node, &owner.eid())?["result"].clone();
    expect(kept && found == "mapping", format!("kept aside as it was: {kept}; then {found}"))
}

/// Sets how large files of a process may become. It ignores the signal that comes with it, as a full disk sends none.
fn limit(node: &Node, most: &str) -> Result<(), Fault> {
    let pid = node.pid().ok_or_else(|| broken("the node has ended"))?.to_string();
    let most = format!("--fsize={most}:unlimited");
    let told = Command::new("prlimit").args(["--pid", &pid, &most]).output();
    let told = told.map_err(|error| missing(format!("prlimit (package util-linux): {error}")))?;
    if told.status.success() { Ok(()) } else { Err(missing(String::from_utf8_lossy(&told.stderr))) }
}

fn full(fleet: &Fleet) -> Judgement {
    let first = fleet.node(&Start::default())?;
    let node = Node::twin(&first, "127.1.240.1");
    drop(first);
    let arguments = fleet.arguments(&node, &Start::default());
    let mut shell = fleet.shell("trap '' XFSZ; exec \"$0\" \"$@\"", &arguments);
    let mut node = fleet.spawn(node, &mut shell)?;
    let mut all = held(fleet, &node, 2)?;
    std::thread::sleep(WRITTEN);
    limit(&node, FULL)?;
    all.extend(held(fleet, &node, 2)?);
    std::thread::sleep(WRITTEN);
    if !node.is_running() || !fleet.log(&node).contains("record database not written") {
        return Err(broken(format!("to run on and say that nothing is written: {}", fleet.log(&node))));
    }
    let found = all_there(fleet, &node, &all)?;
    limit(&node, "unlimited")?;
    all.extend(held(fleet, &node, 1)?);
    std::thread::sleep(2 * WRITTEN);
    node.kill();
    let node = fleet.again(&node, &Start::default())?;
    let after = all_there(fleet, &node, &all)?;
    Ok(format!("told; without room {found}; with room again, and killed, {after}"))
}

fn shared(fleet: &Fleet) -> Judgement {
    let node = fleet.node(&Start::default())?;
    let second = Node::twin(&node, "127.1.241.1");
    let arguments = fleet.arguments(&second, &Start::default());
    let answer = fleet.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    let holds = answer.code == Some(3) && answer.told.contains(&node.state);
    let still = fleet.stats(&node)?["peer"].is_string();
    expect(holds && still, format!("3, and its name, expected; came {:?}: {}", answer.code, answer.told))
}
