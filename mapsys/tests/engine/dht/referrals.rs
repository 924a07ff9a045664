// SPDX-License-Identifier: GPL-2.0-or-later
//! DDT Map-Requests for what the DHT knows (RFC 8111, section 7.2): the tree delegates a prefix to this node, and whoever
//! registered below it did so at another.

use std::time::Duration;

use mapsys::engine::{Config, Output};
use mapsys::refusal::Refusal;
use wire::address::EidPrefix;
use wire::control::{ControlMessage, MapRegister, Referral, ReferralAction};

use super::world::*;
use crate::common::*;

/// A DDT Map-Resolver, which is not the ITR.
const CLIENT: &str = "203.0.113.53:4342";

/// The registrar of [`SITE`], and a resolver to which `2001:db8::/32` and the CGEIDs were delegated.
fn delegated() -> World {
    let identity = operational();
    let anchor = anchor(SITE, identity.cn());
    let mut resolver = resolver(vec![anchor]);
    resolver.ddt.authoritative = vec![prefix("2001:db8::/32"), prefix("3fff:ce1::/32")];
    World::new(vec![registrar(identity, vec![site_a()]), resolver])
}

fn asks(world: &mut World, nonce: u64, eid: EidPrefix) -> Vec<(String, ControlMessage)> {
    let mut asked = ecm(&request(nonce, &[eid], &[RLOC]));
    asked[0] |= 0x04;
    let outputs = world.datagram(1, CLIENT, &asked);
    sent(&outputs).into_iter().map(|(to, message)| (to.to_string(), message)).collect()
}

fn referral(said: &[(String, ControlMessage)]) -> Referral {
    let of_ddt = said.iter().filter_map(|(to, message)| match message {
        ControlMessage::MapReferral(referral) => Some((to, referral.records[0].clone())),
        _ => None,
    });
    let found: Vec<_> = of_ddt.collect();
    let [(to, referral)] = found.as_slice() else { panic!("{said:?}") };
    assert_eq!(to.as_str(), CLIENT);
    referral.clone()
}

#[test]
fn what_is_registered_elsewhere_is_acknowledged_and_the_itr_answered() {
    let mut world = delegated();
    notify(&world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])])));
    let said = asks(&mut world, 5, host("2001:db8:a::2"));
    let found = referral(&said);
    assert_eq!((found.action, found.eid.ip_prefix()), (ReferralAction::MsAck, Some(prefix(SITE))));
    let replies: Vec<_> =
        said.iter().filter(|(_, message)| matches!(message, ControlMessage::MapReply(_))).map(|(to, _)| to).collect();
    assert_eq!(replies, [&format!("{RLOC}:61000")], "to the ITR, not to who asked for it");
}

#[test]
fn a_site_elsewhere_that_answers_itself_gets_the_request_without_d() {
    let mut world = delegated();
    let own_answer = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    world.datagram(0, ETR, &seal(own_answer, &site_key()));
    let said = asks(&mut world, 5, host("2001:db8:a::2"));
    assert_eq!(referral(&said).action, ReferralAction::MsAck);
    let forwarded = said.iter().find(|(_, message)| matches!(message, ControlMessage::Ecm(_)));
    let Some((to, ControlMessage::Ecm(ecm))) = forwarded else { panic!("{said:?}") };
    assert_eq!((to.as_str(), ecm.ddt), ("203.0.113.1:4342", false));
}

#[test]
fn what_is_delegated_in_the_dht_and_silent_is_not_registered() {
    let mut world = delegated();
    let found = referral(&asks(&mut world, 5, host("2001:db8:a::2")));
    assert_eq!((found.action, found.ttl.0), (ReferralAction::MsNotRegistered, 1));
    assert!(found.eid.ip_prefix().is_some_and(|said| prefix(SITE).covers(&said)));
    let cgeid = host("3fff:ce1:1:2:3:4:5:6");
    let found = referral(&asks(&mut world, 6, cgeid));
    assert_eq!((found.action, found.eid.ip_prefix()), (ReferralAction::MsNotRegistered, Some(cgeid)), "no proof");
}

#[test]
fn what_no_anchor_covers_is_a_hole_beside_those_that_do_and_inside_what_was_delegated() {
    let mut world = delegated();
    let found = referral(&asks(&mut world, 5, host("2001:db8:77::2")));
    assert_eq!(found.action, ReferralAction::DelegationHole);
    // Beside 2001:db8:a::/48, and no wider than 2001:db8::/32.
    assert_eq!(found.eid.ip_prefix(), Some(prefix("2001:db8:40::/42")));
    let found = referral(&asks(&mut world, 6, host("2001:db9::1")));
    assert_eq!(found.action, ReferralAction::NotAuthoritative);
}

#[test]
fn while_the_dht_is_silent_nothing_is_said_and_later_the_answer() {
    let mut world = delegated();
    notify(&world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])])));
    world.mode = Mode::Silent;
    assert_eq!(asks(&mut world, 5, host("2001:db8:a::2")), []);
    let later = world.pass(Duration::from_secs(30));
    assert!(sent(&later).iter().all(|(_, message)| !matches!(message, ControlMessage::MapReply(_))), "{later:?}");
    world.mode = Mode::Answering;
    assert_eq!(referral(&asks(&mut world, 6, host("2001:db8:a::2"))).action, ReferralAction::MsAck);
}

#[test]
fn a_flood_of_ddt_map_requests_walks_the_dht_no_more_than_other_requests() {
    let mut world = World::new(vec![{
        let mut config = resolver(vec![]);
        config.ddt.authoritative = vec![prefix("3fff:ce1::/32")];
        Config { clients: vec![], ..config }
    }]);
    let asked = |n: u16| {
        let mut bytes = ecm(&request(n.into(), &[host(&format!("3fff:ce1:1:2:3:4:5:{n:x}"))], &[RLOC]));
        bytes[0] |= 0x04;
        bytes
    };
    world.gets.clear();
    let outputs: Vec<Output> = (0..200).flat_map(|n| world.datagram(0, CLIENT, &asked(n))).collect();
    assert!(world.gets.len() <= 65, "{}", world.gets.len());
    assert!(outputs.len() <= 65);
    assert_eq!(world.benches[0].engine.tally().get(Refusal::MissBudget), 200 - world.gets.len() as u64);
}
