// SPDX-License-Identifier: GPL-2.0-or-later
//! The conformance vectors whose role is a Map-Server, a Map-Resolver, or anybody: judged by what the engine does.
//!
//! Where RFC and design leave a choice, it is made here: R01, R02 and R06 are accepted from legacy sites only; R08's EID is
//! no IP prefix and is refused; C10 and S01 ask for what needs a security association, and have none.

use std::collections::BTreeMap;

use crate::common::*;
use mapsys::engine::Output;
use mapsys::refusal::Refusal;
use mapsys::register::label::Label;
use mapsys::register::label::grants::LabelRule;
use mapsys::register::label::pair::Pair;
use mapsys::register::site::Site;
use wire::address::{Address, InstanceId, Lcaf};
use wire::control::auth::Algorithm;
use wire::control::{ControlMessage, Ecm};
use wire::record::{Action, MappingRecord, Ttl};

/// Every vector that this suite judges.
const JUDGED: [&str; 37] = [
    "C02", "C03", "C10", "L20", "L21", "M07", "M08", "M09", "M10", "M11", "M25", "M26", "M27", "M28", "M40", "M41",
    "M42", "M43", "M44", "M45", "M46", "M47", "N03", "N04", "R01", "R02", "R03", "R05", "R06", "R07", "R08", "S01",
    "T11", "T13", "T14", "X01", "N01",
];

/// The key of the vectors.
const PSK: &str = "lisp-test-psk-01";
/// Where the vectors' ITR asks from: the ITR-RLOC of C02.
const ITR: &str = "192.0.2.1:5000";
const ETR: &str = "198.51.100.1:4342";

fn vectors() -> BTreeMap<String, (String, Vec<u8>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/vectors/vectors.json");
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap().to_owned();
    let unhex =
        |hex: String| (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
    let all = json["vectors"].as_array().unwrap().iter();
    all.map(|vector| (text(vector, "id"), (text(vector, "role"), unhex(text(vector, "lisp"))))).collect()
}

fn vector(id: &str) -> Vec<u8> {
    vectors()[id].1.clone()
}

fn the_site() -> Site {
    site("vectors", 1, PSK, &[prefix("10.2.2.0/24"), prefix("2001:db8:1:2::/64")])
}

fn strict() -> Bench {
    Bench::new(config(vec![the_site()]))
}

fn legacy() -> Bench {
    Bench::new(config(vec![Site { legacy: true, ..the_site() }]))
}

/// The bytes of the only datagram.
fn datagram(outputs: &[Output]) -> Vec<u8> {
    let mut datagrams = outputs.iter().filter_map(|output| match output {
        Output::Send { bytes, .. } => Some(bytes.clone()),
        _ => None,
    });
    let first = datagrams.next().expect("a datagram");
    assert_eq!(datagrams.next(), None);
    first
}

/// Refused with that counter, silently, and nothing registered.
fn refuses(mut bench: Bench, from: &str, bytes: &[u8], refusal: Refusal) {
    let before = bench.registered();
    assert_eq!(bench.datagram(from, bytes), []);
    assert_eq!(bench.only_refused(refusal), 1);
    assert_eq!(bench.registered(), before);
}

#[test]
fn every_vector_of_our_roles_is_judged() {
    let ours: Vec<_> =
        vectors().into_iter().filter(|(_, (role, _))| ["MS", "MR", "any"].contains(&role.as_str())).collect();
    for (id, _) in &ours {
        assert!(JUDGED.contains(&id.as_str()), "{id} is not judged");
    }
    // N01 is an ETR's, but we make its bytes.
    assert_eq!(JUDGED.len(), ours.len() + 1);
}

#[test]
fn r03_registers_and_is_notified_with_n01() {
    let mut bench = strict();
    let outputs = bench.datagram(ETR, &vector("R03"));
    assert!(matches!(outputs[0], Output::Persist(_)), "the nonce is on disk before the Map-Notify goes");
    assert_eq!(datagram(&outputs), vector("N01"));
    assert_eq!(bench.registered(), [prefix("10.2.2.0/24")]);
}

#[test]
fn r05_registers_with_a_derived_key_and_is_notified_with_n02() {
    let mut bench = strict();
    let outputs = bench.datagram(ETR, &vector("R05"));
    assert_eq!(datagram(&outputs), vector("N02"));
    assert_eq!(bench.registered().len(), 2);
}

#[test]
fn r01_and_r02_need_a_legacy_site() {
    for id in ["R01", "R02"] {
        refuses(strict(), ETR, &vector(id), Refusal::RegisterAlgorithm);
        let mut bench = legacy();
        let (to, _) = notify(&bench.datagram(ETR, &vector(id)));
        assert_eq!(to, address(ETR));
        assert_eq!(bench.registered().len(), 1, "{id}");
    }
}

#[test]
fn r06_signs_less_than_r07_and_needs_a_legacy_site() {
    refuses(strict(), ETR, &vector("R06"), Refusal::RegisterBadTag);
    assert_eq!(sent(&legacy().datagram(ETR, &vector("R06"))).len(), 1);
    assert_eq!(sent(&strict().datagram(ETR, &vector("R07"))).len(), 1);
}

#[test]
fn r08_registers_a_multicast_eid_where_its_site_may() {
    refuses(strict(), ETR, &vector("R08"), Refusal::RegisterEidNotConfigured);
    let [any, groups] = ["0.0.0.0/0", "232.0.0.0/8"].map(|net| net.parse().unwrap());
    let rule = LabelRule::block(Label::Pair(Pair::multicast(InstanceId(0), any, groups).unwrap()));
    let mut bench = Bench::new(config(vec![Site { labels: vec![rule], ..the_site() }]));
    let (to, confirmed) = notify(&bench.datagram(ETR, &vector("R08")));
    assert_eq!((to, confirmed.nonce.0, confirmed.records.len()), (address(ETR), 0x103, 1));
    let registered: Vec<_> = bench.engine.server().labels().after(None).collect();
    let [(label, registration)] = registered.as_slice() else { panic!("{registered:?}") };
    assert_eq!(label.to_string(), "(*, 232.1.1.1/32)");
    let locators = registration.merged().locators;
    let Address::Lcaf(rloc) = &locators[0].rloc else { panic!("{locators:?}") };
    assert!(matches!(rloc.as_ref(), Lcaf::ReplicationList(receivers) if receivers.len() == 1), "{rloc}");
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn forged_registers_change_nothing() {
    for (id, refusal) in [
        ("M40", Refusal::RegisterBadTag),
        ("M42", Refusal::RegisterAlgorithm),
        ("M43", Refusal::RegisterTagLength),
        ("M44", Refusal::RegisterUnknownKey),
        ("M45", Refusal::RegisterAlgorithm),
        ("M46", Refusal::RegisterEidNotConfigured),
    ] {
        refuses(strict(), ETR, &vector(id), refusal);
    }
}

/// The site takes both algorithms: R05, whose key is derived, is taken, and so is what M47 says under HMAC-SHA-256 (R03).
#[test]
fn m47_is_under_hkdf_with_a_key_that_is_not_derived() {
    refuses(strict(), ETR, &vector("M47"), Refusal::RegisterBadTag);
}

#[test]
fn m41_replays_an_older_nonce() {
    let mut bench = strict();
    bench.datagram(ETR, &vector("R03"));
    refuses(bench, ETR, &vector("M41"), Refusal::RegisterReplayed);
}

#[test]
fn n03_and_n04_acknowledge_what_was_never_sent() {
    for id in ["N03", "N04"] {
        refuses(strict(), ETR, &vector(id), Refusal::NotifyAckUnasked);
    }
}

#[test]
fn c02_is_answered_at_the_inner_port() {
    let mut bench = strict();
    bench.datagram(ETR, &vector("R03"));
    let (to, reply) = reply(&bench.datagram(ITR, &vector("C02")));
    assert_eq!(to, address("192.0.2.1:61000"));
    assert_eq!(reply.nonce.0, 0x0011_2233_4455_6677);
    assert_eq!(reply.records[0].eid.ip_prefix(), Some(prefix("10.2.2.0/24")));
    assert!(!reply.records[0].authoritative && !reply.records[0].locators[0].local, "a proxied record");
    assert!(reply.records[0].locators[0].reachable);
}

#[test]
fn c02_for_an_unregistered_site_is_negative_for_a_minute() {
    let (_, reply) = reply(&strict().datagram(ITR, &vector("C02")));
    assert_eq!((reply.records[0].action, reply.records[0].ttl), (Action::NativelyForward, Ttl(1)));
}

#[test]
fn c03_looks_in_its_own_instance() {
    let eid = "2001:db8:1:2::/64";
    let both = [site("zero", 1, PSK, &[prefix(eid)]), site("257", 1, PSK, &[prefix_in(257, eid)])];
    let mut bench = Bench::new(config(both.into()));
    let (_, reply) = reply(&bench.datagram("[2001:db8:a::1]:5000", &vector("C03")));
    assert_eq!(reply.records[0].eid.ip_prefix(), Some(prefix_in(257, eid)));
}

#[test]
fn c10_without_a_security_association_gets_a_plain_map_reply() {
    let mut bench = strict();
    bench.datagram(ETR, &vector("R03"));
    let (_, reply) = reply(&bench.datagram(ITR, &vector("C10")));
    assert_eq!(reply.records[0].eid.ip_prefix(), Some(prefix("10.2.2.0/24")));
}

#[test]
fn l20_and_l21_are_bare_and_in_an_ecm_asked_for_as_pairs() {
    for id in ["L20", "L21"] {
        refuses(strict(), ITR, &vector(id), Refusal::RequestNotEncapsulated);
        let asked = ControlMessage::decode(&vector(id)).unwrap();
        let ControlMessage::MapRequest(asked) = asked else { panic!("{asked:?}") };
        let label = Label::of(&asked.records[0].eid).unwrap();
        let pairs = Site { labels: vec![LabelRule::block(label)], ..site("pairs", 1, "of pairs", &[]) };
        let mut bench = Bench::new(config(vec![pairs]));
        let eid = asked.records[0].eid.clone();
        let record = MappingRecord { eid: eid.clone(), ..record(prefix("10.0.0.0/8"), &["198.51.100.1"]) };
        let key = key(1, Algorithm::HkdfSha256, "of pairs");
        notify(&bench.datagram(ETR, &seal(register(1, vec![record]), &key)));
        let wrapped = Ecm::wrap(address("10.1.1.1:61000"), address("10.2.2.2:4342"), vector(id)).encode().unwrap();
        let (_, reply) = reply(&bench.datagram(ITR, &wrapped));
        assert_eq!((reply.nonce, reply.records.len()), (asked.nonce, 1));
        // The mask-len of the record says nothing of a pair.
        assert_eq!((&reply.records[0].eid.address, reply.records[0].locators.len()), (&eid.address, 1), "{id}");
    }
}

#[test]
fn malformed_and_misplaced_messages_are_dropped_silently() {
    for (id, refusal) in [
        ("M07", Refusal::RequestNotEncapsulated),
        ("M08", Refusal::ProbeInEcm),
        ("M09", Refusal::Malformed),
        ("M10", Refusal::Malformed),
        ("M25", Refusal::UnknownType),
        ("M26", Refusal::UnknownType),
        ("M27", Refusal::Malformed),
        ("M28", Refusal::Malformed),
        ("S01", Refusal::EcmSecurity),
        ("T11", Refusal::ReferralUnasked),
        ("T13", Refusal::ReferralUnasked),
        ("T14", Refusal::ReferralUnasked),
        ("X01", Refusal::UnknownType),
    ] {
        refuses(strict(), ITR, &vector(id), refusal);
    }
}

#[test]
fn m11_is_an_ecm_in_an_ecm() {
    let refusal = match ControlMessage::decode(&vector("M11")) {
        Ok(_) => Refusal::EcmNotMapRequest,
        Err(_) => Refusal::Malformed,
    };
    refuses(strict(), ITR, &vector("M11"), refusal);
}
