// SPDX-License-Identifier: GPL-2.0-or-later
//! A store that is filled, renewed, killed and opened again.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network, OperationalKey};
use dht::publish::{self, Publication, Sequence};
use dht::record::{Bundle, Mapping, Prefix, RecordKey, Rloc, RlocFlags, Site};
use dht::shell::node::Records;
use dht::shell::shelf::{FILE, Shelf};
use dht::store::Origin;
use wire::address::{EidPrefix, InstanceId};
use wire::record::Ttl;

use crate::child::{FILL, Running, SERVE, on_disk, resident, say};
use crate::{ROOM, set, verdict};

/// Keys of the writers' identities.
pub(crate) const KINDS: [&str; 2] = ["ed25519", "rsa4096"];
/// Writers, each with the same number of sites.
const WRITERS: usize = 4;
/// Of so many parts one is put between two commits: a thousand of 200,000. What a transaction needs beside the records is
/// as large as itself.
const PARTS: usize = 200;
/// How often everything is written again, after the first time.
const TURNS: usize = 2;
/// Until it serves again.
const START: Duration = Duration::from_secs(3);
/// Bundles that wait, signed, to be put.
const SIGNED: usize = 256;

pub(crate) fn measure(kind: &str) {
    let (count, turns) = (set("BUNDLES", dht::limits::STORE_BUNDLES), set("TURNS", TURNS));
    println!("{kind}: {count} bundles, written {} times, killed, started again", turns + 1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mut child = Running::start(&[FILL, path, kind, &count.to_string()]);
    let figures = child.numbers_after(kind, "filled");
    child.kill();
    let (records, octets) = (figures[0], figures[1]);
    let ratio = on_disk(&folder.path().join(FILE)) / octets;
    println!("  {kind}  {records} records of {:.0} octets", octets / records);
    println!("  {kind}  on disk {ratio:.2} times their octets (reach {ROOM}): {}", verdict(ratio <= ROOM));
    let begun = Instant::now();
    let mut server = Running::start(&[SERVE, path]);
    let serving = server.line();
    let after = begun.elapsed();
    let (seconds, reach) = (after.as_secs_f64(), START.as_secs());
    println!("  {kind}  {serving} {seconds:.2} s after its start (reach {reach} s): {}", verdict(after <= START));
    println!("  {kind}  {}", server.line());
    server.wait();
}

pub(crate) fn fill(folder: &Path, kind: &str, count: usize) {
    let begun = Instant::now();
    let people: Vec<OperationalKey> = (0..WRITERS).map(|number| writer(kind, number)).collect();
    say(&format!("{WRITERS} identities made in {:.0} s", begun.elapsed().as_secs_f64()));
    // What is read back must be the key of somebody.
    std::fs::write(folder.join("first.key"), key(&people[0], 0).encode()).unwrap();
    let mut shelf = Shelf::open(Network::LAB, [0; 32], &folder.join(FILE)).unwrap();
    let begun = Instant::now();
    let (signed, waiting) = mpsc::sync_channel(SIGNED);
    let turns = set("TURNS", TURNS);
    let signer = std::thread::spawn(move || sign(&people, count, turns, &signed));
    let (batch, mut refused) = ((count / PARTS).max(1), 0);
    for (at, one) in waiting.iter().enumerate() {
        let one: Publication = one;
        // One that is drawn often has used up its quota.
        refused += usize::from(shelf.put(SystemTime::now(), Origin::Own, &one.key.encode(), &one.value).is_err());
        if at % batch == batch - 1 {
            shelf.housekeep(SystemTime::now());
        }
        if at % count == count - 1 {
            let (turn, seconds) = (at / count, begun.elapsed().as_secs_f64());
            say(&format!("turn {turn}: {seconds:.0} s, {refused} refused, {} kB resident", resident()));
        }
    }
    signer.join().unwrap();
    shelf.housekeep(SystemTime::now());
    // The writer's last transaction.
    std::thread::sleep(Duration::from_secs(3));
    let held = shelf.held();
    say(&format!("filled {} {}", held.records, held.bytes));
    std::thread::sleep(Duration::from_secs(60));
}

/// All of them in turn, then as many at random, so often.
fn sign(people: &[OperationalKey], count: usize, turns: usize, out: &mpsc::SyncSender<Publication>) {
    let mut chosen = 0x9e37_79b9_7f4a_7c15_u64;
    for put in 0..count * (turns + 1) {
        let number = if put < count {
            put
        } else {
            // xorshift: which one is renewed.
            chosen ^= chosen << 13;
            chosen ^= chosen >> 7;
            chosen ^= chosen << 17;
            usize::try_from(chosen).unwrap() % count
        };
        out.send(record(&people[number % people.len()], number)).unwrap();
    }
}

pub(crate) fn serve(folder: &Path) {
    let mut shelf = Shelf::open(Network::LAB, [0; 32], &folder.join(FILE)).unwrap();
    let key = std::fs::read(folder.join("first.key")).unwrap();
    let value = shelf.get(SystemTime::now(), &key).unwrap();
    assert!(Bundle::decode(&value).unwrap().prefix().is_some());
    say(&format!("{} records held, one proven and served", shelf.held().records));
    let begun = Instant::now();
    shelf.housekeep(SystemTime::now());
    let took = begun.elapsed().as_secs_f64() * 1e3;
    say(&format!("proves on in the background, {took:.0} ms of each second; {} kB resident", resident()));
}

fn writer(kind: &str, number: usize) -> OperationalKey {
    let now = SystemTime::now();
    let seed = [u8::try_from(number + 1).unwrap(); 32];
    let identity = match kind {
        "rsa4096" => Identity::generate_rsa4096(Network::LAB, now),
        _ => Identity::from_seed(&seed, Network::LAB, now),
    };
    identity.unwrap().delegate(now, 0).unwrap()
}

/// A /64 for each number.
fn site(number: usize) -> EidPrefix {
    let number = u128::try_from(number).unwrap();
    let net = ipnet::Ipv6Net::new(Ipv6Addr::from_bits(0x2001_0db8 << 96 | number << 64), 64).unwrap();
    EidPrefix { iid: InstanceId(0), net: net.into() }
}

fn key(writer: &OperationalKey, number: usize) -> RecordKey {
    record(writer, number).key
}

/// A site behind a proxying Map-Server, as its registrar publishes it. Each site has a sequence of its own: what they share would
/// run ahead of the clock.
fn record(writer: &OperationalKey, number: usize) -> Publication {
    let flags = RlocFlags { local: true, reachable: true, ..RlocFlags::default() };
    let address = Ipv4Addr::new(192, 0, 2, 1).into();
    let rloc = Rloc { priority: 1, weight: 100, mpriority: 255, mweight: 0, flags, address, port: 0 };
    let body = Prefix {
        prefix: site(number),
        mapping: Mapping::new([rloc], Ttl(60)),
        site: Site { proxy: true, site_id: 7, xtr_ids: [].into() },
        map_servers: [Ipv4Addr::new(192, 0, 2, 53).into()].into(),
    };
    publish::prefix(writer, Network::LAB, body, SystemTime::now(), &mut Sequence::default()).unwrap()
}
