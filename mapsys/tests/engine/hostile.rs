// SPDX-License-Identifier: GPL-2.0-or-later
//! Bad input: what ends the peers' Map-Servers, every vector of the control plane, and mutated messages, against the engine.

use crate::common::*;
use mapsys::engine::{Config, Output};
use mapsys::refusal::Refusal;
use mapsys::register::site::{Site, SitePrefix};
use proptest::prelude::*;
use wire::address::{Address, Lcaf};
use wire::control::auth::{self, Algorithm, AuthKey, TagForm};
use wire::control::{Ecm, MapRegister, MapRequest, XtrIdentity};
use wire::record::LocatorRecord;

const ETR: &str = "198.51.100.1:4342";
const ITR: &str = "192.0.2.1:5000";
const SITE: &str = "2001:db8:a::/48";

fn sha1() -> AuthKey {
    key(1, Algorithm::HmacSha1, "secret of a")
}

/// A legacy site, which takes most.
fn setup() -> Config {
    let open = vec![SitePrefix { prefix: prefix(SITE), max_len: 128 }];
    config(vec![Site { legacy: true, prefixes: open, ..site("a", 1, "secret of a", &[]) }])
}

fn bench() -> Bench {
    Bench::new(setup())
}

fn good(nonce: u64) -> MapRegister {
    register(nonce, vec![record(prefix(SITE), &["198.51.100.1"])])
}

fn sealed(message: MapRegister) -> Vec<u8> {
    auth::seal(&message.into(), &sha1(), TagForm::Untruncated).unwrap()
}

fn asked(request: &MapRequest) -> Vec<u8> {
    ecm(request)
}

/// It still registers and answers.
fn still_works(bench: &mut Bench, nonce: u64) {
    notify(&bench.datagram(ETR, &sealed(good(nonce))));
    bench.pass(std::time::Duration::from_secs(11));
    let (_, reply) = reply(&bench.datagram(ITR, &asked(&request(nonce, &[host("2001:db8:a::2")], &["192.0.2.1"]))));
    assert!(!reply.records[0].locators.is_empty());
}

#[test]
fn two_records_are_two_answers_where_a_peer_dies() {
    let mut bench = bench();
    bench.datagram(ETR, &sealed(good(1)));
    let two = request(5, &[host("2001:db8:a::2"), host("2001:db8:a::3")], &["192.0.2.1"]);
    let (_, reply) = reply(&bench.datagram(ITR, &asked(&two)));
    assert_eq!(reply.records.len(), 1, "one record covers both");
    still_works(&mut bench, 2);
}

#[test]
fn a_register_cut_anywhere_is_refused_where_a_peer_dies_at_twelve_octets() {
    let mut bench = bench();
    let whole = sealed(good(1));
    for length in 0..whole.len() {
        assert_eq!(bench.datagram(ETR, &whole[..length]), [], "{length}");
    }
    assert_eq!(bench.engine.tally().total(), u64::try_from(whole.len()).unwrap(), "each is counted");
    still_works(&mut bench, 2);
}

#[test]
fn locators_of_every_lcaf_are_taken_where_a_peer_dies() {
    let plain = || Address::from("198.51.100.9".parse::<std::net::IpAddr>().unwrap());
    let list = Address::Lcaf(Box::new(Lcaf::AfiList(vec![plain(), Address::Name(b"x"[..].into())])));
    let name = Address::Name(b"rloc"[..].into());
    let mut bench = bench();
    for (nonce, rloc) in [(1, list), (2, name), (3, Address::Mac([2; 6]))] {
        let mut message = good(nonce);
        message.records[0].locators.push(LocatorRecord { rloc, ..locator("198.51.100.9") });
        notify(&bench.datagram(ETR, &sealed(message)));
    }
    assert_eq!(bench.engine.tally().total(), 0);
    still_works(&mut bench, 4);
}

#[test]
fn tags_of_every_length_but_ours_are_refused_where_a_peer_takes_none_or_dies() {
    let mut bench = bench();
    let mut refused = 0;
    for (algorithm, lengths) in [(0u8, [].as_slice()), (1, &[12, 20]), (2, &[16, 32]), (3, &[16, 32]), (4, &[])] {
        for length in (0..=40).filter(|length| !lengths.contains(length)) {
            let mut message = good(1);
            message.auth =
                auth::Authentication { key_id: 1, algorithm: auth::AlgorithmId(algorithm), tag: vec![0; length] };
            assert_eq!(bench.datagram(ETR, &message.encode().unwrap()), [], "algorithm {algorithm}, {length}");
            refused += 1;
        }
    }
    let tally = bench.engine.tally();
    assert_eq!(tally.get(Refusal::RegisterAlgorithm), 82, "algorithms 0 and 4");
    assert_eq!(tally.get(Refusal::RegisterTagLength), refused - 82);
    assert_eq!(bench.registered(), []);
}

#[test]
fn an_eid_in_an_instance_and_a_count_beyond_the_itr_rlocs_are_no_danger_where_a_peer_dies() {
    let mut bench = bench();
    for iid in [5, 0xffff_ffff] {
        let in_instance = request(iid.into(), &[prefix_in(iid, "2001:db8:a::2/128")], &["192.0.2.1"]);
        bench.datagram(ITR, &asked(&in_instance));
    }
    let before = bench.engine.tally().get(Refusal::Malformed);
    let mut bytes = request(7, &[host("2001:db8:a::2")], &["192.0.2.1"]).encode().unwrap();
    for count in 1..=31 {
        bytes[2] = bytes[2] & 0xe0 | count;
        let wrapped = Ecm::wrap(address("192.0.2.1:61000"), address("192.0.2.2:4342"), bytes.clone());
        bench.datagram(ITR, &wrapped.encode().unwrap());
    }
    assert!(bench.engine.tally().get(Refusal::Malformed) >= before + 29);
    still_works(&mut bench, 1);
}

fn vectors() -> Vec<(String, Vec<u8>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/vectors/vectors.json");
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let unhex =
        |hex: &str| (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
    let vectors = json["vectors"].as_array().unwrap().iter();
    let text = |vector: &serde_json::Value, key: &str| vector[key].as_str().unwrap_or_default().to_owned();
    vectors.map(|vector| (text(vector, "id"), unhex(&text(vector, "lisp")))).collect()
}

#[test]
fn every_malformed_vector_is_either_counted_or_answered() {
    let malformed: Vec<_> = vectors().into_iter().filter(|(id, _)| id.starts_with('M')).collect();
    assert!(malformed.len() >= 20);
    for (id, bytes) in malformed {
        // An ECM has no place in another.
        let wrapped = Ecm::wrap(address("192.0.2.1:61000"), address("192.0.2.2:4342"), bytes.clone()).encode();
        for bytes in std::iter::once(bytes).chain(wrapped) {
            let mut bench = bench();
            let outputs = bench.datagram(ITR, &bytes);
            assert_eq!(bench.registered(), [], "{id}");
            let speaks = outputs.iter().any(|output| matches!(output, Output::Send { .. } | Output::DhtGet { .. }));
            // A lookup that needs no DHT, since no anchor is given, is answered too.
            assert!(speaks || bench.engine.tally().total() > 0, "{id} disappeared");
        }
    }
}

/// Well-formed messages of all kinds that a map system takes.
fn seeds() -> Vec<Vec<u8>> {
    let merging =
        MapRegister { merge: true, xtr_identity: Some(XtrIdentity { xtr_id: [1; 16], site_id: 2 }), ..good(u64::MAX) };
    let many = request(1, &[host("2001:db8:a::2"), host("10.0.0.1"), host("2001:db8:b::1")], &["192.0.2.1", "::1"]);
    let mut seeds = vec![sealed(good(u64::MAX)), sealed(merging), asked(&many)];
    seeds.extend(vectors().into_iter().map(|(_, bytes)| bytes));
    seeds
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(2000)
    ))]

    #[test]
    fn a_mutated_message_registers_nothing_and_the_engine_goes_on(
        which: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        more in prop::collection::vec(any::<u8>(), 0..8),
        remote in prop::sample::select(vec![ETR, ITR, "[2001:db8:1::1]:4342", "10.0.0.1:1"]),
    ) {
        thread_local! {
            // One engine for all cases: what a hundred of them leave behind must not stop the next.
            static STATE: std::cell::RefCell<(Bench, Vec<Vec<u8>>)> = std::cell::RefCell::new((bench(), seeds()));
        }
        STATE.with_borrow_mut(|(bench, seeds)| {
            let original = which.get(seeds);
            let mut bytes = original.clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes.extend(more);
            prop_assume!(bytes != *original);
            let before = bench.engine.tally().total();
            let outputs = bench.datagram(remote, &bytes);
            prop_assert!(!outputs.is_empty() || bench.engine.tally().total() > before, "it disappeared");
            let octets: usize = outputs.iter().map(|output| match output {
                Output::Send { bytes, .. } => bytes.len(),
                _ => 0,
            }).sum();
            prop_assert!(octets <= 3 * bytes.len(), "{octets} octets for {}", bytes.len());
            prop_assert_eq!(bench.registered(), vec![]);
            bench.pass(std::time::Duration::from_millis(200));
            Ok(())
        })?;
    }
}
