// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions whose security association LISP-SEC makes (RFC 9437, section 7.1).

use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret, TagForm};
use wire::control::lispsec::{HmacAlgorithm, Kdf, OneTimeKey, PubSubKey, WrapId, seal_eid_ad, seal_reply};
use wire::control::{ControlMessage, MapReply, Nonce};
use wire::record::{Action, MappingRecord, Ttl};
use xtr::engine::Input;
use xtr::map_cache::Event;
use xtr::refusal::Refusal;
use xtr::resolve::{Demand, LispSec, Wrapping};
use xtr::subscribe::{self, Association, Security, State, limits};
use xtr::transport::MapSystem;

use super::itr::{Question, SITE, Seal, ask, from_resolver, itr, mappings, protection, questions};
use crate::double::{Node, RESOLVER, WithNegative as _, prefix, reply_to, secs};
use crate::subscribe::node::{self, FIRST, SECOND, config, notify, record, state};

fn association(wrapping: Wrapping) -> Association {
    let (resolver, security) = (MapSystem::Node(RESOLVER.parse().unwrap()), Security::OneTime(wrapping));
    Association { resolver, security, tag: TagForm::Truncated }
}

fn secret() -> Wrapping {
    protection(Demand::Require).resolvers[0].1.clone()
}

/// A node that subscribes with keys of LISP-SEC from here on.
fn subscribing(mut node: Node, wrapping: Wrapping) -> Node {
    let config = subscribe::Config { associations: vec![association(wrapping)], ..config() };
    node.control = node.control.subscribing(node.now, config);
    node
}

/// One, which has the mapping of the site; the Map-Request by which it subscribes to that.
fn asking() -> (Node, Question) {
    let mut node = subscribing(itr(Demand::Require), secret());
    let question = ask(&mut node);
    from_resolver(&mut node, &question.answer(&[SITE], &[(SITE, 1440)]));
    node.updates();
    let wish = wishes(&mut node).remove(0);
    (node, wish)
}

/// The Map-Requests with the N-bit that were sent since; all else that was is dropped.
fn wishes(node: &mut Node) -> Vec<Question> {
    node.sent.retain(|(_, _, bytes)| matches!(ControlMessage::decode(bytes), Ok(ControlMessage::Ecm(_))));
    questions(node).into_iter().filter(|question| question.request.records[0].notify).collect()
}

/// The key that the Map-Server makes of it.
fn key_of(wish: &Question) -> AuthKey {
    PubSubKey::new(&wish.itr_otk(), WrapId::AES_HKDF_SHA256, wish.request.nonce).auth_key()
}

fn tell(node: &mut Node, key: &AuthKey, nonce: u64, records: Vec<MappingRecord>) {
    from_resolver(node, &node::sealed(&notify(nonce, records), key));
}

/// The nonces of the acknowledgements that were sent since, which verify under this key.
fn acknowledged(node: &mut Node, key: &AuthKey) -> Vec<u64> {
    let sent = std::mem::take(&mut node.sent);
    let acks = sent.iter().filter_map(|(_, _, bytes)| match ControlMessage::decode(bytes) {
        Ok(ControlMessage::MapNotifyAck(ack)) => Some((ack.nonce.0, auth::verify(bytes, key, Accept::STRICT))),
        _ => None,
    });
    acks.map(|(nonce, verified)| verified.map(|()| nonce).unwrap()).collect()
}

fn led_to(node: &Node) -> Vec<String> {
    node::led_to(node, "2001:db8:b::2")
}

fn subscribed() -> (Node, Question) {
    let (mut node, wish) = asking();
    tell(&mut node, &key_of(&wish), wish.request.nonce.0, vec![record(SITE, &[FIRST])]);
    assert_eq!(acknowledged(&mut node, &key_of(&wish)), [wish.request.nonce.0]);
    assert_eq!(state(&node), Some(State::Subscribed));
    node.updates();
    (node, wish)
}

#[test]
fn what_is_told_under_the_key_of_the_map_request_is_installed_as_proven() {
    let (mut node, wish) = subscribed();
    let ad = wish.ad.as_ref().unwrap();
    assert_eq!((ad.otk.wrap, wish.request.xtr_identity.is_some()), (WrapId::AES_HKDF_SHA256, true));
    let nonce = wish.request.nonce.0;
    tell(&mut node, &key_of(&wish), nonce + 1, vec![record(SITE, &[SECOND])]);
    assert_eq!(acknowledged(&mut node, &key_of(&wish)), [nonce + 1]);
    assert_eq!((led_to(&node), mappings(&node)), (vec![SECOND.to_owned()], vec![(prefix(SITE), true)]));
    // The very last word again is acknowledged again, an older one is not.
    tell(&mut node, &key_of(&wish), nonce + 1, vec![record(SITE, &[SECOND])]);
    tell(&mut node, &key_of(&wish), nonce, vec![record(SITE, &[FIRST])]);
    assert_eq!((led_to(&node), node.refused(Refusal::NotifyReplayed)), (vec![SECOND.to_owned()], 2));
}

#[test]
fn another_key_proves_nothing() {
    let (mut node, wish) = asking();
    let nonce = wish.request.nonce;
    let other_nonce = PubSubKey::new(&wish.itr_otk(), WrapId::AES_HKDF_SHA256, Nonce(nonce.0 + 1)).auth_key();
    let other_algorithm = AuthKey { algorithm: Algorithm::HmacSha256, ..key_of(&wish) };
    let other_secret = AuthKey { secret: Secret::new("guessed"), ..key_of(&wish) };
    for key in [other_nonce, other_algorithm, other_secret] {
        tell(&mut node, &key, nonce.0, vec![record(SITE, &[SECOND])]);
        assert_eq!((acknowledged(&mut node, &key_of(&wish)), led_to(&node)), (vec![], vec![FIRST.to_owned()]));
    }
    assert_eq!((state(&node), node.control.tally().total()), (Some(State::Asked), 3));
    tell(&mut node, &key_of(&wish), nonce.0, vec![record(SITE, &[SECOND])]);
    assert_eq!((state(&node), led_to(&node)), (Some(State::Subscribed), vec![SECOND.to_owned()]));
}

/// A Map-Resolver between them has a protected path to the Map-Server: there the one-time key is itself the key.
#[test]
fn the_map_server_may_have_got_the_one_time_key_unwrapped() {
    let (mut node, wish) = asking();
    let key = PubSubKey::new(&wish.itr_otk(), WrapId::NULL, wish.request.nonce).auth_key();
    tell(&mut node, &key, wish.request.nonce.0, vec![record(SITE, &[SECOND])]);
    assert_eq!(acknowledged(&mut node, &key), [wish.request.nonce.0]);
    tell(&mut node, &key, wish.request.nonce.0 + 1, vec![record(SITE, &[FIRST])]);
    assert_eq!(
        (acknowledged(&mut node, &key), led_to(&node)),
        (vec![wish.request.nonce.0 + 1], vec![FIRST.to_owned()])
    );
}

#[test]
fn each_map_request_has_a_key_of_its_own_and_the_former_one_holds_until_the_next_is_confirmed() {
    let (mut node, wish) = subscribed();
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let next = wishes(&mut node).remove(0);
    assert_eq!(next.request.nonce.0, wish.request.nonce.0 + 1, "one more than the last (RFC 9437, section 5)");
    assert_ne!(next.itr_otk().expose(), wish.itr_otk().expose());
    tell(&mut node, &key_of(&wish), wish.request.nonce.0 + 2, vec![record(SITE, &[SECOND])]);
    assert_eq!((acknowledged(&mut node, &key_of(&wish)).len(), led_to(&node)), (1, vec![SECOND.to_owned()]));
    tell(&mut node, &key_of(&next), next.request.nonce.0, vec![record(SITE, &[SECOND])]);
    assert_eq!(acknowledged(&mut node, &key_of(&next)), [next.request.nonce.0]);
    tell(&mut node, &key_of(&wish), wish.request.nonce.0 + 9, vec![record(SITE, &[FIRST])]);
    assert_eq!((node.refused(Refusal::NotifyBadTag), led_to(&node)), (1, vec![SECOND.to_owned()]));
    // The nonce that the former one had come to is news of this one.
    tell(&mut node, &key_of(&next), next.request.nonce.0 + 1, vec![record(SITE, &[FIRST])]);
    assert_eq!((acknowledged(&mut node, &key_of(&next)).len(), led_to(&node)), (1, vec![FIRST.to_owned()]));
}

#[test]
fn a_change_inside_two_subscriptions_is_of_the_one_whose_key_has_signed_it() {
    const PART: &str = "2001:db8:b:1::/64";
    let mut node = Node::plain();
    node.control = node.control.secured(protection(Demand::Prefer));
    let config = subscribe::Config { associations: vec![association(secret())], ..config() };
    node.control = node.control.subscribing(node.now, config);
    let mut subscribed = |host: &str, eid: &str| {
        node.sent.clear();
        node.event(Event::Miss { eid: prefix(host), source: "2001:db8:a::2".parse().unwrap() });
        let question = questions(&mut node).remove(0);
        from_resolver(&mut node, &question.answer(&[eid], &[(eid, 1440)]));
        let wish = wishes(&mut node).remove(0);
        tell(&mut node, &key_of(&wish), wish.request.nonce.0, vec![record(eid, &[FIRST])]);
        wish
    };
    // The part first: it would be one subscription otherwise.
    let (part, site) = (subscribed("2001:db8:b:1::2/128", PART), subscribed("2001:db8:b::2/128", SITE));
    node.sent.clear();
    for (by, rloc) in [(&site, SECOND), (&part, FIRST)] {
        let nonce = by.request.nonce.0 + 1;
        tell(&mut node, &key_of(by), nonce, vec![record(PART, &[rloc])]);
        assert_eq!(acknowledged(&mut node, &key_of(by)), [nonce]);
        let led_to = node.control.mapping_for(node.now, prefix(PART).iid, "2001:db8:b:1::2".parse().unwrap());
        let led_to: Vec<String> = led_to.unwrap().1.locators.iter().map(|(rloc, _)| rloc.to_string()).collect();
        assert_eq!(led_to, [rloc]);
    }
}

#[test]
fn a_change_that_overtakes_the_confirmation_begins_the_subscription_too() {
    let (mut node, wish) = asking();
    let nonce = wish.request.nonce.0;
    tell(&mut node, &key_of(&wish), nonce + 1, vec![record(SITE, &[SECOND])]);
    assert_eq!((acknowledged(&mut node, &key_of(&wish)), state(&node)), (vec![nonce + 1], Some(State::Subscribed)));
    assert_eq!(led_to(&node), [SECOND]);
    tell(&mut node, &key_of(&wish), nonce, vec![record(SITE, &[FIRST])]);
    assert_eq!(led_to(&node), [SECOND], "the confirmation is older");
    assert_eq!(node.control.subscription_counts().confirmed, 1);
}

#[test]
fn a_map_reply_in_its_place_counts_only_if_lisp_sec_protects_it() {
    let (mut node, wish) = asking();
    node.reply(&reply_to(&wish.request, &[]).with_negative(SITE, Action::DropPolicyDenied, 1));
    assert_eq!((state(&node), node.refused(Refusal::SecReplyUnprotected)), (Some(State::Asked), 1));
    let denied = |action| {
        let reply = reply_to(&wish.request, &[]).with_negative(SITE, action, 1);
        Seal::default().of(&wish, &[SITE], &reply)
    };
    from_resolver(&mut node, &denied(Action::DropPolicyDenied));
    assert_eq!((state(&node), led_to(&node)), (Some(State::Denied), vec![FIRST.to_owned()]));
    node.advance(secs(200));
    assert!(wishes(&mut node).is_empty());
}

#[test]
fn after_an_authentication_failure_another_key_and_a_higher_nonce_are_tried_soon() {
    let (mut node, wish) = asking();
    let reply = reply_to(&wish.request, &[]).with_negative(SITE, Action::DropAuthFailure, 1);
    from_resolver(&mut node, &Seal::default().of(&wish, &[SITE], &reply));
    assert_eq!((state(&node), led_to(&node)), (Some(State::Denied), vec![FIRST.to_owned()]));
    node.advance(limits::ENDED_PAUSE);
    let next = wishes(&mut node).remove(0);
    assert!(next.request.nonce.0 > wish.request.nonce.0 + 1);
    assert_ne!(next.itr_otk().expose(), wish.itr_otk().expose());
    tell(&mut node, &key_of(&next), next.request.nonce.0, vec![record(SITE, &[SECOND])]);
    assert_eq!(state(&node), Some(State::Subscribed));
}

#[test]
fn when_the_map_server_ends_it_it_is_asked_for_again_with_another_key() {
    let (mut node, wish) = subscribed();
    let farewell = MappingRecord { action: Action::DropAuthFailure, ..record(SITE, &[]) };
    tell(&mut node, &key_of(&wish), wish.request.nonce.0, vec![farewell]);
    assert_eq!(node.control.subscription_counts().ended, 1);
    node.advance(limits::ENDED_PAUSE);
    let next = wishes(&mut node).remove(0);
    assert!(next.request.nonce > wish.request.nonce && next.itr_otk().expose() != wish.itr_otk().expose());
}

#[test]
fn a_subscription_is_given_back_with_a_key_too() {
    let (mut node, wish) = asking();
    let brief = MappingRecord { ttl: Ttl(1), ..record(SITE, &[FIRST]) };
    tell(&mut node, &key_of(&wish), wish.request.nonce.0, vec![brief]);
    let mut given_back = None;
    for _ in 0..20 {
        node.advance(secs(10));
        let leaving = |question: &Question| question.request.itr_rlocs == [wire::address::Address::None];
        given_back = given_back.or_else(|| wishes(&mut node).into_iter().find(leaving));
    }
    let given_back = given_back.unwrap();
    assert!(given_back.ad.is_some());
}

#[test]
fn a_shared_key_that_comes_while_the_node_runs_is_subscribed_under() {
    let (mut node, wish) = subscribed();
    let shared = AuthKey { id: 5, algorithm: Algorithm::HkdfSha256, secret: Secret::new("shared") };
    let resolvers = vec![MapSystem::Node(RESOLVER.parse().unwrap())];
    let security = Security::Shared(shared.clone());
    let subscriptions = vec![Association { security, ..association(secret()) }];
    node.input(Input::MapSystems { servers: vec![], resolvers, subscriptions });
    let next = wishes(&mut node).remove(0);
    assert!(next.ad.is_none() && next.request.nonce > wish.request.nonce);
    tell(&mut node, &shared, next.request.nonce.0, vec![record(SITE, &[FIRST])]);
    assert_eq!((acknowledged(&mut node, &shared), state(&node)), (vec![next.request.nonce.0], Some(State::Subscribed)));
}

#[test]
fn over_a_protected_path_the_one_time_key_is_not_wrapped() {
    let mut node = Node::plain();
    let resolver = MapSystem::Node(RESOLVER.parse().unwrap());
    let resolvers = vec![(resolver, Wrapping::ProtectedPath)];
    node.control = node.control.secured(LispSec { demand: Demand::Require, resolvers });
    let mut node = subscribing(node, Wrapping::ProtectedPath);
    let question = ask(&mut node);
    let otk = question.ad.as_ref().unwrap().otk.open().unwrap();
    from_resolver(&mut node, &sealed(&otk, &reply_to(&question.request, &[(SITE, 1440)])));
    let wish = wishes(&mut node).remove(0);
    let key = PubSubKey::from_octets(*wish.ad.as_ref().unwrap().otk.open().unwrap().expose()).auth_key();
    tell(&mut node, &key, wish.request.nonce.0, vec![record(SITE, &[SECOND])]);
    assert_eq!((acknowledged(&mut node, &key), led_to(&node)), (vec![wish.request.nonce.0], vec![SECOND.to_owned()]));
}

fn sealed(otk: &OneTimeKey, reply: &MapReply) -> Vec<u8> {
    let (kdf, hmac) = (Kdf::HkdfSha256, HmacAlgorithm::Sha256);
    let eid_ad = seal_eid_ad(otk, kdf, hmac, false, vec![prefix(SITE).into()]).unwrap();
    seal_reply(reply, &eid_ad, &otk.derive(kdf), hmac).unwrap()
}
