// SPDX-License-Identifier: GPL-2.0-or-later
//! What a full store takes on disk, and how soon it serves again after it was killed: `cargo bench -p dht --bench store`.
//!
//! A child process fills a store of 200,000 bundles through the node's own shelf (housekeeping after every thousand, as the
//! node does every second), then renews bundles at random until each was written twice more, and is killed by SIGKILL.
//! Another opens the same file and answers for one key; the time runs from its start. Done for bundles of 1.2 kB (Ed25519)
//! and of 3.2 kB (what an RSA identity has: here an Ed25519 one with a filler of its own), both signed in full. Reach: at most
//! twice the octets of the records on disk, and 3 seconds. `BUNDLES=20000` or `TURNS=0` makes it
//! quicker.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network, OperationalKey};
use dht::publish::{self, Publication, Sequence};
use dht::record::{Body, Bundle, Mapping, Rloc, RlocFlags, Section, Tlv};
use dht::shell::node::Records;
use dht::shell::shelf::{FILE, Shelf};
use dht::store::Origin;
use wire::record::Ttl;

/// Bundles that are put between two commits.
const BATCH: usize = 1000;
/// How often everything is written again, after the first time.
const TURNS: usize = 2;
/// Most that the file may take for each octet of its records.
const ROOM: f64 = 2.0;
/// Until it serves again.
const START: Duration = Duration::from_secs(3);
/// Octets that make a bundle with an Ed25519 identity as long as one with an RSA identity.
const FILLER: usize = 2000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "fill", folder, filler, count] => fill(Path::new(folder), filler.parse().unwrap(), count.parse().unwrap()),
        [_, "serve", folder] => serve(Path::new(folder)),
        _ => measure(),
    }
}

fn measure() {
    let count: usize = std::env::var("BUNDLES").map_or(dht::limits::STORE_BUNDLES, |text| text.parse().unwrap());
    println!("{count} bundles, written {} times, killed, started again", turns() + 1);
    for (name, filler) in [("ed25519", 0), ("rsa4096", FILLER)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let mut child = child(&["fill", path, &filler.to_string(), &count.to_string()]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let last = loop {
            let line = lines.next().expect("the child ends by our signal").unwrap();
            if let Some(last) = line.strip_prefix("filled ") {
                break last.to_owned();
            }
            println!("  {name}  {line}");
        };
        child.kill().unwrap();
        child.wait().unwrap();
        let figures: Vec<f64> = last.split(' ').map(|text| text.parse().unwrap()).collect();
        let (records, octets) = (figures[0], figures[1]);
        let found = std::fs::metadata(folder.path().join(FILE)).unwrap();
        let (taken, length) = (on_disk(&found), found.len());
        let ratio = as_f64(taken) / octets;
        println!(
            "  {name}  {records} records of {:.0} octets; on disk {ratio:.2} times their octets (reach {ROOM}: {}), length {:.2} times",
            octets / records,
            verdict(ratio <= ROOM),
            as_f64(length) / octets
        );
        let begun = Instant::now();
        let mut server = self::child(&["serve", path]);
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let serving = lines.next().unwrap().unwrap();
        let after = begun.elapsed();
        println!(
            "  {name}  {serving} {:.2} s after its start (reach {} s: {})",
            after.as_secs_f64(),
            START.as_secs(),
            verdict(after <= START)
        );
        println!("  {name}  {}", lines.next().unwrap().unwrap());
        server.wait().unwrap();
    }
}

fn turns() -> usize {
    std::env::var("TURNS").map_or(TURNS, |text| text.parse().unwrap())
}

fn child(arguments: &[&str]) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap()).args(arguments).stdout(Stdio::piped()).spawn().unwrap()
}

fn fill(folder: &Path, filler: usize, count: usize) {
    let mut shelf = Shelf::open(Network::LAB, [0; 32], &folder.join(FILE)).unwrap();
    let begun = Instant::now();
    let turns = turns();
    let (mut sequence, mut chosen) = (Sequence::default(), 0x9e37_79b9_7f4a_7c15_u64);
    for turn in 0..=turns {
        for put in 0..count {
            let number = if turn == 0 {
                put
            } else {
                // xorshift: which one is renewed.
                chosen ^= chosen << 13;
                chosen ^= chosen >> 7;
                chosen ^= chosen << 17;
                usize::try_from(chosen).unwrap() % count
            };
            let one = publish(number, filler, &mut sequence);
            // One that is drawn often has used up its quota.
            _ = shelf.put(SystemTime::now(), Origin::Own, &one.key.encode(), &one.value);
            if put % BATCH == BATCH - 1 {
                shelf.housekeep(SystemTime::now());
            }
        }
        say(&format!("turn {turn}: {:.0} s, {} kB resident", begun.elapsed().as_secs_f64(), resident()));
    }
    shelf.housekeep(SystemTime::now());
    std::thread::sleep(Duration::from_secs(3));
    let held = shelf.held();
    say(&format!("filled {} {}", held.records, held.bytes));
    std::thread::sleep(Duration::from_secs(60));
}

fn serve(folder: &Path) {
    let mut shelf = Shelf::open(Network::LAB, [0; 32], &folder.join(FILE)).unwrap();
    let one = publish(7, 0, &mut Sequence::default());
    let value = shelf.get(SystemTime::now(), &one.key.encode()).unwrap();
    assert!(Bundle::decode(&value).unwrap().mapping().is_some());
    say(&format!("{} records held, one proven and served", shelf.held().records));
    let begun = Instant::now();
    shelf.housekeep(SystemTime::now());
    say(&format!(
        "proves on in the background, {:.0} ms of each second; {} kB resident",
        begun.elapsed().as_secs_f64() * 1e3,
        resident()
    ));
}

fn publish(number: usize, filler: usize, sequence: &mut Sequence) -> Publication {
    let now = SystemTime::now();
    let octets = u64::try_from(number).unwrap().to_be_bytes();
    let identity =
        Identity::from_seed(&std::array::from_fn(|at| if at == 8 { 1 } else { octets[at % 8] }), Network::LAB, now)
            .unwrap();
    let key = identity.delegate(now, 0).unwrap();
    let flags = RlocFlags { local: true, reachable: true, ..RlocFlags::default() };
    let rloc = Rloc {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        flags,
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        port: 0,
    };
    let one = publish::mapping(&key, Network::LAB, Mapping::new([rloc], Ttl(60)), now, sequence).unwrap();
    if filler == 0 { one } else { longer(&key, one, filler) }
}

/// The same with an element that nobody knows in its IDENTITY.
fn longer(key: &OperationalKey, one: Publication, filler: usize) -> Publication {
    let mut sections: Vec<Section> = Bundle::decode(&one.value).unwrap().into_sections();
    if let Body::Identity(identity) = &mut sections[0].body {
        identity.unknown = vec![Tlv { kind: 0x7000, value: vec![0x5a; filler].into() }];
    }
    sections[0].signature = key.sign(&sections[0].signed_bytes(&one.key).unwrap()).into();
    Publication { value: Bundle::new(sections).unwrap().encode().unwrap(), ..one }
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

fn on_disk(found: &std::fs::Metadata) -> u64 {
    found.blocks() * 512
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:").map(|rest| rest.trim_end_matches("kB").trim().to_owned()));
    line.unwrap_or_default()
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(octets: u64) -> f64 {
    octets as f64
}

fn verdict(is_reached: bool) -> &'static str {
    if is_reached { "reached" } else { "missed" }
}
