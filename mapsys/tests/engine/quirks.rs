// SPDX-License-Identifier: GPL-2.0-or-later
//! What deployed peers do otherwise than RFC 9301 says, each as the rule that holds here. What ends them is in `hostile.rs`, what
//! was recorded of them in `captures.rs`.

use std::time::Duration;

use crate::common::*;
use mapsys::refusal::Refusal;
use mapsys::register::site::{NotifyPort, Site, SitePrefix};
use wire::address::{Address, Lcaf};
use wire::control::auth::{self, Algorithm, AlgorithmId, AuthKey, Authentication, TagForm};
use wire::control::{MapRegister, MapRequest};
use wire::record::{Action, LocatorRecord, MappingRecord, Ttl};

const ETR: &str = "198.51.100.1:61001";
const ITR: &str = "192.0.2.1:5000";
const SITE: &str = "2001:db8:a::/48";
const BESIDE: &str = "2001:db8:b::/48";

fn sha1() -> AuthKey {
    key(0, Algorithm::HmacSha1, "secret")
}

/// A site of `OpenOverlayRouter` or `OpenLISP`: HMAC-SHA-1 with Key ID 0.
fn legacy() -> Bench {
    let site = site("a", 0, "secret", &[prefix(SITE), prefix(BESIDE)]);
    Bench::new(config(vec![Site { legacy: true, notify: NotifyPort::Source, ..site }]))
}

fn at(prefixes: &[&str], rloc: &str) -> Vec<MappingRecord> {
    prefixes.iter().map(|text| record(prefix(text), &[rloc])).collect()
}

fn sealed(message: MapRegister, form: TagForm) -> Vec<u8> {
    auth::seal(&message.into(), &sha1(), form).unwrap()
}

fn whole(nonce: u64, records: Vec<MappingRecord>) -> Vec<u8> {
    sealed(register(nonce, records), TagForm::Untruncated)
}

/// The locators and the TTL that a host is answered with.
fn answer(bench: &mut Bench, eid: &str) -> (Vec<String>, Ttl) {
    bench.pass(Duration::from_secs(4));
    let (_, reply) = reply(&bench.datagram(ITR, &ecm(&request(9, &[host(eid)], &["192.0.2.1"]))));
    let record = &reply.records[0];
    (record.locators.iter().map(|locator| locator.rloc.ip().unwrap().to_string()).collect(), record.ttl)
}

#[test]
fn nonces_that_come_in_no_order_are_taken_once_each() {
    let mut bench = legacy();
    for nonce in [u64::MAX, 5, 70_000, 6] {
        notify(&bench.datagram(ETR, &whole(nonce, at(&[SITE], "198.51.100.1"))));
    }
    assert_eq!(bench.datagram(ETR, &whole(5, at(&[SITE], "198.51.100.9"))), []);
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 1);
}

#[test]
fn a_tag_is_answered_with_one_of_its_own_length() {
    let mut bench = legacy();
    for (nonce, form, length) in [(1, TagForm::Untruncated, 20), (2, TagForm::Truncated, 12)] {
        let outputs = bench.datagram(ETR, &sealed(register(nonce, at(&[SITE], "198.51.100.1")), form));
        assert_eq!(notify(&outputs).1.auth.tag.len(), length);
    }
}

#[test]
fn a_map_notify_follows_the_source_port_where_peers_listen_and_goes_to_4342_elsewhere() {
    let (to, _) = notify(&legacy().datagram(ETR, &whole(1, at(&[SITE], "198.51.100.1"))));
    assert_eq!(to, address(ETR));
    let mut strict = Bench::new(config(vec![site("a", 1, "secret", &[prefix(SITE)])]));
    let message = register(1, at(&[SITE], "198.51.100.1"));
    let (to, _) = notify(&strict.datagram(ETR, &seal(message, &key(1, Algorithm::HmacSha256, "secret"))));
    assert_eq!(to, address("198.51.100.1:4342"));
}

#[test]
fn no_all_zero_tag_is_taken_whatever_the_true_one_begins_with() {
    let mut bench = legacy();
    for nonce in 0..600 {
        let auth = Authentication { key_id: 0, algorithm: AlgorithmId(1), tag: vec![0; 20] };
        let message = MapRegister { auth, ..register(nonce, at(&[SITE], "198.51.100.1")) };
        assert_eq!(bench.datagram(ETR, &message.encode().unwrap()), [], "{nonce}");
    }
    assert_eq!(bench.only_refused(Refusal::RegisterBadTag), 600);
}

#[test]
fn a_message_that_differs_from_the_last_in_nonce_and_tag_only_is_checked_like_any_other() {
    let mut bench = legacy();
    let mut bytes = whole(1, at(&[SITE], "198.51.100.1"));
    notify(&bench.datagram(ETR, &bytes));
    bytes[4..12].copy_from_slice(&2_u64.to_be_bytes());
    bytes[16..36].fill(0x55);
    assert_eq!(bench.datagram(ETR, &bytes), []);
    assert_eq!(bench.only_refused(Refusal::RegisterBadTag), 1);
}

#[test]
fn a_length_of_zero_or_no_algorithm_never_passes_for_a_tag() {
    for (algorithm, refusal) in [(0, Refusal::RegisterAlgorithm), (1, Refusal::RegisterTagLength)] {
        for want_notify in [false, true] {
            let mut bench = legacy();
            let auth = Authentication { key_id: 0, algorithm: AlgorithmId(algorithm), tag: vec![] };
            let message = MapRegister { auth, want_notify, ..register(1, at(&[SITE], "198.51.100.1")) };
            assert_eq!(bench.datagram(ETR, &message.encode().unwrap()), []);
            assert_eq!((bench.only_refused(refusal), bench.registered()), (1, vec![]));
        }
    }
}

#[test]
fn no_map_notify_is_signed_for_who_could_not_sign() {
    let mut bench = legacy();
    let forged = key(0, Algorithm::HmacSha1, "wrong");
    let message = register(1, at(&[SITE], "203.0.113.66")).into();
    assert_eq!(bench.datagram(ETR, &auth::seal(&message, &forged, TagForm::Untruncated).unwrap()), []);
    assert_eq!(bench.only_refused(Refusal::RegisterBadTag), 1);
}

#[test]
fn registering_one_prefix_of_a_site_leaves_the_others() {
    let mut bench = legacy();
    bench.datagram(ETR, &whole(1, at(&[SITE], "198.51.100.1")));
    bench.datagram(ETR, &whole(2, at(&[BESIDE], "198.51.100.2")));
    assert_eq!(answer(&mut bench, "2001:db8:a::2").0, ["198.51.100.1"]);
    assert_eq!(answer(&mut bench, "2001:db8:b::2").0, ["198.51.100.2"]);
}

#[test]
fn a_silent_site_ends_after_three_minutes_and_can_come_back() {
    let exact = SitePrefix { prefix: prefix(SITE), max_len: 64 };
    let site = Site { legacy: true, prefixes: vec![exact], ..site("a", 0, "secret", &[]) };
    let mut bench = Bench::new(config(vec![site]));
    for round in 0..3 {
        notify(&bench.datagram(ETR, &whole(round + 1, at(&[SITE], "198.51.100.1"))));
        assert_eq!(answer(&mut bench, "2001:db8:a::2").0, ["198.51.100.1"], "{round}");
        bench.pass(Duration::from_secs(181));
        assert_eq!(answer(&mut bench, "2001:db8:a::2"), (vec![], Ttl(1)), "{round}");
    }
}

#[test]
fn a_ttl_is_told_as_it_was_registered_and_negative_ones_are_in_minutes() {
    let mut bench = legacy();
    let mut records = at(&[SITE], "198.51.100.1");
    records[0].ttl = Ttl(10);
    bench.datagram(ETR, &whole(1, records));
    assert_eq!(answer(&mut bench, "2001:db8:a::2").1, Ttl(10));
    assert_eq!(answer(&mut bench, "2001:db8:b::2").1, Ttl(1), "configured, not registered");
    assert_eq!(answer(&mut bench, "2001:db9::2").1, Ttl(15), "not configured");
}

#[test]
fn a_source_eid_without_address_is_answered_as_any_other() {
    let mut bench = legacy();
    bench.datagram(ETR, &whole(1, at(&[SITE], "198.51.100.1")));
    let source = Address::from("2001:db8:5::5".parse::<std::net::IpAddr>().unwrap());
    for (nonce, source_eid) in [(1, Address::None), (2, source)] {
        let asked = MapRequest { source_eid, ..request(nonce, &[host("2001:db8:a::2")], &["192.0.2.1"]) };
        assert_eq!(reply(&bench.datagram(ITR, &ecm(&asked))).1.records[0].locators.len(), 1);
    }
}

#[test]
fn all_records_of_a_question_are_answered_where_peers_answer_the_first() {
    let mut bench = legacy();
    bench.datagram(ETR, &whole(1, at(&[SITE], "198.51.100.1")));
    let eids = [host("2001:db8:a::2"), host("2001:db8:b::2"), host("2001:db9::2")];
    let (_, reply) = reply(&bench.datagram(ITR, &ecm(&request(3, &eids, &["192.0.2.1"]))));
    let told: Vec<_> = reply.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
    assert!(eids.iter().all(|eid| told.iter().any(|told| told.covers(eid))), "{told:?}");
}

#[test]
fn a_negative_answer_to_an_eid_beside_a_registered_one_never_covers_it() {
    let mut bench = legacy();
    bench.datagram(ETR, &whole(1, at(&[SITE], "198.51.100.1")));
    for eid in ["2001:db8:b::2", "2001:db8:77::2", "2001:db8:a:0:ffff::1"] {
        bench.pass(Duration::from_secs(4));
        let (_, reply) = reply(&bench.datagram(ITR, &ecm(&request(4, &[host(eid)], &["192.0.2.1"]))));
        for record in reply.records.iter().filter(|record| record.locators.is_empty()) {
            let told = record.eid.ip_prefix().unwrap();
            assert_eq!(record.action, Action::NativelyForward);
            assert!(told.covers(&host(eid)) && !told.covers(&prefix(SITE)), "{told} for {eid}");
        }
    }
}

// --- what one of them has beyond RFC 9301

/// The key stream that lispers.net encrypts with: `ChaCha20` with 64 bits of initialization vector, which are always the same.
fn key_stream(secret: &str, octets: usize) -> Vec<u8> {
    let word = |octets: &[u8]| u32::from_le_bytes(octets.try_into().unwrap());
    let key = format!("{secret:0>32}");
    let mut input = [0_u32; 16];
    input[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    key.as_bytes().chunks(4).zip(4..).for_each(|(octets, at)| input[at] = word(octets));
    (input[14], input[15]) = (word(b"0000"), word(b"0000"));
    let mut stream = Vec::new();
    while stream.len() < octets {
        let mut state = input;
        for _ in 0..10 {
            for [a, b, c, d] in [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]].into_iter().chain([
                [0, 5, 10, 15],
                [1, 6, 11, 12],
                [2, 7, 8, 13],
                [3, 4, 9, 14],
            ]) {
                for (x, y, z, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
                    state[x] = state[x].wrapping_add(state[y]);
                    state[z] = (state[z] ^ state[x]).rotate_left(turn);
                }
            }
        }
        let block = state.iter().zip(input).flat_map(|(word, first)| word.wrapping_add(first).to_le_bytes());
        stream.extend(block);
        input[12] += 1;
    }
    stream.truncate(octets);
    stream
}

#[test]
fn an_encrypted_map_register_is_none_under_any_number_of_key() {
    for number in 0..8_u32 {
        let mut bench = legacy();
        for nonce in 1..=32 {
            let mut bytes = whole(nonce, at(&[SITE], "198.51.100.1"));
            let word = u32::from_be_bytes(*bytes.first_chunk().unwrap()) | 0x2000 | number << 14;
            bytes[..4].copy_from_slice(&word.to_be_bytes());
            let stream = key_stream("encryption key", bytes.len() - 4);
            bytes[4..].iter_mut().zip(stream).for_each(|(octet, of_stream)| *octet ^= of_stream);
            assert_eq!(bench.datagram(ETR, &bytes), [], "no Map-Notify");
        }
        assert_eq!((bench.only_refused(Refusal::Malformed), bench.registered()), (32, vec![]), "{number}");
    }
}

/// A crypto-EID of lispers.net comes with a signature over itself alone, in a JSON locator. That stands for no tag, and where the tag is
/// right it is told on as it came.
#[test]
fn a_signature_in_a_json_locator_replaces_no_tag_and_vouches_for_no_locator() {
    let json = br#"{ "signature-eid" : "[0]2001:db8:a::1", "signature" : "MEUCIQ==" }"#;
    let signed = |rloc: &str| {
        let mut records = at(&[SITE], rloc);
        let json = Lcaf::Json { binary: false, text: json.to_vec(), address: Address::None };
        records[0].locators.push(LocatorRecord { rloc: json.into(), ..locator(rloc) });
        records
    };
    let mut bench = legacy();
    notify(&bench.datagram(ETR, &whole(1, signed("198.51.100.1"))));
    let forged = key(0, Algorithm::HmacSha1, "wrong");
    let replayed = register(2, signed("203.0.113.66")).into();
    assert_eq!(bench.datagram(ETR, &auth::seal(&replayed, &forged, TagForm::Untruncated).unwrap()), []);
    assert_eq!(bench.only_refused(Refusal::RegisterBadTag), 1);
    bench.pass(Duration::from_secs(4));
    let (_, reply) = reply(&bench.datagram(ITR, &ecm(&request(9, &[host("2001:db8:a::2")], &["192.0.2.1"]))));
    let addresses: Vec<_> = reply.records[0].locators.iter().filter_map(|locator| locator.rloc.ip()).collect();
    assert_eq!(addresses, ["198.51.100.1".parse::<std::net::IpAddr>().unwrap()]);
}
