// SPDX-License-Identifier: GPL-2.0-or-later
//! The lookups of RFC 8111, section 9, and what losses, dead nodes and many askers make of them.

use std::time::Duration;

use mapsys::ddt::{Config as Ddt, ForeignResolver, Kind};
use mapsys::engine::{Config, Output};
use mapsys::refusal::{Refusal, Served};
use wire::control::{ControlMessage, MapReply};
use wire::record::{Action, Ttl};

use super::world::*;
use crate::common::*;

/// The request that an ETR got: the ITR's own, and no D.
fn forwarded(outside: &[Carried], etr: &str, nonce: u64) {
    let [carried] = outside else { panic!("{outside:?}") };
    assert_eq!(carried.to, address(&format!("{etr}:4342")));
    let request = inside(&carried.bytes);
    assert_eq!((request.nonce.0, request.itr_rlocs), (nonce, vec![RLOC.parse::<std::net::IpAddr>().unwrap().into()]));
    assert!(matches!(carried.message(), ControlMessage::Ecm(ecm) if !ecm.ddt), "an ETR is no DDT node");
}

fn map_reply(outside: &[Carried]) -> MapReply {
    let [carried] = outside else { panic!("{outside:?}") };
    assert_eq!(carried.to, address(ITR));
    match carried.message() {
        ControlMessage::MapReply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn negative(outside: &[Carried]) -> (String, Action, Ttl) {
    let reply = map_reply(outside);
    let record = &reply.records[0];
    assert!(record.locators.is_empty());
    (record.eid.ip_prefix().unwrap().to_string(), record.action, record.ttl)
}

#[test]
fn section_9_1_from_the_root_over_a_node_to_a_map_server() {
    let mut world = example();
    forwarded(&world.ask(1, host("2001:db8:103:1::1")), "203.0.113.1", 1);
    assert_eq!(world.asked(), [ROOT, NODE1, MS1]);
    assert_eq!(world.bench(MR).engine.tally().total(), 0);
    assert_eq!(world.bench(MR).engine.tally().served(Served::RequestForwarded), 1);
    assert_eq!(world.bench(MR).engine.ddt().searches, 0, "MS-ACK ends it");
}

#[test]
fn section_9_2_over_two_levels_of_nodes() {
    let mut world = example();
    forwarded(&world.ask(2, host("2001:db8:501:8:4::1")), "203.0.113.5", 2);
    assert_eq!(world.asked(), [ROOT, NODE1, NODE3, MS3]);
}

#[test]
fn section_9_3_a_cached_ms_referral_leads_straight_to_the_map_server() {
    let mut world = example();
    world.ask(1, host("2001:db8:103:1::1"));
    world.asked();
    forwarded(&world.ask(3, host("2001:db8:104:2::2")), "203.0.113.2", 3);
    assert_eq!(world.asked(), [MS1]);
}

#[test]
fn section_9_4_a_cached_node_referral_is_where_the_search_begins() {
    let mut world = example();
    world.ask(2, host("2001:db8:501:8:4::1"));
    world.asked();
    forwarded(&world.ask(4, host("2001:db8:500:2:4::1")), "203.0.113.4", 4);
    assert_eq!(world.asked(), [NODE3, MS2]);
}

#[test]
fn section_9_5_an_eid_that_does_not_exist_is_a_hole_for_a_quarter_of_an_hour() {
    let mut world = example();
    world.ask(4, host("2001:db8:500:2:4::1"));
    world.asked();
    let hole = ("2001:db8:500::/64".to_owned(), Action::NativelyForward, Ttl(15));
    assert_eq!(negative(&world.ask(5, host("2001:db8:500::1"))), hole);
    assert_eq!(world.asked(), [MS2, MS2], "what it denies to the ITR's nonce is asked again with ours");
    assert_eq!(negative(&world.ask(6, host("2001:db8:500::2"))), hole);
    assert_eq!(world.asked(), [""; 0], "cached");
    world.pass(Duration::from_secs(15 * 60));
    world.asked();
    assert_eq!(negative(&world.ask(7, host("2001:db8:500::2"))), hole);
    assert_eq!(world.asked(), [MS2, MS2]);
}

#[test]
fn a_site_that_is_not_registered_is_unreachable_for_a_minute() {
    let mut world = example();
    let answer = ("2001:db8:501:9::/64".to_owned(), Action::NativelyForward, Ttl(1));
    assert_eq!(negative(&world.ask(1, host("2001:db8:501:9::1"))), answer);
    world.asked();
    assert_eq!(negative(&world.ask(2, host("2001:db8:501:9::1"))), answer);
    assert_eq!(world.asked(), [""; 0], "cached");
    world.pass(Duration::from_secs(60));
    world.register(MS3, "2001:db8:501:9::/64", "203.0.113.6", false);
    world.asked();
    forwarded(&world.ask(3, host("2001:db8:501:9::1")), "203.0.113.6", 3);
}

#[test]
fn a_map_server_that_answers_for_its_site_answers_the_itr() {
    let mut world = example();
    world.register(MS2, "2001:db8:500:1::/64", "203.0.113.7", true);
    let reply = map_reply(&world.ask(1, host("2001:db8:500:1::1")));
    assert_eq!(reply.nonce.0, 1);
    assert_eq!(reply.records[0].locators[0].rloc.ip().unwrap().to_string(), "203.0.113.7");
    assert_eq!(world.bench(MR).engine.ddt().searches, 0);
}

#[test]
fn a_hole_of_the_root_covers_neither_what_is_known_here_nor_cgeids() {
    let mut world = example();
    let (text, _, ttl) = negative(&world.ask(1, host("4000::1")));
    assert_eq!((text.as_str(), ttl), ("4000::/2", Ttl(15)), "without 3fff:ce1::/32 and 2001:db8::/32");
    let (text, ..) = negative(&world.ask(2, host("3fff:ce2::1")));
    assert!(!prefix(&text).covers(&prefix("3fff:ce1::/32")), "{text}");
}

#[test]
fn no_hole_covers_what_a_map_resolver_is_configured_for_or_this_node_delegates() {
    let resolvers = || {
        let addresses = vec![address("192.0.2.7:4342")];
        vec![ForeignResolver { prefix: prefix("10.0.0.0/8"), addresses }]
    };
    // Without a root it is the DHT that knows nothing.
    let alone = Config { ddt: Ddt { resolvers: resolvers(), ..Ddt::default() }, ..config(vec![]) };
    let mut world = World::new(vec![(MR, alone)]);
    assert_eq!(negative(&world.ask(1, host("11.0.0.1"))).0, "11.0.0.0/8");
    let delegations = vec![delegation("12.0.0.0/8", Kind::Node, &[NODE1])];
    let under_root = Ddt { resolvers: resolvers(), delegations, ..resolver(&[ROOT]).ddt };
    let mut world = World::new(vec![
        (ROOT, node(&["0.0.0.0/0"], vec![delegation("192.0.0.0/8", Kind::Node, &[NODE1])])),
        (MR, Config { ddt: under_root, ..config(vec![]) }),
    ]);
    let (hole, _, ttl) = negative(&world.ask(1, host("11.0.0.1")));
    assert_eq!((hole.as_str(), ttl), ("11.0.0.0/8", Ttl(15)), "the tree's is 0.0.0.0/1");
    assert_eq!(negative(&world.ask(2, host("13.0.0.1"))).0, "13.0.0.0/8", "out of the cache too");
    assert_eq!(negative(&world.ask(3, host("64.0.0.1"))).0, "64.0.0.0/2");
}

#[test]
fn every_lookup_succeeds_though_a_third_of_the_datagrams_is_lost() {
    let mut world = example();
    let mut count = 0u32;
    world.loses = Box::new(move |carried| {
        // Not those to and from the ITR and the ETRs, which do not ask again here.
        count += 1;
        carried.to.ip().to_string().starts_with("192.0.2.") && carried.from.port() == 4342 && count.is_multiple_of(3)
    });
    let mut reached = 0;
    for (nonce, eid) in [(1, "2001:db8:103:1::1"), (2, "2001:db8:501:8::1"), (3, "2001:db8:500:2::1")] {
        world.outside.clear();
        world.send(ITR, MR, &ecm(&request(nonce, &[host(eid)], &[RLOC])));
        world.pass(Duration::from_secs(20));
        reached += usize::from(world.outside.iter().any(|carried| {
            matches!(carried.message(), ControlMessage::Ecm(_)) && inside(&carried.bytes).nonce.0 == nonce
        }));
        assert_eq!(world.bench(MR).engine.ddt().searches, 0);
    }
    assert_eq!(reached, 3);
}

#[test]
fn a_dead_root_is_passed_over_and_the_next_one_asked() {
    let mut engines = vec![
        ("192.0.2.2", node(&["::/0"], vec![delegation("2001:db8::/32", Kind::MapServer, &[MS1])])),
        (MS1, map_server("2001:db8::/32", &["2001:db8:103::/48"])),
    ];
    engines.push((MR, resolver(&["192.0.2.1", "192.0.2.2"])));
    let mut world = World::new(engines);
    world.register(MS1, "2001:db8:103::/48", "203.0.113.1", false);
    world.asked();
    world.send(ITR, MR, &ecm(&request(1, &[host("2001:db8:103::1")], &[RLOC])));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.asked(), ["192.0.2.1", "192.0.2.2", MS1]);
}

#[test]
fn a_map_server_that_has_died_since_it_acknowledged_leads_back_to_the_root_and_to_the_other_one() {
    let delegated = delegation("2001:db8:103::/48", Kind::Node, &[MS1, MS2]);
    let server = || map_server("2001:db8:103::/48", &["2001:db8:103::/48"]);
    let tree = node(&["2001:db8::/32"], vec![delegated]);
    // What is sent on to the dead one counts as an answer for strangers.
    let of_clients = Config { clients: vec!["198.51.100.0/24".parse().unwrap()], ..resolver(&[ROOT]) };
    let mut world = World::new(vec![(ROOT, tree), (MS1, server()), (MS2, server()), (MR, of_clients)]);
    world.register(MS1, "2001:db8:103::/48", "203.0.113.1", false);
    world.register(MS2, "2001:db8:103::/48", "203.0.113.1", false);
    world.asked();
    // The ETR hears of our own request too, by which the Map-Server is known.
    let nonces = |carried: &[Carried]| carried.iter().map(|one| inside(&one.bytes).nonce.0).collect::<Vec<_>>();
    assert!(nonces(&world.ask(1, host("2001:db8:103::1"))).contains(&1));
    let alone = world.asked().remove(1);
    let dead = alone.clone();
    world.loses = Box::new(move |carried| carried.to.ip().to_string() == dead);
    assert_eq!(world.ask(2, host("2001:db8:103::2")).len(), 0);
    world.pass(Duration::from_secs(15));
    assert!(nonces(&world.outside).contains(&2), "{:?}", world.outside);
    let (asked, living) = (world.asked(), if alone == MS1 { MS2 } else { MS1 });
    assert_eq!(asked[..4], [alone.as_str(), &alone, &alone, ROOT], "its rounds, and then the root");
    assert_eq!(asked.last().map(String::as_str), Some(living));
    forwarded(&world.ask(3, host("2001:db8:103::3")), "203.0.113.1", 3);
    assert_eq!(world.asked(), [living], "what is known now is kept");
}

#[test]
fn a_silent_map_server_takes_no_referral_with_it_that_leads_to_others() {
    let mut world = example();
    world.ask(1, host("2001:db8:500:2:4::1"));
    world.loses = Box::new(|carried| [ROOT, MS2].contains(&carried.to.ip().to_string().as_str()));
    world.ask(2, host("2001:db8:500:2:4::2"));
    world.pass(Duration::from_secs(60));
    assert_eq!(world.asked().last().map(String::as_str), Some(ROOT), "begun anew");
    forwarded(&world.ask(3, host("2001:db8:501:8:4::1")), "203.0.113.5", 3);
    assert_eq!(world.asked(), [NODE3, MS3]);
    world.loses = Box::new(|_| false);
    forwarded(&world.ask(4, host("2001:db8:500:2:4::3")), "203.0.113.4", 4);
    assert_eq!(world.asked(), [NODE3, MS2], "that it is the Map-Server is heard again");
}

#[test]
fn a_search_that_nobody_answers_ends_in_silence_and_is_counted() {
    let mut world = World::new(vec![(MR, resolver(&["192.0.2.1", "192.0.2.2"]))]);
    world.ask(1, host("2001:db8::1"));
    world.pass(Duration::from_secs(60));
    let asked = world.asked();
    assert_eq!(asked.len(), 6, "each root three times: {asked:?}");
    assert!(world.outside.iter().all(|carried| carried.to != address(ITR)), "no answer is no proof");
    assert_eq!(world.bench(MR).only_refused(Refusal::ReferralUnanswered), 1);
    assert_eq!(world.bench(MR).engine.ddt().searches, 0);
}

#[test]
fn many_itrs_that_ask_for_one_eid_share_the_search_and_each_request_is_delivered() {
    let mut world = example();
    world.loses = Box::new(|carried| carried.from.ip().to_string() == ROOT);
    for itr in 1..=5u8 {
        let rloc = format!("198.51.100.{itr}");
        world.send(
            &format!("{rloc}:61000"),
            MR,
            &ecm(&request(itr.into(), &[host("2001:db8:103::1")], &[rloc.as_str()])),
        );
    }
    assert_eq!(world.asked(), [ROOT], "one search");
    world.loses = Box::new(|_| false);
    world.pass(Duration::from_secs(2));
    let nonces: Vec<u64> = world.outside.iter().map(|carried| inside(&carried.bytes).nonce.0).collect();
    assert_eq!(nonces, [1, 2, 3, 4, 5]);
}

#[test]
fn a_request_that_an_itr_repeats_takes_the_place_of_the_first() {
    let mut world = example();
    world.loses = Box::new(|carried| carried.from.ip().to_string() == ROOT);
    world.ask(1, host("2001:db8:103::1"));
    world.ask(2, host("2001:db8:103::1"));
    world.loses = Box::new(|_| false);
    world.pass(Duration::from_secs(2));
    forwarded(&world.outside, "203.0.113.1", 2);
}

#[test]
fn an_eid_that_an_anchor_covers_is_never_searched_for_in_the_tree() {
    let anchor = "2001:db8:103::/48=0f2c8a3454a468b75f32e76a".parse().unwrap();
    let mut world = World::new(vec![(MR, Config { trust_anchors: vec![anchor], ..resolver(&[ROOT]) })]);
    world.ask(1, host("2001:db8:103::1"));
    assert_eq!(world.asked(), [""; 0]);
    world.ask(2, host("2001:db8:104::1"));
    assert_eq!(world.asked(), [ROOT]);
}

#[test]
fn a_conventional_map_resolver_gets_the_request_as_it_is_and_another_one_what_is_repeated() {
    let addresses = vec![address("192.0.2.7:4342"), address("192.0.2.8:4342")];
    let resolvers = vec![ForeignResolver { prefix: prefix("10.0.0.0/8"), addresses }];
    let foreign = Config { ddt: Ddt { resolvers, ..resolver(&[ROOT]).ddt }, ..config(vec![]) };
    let mut world = World::new(vec![(MR, foreign)]);
    let asked = ecm(&request(1, &[host("10.1.1.1")], &[RLOC]));
    world.send(ITR, MR, &asked);
    world.pass(Duration::from_secs(1));
    world.send(ITR, MR, &asked);
    let got: Vec<_> = world.outside.iter().map(|c| (c.to.ip().to_string(), c.bytes == asked)).collect();
    assert_eq!(got, [("192.0.2.8".to_owned(), true), ("192.0.2.7".to_owned(), true)]);
    assert_eq!(world.bench(MR).engine.ddt().forwarded, 2);
    assert_eq!(world.asked(), [""; 0], "the tree is not asked");
    world.ask(2, host("192.0.2.200"));
    assert_eq!(world.asked(), [ROOT], "for what no resolver is configured");
}

#[test]
fn of_several_eids_each_map_resolver_gets_those_that_it_is_asked_for_and_none_that_is_answered_here() {
    let resolver_of = |text: &str, at: &str| ForeignResolver { prefix: prefix(text), addresses: vec![address(at)] };
    let resolvers = vec![resolver_of("10.0.0.0/8", "192.0.2.7:4342"), resolver_of("11.0.0.0/8", "192.0.2.8:4342")];
    let sites = map_server("2001:db8:103::/48", &["2001:db8:103::/48"]).sites;
    let mut world = World::new(vec![(MR, Config { ddt: Ddt { resolvers, ..Ddt::default() }, ..config(sites) })]);
    world.register(MR, "2001:db8:103::/48", "203.0.113.1", true);
    let eids = ["2001:db8:103::1", "10.0.0.1", "11.0.0.1", "10.0.0.2"].map(host);
    world.send(ITR, MR, &ecm(&request(7, &eids, &[RLOC])));
    let asked_for = |at: &str| -> Vec<_> {
        let carried: Vec<_> = world.outside.iter().filter(|carried| carried.to == address(at)).collect();
        let [carried] = carried.as_slice() else { panic!("{:?}", world.outside) };
        let request = inside(&carried.bytes);
        assert_eq!((request.nonce.0, request.itr_rlocs.len()), (7, 1));
        request.records.iter().map(|record| record.eid.ip_prefix().unwrap()).collect()
    };
    assert_eq!(asked_for("192.0.2.7:4342"), [host("10.0.0.1"), host("10.0.0.2")]);
    assert_eq!(asked_for("192.0.2.8:4342"), [host("11.0.0.1")]);
    let told: Vec<_> = world.outside.iter().filter(|carried| carried.to == address(ITR)).cloned().collect();
    assert_eq!(map_reply(&told).records.len(), 1);
    assert_eq!(world.outside.len(), 3);
}

#[test]
fn beside_an_eid_whose_map_server_is_cached_the_site_here_gets_its_request_too() {
    let here = map_server("2001:db9::/48", &["2001:db9::/48"]).sites;
    let mut world = example_with(Config { sites: here, ..resolver(&[ROOT]) });
    world.register(MR, "2001:db9::/48", "203.0.113.9", false);
    world.ask(1, host("2001:db8:103:1::1"));
    world.send(ITR, MR, &ecm(&request(2, &["2001:db8:104:2::2", "2001:db9::1"].map(host), &[RLOC])));
    let etrs: Vec<_> = world.outside.iter().map(|carried| carried.to.ip().to_string()).collect();
    assert_eq!(etrs, ["203.0.113.9", "203.0.113.2"]);
    assert_eq!(world.bench(MR).engine.tally().total(), 0);
}

#[test]
fn who_may_not_ask_for_foreign_eids_moves_nothing_in_the_tree() {
    let mut world = example();
    world.send("198.51.100.66:5", MR, &ecm(&request(1, &[host("2001:db8:103::1")], &[RLOC])));
    assert_eq!(world.asked(), [""; 0]);
    assert_eq!(world.bench(MR).only_refused(Refusal::ForeignNotFromItr), 1);
}

#[test]
fn who_asks_from_behind_a_nat_is_led_to_no_map_server_which_could_not_answer_it_and_the_search_is_over() {
    let mut world = example();
    world.send("203.0.113.77:40001", MR, &ecm(&request(1, &[host("2001:db8:103:1::1")], &["10.0.0.5"])));
    assert_eq!(world.bench(MR).engine.ddt().searches, 0);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.asked(), [ROOT, NODE1]);
    assert_eq!(world.bench(MR).only_refused(Refusal::ForeignBehindNat), 1);
}

#[test]
fn a_hole_that_is_found_after_the_end_of_a_window_of_the_limits_is_told() {
    let mut world = example();
    world.ask(1, host("2001:db8:103::1"));
    world.pass(Duration::from_millis(9500));
    world.loses = Box::new(|carried| carried.from.ip().to_string() == ROOT);
    assert_eq!(world.ask(2, host("4000::1")).len(), 0);
    world.loses = Box::new(|_| false);
    world.pass(Duration::from_secs(1));
    let told = std::mem::take(&mut world.outside);
    assert_eq!(map_reply(&told).nonce.0, 2);
    assert_eq!(world.bench(MR).engine.tally().total(), 0);
}

#[test]
fn one_source_starts_no_more_searches_than_its_budget() {
    let mut world = World::new(vec![(MR, resolver(&[ROOT]))]);
    for n in 0..200u8 {
        world.ask(n.into(), host(&format!("10.0.0.{n}")));
    }
    assert_eq!(world.asked().len(), 64);
    assert_eq!(world.bench(MR).only_refused(Refusal::MissBudget), 136);
}

#[test]
fn behind_a_socket_on_all_addresses_the_way_to_the_node_says_which_one_the_request_leaves_from_and_names() {
    let sockets = ["0.0.0.0:4342", "192.0.2.53:4342", "198.51.100.53:4342"].map(address).into();
    let mut bench = Bench::new(Config { sockets, ..resolver(&[ROOT]) });
    let outputs = bench.datagram(ITR, &ecm(&request(1, &[host("2001:db8:103:1::1")], &[RLOC])));
    let [Output::SendOwn(own)] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((own.local, own.remote), (address("192.0.2.53:4342"), address(&format!("{ROOT}:4342"))));
    let from = address("198.51.100.53:4342");
    let Some(Output::Send { local, remote, bytes, .. }) = own.leaving(from.ip()) else { panic!("{own:?}") };
    assert_eq!((local, remote), (from, own.remote));
    let asked = inside(&bytes);
    assert_eq!((asked.nonce, asked.itr_rlocs), (own.nonce, vec![from.ip().into()]));
}
