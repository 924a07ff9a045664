// SPDX-License-Identifier: GPL-2.0-or-later
//! Requests that are handed on to the site, and by whom they may be asked.

use std::time::Duration;

use mapsys::engine::{Config, Output};
use mapsys::refusal::Refusal;
use wire::address::{Address, Lcaf};
use wire::control::MapRegister;
use wire::record::LocatorRecord;

use super::world::*;
use crate::common::*;

#[test]
fn a_site_that_answers_itself_gets_the_request_through_its_map_server() {
    let mut world = two(site_a());
    let own_answer = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    world.datagram(0, ETR, &seal(own_answer, &site_key()));
    let asked = ecm(&request(5, &[host("2001:db8:a::2")], &[RLOC]));
    let outputs = world.datagram(1, ITR, &asked);
    let sends: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::Send { .. })).collect();
    let [Output::Send { remote, bytes, .. }] = sends.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(*remote, address("203.0.113.1:4342"), "the Map-Server that published it");
    assert_eq!(*bytes, asked);
    // And that one sends it to the ETR, though the resolver is none of the ITR-RLOCs.
    let forwarded = world.datagram(0, SERVER, bytes);
    let [Output::Send { remote, bytes, local, .. }] = forwarded.as_slice() else { panic!("{forwarded:?}") };
    assert_eq!((*remote, local.port()), (address(ETR), 4342));
    assert_eq!(*bytes, asked);
}

#[test]
fn of_a_map_servers_addresses_a_public_one_is_asked_first_and_the_other_one_by_who_asks_again() {
    let identity = operational();
    let anchor = anchor(SITE, identity.cn());
    let sockets = vec![address("10.0.0.5:4342"), address("[2001:db8:53::1]:4342")];
    let registrar = Config { sockets, ..registrar(identity, vec![site_a()]) };
    let mut world = World::new(vec![registrar, resolver(vec![anchor])]);
    let own_answer = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    world.datagram(0, ETR, &seal(own_answer, &site_key()));
    let mut asked_at = |nonce, eid: &str, itr: &str| {
        let outputs = world.datagram(1, &format!("{itr}:5000"), &ecm(&request(nonce, &[host(eid)], &[itr])));
        let at: Vec<_> = sent(&outputs).into_iter().map(|(to, _)| to.to_string()).collect();
        world.pass(Duration::from_secs(3));
        at
    };
    let (private, public) = (["10.0.0.5:4342"], ["[2001:db8:53::1]:4342"]);
    assert_eq!(asked_at(1, "2001:db8:a::2", RLOC), public, "though IPv4 stands first");
    assert_eq!(asked_at(2, "2001:db8:a::2", RLOC), private, "it had no answer");
    assert_eq!(asked_at(3, "2001:db8:a::2", RLOC), public);
    assert_eq!(asked_at(4, "2001:db8:a::3", RLOC), public, "another EID");
    assert_eq!(asked_at(5, "2001:db8:a::2", "192.0.2.9"), public, "another ITR");
    world.pass(Duration::from_secs(2));
    let mut asked_at = |nonce| sent(&world.datagram(1, ITR, &ecm(&request(nonce, &[host("2001:db8:a::3")], &[RLOC]))));
    assert_eq!(asked_at(6)[0].0.to_string(), public[0], "a question of its own");
}

#[test]
fn of_several_eids_that_are_looked_up_their_map_server_gets_one_request() {
    let mut world = two(site_a());
    let own_answer = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    world.datagram(0, ETR, &seal(own_answer, &site_key()));
    let eids = ["2001:db8:a::1", "2001:db8:a::2", "2001:db8:a::3", "2001:db8:a::4"].map(host);
    let asked = ecm(&request(5, &eids, &[RLOC]));
    let outputs = world.datagram(1, ITR, &asked);
    let sends: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::Send { .. })).collect();
    let [Output::Send { bytes, .. }] = sends.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(*bytes, asked);
    assert_eq!(world.benches[1].engine.tally().total(), 0);
}

#[test]
fn an_etr_in_this_process_is_asked_through_the_pipe() {
    let config = Config { own_prefixes: vec![prefix(SITE)], ..registrar(operational(), vec![]) };
    let mut world = World::new(vec![config]);
    let own_answer = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    world.pipe(0, &seal(own_answer, &pipe_key()));
    let asked = ecm(&request(5, &[host("2001:db8:a::2")], &[RLOC]));
    assert_eq!(world.datagram(0, ITR, &asked), [Output::Pipe { bytes: asked }]);
}

#[test]
fn a_request_goes_round_between_two_map_servers_once_and_never_back_to_the_same() {
    let own_answer = |nonce, rloc: &str| {
        let message = MapRegister { proxy_reply: false, ..register(nonce, vec![record(prefix(SITE), &[rloc])]) };
        seal(message, &site_key())
    };
    let mut bench = Bench::new(config(vec![site_a()]));
    let asked = ecm(&request(5, &[host("2001:db8:a::2")], &[RLOC]));
    for (nonce, rloc) in [(1, "192.0.2.53"), (2, "127.0.0.1"), (3, "169.254.0.1")] {
        notify(&bench.datagram(ETR, &own_answer(nonce, rloc)));
        assert_eq!(bench.datagram(ITR, &asked), [], "{rloc}");
    }
    assert_eq!(bench.only_refused(Refusal::NextHopUnusable), 3);

    let there = "203.0.113.1:4342";
    notify(&bench.datagram(ETR, &own_answer(4, "203.0.113.1")));
    assert_eq!(sent(&bench.datagram(ITR, &asked)).len(), 1);
    assert_eq!(bench.datagram(there, &asked), [], "it came back");
    assert_eq!(bench.engine.tally().get(Refusal::ForwardLoop), 1);
    bench.pass(Duration::from_secs(1));
    assert_eq!(sent(&bench.datagram(ITR, &asked)).len(), 1, "the ITR asks again");
}

#[test]
fn forwarded_requests_are_limited_like_replies() {
    let mut bench = Bench::new(config(vec![site_a()]));
    let own_answer = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    notify(&bench.datagram(ETR, &seal(own_answer, &site_key())));
    let mut forwarded = 0;
    for nonce in 0..100 {
        let asked = ecm(&request(nonce, &[host("2001:db8:a::2")], &["203.0.113.99"]));
        forwarded += sent(&bench.datagram("203.0.113.66:4342", &asked)).len();
    }
    assert_eq!(forwarded, 4);
    assert_eq!(bench.only_refused(Refusal::ReplyRate), 96);
}

#[test]
fn where_nobody_can_ask_the_dht_says_what_it_can() {
    let identity = operational();
    let anchor = anchor(SITE, identity.cn());
    let sockets = vec![address("0.0.0.0:4342")];
    let mut world = World::new(vec![Config { sockets, ..registrar(identity, vec![site_a()]) }, resolver(vec![anchor])]);
    let mut told = record(prefix(SITE), &["198.51.100.1"]);
    told.locators.push(LocatorRecord { rloc: Address::Name(b"x"[..].into()), ..locator("198.51.100.1") });
    world.datagram(0, ETR, &sealed(1, vec![told]));
    assert_eq!(locators(&world.ask(1, 7, host("2001:db8:a::2")).records[0]), ["198.51.100.1"]);
}

#[test]
fn what_the_dht_cannot_say_of_a_site_is_asked_for_at_its_map_server() {
    let mut world = two(site_a());
    let list = Lcaf::AfiList(vec!["198.51.100.9".parse::<std::net::IpAddr>().unwrap().into()]);
    let mut told = record(prefix(SITE), &["198.51.100.1"]);
    told.locators.push(LocatorRecord { rloc: list.into(), ..locator("198.51.100.1") });
    notify(&world.datagram(0, ETR, &sealed(1, vec![told])));
    let asked = ecm(&request(7, &[host("2001:db8:a::2")], &[RLOC]));
    let outputs = world.datagram(1, ITR, &asked);
    let sends: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::Send { .. })).collect();
    let [Output::Send { remote, bytes, .. }] = sends.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((*remote, bytes), (address("203.0.113.1:4342"), &asked), "forwarded as it came");
    let (_, reply) = reply(&world.datagram(0, SERVER, bytes));
    assert_eq!(reply.records[0].locators.len(), 2, "the Map-Server says all of it");
}
