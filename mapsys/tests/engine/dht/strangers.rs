// SPDX-License-Identifier: GPL-2.0-or-later
//! Who may ask for what, and how often.

use cgeid::{Cn, Network};
use mapsys::engine::{Config, Output};
use mapsys::limit::Foreign;
use mapsys::refusal::Refusal;
use wire::address::{EidPrefix, InstanceId};
use wire::control::{ControlMessage, ReferralAction};

use super::world::*;
use crate::common::*;

#[test]
fn the_embedded_map_system_answers_the_network_for_its_own_eids_only() {
    let identity = operational();
    let anchors = vec![anchor(SITE, identity.cn())];
    let closed = Config { foreign: Foreign::Nobody, ..resolver(anchors) };
    let mut world = World::new(vec![registrar(identity, vec![site_a()]), closed]);
    let asked = ecm(&request(1, &[host("2001:db8:a::2")], &[RLOC]));
    assert_eq!(world.datagram(1, ITR, &asked), []);
    assert_eq!(world.benches[1].only_refused(Refusal::ForeignNotServed), 1);
    let outputs = world.pipe(1, &asked);
    assert!(matches!(outputs.last(), Some(Output::Pipe { .. })), "the own ITR asks for all: {outputs:?}");
}

#[test]
fn foreign_eids_are_for_those_who_ask_from_their_own_locator() {
    let mut world = registered();
    let asked = ecm(&request(1, &[host("2001:db8:a::2")], &["203.0.113.99"]));
    assert_eq!(world.datagram(1, ITR, &asked), []);
    assert_eq!(world.benches[1].only_refused(Refusal::ForeignNotFromItr), 1);
    assert_eq!(world.gets, []);
}

#[test]
fn random_eids_cannot_walk_the_dht() {
    let mut world = World::new(vec![resolver(vec![])]);
    for n in 0..200u8 {
        let mut cn = Cn([0x55; 12]);
        cn.0[0] = n;
        let eid = EidPrefix::host(InstanceId(0), cn.address(Network::LAB).into());
        world.datagram(0, ITR, &ecm(&request(n.into(), &[eid], &[RLOC])));
    }
    let asked = world.gets.len();
    assert!(asked <= 65, "{asked} lookups for one source");
    assert_eq!(world.benches[0].engine.tally().get(Refusal::MissBudget), 200 - asked as u64);
}

/// A random CGEID.
fn random(n: u32) -> EidPrefix {
    let mut cn = Cn([0x66; 12]);
    cn.0[..4].copy_from_slice(&n.to_be_bytes());
    EidPrefix::host(InstanceId(0), cn.address(Network::LAB).into())
}

#[test]
fn made_up_sources_do_not_walk_the_dht_either_and_keep_no_client_from_it() {
    let clients = vec!["192.0.2.0/24".parse().unwrap()];
    let mut world = World::new(vec![Config { clients, ..resolver(vec![]) }]);
    world.mode = Mode::Silent;
    let flood = |world: &mut World, from: u32| {
        for n in from..from + 2000 {
            let source = std::net::Ipv4Addr::from_bits(10 << 24 | n << 8 | 1).to_string();
            let asked = ecm(&request(n.into(), &[random(n)], &[&source]));
            world.datagram(0, &format!("{source}:5000"), &asked);
        }
    };
    flood(&mut world, 0);
    let strangers = world.gets.len();
    assert!((1..=512).contains(&strangers), "{strangers} lookups for strangers");
    let tally = world.benches[0].engine.tally();
    assert_eq!(tally.total(), 2000 - strangers as u64);
    assert_eq!(tally.get(Refusal::MissBudget) + tally.get(Refusal::RequestTableFull), tally.total());
    for n in 0..100 {
        world.datagram(0, ITR, &ecm(&request(n, &[random(1 << 20 | u32::try_from(n).unwrap())], &[RLOC])));
    }
    assert_eq!(world.gets.len(), strangers + 100, "a client has places of its own");
    // All that wait are told to ask again, in the order of their deadlines, and nothing is left of them.
    let told = sent(&world.pass(std::time::Duration::from_secs(2)));
    assert_eq!(told.len(), strangers + 100);
    assert!(world.benches[0].engine.next_deadline().is_some(), "the lookups go on");
    world.pass(std::time::Duration::from_secs(20));
    flood(&mut world, 4000);
    assert!(world.gets.len() > strangers + 100, "the lookups have ended, and there is room again");
}

#[test]
fn all_records_of_a_request_are_answered_in_one_reply_and_nine_are_too_many() {
    let mut world = registered();
    let eids = [host("2001:db8:a::2"), host("2001:db9::2"), host("10.1.1.1")];
    let outputs = world.datagram(1, ITR, &ecm(&request(1, &eids, &[RLOC])));
    assert_eq!(reply(&outputs).1.records.len(), 3);
    let nine: Vec<_> = (0..9).map(|n| host(&format!("10.0.0.{n}"))).collect();
    assert_eq!(world.datagram(1, ITR, &ecm(&request(2, &nine, &[RLOC]))), []);
    assert_eq!(world.benches[1].only_refused(Refusal::RequestTooManyRecords), 1);
}

#[test]
fn d_wants_no_map_reply_and_a_ddt_resolver_gets_a_referral_instead() {
    let mut world = registered();
    let mut quiet = request(1, &[host("2001:db8:a::2")], &[RLOC]);
    quiet.dont_map_reply = true;
    assert_eq!(world.datagram(1, ITR, &ecm(&quiet)), []);
    assert_eq!(world.benches[1].only_refused(Refusal::RequestWantsNoReply), 1);
    let mut ddt = ecm(&request(2, &[host("2001:db9::2")], &[RLOC]));
    ddt[0] |= 0x04;
    let sent = sent(&world.datagram(1, ITR, &ddt));
    let [(to, ControlMessage::MapReferral(referral))] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(*to, address(ITR), "the sender");
    assert_eq!(referral.records[0].action, ReferralAction::NotAuthoritative);
}

#[test]
fn a_foreign_answer_goes_to_the_sender_even_if_it_names_another_first() {
    let mut world = registered();
    let asked = ecm(&request(1, &[host("2001:db8:a::2")], &["203.0.113.99", RLOC]));
    let (to, _) = reply(&world.datagram(1, ITR, &asked));
    assert_eq!(to.ip(), address(ITR).ip());
    // A map-server forwards for others what is for our sites: then the first counts.
    let (to, _) = reply(&world.datagram(0, "203.0.113.7:4342", &asked));
    assert_eq!(to.ip().to_string(), "203.0.113.99");
}

#[test]
fn limits_are_lifted_for_clients_that_ask_for_themselves() {
    let mut config = config(vec![]);
    config.clients = vec!["192.0.2.0/24".parse().unwrap()];
    let mut bench = Bench::new(config);
    let mut answers = |rloc: &str| {
        let asked = ecm(&request(1, &[host("2001:db8:77::2")], &[rloc]));
        (0..20).map(|_| sent(&bench.datagram("192.0.2.8:4342", &asked)).len()).sum::<usize>()
    };
    assert_eq!(answers("192.0.2.8"), 20);
    assert_eq!(answers("203.0.113.99"), 4, "a client's address as source aims at somebody else");
}

#[test]
fn a_request_without_a_usable_itr_rloc_is_dropped() {
    let mut world = registered();
    for rloc in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1", "ff02::1", "fe80::1"] {
        let asked = ecm(&request(1, &[host("2001:db8:a::2")], &[rloc]));
        assert_eq!(world.datagram(0, ITR, &asked), [], "{rloc}");
    }
    assert_eq!(world.benches[0].only_refused(Refusal::RequestNoItrRloc), 6);
}
