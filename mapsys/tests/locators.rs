// SPDX-License-Identifier: GPL-2.0-or-later
//! Locators that are no addresses are kept and told as they came; what a mapping cannot have is refused, and nothing is cut off.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use mapsys::limits::{LOCATOR_OCTETS, LOCATORS, NOTIFY_OCTETS};
use mapsys::refusal::Refusal;
use wire::address::{Address, InstanceId, Lcaf, NatTraversal, PathHop, Replication};
use wire::control::auth::{Algorithm, AuthKey};
use wire::control::{ControlMessage, MapRegister, XtrIdentity};
use wire::record::{LocatorRecord, MappingRecord, Ttl};

const SITE: &str = "2001:db8:a::/48";
const ETR: &str = "198.51.100.1:4342";
const ITR: &str = "192.0.2.1:5000";

fn site_key() -> AuthKey {
    key(1, Algorithm::HmacSha256, "secret of a")
}

fn bench() -> Bench {
    let clients = vec!["192.0.2.0/24".parse().unwrap()];
    Bench::new(mapsys::engine::Config { clients, ..config(vec![site("a", 1, "secret of a", &[prefix(SITE)])]) })
}

fn at(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

fn with(rlocs: impl IntoIterator<Item = Address>) -> MappingRecord {
    let locators = rlocs.into_iter().map(|rloc| LocatorRecord { rloc, ..locator("198.51.100.1") }).collect();
    MappingRecord { locators, ..record(prefix(SITE), &[]) }
}

fn path(hops: &[&str]) -> Address {
    let hop = |text: &&str| PathHop { strict: true, address: at(text), ..PathHop::default() };
    Lcaf::ExplicitLocatorPath(hops.iter().map(hop).collect()).into()
}

fn unknown() -> Address {
    Lcaf::Opaque { flags: 0, kind: 200, rsvd2: 0, body: [1, 2, 3][..].into() }.into()
}

/// What deployed xTRs register in place of addresses.
fn lcafs() -> Vec<Address> {
    let nat = NatTraversal { global_etr: at("198.51.100.9"), rtrs: vec![at("203.0.113.9")], ..NatTraversal::default() };
    vec![
        Address::Name(b"rloc"[..].into()),
        Address::Mac([2; 6]),
        Lcaf::AfiList(vec![at("198.51.100.9"), Address::Name(b"x"[..].into())]).into(),
        Lcaf::InstanceId { iid: InstanceId(5), iid_mask_len: 0, address: at("198.51.100.9") }.into(),
        Lcaf::NatTraversal(nat).into(),
        path(&["203.0.113.7", "198.51.100.9"]),
        Lcaf::ReplicationList(vec![Replication { level: 3, address: at("198.51.100.9") }]).into(),
        Lcaf::Json { binary: false, text: b"{}".to_vec(), address: at("198.51.100.9") }.into(),
    ]
}

fn told(bench: &mut Bench, nonce: u64) -> Vec<LocatorRecord> {
    reply(&bench.datagram(ITR, &ecm(&request(nonce, &[host("2001:db8:a::2")], &["192.0.2.1"])))).1.records[0]
        .locators
        .clone()
}

fn rlocs(bench: &mut Bench, nonce: u64) -> Vec<Address> {
    told(bench, nonce).into_iter().map(|locator| locator.rloc).collect()
}

fn says(bench: &mut Bench, nonce: u64, record: MappingRecord) -> Vec<mapsys::engine::Output> {
    bench.datagram(ETR, &seal(register(nonce, vec![record]), &site_key()))
}

#[test]
fn a_site_of_which_every_locator_is_an_lcaf_or_a_name_is_registered_and_told_as_it_came() {
    let mut bench = bench();
    says(&mut bench, 1, record(prefix(SITE), &["198.51.100.1"]));
    for (nonce, rloc) in (2..).zip(lcafs()) {
        let (_, told) = notify(&says(&mut bench, nonce, with([rloc.clone()])));
        assert_eq!(told.records[0].locators.len(), 1);
        assert_eq!(bench.registered(), [prefix(SITE)], "{rloc} takes nothing back");
        assert_eq!(rlocs(&mut bench, nonce), [rloc]);
    }
    says(&mut bench, 20, with(lcafs().into_iter().chain([at("198.51.100.1")])));
    let mut all: Vec<_> = lcafs().into_iter().chain([at("198.51.100.1")]).collect();
    all.sort();
    assert_eq!(rlocs(&mut bench, 20), all);
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn locators_of_unknown_types_are_as_if_they_were_not_there() {
    let mut bench = bench();
    notify(&says(&mut bench, 1, with([unknown(), at("198.51.100.1")])));
    assert_eq!(rlocs(&mut bench, 1), [at("198.51.100.1")]);
    // RFC 9306, section 3: a Locator Count of 0.
    notify(&says(&mut bench, 2, with([unknown()])));
    assert_eq!(bench.registered(), []);
    assert_eq!(bench.only_refused(Refusal::LocatorUnusable), 2);
}

#[test]
fn a_record_with_nothing_usable_is_refused_and_takes_nothing_back() {
    let mut bench = bench();
    says(&mut bench, 1, record(prefix(SITE), &["198.51.100.1"]));
    let nowhere = Lcaf::InstanceId { iid: InstanceId(5), iid_mask_len: 0, address: Address::None };
    let lists = [vec![], vec![Address::None], vec![at("224.0.0.1"), unknown()]].map(|list| Lcaf::AfiList(list).into());
    let plain = [at("224.0.0.1"), at("fe80::1"), Address::None, Lcaf::Null.into()];
    for rloc in plain.into_iter().chain(lists).chain([nowhere.into(), path(&["224.0.0.1"])]) {
        assert_eq!(says(&mut bench, 2, with([rloc, unknown()])), [], "no Map-Notify");
    }
    assert_eq!(bench.only_refused(Refusal::RegisterNoLocator), 9);
    assert_eq!(rlocs(&mut bench, 1), [at("198.51.100.1")]);
    for (nonce, over) in [(3, with([])), (5, MappingRecord { ttl: Ttl(0), ..with([path(&["198.51.100.9"])]) })] {
        notify(&says(&mut bench, nonce, over));
        assert_eq!(bench.registered(), [], "taken back in words");
        says(&mut bench, nonce + 1, with([path(&["198.51.100.9"])]));
    }
}

#[test]
fn more_locators_or_longer_ones_than_a_mapping_has_are_refused_and_not_cut_off() {
    let mut bench = bench();
    let many = |count: usize| with((0..count).map(|n| at(&format!("2001:db8:1::{n:x}:1"))));
    notify(&says(&mut bench, 1, many(LOCATORS)));
    assert_eq!(told(&mut bench, 1).len(), LOCATORS);
    assert_eq!(says(&mut bench, 2, many(LOCATORS + 1)), []);
    let json = |octets: usize| Lcaf::Json { binary: false, text: vec![b' '; octets], address: at("::9") }.into();
    // Head of the locator 8, of the LCAF 6, length of the text 2, address 18.
    let longest = LOCATOR_OCTETS - 34;
    notify(&says(&mut bench, 3, with([json(longest)])));
    let whole = bench.datagram(ITR, &ecm(&request(3, &[host("2001:db8:a::2")], &["192.0.2.1"])));
    let [ControlMessage::MapReply(whole)] = &sent(&whole).into_iter().map(|(_, it)| it).collect::<Vec<_>>()[..] else {
        panic!("{whole:?}")
    };
    assert!(whole.encode().unwrap().len() <= NOTIFY_OCTETS, "a subscriber can be told too");
    assert_eq!(says(&mut bench, 4, with([json(longest + 1)])), []);
    assert_eq!(bench.only_refused(Refusal::RegisterTooManyLocators), 2);
    assert_eq!(rlocs(&mut bench, 5), [json(longest)]);
}

#[test]
fn an_xtr_whose_locators_find_no_room_beside_those_of_others_is_refused() {
    let mut bench = bench();
    let of = |xtr: u8, range: std::ops::Range<u8>| {
        let record = with(range.map(|n| at(&format!("198.51.100.{n}"))));
        let identity = XtrIdentity { xtr_id: [xtr; 16], site_id: 1 };
        let message = MapRegister { merge: true, xtr_identity: Some(identity), ..register(1, vec![record]) };
        seal(message, &site_key())
    };
    assert!(!bench.datagram(ETR, &of(1, 1..11)).is_empty());
    assert!(!bench.datagram(ETR, &of(2, 5..15)).is_empty(), "what both have counts once");
    assert_eq!(bench.datagram(ETR, &of(3, 14..18)), []);
    assert_eq!(bench.only_refused(Refusal::RegisterTooManyLocators), 1);
    assert!(!bench.datagram(ETR, &of(3, 14..17)).is_empty());
    assert_eq!(told(&mut bench, 1).len(), LOCATORS);
}

#[test]
fn a_site_that_answers_itself_is_asked_at_the_end_of_its_path() {
    let mut bench = bench();
    let list = Lcaf::AfiList(vec![at("224.0.0.1"), Address::None, at("198.51.100.9")]).into();
    for (nonce, rloc) in (1..).zip([path(&["203.0.113.7", "198.51.100.9"]), lcafs().swap_remove(2), list]) {
        let message = MapRegister { proxy_reply: false, ..register(nonce, vec![with([rloc])]) };
        notify(&bench.datagram(ETR, &seal(message, &site_key())));
        let outputs = bench.datagram(ITR, &ecm(&request(nonce, &[host("2001:db8:a::2")], &["192.0.2.1"])));
        assert_eq!(sent(&outputs)[0].0, address("198.51.100.9:4342"));
    }
}
