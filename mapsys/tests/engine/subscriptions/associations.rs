// SPDX-License-Identifier: GPL-2.0-or-later
//! Security associations that LISP-SEC makes where no key is shared beforehand (RFC 9437, section 7.1).

use std::net::SocketAddr;

use mapsys::engine::{Config, Mark, Memory, Output};
use mapsys::limits::UNPROVEN_KEYS_PER_XTR;
use mapsys::refusal::Refusal;
use mapsys::resolve::lispsec::{Association, SecKey};
use mapsys::subscribe::subscriber::{Policy, Subscriber};
use mapsys::subscribe::subscription::Mode;
use wire::control::auth::{self, Accept, AuthKey, Secret, TagForm};
use wire::control::lispsec::*;
use wire::control::{ControlMessage, Ecm, MapNotify, MapRequest, Nonce};
use wire::record::Action;

use super::xtr::*;
use crate::common::*;
use crate::log::logged;

const ITR_SECRET: &str = "itr and resolver";
const ASKED: Asked = Asked { hmac: HmacId(2), kdf: KdfId(2) };
const PART: &str = "2001:db8:a:1::/64";

/// The xTR has no key but what it makes: from ONE it is wrapped, the way from TWO is protected otherwise.
fn made() -> Config {
    let association = |name: &str, peer: &str, keys: Vec<SecKey>| Association {
        name: name.into(),
        peers: vec![peer.parse().unwrap()],
        protected_path: keys.is_empty(),
        keys,
    };
    let keys = vec![SecKey { id: 3, secret: Secret::new(ITR_SECRET) }];
    let lisp_sec = vec![association("wrapped", "192.0.2.1/32", keys), association("tunnel", "192.0.2.2/32", vec![])];
    Config { subscribers: vec![Subscriber { key: None, ..subscriber() }], lisp_sec, ..served() }
}

fn bench_with(memory: Memory) -> Bench {
    let mut bench = Bench::with(made(), memory);
    site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    bench
}

fn otk(number: u8) -> OneTimeKey {
    OneTimeKey::new([number; 16])
}

fn wrapped(number: u8, nonce: u64) -> WrappedOtk {
    otk(number).wrap(3, &Secret::new(ITR_SECRET), Nonce(nonce))
}

/// A Map-Request with the one-time key of that number.
fn with_otk(request: &MapRequest, otk: WrappedOtk) -> Vec<u8> {
    let ad = EcmAd { requested_hmac: ASKED.hmac, otk, eid_ad: EidAd::unfilled(ASKED.kdf) };
    Ecm { security: Some(ad.encode().unwrap()), ..Ecm::decode(&ecm(request)).unwrap() }.encode().unwrap()
}

fn asks(number: u8, request: &MapRequest) -> Vec<u8> {
    with_otk(request, wrapped(number, request.nonce.0))
}

fn site_from_one(nonce: u64) -> MapRequest {
    subscribing(nonce, &[host(EID)], &[ONE])
}

fn key_of(number: u8, nonce: u64) -> AuthKey {
    PubSubKey::new(&otk(number), WrapId::AES_HKDF_SHA256, Nonce(nonce)).auth_key()
}

/// The Map-Notifies under a key.
fn under(key: &AuthKey, outputs: &[Output]) -> Vec<(SocketAddr, MapNotify)> {
    let sent = outputs.iter().filter_map(|output| match output {
        Output::Send { remote, bytes, .. } if auth::verify(bytes, key, Accept::STRICT).is_ok() => {
            let Ok(ControlMessage::MapNotify(notify)) = ControlMessage::decode(bytes) else { return None };
            Some((*remote, notify))
        }
        _ => None,
    });
    sent.collect()
}

/// The only datagram is a Map-Notify under a key.
fn only_under(key: &AuthKey, outputs: &[Output]) -> (SocketAddr, MapNotify) {
    assert_eq!(sent(outputs).len(), 1, "{outputs:?}");
    under(key, outputs).into_iter().next().unwrap_or_else(|| panic!("not under this key: {outputs:?}"))
}

fn acknowledged(bench: &mut Bench, key: &AuthKey, (to, notify): &(SocketAddr, MapNotify)) -> Vec<Output> {
    let ack = auth::seal(&ControlMessage::MapNotifyAck(notify.clone()), key, TagForm::Truncated).unwrap();
    bench.datagram(&to.to_string(), &ack)
}

/// A Map-Server with a proven subscription under key 1 and nonce 40, and what is on its disk.
fn before() -> (Bench, Memory) {
    let (mut bench, mut memory) = (bench_with(Memory::default()), Memory::default());
    let outputs = bench.datagram(FROM_ONE, &asks(1, &site_from_one(40)));
    write(&mut memory, &outputs);
    let told = only_under(&key_of(1, 40), &outputs);
    assert_eq!((told.0, told.1.nonce.0, told.1.auth.key_id), (address("192.0.2.1:4342"), 40, PubSubKey::KEY_ID));
    write(&mut memory, &acknowledged(&mut bench, &key_of(1, 40), &told));
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    bench.pass(seconds(4));
    (bench, memory)
}

fn says(bench: &mut Bench, nonce: u64, rloc: &str) -> Vec<Output> {
    site_says(bench, nonce, vec![record(prefix(SITE), &[rloc])])
}

/// The only datagram is a negative Map-Reply, which LISP-SEC protects.
fn denied(outputs: &[Output], number: u8) -> Action {
    let send = |output: &Output| if let Output::Send { bytes, .. } = output { Some(bytes.clone()) } else { None };
    let sent: Vec<_> = outputs.iter().filter_map(send).collect();
    let [bytes] = sent.as_slice() else { panic!("{outputs:?}") };
    let verified = verify_reply(bytes, &otk(number), ASKED).unwrap();
    assert!(verified.reply.records[0].locators.is_empty() && verified.overclaimed.is_empty());
    verified.reply.records[0].action
}

#[test]
fn the_one_time_key_of_a_map_request_signs_what_is_told_and_what_acknowledges_it() {
    let (mut bench, _) = before();
    let change = only_under(&key_of(1, 40), &says(&mut bench, 2, "198.51.100.2"));
    assert_eq!((change.1.nonce.0, rlocs(&change.1.records[0])), (41, vec!["198.51.100.2".to_owned()]));
    acknowledged(&mut bench, &xtr_key(), &change);
    acknowledged(&mut bench, &key_of(1, 41), &change);
    assert_eq!(bench.only_refused(Refusal::NotifyAckBadTag), 2);
    acknowledged(&mut bench, &key_of(1, 40), &change);
    assert_eq!(bench.engine.subscriptions().waiting(), (0, 0));
}

#[test]
fn the_secret_of_another_itr_makes_and_ends_no_association_and_moves_no_floor() {
    const OTHER: &str = "192.0.2.3";
    let other = Secret::new("another ITR and resolver");
    let mut config = made();
    config.subscribers[0].lisp_sec = Some("wrapped".into());
    let keys = vec![SecKey { id: 3, secret: other.clone() }];
    let peers = vec![format!("{OTHER}/32").parse().unwrap()];
    config.lisp_sec.push(Association { name: "other".into(), peers, keys, protected_path: false });
    let mut bench = Bench::new(config);
    site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    let told = only_under(&key_of(1, 40), &bench.datagram(FROM_ONE, &asks(1, &site_from_one(40))));
    acknowledged(&mut bench, &key_of(1, 40), &told);
    // In its name, from addresses that it may have, near the end of all nonces: all that leads to the floor.
    let end = (1 << 63) + 1;
    let requests =
        [subscribing(1 << 63, &[host(EID)], &[OTHER, TWO]), leaving(end, host(EID)), leaving(end, prefix(PART))];
    for (number, request) in (2..).zip(&requests) {
        bench.pass(seconds(4));
        let by_other = otk(number).wrap(3, &other, request.nonce);
        for (from, otk) in [("192.0.2.3:5000", by_other), (FROM_TWO, otk(number).unencrypted())] {
            let outputs = bench.datagram(from, &with_otk(request, otk));
            assert_eq!(denied(&outputs, number), Action::DropPolicyDenied);
            assert!(outputs.iter().all(|output| !matches!(output, Output::Persist(_))));
        }
    }
    assert_eq!(bench.only_refused(Refusal::SubscribeKeyOfOther), 6);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    // Its own goes on, and has any nonce.
    let told = only_under(&key_of(9, 7), &bench.datagram(FROM_ONE, &asks(9, &site_from_one(7))));
    acknowledged(&mut bench, &key_of(9, 7), &told);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

#[test]
fn a_map_resolver_that_vouches_has_looked_at_whose_key_it_is() {
    const RESOLVER: &str = "203.0.113.53:4342";
    let (mut config, of_resolver) = (made(), Secret::new("between resolver and Map-Server"));
    config.subscribers[0].lisp_sec = Some("wrapped".into());
    let peers = vec!["203.0.113.53/32".parse().unwrap()];
    let keys = vec![SecKey { id: 8, secret: of_resolver.clone() }];
    config.lisp_sec.push(Association { name: "resolver".into(), peers: peers.clone(), keys, protected_path: false });
    for vouches in [true, false] {
        let pubsub = Policy { resolvers: if vouches { peers.clone() } else { vec![] }, ..Policy::default() };
        let (subscribers, lisp_sec) = (config.subscribers.clone(), config.lisp_sec.clone());
        let mut bench = Bench::new(Config { pubsub, subscribers, lisp_sec, ..served() });
        site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
        let wrapped = otk(1).wrap(8, &of_resolver, Nonce(40));
        let outputs = bench.datagram(RESOLVER, &with_otk(&site_from_one(40), wrapped));
        assert_eq!(under(&key_of(1, 40), &outputs).len(), usize::from(vouches), "{outputs:?}");
    }
}

#[test]
fn a_one_time_key_that_nothing_wraps_is_itself_what_signs() {
    let mut bench = bench_with(Memory::default());
    let request = subscribing(40, &[host(EID)], &[TWO]);
    let outputs = bench.datagram(FROM_TWO, &with_otk(&request, otk(1).unencrypted()));
    only_under(&PubSubKey::from_octets([1; 16]).auth_key(), &outputs);
}

#[test]
fn a_one_time_key_makes_no_second_association_over_a_restart_either() {
    let (mut bench, memory) = before();
    assert_eq!(memory.used_keys.len(), 1);
    let lines = logged(|| {
        assert_eq!(denied(&bench.datagram(FROM_ONE, &asks(1, &site_from_one(40))), 1), Action::DropAuthFailure);
    });
    assert!(lines.iter().any(|line| line.starts_with("WARN subscription replayed")), "{lines:?}");
    bench.pass(seconds(4));
    // Under another nonce, and to another EID-prefix.
    let other = subscribing(41, &[host("2001:db8:a:1::1")], &[ONE]);
    assert_eq!(denied(&bench.datagram(FROM_ONE, &asks(1, &other)), 1), Action::DropAuthFailure);
    assert_eq!(bench.only_refused(Refusal::SubscribeKeyUsed), 2);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    let mut later = bench_with(memory);
    later.pass(seconds(4));
    assert_eq!(denied(&later.datagram(FROM_ONE, &asks(1, &site_from_one(50))), 1), Action::DropAuthFailure);
}

#[test]
fn one_time_keys_that_nobody_acknowledges_are_not_kept_on_disk() {
    let mut bench = bench_with(Memory::default());
    let mut persisted = 0;
    let is_key = |output: &&Output| matches!(output, Output::Persist(Mark::UsedKey(_) | Mark::KeyFloor(_)));
    // In the name of the xTR, with the secret of an ITR, near the end of all nonces; as often as it may ask.
    for n in 0..UNPROVEN_KEYS_PER_XTR + 10 {
        let nonce = (1 << 63) + u64::try_from(n).unwrap();
        let octets = u128::try_from(n).unwrap().to_be_bytes();
        let otk = OneTimeKey::new(octets).wrap(3, &Secret::new(ITR_SECRET), Nonce(nonce));
        let outputs = bench.datagram(FROM_ONE, &with_otk(&site_from_one(nonce), otk));
        persisted += outputs.iter().filter(is_key).count();
        if n % 16 == 0 {
            bench.pass(seconds(1));
        }
    }
    assert_eq!((persisted, bench.engine.tally().get(Refusal::SubscribeKeyUsed)), (0, 0));
    bench.pass(seconds(200));
    assert_eq!(subscriptions(&bench), []);
    let outputs = bench.datagram(FROM_ONE, &asks(1, &site_from_one(40)));
    let told = under(&key_of(1, 40), &outputs);
    assert_eq!(told.len(), 1, "{outputs:?}");
    let outputs = acknowledged(&mut bench, &key_of(1, 40), &told[0]);
    assert_eq!(outputs.iter().filter(is_key).count(), 1, "what is acknowledged is");
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

#[test]
fn a_map_request_that_the_network_doubles_is_no_second_use_of_its_key() {
    let mut bench = bench_with(Memory::default());
    let asked = asks(1, &site_from_one(40));
    let told = only_under(&key_of(1, 40), &bench.datagram(FROM_ONE, &asked));
    assert_eq!(sent(&bench.datagram(FROM_ONE, &asked)), []);
    assert_eq!(bench.only_refused(Refusal::SubscribeReplayed), 1);
    // Not so under another nonce.
    assert_eq!(denied(&bench.datagram(FROM_ONE, &asks(1, &site_from_one(41))), 1), Action::DropAuthFailure);
    acknowledged(&mut bench, &key_of(1, 40), &told);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

#[test]
fn a_new_association_begins_with_any_nonce() {
    let (mut bench, _) = before();
    let told = only_under(&key_of(2, 7), &bench.datagram(FROM_ONE, &asks(2, &site_from_one(7))));
    assert_eq!(told.1.nonce.0, 7);
    acknowledged(&mut bench, &key_of(2, 7), &told);
    bench.pass(seconds(4));
    let change = only_under(&key_of(2, 7), &says(&mut bench, 2, "198.51.100.2"));
    assert_eq!(change.1.nonce.0, 8);
    acknowledged(&mut bench, &key_of(2, 7), &change);
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn without_a_one_time_key_nothing_changes_of_an_association_that_there_is() {
    let (mut bench, _) = before();
    reply(&bench.datagram(FROM_ONE, &ecm(&subscribing(41, &[host(EID)], &[ONE, TWO]))));
    for request in [leaving(42, host(EID)), leaving(43, prefix(PART))] {
        bench.pass(seconds(4));
        assert_eq!(sent(&bench.datagram(FROM_ONE, &ecm(&request))), [], "there is no ITR-RLOC to answer to");
    }
    assert_eq!(bench.only_refused(Refusal::SubscribeUnknownXtr), 3);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    let change = only_under(&key_of(1, 40), &says(&mut bench, 2, "198.51.100.2"));
    assert_eq!((change.0, change.1.nonce.0), (address("192.0.2.1:4342"), 41));
}

#[test]
fn without_an_acknowledgement_the_former_association_stands_with_all_that_it_has_to_tell() {
    let (mut bench, _) = before();
    // Under way when the new one begins.
    let part = site_says(&mut bench, 2, vec![record(prefix(PART), &["198.51.100.2"])]);
    assert_eq!(only_under(&key_of(1, 40), &part).1.nonce.0, 41);
    bench.pass(seconds(1));
    let begun = bench.datagram(FROM_ONE, &asks(2, &site_from_one(7)));
    assert_eq!(under(&key_of(2, 7), &begun).len(), 1);
    // Whoever has the former key proves nothing of the new one.
    let mut of_both = (vec![], vec![]);
    let mut farewells = 0;
    for _ in 0..120 {
        let outputs = bench.pass(seconds(1));
        farewells += under(&key_of(2, 7), &outputs)
            .iter()
            .filter(|(_, notify)| notify.records[0].action == Action::DropAuthFailure)
            .count();
        of_both.0.extend(under(&key_of(1, 40), &outputs));
        of_both.1.extend(under(&key_of(2, 7), &outputs));
    }
    assert_eq!(farewells, 1);
    assert!(of_both.1.iter().all(|(_, notify)| notify.nonce.0 >= 7 && notify.nonce.0 < 40));
    let told = of_both.0.iter().find(|(_, notify)| about(notify) == prefix(PART)).expect("told again");
    assert!(told.1.nonce.0 > 41);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

#[test]
fn what_was_under_way_is_told_under_the_new_association_when_that_is_proven() {
    let (mut bench, _) = before();
    site_says(&mut bench, 2, vec![record(prefix(PART), &["198.51.100.2"])]);
    bench.pass(seconds(1));
    let begun = bench.datagram(FROM_ONE, &asks(2, &site_from_one(7)));
    let mut told = under(&key_of(2, 7), &begun);
    let mut outputs = acknowledged(&mut bench, &key_of(2, 7), &told.remove(0));
    outputs.extend(bench.pass(seconds(4)));
    let told = under(&key_of(2, 7), &outputs);
    assert!(told.iter().any(|(_, notify)| about(notify) == prefix(PART)), "{told:?}");
    assert_eq!(under(&key_of(1, 40), &outputs), []);
}

#[test]
fn one_map_request_may_subscribe_to_several_eid_prefixes() {
    let mut bench = bench_with(Memory::default());
    site_says(&mut bench, 2, vec![record(prefix(PART), &["198.51.100.2"])]);
    let request = subscribing(40, &[host(EID), host("2001:db8:a:1::1")], &[ONE]);
    let outputs = bench.datagram(FROM_ONE, &asks(1, &request));
    assert_eq!(under(&key_of(1, 40), &outputs).len(), 2);
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn an_association_survives_a_restart() {
    let (_, memory) = before();
    let mut bench = bench_with(memory);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    let change = only_under(&key_of(1, 40), &says(&mut bench, 2, "198.51.100.2"));
    assert_eq!(change.1.nonce.0, 41);
    // Of an xTR that has a shared key now it is none.
    let (_, memory) = before();
    let mut bench = Bench::with(registered_with_shared_key(), memory);
    assert_eq!(subscriptions(&bench), []);
    assert_eq!(sent(&bench.pass(seconds(0))), []);
}

fn registered_with_shared_key() -> Config {
    Config { subscribers: vec![subscriber()], ..made() }
}

#[test]
fn without_an_association_or_with_a_shared_key_lisp_sec_makes_none() {
    let mut bench = bench_with(Memory::default());
    let (_, answer) = reply(&bench.datagram(FROM_ONE, &ecm(&site_from_one(40))));
    assert_eq!((answer.records[0].action, answer.records[0].locators.len()), (Action::NoAction, 1));
    assert_eq!(bench.only_refused(Refusal::SubscribeUnknownXtr), 1);
    assert_eq!(subscriptions(&bench), []);
    let mut bench = Bench::new(registered_with_shared_key());
    site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    only_under(&xtr_key(), &bench.datagram(FROM_ONE, &asks(1, &site_from_one(40))));
}

#[test]
fn what_policy_denies_is_answered_with_lisp_sec() {
    let mut config = made();
    config.subscribers[0].eids = vec![prefix("2001:db8:b::/48")];
    let mut bench = Bench::new(config);
    site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    let outputs = bench.datagram(FROM_ONE, &asks(1, &site_from_one(40)));
    assert_eq!((denied(&outputs, 1), subscriptions(&bench)), (Action::DropPolicyDenied, vec![]));
    assert!(outputs.iter().all(|output| !matches!(output, Output::Persist(_))), "no association, no key that was used");
}

#[test]
fn an_end_is_confirmed_under_the_key_that_comes_with_it_and_leaves_no_key_behind() {
    let (mut bench, _) = before();
    let told = only_under(&key_of(2, 9), &bench.datagram(FROM_ONE, &asks(2, &leaving(9, host(EID)))));
    assert_eq!((told.0, told.1.nonce.0), (address("192.0.2.1:4342"), 9));
    acknowledged(&mut bench, &key_of(2, 9), &told);
    assert_eq!(subscriptions(&bench), []);
    let mut left = bench.engine.subscriptions().iter().filter_map(|(_, known)| known.proven.as_ref());
    assert!(left.all(|proven| proven.key.is_none()));
}
