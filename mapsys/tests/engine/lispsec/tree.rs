// SPDX-License-Identifier: GPL-2.0-or-later
//! Where a search in the tree takes the one-time key, and where not (RFC 9303, section 6.6).

use std::net::SocketAddr;
use std::time::Duration;

use mapsys::engine::{Config, Output};
use mapsys::limits::LOG_PAUSE;
use mapsys::refusal::Refusal;
use mapsys::register::site::{LispSec, Site};
use mapsys::resolve::lispsec::{Association, SecKey};
use wire::control::auth::Secret;
use wire::control::lispsec::*;
use wire::control::{ControlMessage, Ecm, MapReferral, Referral, ReferralAction};
use wire::record::{Action, LocatorRecord, Ttl};

use super::stage::*;
use crate::common::*;

/// A Map-Resolver that searches in the tree, and has this key with the Map-Server there, or none.
fn searcher(with_map_server: Option<&str>) -> Bench {
    let shared = with_map_server.map(|secret| Association {
        name: "of the tree".into(),
        peers: vec!["203.0.113.50/32".parse().unwrap()],
        keys: vec![SecKey { id: 9, secret: Secret::new(secret) }],
        protected_path: false,
    });
    let lisp_sec = associations().into_iter().chain(shared).collect();
    let ddt = mapsys::ddt::Config { roots: vec![address("198.51.100.53:4342")], ..Default::default() };
    Bench::new(Config { lisp_sec, ddt, ..config(vec![]) })
}

/// Asks for an EID, and refers from the root to the Map-Server; what the resolver does then.
fn referred(resolver: &mut Bench) -> (SocketAddr, Vec<u8>) {
    referred_to(resolver, &["203.0.113.50"])
}

fn referred_to(resolver: &mut Bench, servers: &[&str]) -> (SocketAddr, Vec<u8>) {
    let (to, probe) = only(&resolver.datagram(ITR, &asks(5, "2001:db8:a::2")));
    assert_eq!(to, address("198.51.100.53:4342"));
    leads_on(resolver, &to.to_string(), &probe, ReferralAction::MsReferral, SITE, servers)
}

/// Who was asked without any key refers to these; what the resolver does then.
fn leads_on(
    resolver: &mut Bench,
    from: &str,
    probe: &[u8],
    action: ReferralAction,
    within: &str,
    servers: &[&str],
) -> (SocketAddr, Vec<u8>) {
    let probe = Ecm::decode(probe).unwrap();
    assert_eq!(probe.security, None, "no node of the tree gets a key");
    let ControlMessage::MapRequest(request) = ControlMessage::decode(&probe.message).unwrap() else { panic!() };
    let referral = Referral {
        ttl: Ttl(1440),
        action,
        authoritative: true,
        incomplete: false,
        map_version: Default::default(),
        eid: prefix(within).into(),
        // The first is asked first.
        locators: servers
            .iter()
            .zip(1..)
            .map(|(server, priority)| LocatorRecord { priority, ..locator(server) })
            .collect(),
        signatures: vec![],
    };
    let message = MapReferral { nonce: request.nonce, records: vec![referral] };
    only(&resolver.datagram(from, &message.encode().unwrap()))
}

#[test]
fn a_node_of_the_tree_gets_no_key() {
    let mut resolver = searcher(Some("resolver and map-server"));
    let (root, probe) = only(&resolver.datagram(ITR, &asks(5, "2001:db8:a::2")));
    // The node is one that a key could be hidden for.
    let (node, probe) = leads_on(
        &mut resolver,
        &root.to_string(),
        &probe,
        ReferralAction::NodeReferral,
        "2001:db8::/32",
        &["203.0.113.50"],
    );
    assert_eq!((node, Ecm::decode(&probe).unwrap().security), (address("203.0.113.50:4342"), None));
    let (server, request) =
        leads_on(&mut resolver, &node.to_string(), &probe, ReferralAction::MsReferral, SITE, &["203.0.113.50"]);
    assert_eq!(server, node);
    assert!(Ecm::decode(&request).unwrap().security.is_some(), "as a Map-Server it gets one");
}

#[test]
fn through_the_tree_the_key_goes_to_the_map_server_that_it_can_be_hidden_for() {
    let (to, bytes) = referred(&mut searcher(Some("resolver and map-server")));
    assert_eq!(to, address("203.0.113.50:4342"));
    the_itr_proves_what_comes_of(&bytes);
}

#[test]
fn a_map_server_that_acknowledges_before_it_had_the_key_is_asked_again_with_it() {
    let mut resolver = searcher(Some("resolver and map-server"));
    let (root, probe) = only(&resolver.datagram(ITR, &asks(5, "2001:db8:a::2")));
    let (server, root) = ("203.0.113.50", root.to_string());
    let (asked, probe) =
        leads_on(&mut resolver, &root, &probe, ReferralAction::NodeReferral, "2001:db8::/32", &[server]);
    assert_eq!(asked, address("203.0.113.50:4342"));
    let (again, bytes) =
        leads_on(&mut resolver, &asked.to_string(), &probe, ReferralAction::MsAck, SITE, &["198.51.100.1"]);
    assert_eq!(again, asked);
    the_itr_proves_what_comes_of(&bytes);
}

/// The Map-Server of the tree, which has the key too, answers what the resolver sent it.
fn the_itr_proves_what_comes_of(bytes: &[u8]) {
    let peers = vec!["192.0.2.53/32".parse().unwrap()];
    let keys = vec![SecKey { id: 9, secret: Secret::new("resolver and map-server") }];
    let shared = Association { name: "resolver".into(), peers, keys, protected_path: false };
    let mut server = Bench::new(Config { lisp_sec: vec![shared], ..config(vec![site_a()]) });
    registers(&mut server, 1, "198.51.100.1", true, true);
    let outputs = server.datagram(SERVER, bytes);
    let replies = outputs.iter().filter_map(|output| match output {
        Output::Send { bytes, .. } if bytes[0] >> 4 == 2 => Some(bytes),
        _ => None,
    });
    let verified: Vec<_> = replies.map(|bytes| verify_reply(bytes, &otk(5), ASKED).unwrap()).collect();
    assert_eq!(verified.iter().map(eids).collect::<Vec<_>>(), [[prefix(SITE)]]);
}

#[test]
fn where_the_key_could_be_read_on_the_way_the_itr_hears_so_protected() {
    let mut resolver = searcher(None);
    let (to, bytes) = referred(&mut resolver);
    assert_eq!(to.ip(), address(ITR).ip());
    let verified = verify_reply(&bytes, &otk(5), ASKED).unwrap();
    assert!(verified.cant_sign, "asking without might do");
    assert_eq!(verified.reply.records[0].action, Action::DropNoReason);
    assert_eq!(resolver.only_refused(Refusal::SecNoPath), 1);
}

#[test]
fn that_a_key_goes_to_no_map_server_is_logged_at_a_pace_that_fills_no_log() {
    let mut resolver = searcher(None);
    let asks_for = |resolver: &mut Bench, nonce: u64| {
        let (to, _) = only(&resolver.datagram(ITR, &asks(nonce, "2001:db8:a::2")));
        assert_eq!(to.ip(), address(ITR).ip());
    };
    let begun = withheld(|| {
        referred(&mut resolver);
        asks_for(&mut resolver, 6);
    });
    resolver.pass(LOG_PAUSE);
    let again = withheld(|| (7..9).for_each(|nonce| asks_for(&mut resolver, nonce)));
    for lines in [begun, again] {
        assert!(matches!(lines.as_slice(), [line] if line.contains("2001:db8:a:")), "{lines:?}");
    }
}

#[test]
fn of_several_map_servers_one_that_the_key_can_be_hidden_for_is_asked() {
    let mut resolver = searcher(Some("resolver and map-server"));
    let (to, _) = referred_to(&mut resolver, &["203.0.113.49", "203.0.113.50"]);
    assert_eq!(to, address("203.0.113.50:4342"), "and the ITR hears nothing yet");
    assert_eq!(resolver.engine.tally().total(), 0);
}

#[test]
fn where_the_key_can_be_hidden_for_no_map_server_the_itr_hears_so_once() {
    let mut resolver = searcher(None);
    let (to, _) = referred_to(&mut resolver, &["203.0.113.49", "203.0.113.50"]);
    assert_eq!(to.ip(), address(ITR).ip());
    assert_eq!(resolver.pass(Duration::from_secs(60)), []);
    assert_eq!(resolver.engine.ddt().searches, 0);
    assert_eq!(resolver.only_refused(Refusal::SecNoPath), 1);
}

#[test]
fn through_the_tree_a_site_that_requires_lisp_sec_is_found_and_not_answered_for_without() {
    for proxy in [true, false] {
        let mut bench = bench_of(vec![Site { lisp_sec: LispSec::Required, ..site_a() }]);
        registers(&mut bench, 1, "198.51.100.1", proxy, true);
        let mut probe = ecm(&request(5, &[host("2001:db8:a::2")], &[RLOC]));
        probe[0] |= 0x04;
        let (to, bytes) = only(&bench.datagram(ITR, &probe));
        assert_eq!(to, address(ITR));
        let ControlMessage::MapReferral(referral) = ControlMessage::decode(&bytes).unwrap() else {
            panic!("{bytes:?}")
        };
        assert_eq!(referral.records[0].action, ReferralAction::MsAck);
        assert_eq!(bench.only_refused(Refusal::SecRequired), 1);
    }
}
