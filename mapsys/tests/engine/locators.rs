// SPDX-License-Identifier: GPL-2.0-or-later
//! Locators that are no addresses are kept and told as they came; what a mapping cannot have is refused, and nothing is cut off.

use crate::common::*;
use mapsys::engine::{Engine, Memory, Output};
use mapsys::limits::{LOCATOR_OCTETS, LOCATORS, NAME_OCTETS, NOTIFY_HEAD, PAYLOAD_V4, PAYLOAD_V6};
use mapsys::nat::Rtr;
use mapsys::refusal::Refusal;
use mapsys::register::label::grants::LabelRule;
use mapsys::register::label::{Label, Spelling};
use mapsys::register::site::{Site, SitePrefix};
use wire::address::{Address, EidPrefix, InstanceId, Lcaf, NatTraversal, PathHop, Replication};
use wire::control::auth::{self, Algorithm, AuthKey, TagForm};
use wire::control::{ControlMessage, Ecm, MapRegister, MapReply, XtrIdentity};
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
    let longest = LOCATOR_OCTETS;
    notify(&says(&mut bench, 3, with([json(longest)])));
    let whole = bench.datagram(ITR, &ecm(&request(3, &[host("2001:db8:a::2")], &["192.0.2.1"])));
    let [ControlMessage::MapReply(whole)] = &sent(&whole).into_iter().map(|(_, it)| it).collect::<Vec<_>>()[..] else {
        panic!("{whole:?}")
    };
    assert!(whole.encode().unwrap().len() <= PAYLOAD_V6 - NOTIFY_HEAD, "a subscriber can be told too");
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

fn json(octets: usize) -> Address {
    // Head of the locator 8, of the LCAF 6, length of the text 2, address 18.
    Lcaf::Json { binary: false, text: vec![b' '; octets - 34], address: at("::9") }.into()
}

const MORE_SPECIFICS: u16 = 8;

fn inside(n: u16) -> EidPrefix {
    prefix(&format!("2001:db8:a:{n:x}::/64"))
}

/// The /48 and eight /64 inside, all of which have these locators; for clients of both families.
fn with_more_specifics(rlocs: &[Address]) -> Bench {
    let prefixes = vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }];
    let site = Site { prefixes, ..site("a", 1, "secret of a", &[]) };
    let clients = vec!["192.0.2.0/24".parse().unwrap(), "2001:db8:1::/64".parse().unwrap()];
    let mut bench = Bench::new(mapsys::engine::Config { clients, ..config(vec![site]) });
    let all = (1..=MORE_SPECIFICS).map(inside).chain([prefix(SITE)]);
    for (nonce, eid) in (1..).zip(all) {
        let record = MappingRecord { eid: eid.into(), ..with(rlocs.iter().cloned()) };
        notify(&says(&mut bench, nonce, record));
    }
    bench
}

/// What these EIDs are answered with, and the octets of each Map-Reply.
fn answers(bench: &mut Bench, itr: &str, eids: &[EidPrefix]) -> Vec<(usize, MapReply)> {
    let rloc = address(itr).ip().to_string();
    let outputs = bench.datagram(itr, &ecm(&request(7, eids, &[&rloc])));
    let replies = outputs.iter().filter_map(|output| match output {
        Output::Send { bytes, .. } => match ControlMessage::decode(bytes).unwrap() {
            ControlMessage::MapReply(reply) => Some((bytes.len(), reply)),
            other => panic!("{other:?}"),
        },
        _ => None,
    });
    replies.collect()
}

const ITR_V6: &str = "[2001:db8:1::1]:61000";

#[test]
fn more_specifics_stand_beside_the_best_match_if_they_fit_its_packet_and_else_it_is_narrowed() {
    let beside = |rlocs: &[Address], itr| {
        let mut bench = with_more_specifics(rlocs);
        let all = answers(&mut bench, itr, &[host("2001:db8:a:ff00::2")]);
        let [(octets, reply)] = &all[..] else { panic!("{all:?}") };
        (*octets, reply.records.len())
    };
    let all = usize::from(MORE_SPECIFICS) + 1;
    let (octets, count) = beside(&[at("198.51.100.1")], ITR);
    assert!(count == all && octets <= PAYLOAD_V4);
    let two = [at("2001:db8:ffff::1"), at("2001:db8:ffff::2")];
    let (octets, count) = beside(&two, ITR_V6);
    assert!(count == all && (PAYLOAD_V4..=PAYLOAD_V6).contains(&octets), "{octets}");
    let (octets, count) = beside(&two, ITR);
    assert!(count == 1 && octets <= PAYLOAD_V4);
    for itr in [ITR, ITR_V6] {
        let (octets, count) = beside(&[json(LOCATOR_OCTETS)], itr);
        assert!(count == 1 && octets <= PAYLOAD_V6, "{octets}");
    }
}

#[test]
fn what_several_eids_are_answered_with_goes_into_as_many_map_replies_as_it_needs() {
    let eids: Vec<EidPrefix> = (1..=MORE_SPECIFICS).map(|n| host(&format!("2001:db8:a:{n:x}::2"))).collect();
    let told = |rlocs: &[Address], itr| -> Vec<(usize, usize)> {
        let mut bench = with_more_specifics(rlocs);
        let all = answers(&mut bench, itr, &eids);
        let records = all.iter().flat_map(|(_, reply)| &reply.records);
        let named: Vec<EidPrefix> = records.map(|record| record.eid.ip_prefix().unwrap()).collect();
        assert_eq!(named, (1..=MORE_SPECIFICS).map(inside).collect::<Vec<_>>(), "each once");
        assert!(all.iter().all(|(_, reply)| reply.nonce.0 == 7));
        all.iter().map(|(octets, reply)| (*octets, reply.records.len())).collect()
    };
    let short = told(&[at("198.51.100.1")], ITR);
    assert_eq!(short.len(), 1);
    let middle = told(&[json(LOCATOR_OCTETS / 5)], ITR);
    assert!(middle.len() > 1 && middle.iter().all(|(octets, count)| *octets <= PAYLOAD_V4 && *count == 2));
    let long = told(&[json(LOCATOR_OCTETS)], ITR_V6);
    assert!(long.len() == 8 && long.iter().all(|(octets, _)| *octets <= PAYLOAD_V6), "{long:?}");
}

#[test]
fn the_longest_locators_of_the_longest_eid_fit_a_packet_also_by_an_rtr_and_with_the_longest_tag() {
    let name = Label::name(InstanceId(5), &[b'x'; NAME_OCTETS]).unwrap();
    let site = Site { labels: vec![LabelRule::block(name)], ..site("a", 1, "secret of a", &[prefix(SITE)]) };
    let mut bench = bench();
    let rtr = Rtr { addresses: vec!["2001:db8:9::9".parse().unwrap()], key: key(7, Algorithm::HkdfSha256, "rtr") };
    bench.engine = Engine::new(bench.now, config(vec![site]), Memory::default()).unwrap().with_rtrs(vec![rtr]);
    let mut longest = 0;
    for xtr in 1..=2 {
        let record = MappingRecord { eid: name.eid(Spelling::default()), ..with([json(LOCATOR_OCTETS)]) };
        let identity = XtrIdentity { xtr_id: [xtr; 16], site_id: 1 };
        let message = MapRegister { merge: true, xtr_identity: Some(identity), ..register(1, vec![record]) };
        let bytes = auth::seal(&message.into(), &site_key(), TagForm::Untruncated).unwrap();
        let inner = (address("[fd00::5]:4342"), address("[2001:db8:53::53]:4342"));
        let relayed = Ecm { by_rtr: true, ..Ecm::wrap(inner.0, inner.1, bytes) }.encode().unwrap();
        let outputs = bench.datagram("[2001:db8:9::9]:4342", &relayed);
        for output in &outputs {
            let Output::Send { bytes, .. } = output else { continue };
            longest = longest.max(bytes.len());
        }
    }
    assert_eq!(bench.engine.tally().total(), 0);
    assert!((LOCATOR_OCTETS..=PAYLOAD_V6).contains(&longest), "{longest}");
}
