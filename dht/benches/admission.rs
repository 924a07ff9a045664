// SPDX-License-Identifier: GPL-2.0-or-later
//! How many records a second one core takes into its store: `cargo bench -p dht --bench admission`.
//!
//! A *first sight* is a record of an identity that the store does not know: two certificates and two sections, four
//! signatures. A *renewal* is the next record of an identity that it knows: the publisher repeats its IDENTITY section and
//! signs a new MAPPING beside it. Reach: 10,000 renewals a second. The parts show where the time goes.
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

fn main() {
    let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let later = start + Duration::from_secs(60);
    let people: Vec<Person> = (0..PEOPLE).map(|number| Person::new(number, start)).collect();
    let first: Vec<Publication> = people.iter().map(|person| person.publish(start)).collect();
    let renewals: Vec<Publication> =
        people.iter().zip(&first).map(|(person, first)| renewal(first, &person.publish(later))).collect();
    let mut store = Store::new(Network::LAB, [0; 32]);
    println!("admission of Ed25519-signed records of {} octets, {PEOPLE} identities, one core", first[0].value.len());
    let mut put = |what, now, all: &[Publication]| {
        row(what, all, |one| _ = store.put(now, Origin::Own, &one.key.encode(), &one.value).unwrap())
    };
    put("first sight", start, &first);
    let renewed = put("renewal", later, &renewals);
    put("repeated, nothing new", later, &renewals);
    println!(
        "  renewals a second: {renewed:.0}, reach {REACH:.0}: {}",
        if renewed >= REACH { "reached" } else { "missed" }
    );
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

/// Does it for each; how many a second.
fn row<T>(what: &str, all: &[T], mut each: impl FnMut(&T)) -> f64 {
    let begun = on_core();
    all.iter().for_each(&mut each);
    let taken = (on_core() - begun).as_secs_f64();
    let (count, rate) =
        (f64::from(u32::try_from(all.len()).unwrap()), f64::from(u32::try_from(all.len()).unwrap()) / taken);
    println!("  {what:<36} {:>7.1} us {rate:>9.0} a second", taken * 1e6 / count);
    rate
}

/// How long this thread has been on a core, so that what else the machine does does not count.
fn on_core() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
