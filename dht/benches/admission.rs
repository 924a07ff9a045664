// SPDX-License-Identifier: GPL-2.0-or-later
//! How many records a second one core takes into its store: `cargo bench -p dht --bench admission`.
//!
//! A *first sight* is a record of an identity that the store does not know: two certificates and two sections, four
//! signatures. A *renewal* is the next record of an identity that it knows: the publisher repeats its IDENTITY section and
//! signs a new MAPPING beside it. A bundle of either kind holds two records, IDENTITY and MAPPING. Reach: 10,000 records a second
//! at first sight, and 10,000 renewals. The parts show where the time goes.
//!
//! Other work on the machine slows this one also by sharing its caches and cores, so that all is done several times and the
//! quickest counts.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::{Identity, Network, OperationalKey, SignatureAlgorithm};
use dht::publish::{self, Publication, Sequence};
use dht::record::{Bundle, CertificateCache, Class, Mapping, Rloc, RlocFlags, verify};
use dht::store::{Origin, Store};
use sha2::{Digest, Sha512};
use wire::record::Ttl;

/// Identities; fewer than the certificates that a store remembers.
const PEOPLE: u32 = 1500;
/// What a core must take in a second.
const REACH: f64 = 10_000.0;
/// Records in a bundle: IDENTITY and MAPPING.
const RECORDS: f64 = 2.0;
/// Stores that take it all.
const ROUNDS: usize = 7;

fn main() {
    let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let later = start + Duration::from_secs(60);
    let people: Vec<Person> = (0..PEOPLE).map(|number| Person::new(number, start)).collect();
    let first: Vec<Publication> = people.iter().map(|person| person.publish(start)).collect();
    let renewals: Vec<Publication> =
        people.iter().zip(&first).map(|(person, first)| renewal(first, &person.publish(later))).collect();
    println!(
        "admission of Ed25519-signed bundles of {} octets, {PEOPLE} identities, one core, the quickest of {ROUNDS} rounds",
        first[0].value.len()
    );
    let (mut seen, mut renewed, mut repeated) = (Duration::MAX, Duration::MAX, Duration::ZERO);
    for _ in 0..ROUNDS {
        let mut store = Store::new(Network::LAB, [0; 32]);
        let mut put = |now, all: &[Publication]| {
            time(all, |one| _ = store.put(now, Origin::Own, &one.key.encode(), &one.value).unwrap())
        };
        seen = seen.min(put(start, &first));
        renewed = renewed.min(put(later, &renewals));
        // The system counts in milliseconds, which is little less than a round of these takes.
        repeated += put(later, &renewals);
    }
    let rounds = u32::try_from(ROUNDS).unwrap();
    for (what, taken) in [("first sight", seen), ("renewal", renewed), ("repeated, nothing new", repeated / rounds)] {
        show(what, PEOPLE, taken);
    }
    verdict("records a second at first sight", f64::from(PEOPLE) * RECORDS / seen.as_secs_f64());
    verdict("renewals a second", f64::from(PEOPLE) / renewed.as_secs_f64());
    println!("parts of it");
    // The system counts in milliseconds: what is quick is done often.
    let often: Vec<&Publication> = first.iter().cycle().take(60_000).collect();
    row("read, compare with the one encoding", &often, |one| _ = black_box(Bundle::decode(&one.value).unwrap()));
    row("SHA-512 of it", &often, |one| _ = black_box(Sha512::digest(&one.value)));
    let message = vec![7; 300];
    let signed: Vec<_> =
        people.iter().map(|one| (one.identity.certificate().clone(), one.identity.sign(&message).unwrap())).collect();
    row("one Ed25519 signature", &signed, |(certificate, signature)| {
        certificate.verify_signature(SignatureAlgorithm::Ed25519, &message, signature).unwrap();
    });
    row("one that is forged", &signed, |(certificate, _)| {
        let forged = certificate.verify_signature(SignatureAlgorithm::Ed25519, &message, &signed[0].1);
        _ = black_box(forged);
    });
    let mut cache = CertificateCache::new();
    for what in ["a reader's check, chain cold", "a reader's check, chain warm"] {
        row(what, &first, |one| _ = black_box(verify(Network::LAB, &one.key, &one.value, start, &mut cache).unwrap()));
    }
}

struct Person {
    identity: Identity,
    key: OperationalKey,
}

impl Person {
    fn new(number: u32, now: SystemTime) -> Self {
        let seed: [u8; 32] = std::array::from_fn(|at| if at == 0 { 1 } else { number.to_be_bytes()[at % 4] });
        let identity = Identity::from_seed(&seed, Network::LAB, now).unwrap();
        let key = identity.delegate(now, 0).unwrap();
        Self { identity, key }
    }

    fn publish(&self, now: SystemTime) -> Publication {
        let flags = RlocFlags { local: true, reachable: true, ..RlocFlags::default() };
        let address = Ipv4Addr::new(192, 0, 2, 1).into();
        let rloc = Rloc { priority: 1, weight: 100, mpriority: 255, mweight: 0, flags, address, port: 0 };
        let mut sequence = Sequence::default();
        publish::mapping(&self.key, Network::LAB, Mapping::new([rloc], Ttl(60)), now, &mut sequence).unwrap()
    }
}

/// The MAPPING of the later one beside the IDENTITY of the first.
fn renewal(first: &Publication, later: &Publication) -> Publication {
    let section = |of: &Publication, class| Bundle::decode(&of.value).unwrap().section(class).cloned().unwrap();
    let sections = vec![section(first, Class::Identity), section(later, Class::Mapping)];
    Publication { value: Bundle::new(sections).unwrap().encode().unwrap(), ..later.clone() }
}

fn row<T>(what: &str, all: &[T], each: impl FnMut(&T)) {
    show(what, u32::try_from(all.len()).unwrap(), time(all, each));
}

/// Does it for each; how long it took.
fn time<T>(all: &[T], each: impl FnMut(&T)) -> Duration {
    let begun = on_core();
    all.iter().for_each(each);
    on_core() - begun
}

fn show(what: &str, count: u32, taken: Duration) {
    let (taken, count) = (taken.as_secs_f64(), f64::from(count));
    println!("  {what:<36} {:>7.1} us {:>9.0} a second", taken * 1e6 / count, count / taken);
}

fn verdict(what: &str, rate: f64) {
    println!("  {what}: {rate:.0}, reach {REACH:.0}: {}", if rate >= REACH { "reached" } else { "missed" });
}

/// How long this thread has been on a core, so that what else the machine does does not count.
fn on_core() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
