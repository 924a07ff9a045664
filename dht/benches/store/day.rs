// SPDX-License-Identifier: GPL-2.0-or-later
//! A day of the database file: every record is renewed each 20 minutes, half of them leave in the evening and come back in the
//! morning.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use dht::shell::database::Database;
use dht::shell::shelf::FILE;
use dht::store::Change;

use crate::child::{DAY, Running, on_disk, say};
use crate::{ROOM, set, verdict};

/// Records by day.
const RECORDS: usize = 50_000;
/// Renewals of each record in an hour.
const RENEWALS: usize = 3;
/// Hours in which the file is written, and of those the ones of the night.
const HOURS: usize = 24;
const NIGHT: std::ops::Range<usize> = 10..20;
/// Of so many parts one is handed to the writer at a time, which makes transactions of up to a thousand changes of them: what comes in
/// within some seconds.
const PARTS: usize = 1000;
/// Octets of a record: with an Ed25519 identity, and every fourth with an RSA-4096 identity.
const LENGTHS: [usize; 4] = [1200, 1200, 1200, 3200];
/// Octets of the marks of a record.
const MARKS: usize = 60;
/// Until all is read again.
const START: Duration = Duration::from_secs(3);

pub(crate) fn measure() {
    let count = set("BUNDLES", RECORDS);
    println!(
        "day: {count} records, {RENEWALS} renewals an hour, half of them away from hour {} to {}",
        NIGHT.start, NIGHT.end
    );
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let mut child = Running::start(&[DAY, folder.path().to_str().unwrap(), &count.to_string()]);
    let figures = child.numbers_after("day", "passed");
    let (renewals, octets, largest, peak) = (figures[0], figures[1], figures[2], figures[3]);
    // In the middle of further renewals.
    std::thread::sleep(Duration::from_millis(200));
    child.kill();
    let seconds = begun.elapsed().as_secs_f64();
    println!("  day  {renewals} renewals in {seconds:.0} s; on disk {peak:.2} times the octets at most, at any time");
    println!(
        "  day  at the end of an hour {largest:.2} times the octets at most (reach {ROOM}): {}",
        verdict(largest <= ROOM)
    );
    let file = folder.path().join(FILE);
    let ratio = on_disk(&file) / octets;
    println!("  day  killed at {ratio:.2} times the octets of its records (reach {ROOM}): {}", verdict(ratio <= ROOM));
    let begun = Instant::now();
    let mut versions = BTreeMap::<u64, usize>::new();
    let (_database, loaded) = Database::open(&file, |(_, record, _)| {
        *versions.entry(record.map_or(0, version)).or_default() += 1;
    })
    .unwrap();
    let after = begun.elapsed();
    let found: usize = versions.values().sum();
    // A transaction is there as a whole or not at all, so at most two rounds of renewals are seen.
    let is_whole = found == count && versions.len() <= 2;
    println!(
        "  day  {found} records after the kill, of rounds {:?}, {loaded:?}: {}",
        versions.keys(),
        verdict(is_whole)
    );
    println!("  day  read in {:.2} s (reach {} s): {}", after.as_secs_f64(), START.as_secs(), verdict(after <= START));
}

/// Lets the day pass, says so, and goes on until it is killed.
pub(crate) fn pass(folder: &Path, count: usize) {
    let file = folder.join(FILE);
    let (database, _) = Database::open(&file, |_| ()).unwrap();
    let (mut round, mut renewed, mut largest, mut peak, mut octets) = (0, 0, 0.0_f64, 0.0_f64, 0);
    for hour in 0..HOURS {
        let is_night = NIGHT.contains(&hour);
        if hour == NIGHT.start {
            write(&database, count, (0..count).filter(|number| number % 2 == 1), gone);
        }
        let there = |number: &usize| !is_night || number.is_multiple_of(2);
        for _ in 0..RENEWALS {
            round += 1;
            write(&database, count, (0..count).filter(there), |number| renewal(number, round));
            octets = (0..count).filter(there).map(length).sum::<usize>();
            peak = peak.max(on_disk(&file) / as_f64(octets));
        }
        settle(&database);
        renewed += RENEWALS * (0..count).filter(there).count();
        let ratio = on_disk(&file) / as_f64(octets);
        largest = largest.max(ratio);
        say(&format!("hour {hour:>2}: {:.1} MB of records, on disk {ratio:.2} times that", as_f64(octets) / 1e6));
    }
    say(&format!("passed {renewed} {octets} {largest} {peak}"));
    loop {
        round += 1;
        write(&database, count, 0..count, |number| renewal(number, round));
    }
}

/// Hands on changes, a batch for each transaction; their order has nothing to do with that of the keys.
fn write(database: &Database, count: usize, numbers: impl Iterator<Item = usize>, change: impl Fn(usize) -> Change) {
    let batch = (count / PARTS).max(1);
    let mut numbers = numbers.peekable();
    while numbers.peek().is_some() {
        database.write_last(numbers.by_ref().take(batch).map(&change).collect());
    }
}

/// Waits until the writer has done what it was given: meanwhile it takes no more than a few of these.
fn settle(database: &Database) {
    for _ in 0..32 {
        std::thread::sleep(Duration::from_millis(1));
        database.write_last(Vec::new());
    }
}

fn renewal(number: usize, round: u64) -> Change {
    let mut record = vec![0x5a; length(number)];
    record[..8].copy_from_slice(&round.to_be_bytes());
    Change { key: key(number), record: Some(record), marks: Some(vec![1; MARKS]) }
}

/// Marks outlive a record by a day.
fn gone(number: usize) -> Change {
    Change { key: key(number), record: None, marks: Some(vec![2; MARKS]) }
}

/// Thirty-odd octets that begin with chance, as a writer's CN does.
fn key(number: usize) -> Vec<u8> {
    let number = u64::try_from(number).unwrap();
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    [&scattered.to_be_bytes()[..], &number.to_be_bytes(), &[0; 16]].concat()
}

fn length(number: usize) -> usize {
    LENGTHS[number % LENGTHS.len()]
}

fn version(record: &[u8]) -> u64 {
    record.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(octets: usize) -> f64 {
    octets as f64
}
