// SPDX-License-Identifier: GPL-2.0-or-later
//! What our xTR sends must be such that every deployed Map-Server takes it: each of them drops, forgets or dies on something that
//! RFC 9301 allows. And what it takes from them must not lead it astray.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod double;

use double::{Node, prefix, reply_to, secs};
use wire::address::Address;
use wire::control::auth::{Algorithm, TagForm};
use wire::control::{ControlMessage, Ecm, XtrIdentity};
use xtr::map_cache::Update;
use xtr::refusal::Refusal;
use xtr::transport::MapSystem;

#[test]
fn one_map_register_has_all_prefixes_since_a_peer_forgets_those_that_it_does_not_name() {
    let mut node = Node::registering(Algorithm::HmacSha1, TagForm::Untruncated);
    let (_, register) = node.register();
    let mut told: Vec<_> = register.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
    told.sort_unstable();
    assert_eq!(told, [prefix("10.1.0.0/16"), prefix("2001:db8:a::/48")]);
}

#[test]
fn a_map_register_has_plain_addresses_only_since_a_peer_drops_a_message_with_any_other_locator() {
    let mut node = Node::registering(Algorithm::HmacSha1, TagForm::Untruncated);
    let (_, register) = node.register();
    for record in &register.records {
        assert!(matches!(record.eid.address, Address::V4(_) | Address::V6(_)), "{record:?}");
        assert!(record.locators.iter().all(|locator| locator.rloc.ip().is_some()), "{record:?}");
    }
}

#[test]
fn the_tag_is_as_long_as_the_peer_makes_its_own() {
    for (form, length) in [(TagForm::Untruncated, 20), (TagForm::Truncated, 12)] {
        let (_, register) = Node::registering(Algorithm::HmacSha1, form).register();
        assert_eq!(register.auth.tag.len(), length);
    }
}

#[test]
fn a_registration_is_refreshed_within_a_minute_and_with_a_nonce_of_its_own_each_time() {
    let mut node = Node::registering(Algorithm::HmacSha1, TagForm::Untruncated);
    let (_, first) = node.register();
    node.notify(&first, |notify| notify);
    node.advance(secs(61));
    let (_, second) = node.registers().remove(0);
    assert!(second.nonce > first.nonce, "{:?}, then {:?}", first.nonce, second.nonce);
}

#[test]
fn a_question_has_one_record_and_exactly_the_itr_rlocs_that_it_counts_with_ipv4_first() {
    let resolver = MapSystem::Node("203.0.113.53".parse().unwrap());
    let mut node = Node::new(&["2001:db8:a::/48"], &["2001:db8:c1::1", "192.0.2.1"], vec![], vec![resolver]);
    let (_, request) = node.miss("2001:db8:b::2/128");
    assert_eq!(request.records.len(), 1);
    assert!(matches!(request.records[0].eid.address, Address::V6(_)), "no Instance-ID where it is 0");
    let itr_rlocs: Vec<_> = request.itr_rlocs.iter().map(|rloc| rloc.ip().unwrap().to_string()).collect();
    assert_eq!(itr_rlocs, ["192.0.2.1", "2001:db8:c1::1"]);
}

#[test]
fn a_question_is_encapsulated_without_lisp_sec_and_answered_at_the_port_that_we_listen_on() {
    let mut node = Node::plain();
    node.event(xtr::map_cache::Event::Miss {
        eid: prefix("2001:db8:b::2/128"),
        source: "2001:db8:a::2".parse().unwrap(),
    });
    let (_, _, bytes) = node.sent.remove(0);
    let ecm = Ecm::decode(&bytes).unwrap();
    assert_eq!((ecm.security, ecm.ddt, ecm.source.port()), (None, false, 4342));
    assert!(matches!(ControlMessage::decode(&ecm.message), Ok(ControlMessage::MapRequest(_))));
}

#[test]
fn a_record_that_was_not_asked_for_is_not_installed_beside_one_that_was() {
    let mut node = Node::plain();
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[("2001:db8:b::/48", 10), ("2001:beef::/32", 10)]));
    let installed: Vec<_> = node
        .updates()
        .into_iter()
        .filter_map(|update| match update {
            Update::Upsert { prefix, .. } => Some(prefix),
            _ => None,
        })
        .collect();
    assert_eq!(installed, [prefix("2001:db8:b::/48")]);
    assert_eq!(node.refused(Refusal::RecordOutsideAnswer), 1);
}

#[test]
fn no_locator_of_a_map_register_or_of_a_question_has_the_p_bit() {
    let mut node = Node::registering(Algorithm::HmacSha1, TagForm::Untruncated);
    let (_, register) = node.register();
    let mut locators = register.records.iter().flat_map(|record| &record.locators);
    assert!(locators.clone().count() > 0 && locators.all(|locator| !locator.probed), "{register:?}");
    let (_, request) = Node::plain().miss("2001:db8:b::2/128");
    assert_eq!(request.map_reply_record, None, "no record goes with a question");
}

/// RFC 9301, section 5.6: what is configured with an xTR-ID and a Site-ID says so.
#[test]
fn an_xtr_with_an_identity_says_so_in_its_map_registers() {
    let identity = XtrIdentity { xtr_id: [7; 16], site_id: 9 };
    for identity in [Some(identity), None] {
        let prefixes = ["2001:db8:a::/48"];
        let server = double::server(Algorithm::HkdfSha256, TagForm::Truncated, &prefixes);
        let server = xtr::register::Server { identity, ..server };
        let mut node = Node::new(&prefixes, &[double::RLOC], vec![server], vec![]);
        let (_, register) = node.register();
        assert_eq!(register.xtr_identity, identity);
    }
}
