// SPDX-License-Identifier: GPL-2.0-or-later
//! What a DDT node and a DDT Map-Server say, and to whom (RFC 8111, sections 6 and 7).

use std::net::SocketAddr;
use std::time::Duration;

use mapsys::ddt::{Config as Ddt, DdtError, Delegation, Kind, Server};
use mapsys::engine::{Config, ConfigError, Engine, Mark, Memory, Output};
use mapsys::refusal::Refusal;
use mapsys::register::site::NotifyPort;
use mapsys::subscribe::subscriber::{Policy, Subscriber};
use wire::address::EidPrefix;
use wire::control::auth::Algorithm;
use wire::control::{ControlMessage, MapReferral, MapRegister, MapRequest, Referral, ReferralAction, XtrIdentity};
use wire::record::{Action, Ttl};

use super::world::*;
use crate::common::*;

/// A DDT Map-Resolver, which is not the ITR.
const CLIENT: &str = "203.0.113.53:4342";

/// Action, prefix, TTL in minutes, A, I and the addresses of the Referral Set.
type Said = (ReferralAction, EidPrefix, u32, bool, bool, Vec<String>);

fn said(referral: &Referral) -> Said {
    let set = referral.locators.iter().map(|locator| locator.rloc.ip().unwrap().to_string()).collect();
    let prefix = referral.eid.ip_prefix().unwrap();
    (referral.action, prefix, referral.ttl.0, referral.authoritative, referral.incomplete, set)
}

fn asks(bench: &mut Bench, eid: EidPrefix) -> Vec<Output> {
    bench.datagram(CLIENT, &ddt(&request(7, &[eid], &[RLOC])))
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Delegates, serves sites, and knows a hint.
fn everything() -> Bench {
    let own = map_server("2001:db8::/32", &["2001:db8:a::/48", "2001:db8:b::/48"]);
    let delegations = vec![
        delegation("2001:db8:100::/40", Kind::MapServer, &[MS1]),
        delegation("2001:db8:500::/40", Kind::Node, &["192.0.2.202", "2001:db8:53::201"]),
        delegation("2001:db8:a:ff::/64", Kind::MapServer, &[MS2]),
        delegation("10.0.0.0/8", Kind::Node, &[ROOT]),
    ];
    let ddt = Ddt { delegations, ..own.ddt };
    Bench::new(Config { ddt, ..own })
}

fn registered(proxy: bool) -> Bench {
    let mut bench = everything();
    let message = MapRegister {
        proxy_reply: proxy,
        want_notify: false,
        ..register(1, vec![record(prefix("2001:db8:a::/48"), &["203.0.113.1"])])
    };
    bench.datagram("203.0.113.1:4342", &seal(message, &key(1, Algorithm::HmacSha256, "secret")));
    bench
}

#[test]
fn a_delegation_is_referred_to_with_its_prefix_and_set_for_a_day() {
    let mut bench = everything();
    let (to, found) = referral(&asks(&mut bench, host("2001:db8:103::1")));
    assert_eq!(to, address(CLIENT), "the sender of the DDT Map-Request, not the ITR");
    let ms = (ReferralAction::MsReferral, prefix("2001:db8:100::/40"), 1440, true, false, strings(&[MS1]));
    assert_eq!(said(&found), ms);
    let (_, found) = referral(&asks(&mut bench, host("2001:db8:501::1")));
    let set = strings(&["192.0.2.202", "2001:db8:53::201"]);
    assert_eq!(said(&found), (ReferralAction::NodeReferral, prefix("2001:db8:500::/40"), 1440, true, false, set));
}

#[test]
fn a_hint_from_elsewhere_in_the_tree_is_given_without_authority() {
    let (_, found) = referral(&asks(&mut everything(), host("10.1.1.1")));
    let hint = (ReferralAction::NodeReferral, prefix("10.0.0.0/8"), 1440, false, false, strings(&[ROOT]));
    assert_eq!(said(&found), hint);
}

#[test]
fn what_is_neither_delegated_nor_ours_is_echoed_as_not_authoritative() {
    let asked = prefix("2001:db9:1::/48");
    let (_, found) = referral(&asks(&mut everything(), asked));
    assert_eq!(said(&found), (ReferralAction::NotAuthoritative, asked, 0, false, true, vec![]));
    let other = prefix_in(5, "2001:db8:a::/48");
    let (_, found) = referral(&asks(&mut everything(), other));
    assert_eq!(said(&found), (ReferralAction::NotAuthoritative, other, 0, false, true, vec![]), "another instance");
}

#[test]
fn a_registered_site_is_acknowledged_and_its_etr_gets_the_request_without_d() {
    let outputs = asks(&mut registered(false), host("2001:db8:a::1"));
    let (to, found) = referral(&outputs);
    assert_eq!(to, address(CLIENT));
    let own = strings(&["192.0.2.53", "2001:db8:53::53"]);
    // 2001:db8:a:ff::/64 is delegated to another: what is acknowledged leaves it out.
    assert_eq!(said(&found), (ReferralAction::MsAck, prefix("2001:db8:a::/57"), 1440, true, false, own));
    assert!(found.locators.iter().all(|locator| locator.local));
    let Output::Send { remote, bytes, .. } = &outputs[0] else { panic!("{outputs:?}") };
    assert_eq!(*remote, address("203.0.113.1:4342"));
    assert!(matches!(ControlMessage::decode(bytes), Ok(ControlMessage::Ecm(ecm)) if !ecm.ddt));
    assert_eq!(inside(bytes).nonce.0, 7);
    assert_eq!(outputs.len(), 2);
}

#[test]
fn for_a_site_that_is_answered_for_the_itr_gets_a_map_reply_and_the_client_an_ack() {
    let outputs = asks(&mut registered(true), host("2001:db8:a::1"));
    assert_eq!(referral(&outputs).1.action, ReferralAction::MsAck);
    let replies: Vec<_> = sent(&outputs)
        .into_iter()
        .filter_map(|(to, message)| matches!(message, ControlMessage::MapReply(_)).then_some(to))
        .collect();
    assert_eq!(replies, [address(ITR)]);
}

#[test]
fn a_more_specific_delegation_inside_a_site_has_the_say() {
    let (_, found) = referral(&asks(&mut registered(true), host("2001:db8:a:ff::1")));
    assert_eq!(found.action, ReferralAction::MsReferral);
    assert_eq!(found.eid.ip_prefix(), Some(prefix("2001:db8:a:ff::/64")));
}

#[test]
fn a_configured_site_that_is_silent_is_not_registered_for_a_minute() {
    let (_, found) = referral(&asks(&mut registered(true), host("2001:db8:b::1")));
    let own = strings(&["192.0.2.53", "2001:db8:53::53"]);
    assert_eq!(said(&found), (ReferralAction::MsNotRegistered, prefix("2001:db8:b::/48"), 1, true, false, own));
}

#[test]
fn a_site_that_may_register_anew_after_a_start_is_acknowledged_and_the_itr_told_to_ask_again() {
    let mut bench = registered(true);
    let message = register(2, vec![record(prefix("2001:db8:b::/48"), &["203.0.113.1"])]);
    let outputs = bench.datagram("203.0.113.1:4342", &seal(message, &key(1, Algorithm::HmacSha256, "secret")));
    let rows = outputs.into_iter().filter_map(|output| match output {
        Output::Persist(Mark::Registration(_, row)) => Some((Box::default(), row)),
        _ => None,
    });
    let memory = Memory { registrations: rows.collect(), away: Duration::from_secs(600), ..Memory::default() };
    let mut bench = Bench::with(map_server("2001:db8::/32", &["2001:db8:b::/48"]), memory);
    let outputs = asks(&mut bench, host("2001:db8:b::1"));
    let (_, found) = referral(&outputs);
    assert_eq!((found.action, found.eid.ip_prefix()), (ReferralAction::MsAck, Some(host("2001:db8:b::1"))));
    let replies = sent(&outputs).into_iter().filter_map(|(to, message)| match message {
        ControlMessage::MapReply(reply) => Some((to, reply.records[0].action)),
        _ => None,
    });
    assert_eq!(replies.collect::<Vec<_>>(), [(address(ITR), Action::SendMapRequest)]);
}

#[test]
fn without_the_peers_configured_a_map_server_is_incomplete_and_with_them_names_them() {
    let own = registered(true);
    drop(own);
    for (peers, is_complete) in [(vec![], false), (vec!["192.0.2.54"], true)] {
        let config = map_server("2001:db8::/32", &["2001:db8:b::/48"]);
        let peers: Vec<_> = peers.into_iter().map(|text| text.parse().unwrap()).collect();
        let ddt = Ddt { peers: peers.clone(), is_complete, ..config.ddt };
        let mut bench = Bench::new(Config { ddt, ..config });
        let (_, found) = referral(&asks(&mut bench, host("2001:db8:b::1")));
        assert_eq!(found.incomplete, !is_complete);
        assert_eq!(found.locators.len(), 2 + peers.len());
        assert_eq!(found.locators.iter().filter(|locator| locator.local).count(), 2);
    }
}

#[test]
fn a_hole_leaves_out_every_site_and_every_delegation() {
    let (_, found) = referral(&asks(&mut everything(), host("2001:db8:77::1")));
    assert_eq!(said(&found), (ReferralAction::DelegationHole, prefix("2001:db8:40::/42"), 15, true, false, vec![]));
}

#[test]
fn several_eids_at_once_and_requests_through_the_pipe_get_no_referral() {
    let mut bench = everything();
    let two = request(1, &[host("2001:db8:103::1"), host("2001:db8:104::1")], &[RLOC]);
    assert_eq!(bench.datagram(CLIENT, &ddt(&two)), []);
    assert_eq!(bench.pipe(&ddt(&request(2, &[host("2001:db8:103::1")], &[RLOC]))), []);
    assert_eq!(bench.only_refused(Refusal::ReferralNotServed), 2);
}

#[test]
fn one_xeid_is_referred_four_times_in_three_seconds_and_never_more_than_three_times_what_came() {
    let mut bench = everything();
    let asked = ddt(&request(7, &[host("2001:db8:501::1")], &[RLOC]));
    let answers: Vec<usize> = (0..20).map(|_| bench.datagram(CLIENT, &asked).len()).collect();
    assert_eq!(answers.iter().sum::<usize>(), 4);
    assert_eq!(bench.engine.tally().get(Refusal::ReplyRate), 16);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.datagram(CLIENT, &asked).len(), 1);
}

/// The bound on delegated servers is chosen for this: the largest referral against the shortest request.
#[test]
fn the_largest_set_fits_three_times_the_shortest_request() {
    let servers: Vec<Server> = (0..6)
        .map(|n| Server { address: format!("2001:db8:53::{n}").parse().unwrap(), priority: 1, weight: 1, keys: vec![] })
        .collect();
    for (text, eid) in [("10.0.0.0/8", "10.1.1.1"), ("2001:db8::/32", "2001:db8::1")] {
        let delegations = vec![Delegation { prefix: prefix(text), kind: Kind::Node, servers: servers.clone() }];
        let mut bench = Bench::new(Config { ddt: Ddt { delegations, ..Ddt::default() }, ..config(vec![]) });
        let asked = ddt(&request(1, &[host(eid)], &[RLOC]));
        let outputs = bench.datagram(CLIENT, &asked);
        assert_eq!(referral(&outputs).1.locators.len(), 6, "{text}");
    }
}

#[test]
fn the_flood_of_a_spoofed_sender_brings_it_at_most_three_times_what_came_in_its_name() {
    let mut bench = everything();
    let (mut came, mut went) = (0, 0);
    for n in 0..2000u64 {
        let asked = ddt(&request(n, &[host(&format!("2001:db8:5{:02x}::{n:x}", n % 256))], &[RLOC]));
        came += asked.len();
        went += bench
            .datagram("203.0.113.66:4342", &asked)
            .iter()
            .map(|output| if let Output::Send { bytes, .. } = output { bytes.len() } else { 0 })
            .sum::<usize>();
    }
    assert!(went > 0 && went <= 3 * came, "{went} of {came}");
}

#[test]
fn contradictions_of_the_configuration_are_named() {
    let refused = |delegations: Vec<Delegation>| {
        let own = map_server("2001:db8::/32", &["2001:db8:a::/48"]);
        let config = Config { ddt: Ddt { delegations, ..own.ddt }, ..own };
        let now = Bench::new(self::config(vec![])).now;
        match Engine::new(now, config, Memory::default()) {
            Err(ConfigError::Ddt(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let twice = vec![delegation("10.0.0.0/8", Kind::Node, &[ROOT]), delegation("10.0.0.0/8", Kind::Node, &[MS1])];
    assert_eq!(refused(twice), DdtError::DelegatedTwice(prefix("10.0.0.0/8")));
    let site = vec![delegation("2001:db8:a::/48", Kind::Node, &[ROOT])];
    assert_eq!(refused(site), DdtError::DelegatedSite(prefix("2001:db8:a::/48")));
    let none = vec![delegation("10.0.0.0/8", Kind::Node, &[])];
    assert_eq!(refused(none), DdtError::Servers { prefix: prefix("10.0.0.0/8"), count: 0 });
    let nowhere = vec![delegation("10.0.0.0/8", Kind::Node, &["0.0.0.0"])];
    assert!(matches!(refused(nowhere), DdtError::Address { .. }));
}

#[test]
fn a_referral_that_nobody_asked_for_is_counted() {
    let mut bench = everything();
    let stray: MapReferral = answer(wire::control::Nonce(5), ReferralAction::MsAck, "10.0.0.0/8", 1440, &[ROOT]);
    assert_eq!(bench.datagram(CLIENT, &stray.encode().unwrap()), []);
    assert_eq!(bench.only_refused(Refusal::ReferralUnasked), 1);
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    let outputs = asks(&mut everything(), host("2001:db8:103::1"));
    let [Output::Send { local, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(*local, SERVER.parse::<SocketAddr>().unwrap());
    assert_eq!(referral(&outputs).1.ttl, Ttl(1440));
}

#[test]
fn what_a_map_server_says_is_no_wider_than_what_was_delegated_to_it() {
    let config = map_server("2001:db8:a::/49", &["2001:db8:a::/48"]);
    let mut bench = Bench::new(config);
    let (_, found) = referral(&asks(&mut bench, host("2001:db8:a::1")));
    let silent = (found.action, found.eid.ip_prefix());
    assert_eq!(silent, (ReferralAction::MsNotRegistered, Some(prefix("2001:db8:a::/49"))));
    let message =
        MapRegister { want_notify: false, ..register(1, vec![record(prefix("2001:db8:a::/48"), &["203.0.113.1"])]) };
    bench.datagram("203.0.113.1:4342", &seal(message, &key(1, Algorithm::HmacSha256, "secret")));
    let (_, found) = referral(&asks(&mut bench, host("2001:db8:a::1")));
    assert_eq!((found.action, found.eid.ip_prefix()), (ReferralAction::MsAck, Some(prefix("2001:db8:a::/49"))));
}

#[test]
fn a_subscription_through_the_tree_is_acknowledged_and_so_is_its_repetition() {
    let xtr = XtrIdentity { xtr_id: [7; 16], site_id: 9 };
    let xtr_key = key(5, Algorithm::HkdfSha256, "of the xTR");
    let rlocs = vec!["198.51.100.9/32".parse().unwrap()];
    let subscriber = Subscriber {
        name: "x".into(),
        xtr,
        key: Some(xtr_key),
        lisp_sec: None,
        rlocs,
        eids: vec![],
        port: NotifyPort::Control,
        configured: vec![],
    };
    let pubsub = Policy { resolvers: vec!["203.0.113.53/32".parse().unwrap()], ..Policy::default() };
    let own = map_server("2001:db8::/32", &["2001:db8:a::/48"]);
    let mut bench = Bench::new(Config { subscribers: vec![subscriber], pubsub, ..own });
    let message =
        MapRegister { want_notify: false, ..register(1, vec![record(prefix("2001:db8:a::/48"), &["203.0.113.1"])]) };
    bench.datagram("203.0.113.1:4342", &seal(message, &key(1, Algorithm::HmacSha256, "secret")));
    let mut asked = MapRequest { xtr_identity: Some(xtr), ..request(7, &[host("2001:db8:a::1")], &[RLOC]) };
    asked.records[0].notify = true;
    for notifies in [1, 0] {
        let outputs = bench.datagram(CLIENT, &ddt(&asked));
        let (to, found) = referral(&outputs);
        assert_eq!((to, found.action), (address(CLIENT), ReferralAction::MsAck));
        let told = sent(&outputs).into_iter().filter(|(_, message)| matches!(message, ControlMessage::MapNotify(_)));
        assert_eq!(told.count(), notifies);
    }
    assert_eq!(bench.only_refused(Refusal::SubscribeReplayed), 1);
}
