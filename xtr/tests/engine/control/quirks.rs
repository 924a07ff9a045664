// SPDX-License-Identifier: GPL-2.0-or-later
//! What our xTR sends must be such that every deployed Map-Server takes it: each of them drops, forgets or dies on something that
//! RFC 9301 allows. And what it takes from them must not lead it astray.
//!
//! `conformance/findings.toml` says of each thing that they do otherwise which tests show what our programs make of it. What they do
//! alike, and is no departure, has these:
//!
//! | what they do | tests |
//! |---|---|
//! | a Map-Reply goes to the inner source port of the ECM | `a_question_is_encapsulated_...` here; `mapsys/tests/engine/captures.rs`: `a_proxied_reply_is_...` |
//! | a Map-Request outside of an ECM is dropped | the same here; `mapsys/tests/engine/captures.rs`: `a_bare_map_request_is_dropped` |
//! | a Map-Request with source-EID AFI 0 is answered | `mapsys/tests/engine/quirks.rs`: `a_source_eid_without_address_is_...` |
//! | an ECM is forwarded from another port than 4342, or with D | `captures.rs`: `forwarded_requests_are_answered_...` |
//! | Map-Registers two or three seconds apart until a Map-Notify comes | `captures.rs`: `our_xtr_goes_on_after_forged_notifies_...` |
//! | xTR-ID and Site-ID are echoed behind the records | `captures.rs`: `the_map_notifies_of_both_servers_...` |
//! | a Map-Notify comes under Key ID 0 whatever was sent | `a_peer_that_answers_under_key_id_0_...` here |
//! | SMRs, and Map-Requests that they invoke | `captures.rs`: `an_smr_leads_to_...` |
//! | data with an empty LISP header, both ports 4341 | `data_plane.rs`: `data_of_openoverlayrouter_...` |
//! | probes every half minute, answered with p at one locator | `captures.rs`: `probes_are_answered_...`, `the_answers_of_the_peers_etr_...` |

use std::net::IpAddr;

use crate::double::{Node, SERVER, key, prefix, reply_to, secs};
use wire::address::{Address, EidPrefix};
use wire::control::auth::{self, Accept, Algorithm, AlgorithmId, AuthKey, Authentication, Secret, TagForm};
use wire::control::{ControlMessage, Ecm, MapNotify, MapRegister, MapRequest, Nonce, XtrIdentity};
use wire::record::MappingRecord;
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
        let server = crate::double::server(Algorithm::HkdfSha256, TagForm::Truncated, &prefixes);
        let server = xtr::register::Server { identity, ..server };
        let mut node = Node::new(&prefixes, &[crate::double::RLOC], vec![server], vec![]);
        let (_, register) = node.register();
        assert_eq!(register.xtr_identity, identity);
    }
}

// --- what a Map-Notify proves

/// Where somebody would like our packets to go.
const ELSEWHERE: &str = "203.0.113.66";

fn is_confirmed(node: &Node) -> bool {
    node.control.registrations(node.now).all(|row| row.confirmed_ago.is_some())
}

/// The same EID-prefixes behind others.
fn behind_others(mut notify: MapNotify) -> MapNotify {
    let locators = notify.records.iter_mut().flat_map(|record| &mut record.locators);
    locators.for_each(|locator| locator.rloc = ELSEWHERE.parse::<IpAddr>().unwrap().into());
    notify
}

/// What `show registrations` says of the last answer, if that confirmed nothing.
fn last_refused(node: &Node) -> Option<(Refusal, Option<EidPrefix>)> {
    let row = node.control.registrations(node.now).next().unwrap();
    row.last_refused.map(|last| (last.refusal, last.prefix))
}

fn foreign(eid: &str) -> MappingRecord {
    reply_to(&MapRequest::default(), &[(eid, 1440)]).records.remove(0)
}

/// lispers.net signs with the key of the site what somebody has sent in its name, though it has refused it. A nonce is not hard to guess.
#[test]
fn a_signed_map_notify_under_our_nonce_confirms_what_was_registered_and_nothing_else() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Untruncated);
    let (_, register) = node.register();
    node.notify(&register, behind_others);
    let nowhere = |record: MappingRecord| MappingRecord { locators: vec![], ..record };
    node.notify(&register, |notify| MapNotify { records: notify.records.into_iter().map(nowhere).collect(), ..notify });
    node.notify(&register, |notify| MapNotify { records: vec![foreign("2001:db8:66::/48")], ..notify });
    assert_eq!((node.refused(Refusal::NotifyIncomplete), is_confirmed(&node)), (3, false));
    assert_eq!(last_refused(&node), Some((Refusal::NotifyIncomplete, Some(prefix("2001:db8:a::/48")))));
    node.advance(secs(1));
    assert_eq!(node.registers().len(), 1, "it goes on");
    assert_eq!((node.updates(), node.smrs.len()), (vec![], 0));
}

#[test]
fn the_first_eid_prefix_that_an_answer_lacks_is_shown_until_another_one_confirms_it() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Untruncated);
    let (_, register) = node.register();
    assert_eq!(last_refused(&node), None);
    let wrong = AuthKey { secret: Secret::new("wrongkey"), ..key(Algorithm::HmacSha256) };
    node.notify_with(&register, &wrong, |notify| notify);
    assert_eq!(last_refused(&node), Some((Refusal::NotifyBadTag, None)));
    node.notify(&register, |mut notify| {
        notify.records.retain(|record| record.eid.ip_prefix() != Some(prefix("10.1.0.0/16")));
        notify
    });
    assert_eq!(last_refused(&node), Some((Refusal::NotifyIncomplete, Some(prefix("10.1.0.0/16")))));
    node.notify(&register, |notify| notify);
    assert_eq!((last_refused(&node), is_confirmed(&node)), (None, true));
}

/// A Map-Server that merges what several xTRs register tells the locators of the others too (RFC 9301, section 5.6, a).
#[test]
fn locators_of_others_beside_ours_and_foreign_eids_beside_ours_change_nothing_and_it_counts_once() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Untruncated);
    let (_, register) = node.register();
    let merged = |mut notify: MapNotify| {
        let others = behind_others(notify.clone()).records;
        notify.records.iter_mut().zip(others).for_each(|(record, other)| record.locators.extend(other.locators));
        notify.records.push(foreign("2001:db8:66::/48"));
        notify
    };
    node.notify(&register, merged);
    assert!(is_confirmed(&node));
    let told: Vec<_> = node.control.registrations(node.now).flat_map(|row| row.prefixes).collect();
    assert_eq!(told, ["2001:db8:a::/48", "10.1.0.0/16"].map(prefix));
    assert_eq!((node.updates(), node.smrs.len(), node.sent.len()), (vec![], 0, 0));
    node.notify(&register, merged);
    assert_eq!(node.refused(Refusal::NotifyUnasked), 1, "once");
    node.advance(secs(59));
    assert!(node.registers().is_empty());
}

#[test]
fn a_signed_map_notify_under_another_nonce_confirms_nothing() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Untruncated);
    let (_, register) = node.register();
    for nonce in [register.nonce.0 - 1, register.nonce.0 + 1, 1 << 40, u64::MAX] {
        node.notify(&register, |notify| MapNotify { nonce: Nonce(nonce), ..notify });
        let elsewhere = vec![foreign("2001:db8:66::/48")];
        node.notify(&register, |notify| MapNotify { nonce: Nonce(nonce), records: elsewhere.clone(), ..notify });
    }
    node.notify(&register, |notify| MapNotify { nonce: Nonce(0), ..notify });
    assert_eq!((is_confirmed(&node), node.updates(), node.smrs.len()), (false, vec![], 0));
    assert_eq!(node.refused(Refusal::NotifyUnasked), 1);
    node.sent.clear();
    node.advance(secs(1));
    assert_eq!(node.registers().len(), 1, "it goes on");
}

#[test]
fn a_withdrawal_is_confirmed_when_our_locators_are_gone_whoever_else_has_it() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Untruncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    node.input(xtr::engine::Input::Shutdown);
    let (_, withdrawal) = node.register();
    let still_here = MapRegister { nonce: withdrawal.nonce, ..register.clone() };
    node.notify(&still_here, |notify| notify);
    assert_eq!((node.refused(Refusal::NotifyIncomplete), node.control.is_withdrawn()), (1, false));
    node.notify(&still_here, behind_others);
    assert!(node.control.is_withdrawn());
}

/// lispers.net confirms subscriptions like this.
#[test]
fn a_map_notify_under_algorithm_0_confirms_no_registration() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Untruncated);
    let (_, register) = node.register();
    let auth = Authentication { key_id: 0, algorithm: AlgorithmId(0), tag: vec![] };
    let notify = |nonce| MapNotify { nonce, auth: auth.clone(), records: register.records.clone(), xtr_identity: None };
    node.datagram(&format!("{SERVER}:4342"), &notify(register.nonce).into());
    node.datagram(&format!("{SERVER}:4342"), &notify(Nonce(1 << 40)).into());
    assert_eq!((node.refused(Refusal::NotifyBadTag), node.refused(Refusal::NotifyUnasked)), (1, 1));
    assert!(!is_confirmed(&node) && node.sent.is_empty());
}

/// `OpenLISP` answers under Key ID 0 and HMAC-SHA-1, and echoes xTR-ID and Site-ID behind the records.
#[test]
fn a_peer_that_answers_under_key_id_0_whatever_it_was_asked_under_confirms_where_that_is_configured() {
    for (key_id, is_taken) in [(0, true), (1, false)] {
        let prefixes = ["2001:db8:a::/48"];
        let server = crate::double::server(Algorithm::HmacSha1, TagForm::Untruncated, &prefixes);
        let identity = Some(XtrIdentity { xtr_id: [7; 16], site_id: 9 });
        let under = |id| AuthKey { id, ..key(Algorithm::HmacSha1) };
        let server = xtr::register::Server { key: under(key_id), identity, ..server };
        let mut node = Node::new(&prefixes, &[crate::double::RLOC], vec![server], vec![]);
        let (_, register) = node.register();
        let MapRegister { nonce, records, xtr_identity, .. } = register;
        let notify = MapNotify { nonce, records, xtr_identity, ..MapNotify::default() };
        let bytes = auth::seal(&notify.into(), &under(0), TagForm::Untruncated).unwrap();
        assert_eq!((&bytes[..4], &bytes[12..16]), (&[0x48, 0, 0, 1][..], &[0, 1, 0, 20][..]), "as recorded of it");
        node.bytes(&format!("{SERVER}:4342"), &bytes);
        assert_eq!((is_confirmed(&node), node.refused(Refusal::NotifyBadTag)), (is_taken, u64::from(!is_taken)));
    }
}

/// lispers.net encrypts Map-Registers from the fifth octet on, with the same initialization vector each time, and says so by bits that
/// RFC 9301 has reserved: e, and behind it three of the number of a key.
#[test]
fn no_map_register_is_encrypted() {
    for (algorithm, form) in
        [(Algorithm::HmacSha1, TagForm::Untruncated), (Algorithm::HmacSha256, TagForm::Untruncated)]
    {
        let (bytes, register) = Node::registering(algorithm, form).register();
        let word = u32::from_be_bytes(*bytes.first_chunk().unwrap());
        assert_eq!(word & 0x0001_e000, 0, "{word:x}");
        let accept = Accept { untruncated: true, narrow_coverage: false };
        assert_eq!(auth::verify(&bytes, &key(algorithm), accept), Ok(()), "it is read as it was sent");
        assert_eq!(register.records.len(), 2);
    }
}
