// SPDX-License-Identifier: GPL-2.0-or-later
//! Pairs of a source and a group or destination (RFC 8060, sections 4.5 and 4.8): what is particular about them.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use mapsys::engine::{Config, ConfigError, Engine, Mark, Memory};
use mapsys::refusal::Refusal;
use mapsys::register::label::Spelling;
use mapsys::register::label::pair::Pair;
use mapsys::register::site::SiteError;
use proptest::collection::vec;
use proptest::prelude::*;
use wire::control::ControlMessage;
use wire::record::{Action, Ttl};

use super::*;

const OTHER_RLOC: &str = "198.51.100.2";

fn eid_of(pair: Pair) -> Eid {
    Label::Pair(pair).eid(Spelling::default())
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn sg(source: &str, group: &str) -> Pair {
    Pair::multicast(InstanceId(0), net(source), net(group)).unwrap()
}

fn flow(source: &str, dest: &str) -> Pair {
    Pair::source_dest(InstanceId(0), net(source), net(dest)).unwrap()
}

fn rule(pair: Pair) -> LabelRule {
    LabelRule::block(Label::Pair(pair))
}

fn registered(pairs: &[Pair]) -> Bench {
    let mut bench = bench();
    for (nonce, pair) in (1..).zip(pairs) {
        notify(&bench.datagram(ETR, &sealed(nonce, eid_of(*pair), RLOC)));
    }
    bench
}

/// The EID that a question for a pair is answered with, and its locators.
fn told(bench: &mut Bench, asked: Pair) -> (Pair, Vec<String>) {
    let records = answer(bench, 9, &eid_of(asked));
    let [record] = records.as_slice() else { panic!("{records:?}") };
    (Pair::of(&record.eid.address).unwrap(), rlocs(record))
}

/// RFC 9301, section 5.4; RFC 8378, section 7.4.
#[test]
fn a_group_may_be_mapped_to_groups_of_the_underlay_and_nothing_else_may() {
    let mut bench = bench();
    let group = sg("192.0.2.1/32", "239.1.1.1/32");
    for (nonce, rloc) in (1..).zip(["239.9.9.9", "ff08::9"]) {
        notify(&bench.datagram(ETR, &sealed(nonce, eid_of(group), rloc)));
        assert_eq!(told(&mut bench, group), (group, vec![rloc.to_owned()]));
    }
    let unicast = flow("10.1.1.1/32", "10.2.2.2/32");
    let refused = [(group, "224.0.0.9"), (group, "ff02::9"), (group, "ff01::9"), (unicast, "239.9.9.9")];
    for (pair, rloc) in refused {
        assert_eq!(bench.datagram(ETR, &sealed(9, eid_of(pair), rloc)), [], "{rloc}");
    }
    assert_eq!(bench.only_refused(Refusal::RegisterNoLocator), 4);
}

#[test]
fn a_group_is_registered_and_asked_for_octet_for_octet_as_rfc_8060_has_it() {
    // RFC 8060, section 4.5, in instance 5: (10.1.1.1/32, 232.1.1.1/32); and section 4.8: 10.1.1.0/24 -> 10.2.2.0/24, in instance 0.
    for (eid, is_host) in [
        ("4003000009000014000000050000202000010a0101010001e8010101", true),
        ("400300000c0000100000181800010a01010000010a020200", false),
    ] {
        let octets: Vec<u8> =
            (0..eid.len()).step_by(2).map(|at| u8::from_str_radix(&eid[at..at + 2], 16).unwrap()).collect();
        // A record: TTL, one locator, a mask-len that says nothing, A; no Map-Version.
        let mut register = vec![0x38, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 0, 16];
        register.extend([0; 16]);
        register.extend([0, 0, 5, 160, 1, 0, 0x10, 0, 0, 0]);
        register.extend(&octets);
        register.extend([1, 100, 255, 0, 0, 5, 0, 1, 198, 51, 100, 1]);
        let Ok(ControlMessage::MapRegister(message)) = ControlMessage::decode(&register) else { panic!("{eid}") };
        let mut bench = bench();
        let outputs = bench.datagram(ETR, &seal(message, &site_key()));
        let (_, confirmed) = notify(&outputs);
        assert_eq!(confirmed.records[0].locators.len(), 1);
        let Some(Output::Send { bytes, .. }) = outputs.last() else { panic!("{outputs:?}") };
        assert!(bytes.windows(octets.len()).any(|window| window == octets), "the Map-Notify has the same EID");

        let mut request = vec![0x10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 192, 0, 2, 1, 0, 77];
        request.extend(&octets);
        let outputs = bench.datagram(ITR, &wrapped_octets(request));
        let [Output::Send { bytes, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
        // Behind 12 octets of header: TTL, locators, the sum of both mask-lens, no action.
        assert_eq!(bytes[12..20], [0, 0, 5, 160, 1, if is_host { 64 } else { 48 }, 0, 0]);
        assert_eq!(bytes[22..22 + octets.len()], octets, "{bytes:?}");
        assert_eq!(bench.engine.tally().total(), 0);
    }
}

#[test]
fn pairs_are_registered_in_any_instance_and_of_both_families() {
    let within = |iid, pair: Pair| within(iid, eid_of(pair));
    let of_five = Pair::multicast(InstanceId(5), net("2001:db8::1/128"), net("ff3e::1/128")).unwrap();
    for eid in [eid_of(sg("192.0.2.1/32", "239.1.1.1/32")), eid_of(of_five), within(5, flow("::/0", "2001:db8::/32"))] {
        let mut bench = bench();
        notify(&bench.datagram(ETR, &sealed(1, eid.clone(), RLOC)));
        let records = answer(&mut bench, 7, &eid);
        assert_eq!((records.len(), &records[0].eid, rlocs(&records[0])), (1, &eid, vec![RLOC.to_owned()]));
        let stranger = within(6, flow("10.1.1.0/24", "10.2.2.0/24"));
        assert_eq!(bench.datagram(ETR, &sealed(2, stranger, RLOC)), [], "of an instance that the site has not");
        assert_eq!(bench.only_refused(Refusal::RegisterEidNotConfigured), 1);
    }
}

#[test]
fn the_longest_group_is_the_best_match_and_of_one_group_the_longest_source() {
    let pairs = [
        sg("0.0.0.0/0", "239.1.0.0/16"),
        sg("10.1.1.1/32", "239.1.0.0/16"),
        sg("0.0.0.0/0", "239.1.1.1/32"),
        sg("10.1.0.0/16", "239.1.1.1/32"),
    ];
    let mut bench = bench();
    for (number, pair) in (1..).zip(pairs) {
        notify(&bench.datagram(ETR, &sealed(number, eid_of(pair), &format!("198.51.100.{number}"))));
    }
    for (source, group, number) in [
        ("20.0.0.1/32", "239.1.2.1/32", 1),
        ("10.1.1.1/32", "239.1.2.1/32", 2),
        ("20.0.0.1/32", "239.1.1.1/32", 3),
        // The other one has the whole source, and a shorter group.
        ("10.1.1.1/32", "239.1.1.1/32", 4),
    ] {
        assert_eq!(told(&mut bench, sg(source, group)).1, [format!("198.51.100.{number}")], "({source}, {group})");
    }
    let unknown = answer(&mut bench, 9, &eid_of(flow("10.1.1.1/32", "239.1.1.1/32")));
    assert_eq!((unknown[0].locators.len(), unknown[0].ttl), (0, Ttl(15)), "a flow to a group is no group");
}

#[test]
fn a_pair_is_answered_whole_unless_another_overlaps_it() {
    let all = sg("0.0.0.0/0", "239.1.1.1/32");
    let asked = sg("20.0.0.1/32", "239.1.1.1/32");
    let mut bench = registered(&[sg("0.0.0.0/0", "239.1.0.0/16"), all]);
    assert_eq!(told(&mut bench, asked).0, all, "what covers it does not matter");
    let beside = sg("20.0.0.1/32", "239.1.2.1/32");
    assert_eq!(told(&mut bench, beside).0, beside, "there is another one inside");
    notify(&bench.datagram(ETR, &sealed(8, eid_of(sg("10.0.0.1/32", "239.1.1.1/32")), OTHER_RLOC)));
    assert_eq!(told(&mut bench, asked), (asked, vec![RLOC.to_owned()]), "or more specific");

    // Neither covers the other.
    let (narrow, wide) = (sg("10.1.0.0/16", "239.1.0.0/16"), sg("10.0.0.0/8", "239.1.1.0/24"));
    let mut bench = registered(&[narrow]);
    let outside = sg("10.1.0.1/32", "239.1.2.1/32");
    assert_eq!(told(&mut bench, outside).0, narrow);
    notify(&bench.datagram(ETR, &sealed(8, eid_of(wide), OTHER_RLOC)));
    assert_eq!(told(&mut bench, outside), (outside, vec![RLOC.to_owned()]));
    let crossed = sg("10.1.0.1/32", "239.1.1.1/32");
    assert_eq!(told(&mut bench, crossed), (crossed, vec![OTHER_RLOC.to_owned()]));
}

#[test]
fn what_is_configured_and_not_registered_is_denied_as_far_as_nothing_else_is_there() {
    let configured = flow("10.1.0.0/16", "10.2.0.0/16");
    let asked = flow("10.1.1.1/32", "10.2.2.2/32");
    let mut bench = bench();
    let denied = |bench: &mut Bench, asked: Pair| {
        let records = answer(bench, 9, &eid_of(asked));
        assert_eq!((records[0].action, records[0].locators.len()), (Action::NativelyForward, 0));
        (Pair::of(&records[0].eid.address).unwrap(), records[0].ttl)
    };
    assert_eq!(denied(&mut bench, asked), (configured, Ttl(1)));
    let foreign = flow("10.9.1.1/32", "10.2.2.2/32");
    assert_eq!(denied(&mut bench, foreign), (foreign, Ttl(15)));
    notify(&bench.datagram(ETR, &sealed(1, eid_of(flow("10.1.9.0/24", "10.2.9.0/24")), RLOC)));
    assert_eq!(denied(&mut bench, asked), (asked, Ttl(1)));
}

#[test]
fn where_rules_of_two_sites_cross_the_one_with_the_longer_group_has_what_both_cover() {
    let other_rule = rule(sg("10.0.0.0/8", "239.1.1.0/24"));
    let other = Site { labels: vec![other_rule], ..site("other", 1, "other", &[]) };
    let mut bench = Bench::new(config(vec![machines(), other]));
    let inside = sg("10.1.1.1/32", "239.1.1.1/32");
    assert_eq!(bench.datagram(ETR, &sealed(1, eid_of(inside), RLOC)), [], "it is the other's");
    assert_eq!(bench.only_refused(Refusal::RegisterBadTag), 1);
    // It covers addresses of the other's, and is not answered for these.
    let all = sg("0.0.0.0/0", "239.1.1.0/24");
    notify(&bench.datagram(ETR, &sealed(2, eid_of(all), RLOC)));
    assert_eq!(told(&mut bench, inside), (other_rule.label.pair(), vec![]));
    let outside = sg("20.1.1.1/32", "239.1.1.1/32");
    assert_eq!(told(&mut bench, outside), (outside, vec![RLOC.to_owned()]));

    let twice = Site { labels: vec![rule(sg("0.0.0.0/0", "239.1.0.0/16"))], ..site("b", 1, "b", &[]) };
    let error = Engine::new(bench.now, config(vec![machines(), twice]), Memory::default()).map(drop).unwrap_err();
    assert!(matches!(error, ConfigError::Site(SiteError::LabelTwice { .. })), "{error}");
    assert!(error.to_string().contains("(*, 239.1.0.0/16) belongs to site \"machines\""), "{error}");
}

trait PairOf {
    fn pair(self) -> Pair;
}

impl PairOf for Label {
    fn pair(self) -> Pair {
        match self {
            Label::Pair(pair) => pair,
            Label::Single(single) => panic!("{single}"),
        }
    }
}

#[test]
fn pairs_are_withdrawn_and_fall_silent() {
    let pairs = [sg("0.0.0.0/0", "239.1.1.1/32"), flow("10.1.1.0/24", "10.2.2.0/24")];
    for pair in pairs {
        let mut bench = registered(&[pair]);
        let gone = MappingRecord { ttl: Ttl(0), ..record_of(eid_of(pair), &[RLOC]) };
        notify(&bench.datagram(ETR, &seal(register(2, vec![gone]), &site_key())));
        assert_eq!(labels(&bench), Vec::<String>::new());
    }
    let mut bench = registered(&pairs);
    assert_eq!(labels(&bench), ["10.1.1.0/24 -> 10.2.2.0/24", "(*, 239.1.1.1/32)"]);
    bench.pass(Duration::from_secs(181));
    assert_eq!(labels(&bench), Vec::<String>::new());
}

#[test]
fn receivers_of_a_group_that_merge_stand_beside_each_other() {
    let eid = eid_of(sg("192.0.2.1/32", "239.1.1.1/32"));
    let mut bench = bench();
    bench.datagram(ETR, &merging(1, 1, record_of(eid.clone(), &[RLOC])));
    let outputs = bench.datagram(OTHER, &merging(1, 2, record_of(eid.clone(), &[OTHER_RLOC])));
    let notified = sent(&outputs).into_iter().filter(|(_, message)| matches!(message, ControlMessage::MapNotify(_)));
    assert_eq!(notified.count(), 3, "the answer, and one to each xTR");
    let records = answer(&mut bench, 9, &eid);
    assert_eq!((&records[0].eid, rlocs(&records[0])), (&eid, vec![RLOC.to_owned(), OTHER_RLOC.to_owned()]));
}

#[test]
fn a_pair_is_registered_still_after_a_restart() {
    let pair = sg("192.0.2.0/24", "239.1.1.1/32");
    let mut bench = bench();
    let outputs = bench.datagram(ETR, &sealed(5, eid_of(pair), RLOC));
    let row = outputs.iter().find_map(|output| match output {
        Output::Persist(Mark::Registration(_, row)) => Some(row.clone()),
        _ => None,
    });
    let registrations = vec![(Box::default(), row.expect("a row"))];
    let mut again = Bench::with(config(vec![machines()]), Memory { registrations, ..Memory::default() });
    assert_eq!(told(&mut again, pair), (pair, vec![RLOC.to_owned()]));
}

#[test]
fn what_ended_while_nobody_was_served_is_to_be_asked_for_again_where_it_is_the_best_match() {
    let (group, source) = (sg("10.0.0.0/8", "239.1.1.0/24"), sg("10.1.0.0/16", "239.1.0.0/16"));
    let rows: Vec<_> = [group, source]
        .into_iter()
        .map(|pair| {
            let outputs = bench().datagram(ETR, &sealed(5, eid_of(pair), RLOC));
            outputs.into_iter().find_map(|output| match output {
                Output::Persist(Mark::Registration(_, row)) => Some((Box::default(), row)),
                _ => None,
            })
        })
        .map(Option::unwrap)
        .collect();
    let (both, of_group) = (sg("10.1.1.1/32", "239.1.1.1/32"), sg("10.2.1.1/32", "239.1.1.1/32"));
    for (lapsed, registered, expected) in [(0, source, Action::SendMapRequest), (1, group, Action::NoAction)] {
        let registrations = vec![rows[lapsed].clone()];
        let memory = Memory { registrations, away: Duration::from_secs(600), ..Memory::default() };
        let mut bench = Bench::with(config(vec![machines()]), memory);
        let first = answer(&mut bench, 8, &eid_of(both));
        assert_eq!((first[0].action, &first[0].eid), (Action::SendMapRequest, &eid_of(both)));
        notify(&bench.datagram(ETR, &sealed(9, eid_of(registered), OTHER_RLOC)));
        let records = answer(&mut bench, 9, &eid_of(both));
        assert_eq!((records[0].action, &records[0].eid), (expected, &eid_of(both)), "{registered} registered");
        let records = answer(&mut bench, 10, &eid_of(of_group));
        let is_answered = rlocs(&records[0]) == [OTHER_RLOC];
        assert_eq!((is_answered, &records[0].eid), (registered == group, &eid_of(of_group)));
    }
}

#[test]
fn what_is_no_pair_is_refused_and_counted_and_a_mask_that_is_too_long_is_malformed() {
    let address = |text: &str| text.parse::<std::net::IpAddr>().map_or(Address::None, Address::from);
    let group = |source: &str, group: &str, group_mask_len| {
        let (iid, source, group) = (InstanceId(0), address(source), address(group));
        Address::from(Lcaf::MulticastInfo { iid, source_mask_len: 0, group_mask_len, source, group })
    };
    let key = |source: &str, dest: &str| {
        let (source, dest) = (address(source), address(dest));
        Address::from(Lcaf::SourceDestKey { source_mask_len: 0, dest_mask_len: 0, source, dest })
    };
    let mut bench = bench();
    let wrong = [
        group("192.0.2.1", "10.1.1.1", 32),
        group("192.0.2.1", "224.0.0.0", 3),
        group("192.0.2.1", "ff3e::1", 128),
        group("none", "239.1.1.1", 32),
        key("none", "10.2.2.2"),
        key("10.1.1.1", "::"),
        within(5, Eid { address: group("192.0.2.1", "239.1.1.1", 32), mask_len: 0 }).address,
    ];
    let count = u64::try_from(wrong.len()).unwrap();
    for (nonce, address) in (1..).zip(wrong) {
        let eid = Eid { address, mask_len: 0 };
        assert_eq!(bench.datagram(ETR, &sealed(nonce, eid.clone(), RLOC)), [], "{eid}");
        assert_eq!(asks(&mut bench, nonce, &eid), [], "{eid}");
    }
    let tally = bench.engine.tally();
    let counted = (tally.get(Refusal::RegisterPair), tally.get(Refusal::RequestPair), tally.total());
    assert_eq!(counted, (count, count, 2 * count));

    let mut asked = request_of(1, &[eid_of(sg("192.0.2.1/32", "239.1.1.1/32"))]).encode().unwrap();
    let mask = asked.len() - 13;
    assert_eq!(asked[mask - 1..=mask], [32, 32]);
    asked[mask] = 33;
    let mut bench = super::bench();
    assert_eq!(bench.datagram(ITR, &wrapped_octets(asked)), []);
    assert_eq!(bench.only_refused(Refusal::Malformed), 1);
}

/// Of few bits, so that pairs nest and cross: the first three bits of a source and of a group, and how many of them count; 4 for all.
fn few_bits() -> impl Strategy<Value = Pair> {
    (0..8u8, 0..=4u8, 0..8u8, 0..=4u8).prop_map(|(source, source_len, group, group_len)| {
        let net = |first: u8, bits: u8, len: u8| {
            let len = if len > 3 { 32 } else { 8 + len };
            IpNet::new(std::net::Ipv4Addr::new(first, bits << 5, 0, 0).into(), len).unwrap().trunc()
        };
        Pair::multicast(InstanceId(9), net(10, source, source_len), net(239, group, group_len)).unwrap()
    })
}

fn hosts() -> Vec<Pair> {
    let host = |first: u8, bits: u8| IpNet::from(std::net::IpAddr::from([first, bits << 5, 0, 0]));
    let all = (0..8).flat_map(|source| (0..8).map(move |group| (source, group)));
    all.map(|(source, group)| Pair::multicast(InstanceId(9), host(10, source), host(239, group)).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn what_an_itr_is_told_holds_for_all_that_the_answer_covers(
        rules in vec((few_bits(), any::<bool>()), 1..6), known in vec((few_bits(), any::<bool>()), 0..10)
    ) {
        // Two sites, each with rules of its own, that register what they may.
        let rules: BTreeMap<Pair, bool> = rules.into_iter().collect();
        let rules_of = |second: bool| rules.iter().filter(move |(_, of)| **of == second).map(|(pair, _)| rule(*pair));
        let sites = [false, true].map(|second| {
            let (name, secret) = if second { ("b", "of b") } else { ("a", "of a") };
            Site { labels: rules_of(second).collect(), ..site(name, 1, secret, &[]) }
        });
        let clients = vec!["192.0.2.0/24".parse().unwrap()];
        let mut bench = Bench::new(Config { clients, ..config(sites.into()) });
        let best_rule = |pair: &Pair| rules.iter().filter(|(it, _)| it.covers(pair)).max_by_key(|(it, _)| it.length());
        let mut taken: BTreeMap<Pair, (bool, String)> = BTreeMap::new();
        for (number, (pair, second)) in (1..).zip(known) {
            let (secret, rloc) = (if second { "of b" } else { "of a" }, format!("198.51.100.{number}"));
            let message = register(number, vec![record_of(eid_of(pair), &[&rloc])]);
            let outputs = bench.datagram(ETR, &seal(message, &key(1, Algorithm::HkdfSha256, secret)));
            let may = best_rule(&pair).is_some_and(|(_, of)| *of == second);
            prop_assert_eq!(!outputs.is_empty(), may, "{} {:?}", pair, rules);
            if may {
                taken.insert(pair, (second, rloc));
            }
        }
        // What a walk through all finds: the best match among what is registered inside the best rule, by its site.
        let expected = |host: &Pair| {
            let (configured, of) = best_rule(host)?;
            let inside = taken.iter().filter(|(it, (by, _))| it.covers(host) && configured.covers(it) && by == of);
            inside.max_by_key(|(it, _)| it.length()).map(|(_, (_, rloc))| rloc.clone())
        };
        let hosts = hosts();
        for (nonce, host) in (100..).zip(&hosts) {
            let (_, reply) = reply(&asks(&mut bench, nonce, &eid_of(*host)));
            let record = &reply.records[0];
            prop_assert_eq!(reply.records.len(), 1);
            prop_assert_eq!(rlocs(record), Vec::from_iter(expected(host)), "{} {:?} {:?}", host, rules, taken);
            let covered = Pair::of(&record.eid.address).unwrap();
            prop_assert!(covered.covers(host));
            for other in hosts.iter().filter(|other| covered.covers(other)) {
                prop_assert_eq!(expected(other), expected(host), "{} covers {}: {:?} {:?}", covered, other, rules, taken);
            }
        }
    }
}

/// A site that nests its pairs makes questions about these dear, which are refused then, and no others.
#[test]
fn what_is_nested_too_deeply_is_not_looked_through_and_harms_nobody_else() {
    let (source, group) = (u128::MAX >> 2, net("ff3e::1/128"));
    let beside = |bit: u8| {
        let address = std::net::Ipv6Addr::from_bits(source ^ (1 << (128 - u32::from(bit))));
        IpNet::new(address.into(), bit).unwrap().trunc()
    };
    let mut bench = registered(&[sg("0.0.0.0/0", "239.1.0.0/16")]);
    let groups = [64, 96, 120].map(|length| IpNet::new(group.addr(), length).unwrap().trunc());
    let nested = groups.into_iter().flat_map(|group| (1..=120).map(move |bit| (beside(bit), group)));
    for (nonce, (source, group)) in (2..).zip(nested) {
        let pair = Pair::multicast(InstanceId(5), source, group).unwrap();
        notify(&bench.datagram(ETR, &sealed(nonce, eid_of(pair), RLOC)));
    }
    let host = IpNet::from(std::net::IpAddr::from(std::net::Ipv6Addr::from_bits(source)));
    let asked = eid_of(Pair::multicast(InstanceId(5), host, group).unwrap());
    assert_eq!(asks(&mut bench, 7, &asked), []);
    assert_eq!(bench.only_refused(Refusal::RequestPairsNested), 1);
    let (pair, rlocs) = told(&mut bench, sg("192.0.2.1/32", "239.1.1.1/32"));
    assert_eq!((pair, rlocs), (sg("0.0.0.0/0", "239.1.0.0/16"), vec![RLOC.to_owned()]));
}
