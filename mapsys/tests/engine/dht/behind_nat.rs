// SPDX-License-Identifier: GPL-2.0-or-later
//! ITRs, and `lig`, behind a NAT: none of their ITR-RLOCs can be reached, and only the NAT's address and port lead back to them.

use std::net::SocketAddr;
use std::time::Duration;

use mapsys::ddt::ForeignResolver;
use mapsys::engine::{Config, Input, Output};
use mapsys::limit::Foreign;
use mapsys::refusal::Refusal;
use wire::control::{ControlMessage, MapRegister, MapRequest};
use wire::record::{Action, Ttl};

use super::world::*;
use crate::common::*;

/// Where a NAT sends from for the ITR at [`INSIDE`].
const NAT: &str = "203.0.113.7:40001";
const INSIDE: &str = "10.0.0.5";
const EID: &str = "2001:db8:a::2";

fn asks(nonce: u64, rlocs: &[&str]) -> Vec<u8> {
    ecm(&request(nonce, &[host(EID)], rlocs))
}

/// What left, without what the DHT and the disk are asked for.
fn left(outputs: &[Output]) -> Vec<(SocketAddr, SocketAddr, usize)> {
    let left = outputs.iter().filter_map(|output| match output {
        Output::Send { local, remote, bytes, .. } => Some((*local, *remote, bytes.len())),
        _ => None,
    });
    left.collect()
}

#[test]
fn who_asks_from_behind_a_nat_is_answered_at_the_nat() {
    let mut world = registered();
    for (nonce, rlocs) in
        [vec![INSIDE], vec!["fe80::1"], vec!["127.0.0.1", "fd00::5"], vec!["100.64.0.9", INSIDE]].iter().enumerate()
    {
        let outputs = world.datagram(1, NAT, &asks(nonce as u64, rlocs));
        let (to, told) = reply(&outputs);
        assert_eq!((to, told.nonce.0), (address(NAT), nonce as u64), "{rlocs:?}: not the inner port");
        assert_eq!(locators(&told.records[0]), ["198.51.100.1"]);
        assert_eq!(left(&outputs)[0].0, address(SERVER), "from where it was asked");
    }
    assert_eq!(world.benches[1].engine.tally().total(), 0);
}

#[test]
fn one_public_itr_rloc_that_is_not_the_source_is_no_nat() {
    let mut world = registered();
    for rlocs in [[INSIDE, "198.51.100.99"], ["198.51.100.99", INSIDE]] {
        assert_eq!(left(&world.datagram(1, NAT, &asks(1, &rlocs))), []);
    }
    assert_eq!(world.benches[1].only_refused(Refusal::ForeignNotFromItr), 2);
    assert_eq!(world.gets, []);
    let identity = operational();
    let mut closed = World::new(vec![Config { foreign: Foreign::Nobody, ..registrar(identity, vec![]) }]);
    for rloc in [INSIDE, "fe80::1"] {
        assert_eq!(closed.datagram(0, NAT, &asks(1, &[rloc])), []);
    }
    assert_eq!(closed.benches[0].engine.tally().get(Refusal::ForeignNotServed), 1);
    assert_eq!(closed.benches[0].engine.tally().get(Refusal::RequestNoItrRloc), 1);
}

#[test]
fn an_answer_that_the_dht_gives_later_and_the_word_that_it_takes_longer_go_to_the_nat_too() {
    let mut world = registered();
    world.mode = Mode::Silent;
    assert_eq!(left(&world.datagram(1, NAT, &asks(1, &[INSIDE]))), []);
    let (to, late) = reply(&world.pass(Duration::from_millis(1501)));
    assert_eq!((to, negative(&late)), (address(NAT), (host(EID), Action::SendMapRequest, Ttl(1))));

    let from = "203.0.113.7:40002";
    assert_eq!(left(&world.datagram(1, from, &asks(2, &[INSIDE]))), []);
    world.mode = Mode::Answering;
    let key = world.gets[0];
    let values = Some(world.dht.get(world.now.wall, &key));
    world.benches[1].engine.handle(world.now, Input::DhtValues { key, values });
    let outputs = world.benches[1].drain();
    let (to, told) = reply(&world.settle(1, outputs));
    assert_eq!((to, told.nonce.0, told.records[0].locators.len()), (address(from), 2, 1));
    // Where there is none, that is said there too.
    let (to, told) = reply(&world.datagram(1, from, &ecm(&request(3, &[host("2001:db9::2")], &[INSIDE]))));
    assert_eq!((to, negative(&told).1), (address(from), Action::NativelyForward));
}

#[test]
fn whoever_is_taken_for_a_nat_gets_no_more_than_three_times_what_came_in_its_name() {
    let mut world = two(site_a());
    let many: Vec<_> = (1..=16).map(|number| format!("2001:db8:ffff::{number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &many)]));
    let (mut sent, mut came, mut answers) = (0, 0, 0);
    for nonce in 0..40 {
        let asked = asks(nonce, &[INSIDE]);
        sent += asked.len();
        for (_, to, octets) in left(&world.datagram(1, NAT, &asked)) {
            assert_eq!(to, address(NAT), "to nobody else");
            (came, answers) = (came + octets, answers + 1);
        }
        assert!(came <= 3 * sent, "{came} octets for {sent}");
    }
    assert_eq!(answers, 4, "of one prefix in three seconds");
    let tally = world.benches[1].engine.tally();
    assert!(tally.get(Refusal::ReplyAmplification) > 0 && tally.get(Refusal::ReplyRate) > 0);
    assert_eq!(tally.get(Refusal::ReplyAmplification) + tally.get(Refusal::ReplyRate), 36);
}

#[test]
fn what_another_node_would_answer_is_not_sent_on_for_who_is_behind_a_nat() {
    let mut world = two(site_a());
    let own_answer = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    world.datagram(0, ETR, &seal(own_answer, &site_key()));
    assert_eq!(left(&world.datagram(1, NAT, &asks(1, &[INSIDE]))), []);
    assert_eq!(world.benches[1].only_refused(Refusal::ForeignBehindNat), 1);

    let mut config = resolver(vec![]);
    let addresses = vec![address("198.51.100.53:4342")];
    config.ddt.resolvers = vec![ForeignResolver { prefix: prefix("2001:db8::/32"), addresses }];
    let mut world = World::new(vec![config]);
    assert_eq!(left(&world.datagram(0, NAT, &asks(1, &[INSIDE]))), []);
    assert_eq!(world.benches[0].only_refused(Refusal::ForeignBehindNat), 1);
    let outputs = world.datagram(0, ITR, &asks(2, &[RLOC]));
    assert_eq!(left(&outputs)[0].1, address("198.51.100.53:4342"), "for others it is");
}

#[test]
fn of_several_eids_those_that_are_registered_here_are_answered_as_ever_in_any_order_and_the_others_are_not() {
    let identity = operational();
    let mut world = World::new(vec![registrar(identity, vec![site_a()])]);
    notify(&world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])])));
    for (nonce, eids) in [(1, [EID, "2001:db8:b::2"]), (2, ["2001:db8:b::2", EID])] {
        let eids = eids.map(host);
        let outputs = world.datagram(0, NAT, &ecm(&request(nonce, &eids, &[INSIDE])));
        assert!(left(&outputs).iter().all(|(_, to, _)| to.to_string() == "10.0.0.5:61000"), "{:?}", left(&outputs));
        assert_eq!(world.benches[0].engine.tally().get(Refusal::ForeignNotFromItr), nonce);
    }
}

#[test]
fn a_subscription_and_an_smr_from_behind_a_nat_have_no_answer() {
    let mut world = registered();
    let plain = request(1, &[host(EID)], &[INSIDE]);
    let mut subscribing = MapRequest { xtr_identity: Some(identity()), ..plain.clone() };
    subscribing.records[0].notify = true;
    assert_eq!(left(&world.datagram(1, NAT, &ecm(&subscribing))), []);
    assert_eq!(world.benches[1].engine.tally().get(Refusal::ForeignNotFromItr), 1);
    assert_eq!(left(&world.datagram(1, NAT, &ecm(&MapRequest { smr: true, ..plain.clone() }))), []);
    assert_eq!(world.benches[1].engine.tally().get(Refusal::ForeignNotFromItr), 2);
    // An ITR that an SMR has told of a change asks as any other.
    let (to, _) = reply(&world.datagram(1, NAT, &ecm(&MapRequest { smr_invoked: true, ..plain })));
    assert_eq!(to, address(NAT));
}

#[test]
fn clients_ask_for_others_of_their_own_network_and_from_behind_a_nat_for_themselves() {
    let identity = operational();
    let anchor = anchor(SITE, identity.cn());
    let clients = vec!["10.0.0.0/8".parse().unwrap(), "203.0.113.0/24".parse().unwrap()];
    let resolver = Config { clients, ..resolver(vec![anchor]) };
    let mut world = World::new(vec![registrar(identity, vec![site_a()]), resolver]);
    notify(&world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])])));
    let mut told_at = |of: usize, from: &str| reply(&world.datagram(of, from, &asks(1, &[INSIDE]))).0.to_string();
    assert_eq!(told_at(1, "10.0.0.53:4342"), "10.0.0.5:61000");
    assert_eq!(told_at(1, NAT), NAT);
    // What is registered here others may have asked for: Map-Servers send such questions on.
    assert_eq!(told_at(0, NAT), "10.0.0.5:61000");
}

#[test]
fn a_ddt_map_request_from_behind_a_nat_is_answered_as_before() {
    let mut world = registered();
    let mut asked = ecm(&request(2, &[host("2001:db9::2")], &["fe80::1"]));
    asked[0] |= 0x04;
    assert_eq!(world.datagram(1, NAT, &asked), []);
    assert_eq!(world.benches[1].only_refused(Refusal::RequestNoItrRloc), 1);
    let mut asked = ecm(&request(3, &[host("2001:db9::2")], &[INSIDE]));
    asked[0] |= 0x04;
    let sent = sent(&world.datagram(1, NAT, &asked));
    assert!(matches!(sent.as_slice(), [(to, ControlMessage::MapReferral(_))] if *to == address(NAT)), "{sent:?}");
}
