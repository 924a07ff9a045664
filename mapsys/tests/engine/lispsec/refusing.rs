// SPDX-License-Identifier: GPL-2.0-or-later
//! What is refused, and what replays and changes on the way lead to.

use std::time::Duration;

use mapsys::engine::{Config, ConfigError, Engine, Memory, Output};
use mapsys::refusal::Refusal;
use mapsys::register::site::{LispSec, Site, SitePrefix};
use mapsys::resolve::lispsec::{Association, AssociationError, SecKey};
use proptest::prelude::*;
use wire::control::auth::{Algorithm, Secret};
use wire::control::lispsec::*;
use wire::control::{ControlMessage, Ecm, MapRegister, Nonce};

use super::stage::*;
use crate::common::*;

/// Dropped without an answer, counted under that name only.
fn refuses(mut bench: Bench, from: &str, bytes: &[u8], refusal: Refusal) {
    assert_eq!(bench.datagram(from, bytes), []);
    assert_eq!(bench.only_refused(refusal), 1);
}

fn ready() -> Bench {
    let mut bench = bench();
    registers(&mut bench, 1, "198.51.100.1", true, true);
    bench
}

#[test]
fn every_key_of_an_association_is_taken_and_no_other() {
    let with = |otk: WrappedOtk| protected(5, &[host("2001:db8:a::2")], otk, ASKED);
    let next = otk(5).wrap(4, &Secret::new("the next one"), Nonce(5));
    takes(&ready().datagram(ITR, &with(next.clone())), 5, ASKED);
    refuses(ready(), ITR, &with(WrappedOtk { key_id: 9, ..next.clone() }), Refusal::EcmSecurity);
    refuses(ready(), ITR, &with(WrappedOtk { key_id: 3, ..next }), Refusal::SecNotUnwrapped);
    refuses(ready(), "198.18.0.1:5000", &with(wrapped(5)), Refusal::EcmSecurity);
    let other_nonce = otk(5).wrap(3, &Secret::new(ITR_SECRET), Nonce(6));
    refuses(ready(), ITR, &with(other_nonce), Refusal::SecNotUnwrapped);
}

#[test]
fn an_unencrypted_key_is_taken_from_a_protected_path_only() {
    let null = protected(5, &[host("2001:db8:a::2")], otk(5).unencrypted(), ASKED);
    refuses(ready(), ITR, &null, Refusal::SecUnencrypted);
    takes(&ready().datagram(TUNNELLED, &null), 5, ASKED);
    let mut dirty = otk(5).unencrypted();
    dirty.octets[0] = 1;
    refuses(ready(), TUNNELLED, &protected(5, &[host("2001:db8:a::2")], dirty, ASKED), Refusal::SecNotUnwrapped);
}

#[test]
fn the_nodes_own_xtr_asks_unencrypted_within_the_process() {
    let mut bench =
        Bench::new(Config { pipe_key: Some(key(1, Algorithm::HkdfSha256, "pipe")), ..config(vec![site_a()]) });
    registers(&mut bench, 1, "198.51.100.1", true, true);
    let outputs = bench.pipe(&protected(5, &[host("2001:db8:a::2")], otk(5).unencrypted(), ASKED));
    let [Output::Pipe { bytes }] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(eids(&verify_reply(bytes, &otk(5), ASKED).unwrap()), [prefix(SITE)]);
}

#[test]
fn an_etr_in_this_process_gets_its_key_unencrypted() {
    let pipe_key = key(1, Algorithm::HkdfSha256, "pipe");
    let own = Config {
        own_prefixes: vec![prefix(SITE)],
        pipe_key: Some(pipe_key.clone()),
        lisp_sec: associations(),
        ..config(vec![])
    };
    let mut bench = Bench::new(own);
    let records = vec![record(prefix(SITE), &["198.51.100.1"])];
    let message = MapRegister { proxy_reply: false, security_capable: true, ..register(1, records) };
    bench.pipe(&seal(message, &pipe_key));
    let outputs = bench.datagram(ITR, &asks(5, "2001:db8:a::2"));
    let [Output::Pipe { bytes }] = outputs.as_slice() else { panic!("{outputs:?}") };
    let ad = EcmAd::decode(&Ecm::decode(bytes).unwrap().security.unwrap()).unwrap();
    assert_eq!(ad.otk.open().unwrap().expose(), otk(5).derive(Kdf::HkdfSha256).expose());
}

#[test]
fn what_is_not_as_the_rfc_has_it_is_refused_by_name() {
    let good = EcmAd { requested_hmac: HmacId(2), otk: wrapped(5), eid_ad: EidAd::unfilled(KdfId(2)) };
    let plain = ecm(&request(5, &[host("2001:db8:a::2")], &[RLOC]));
    let unknown = WrappedOtk { wrap: WrapId(3), octets: vec![1; 40], ..wrapped(5) };
    refuses(ready(), ITR, &with_ad(&plain, &EcmAd { otk: unknown, ..good.clone() }), Refusal::SecUnknownWrap);
    let reserved = WrappedOtk { wrap: WrapId(0), octets: vec![], ..wrapped(5) };
    refuses(ready(), ITR, &with_ad(&plain, &EcmAd { otk: reserved, ..good.clone() }), Refusal::SecUnknownWrap);
    let granted = Granted { cant_sign: false, hmac_id: HmacId(2), eids: vec![prefix(SITE).into()], hmac: vec![0; 16] };
    let filled = EidAd { granted: Some(granted), ..good.eid_ad.clone() };
    refuses(ready(), ITR, &with_ad(&plain, &EcmAd { eid_ad: filled, ..good.clone() }), Refusal::SecEidAdFilled);
    // A key of 16 octets: the ECM is whole, its key is not.
    let mut octets = good.encode().unwrap();
    octets.drain(8..16);
    octets[5] = 16;
    let short = Ecm { security: Some(octets), ..Ecm::decode(&plain).unwrap() }.encode().unwrap();
    refuses(ready(), ITR, &short, Refusal::SecMalformed);
}

#[test]
fn a_cut_or_changed_protected_request_is_never_answered_as_if_it_were_the_itrs() {
    let good = asks(5, "2001:db8:a::2");
    let mut bench = ready();
    for at in 0..good.len() {
        assert_eq!(bench.datagram(ITR, &good[..at]), [], "cut at {at}");
    }
    let security = 4..4 + 36;
    let mut taken = Vec::new();
    for bit in 0..good.len() * 8 {
        let mut changed = good.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        bench.pass(Duration::from_secs(3));
        for (_, message) in sent(&bench.datagram(ITR, &changed)) {
            let reply = match message {
                ControlMessage::MapReply(reply) => reply,
                // D: whoever set it hears from the tree, which tells of no mapping.
                ControlMessage::MapReferral(_) if bit == 2 => continue,
                other => panic!("{other}"),
            };
            if reply.security.is_none() {
                // Only who took S away, or made the message another one, is answered without; an ITR that protects takes no
                // such answer.
                panic!("bit {bit}: an answer without LISP-SEC");
            }
            let judged = verify_reply(&reply.encode().unwrap(), &otk(5), ASKED);
            if security.contains(&(bit / 8)) && judged.is_ok() {
                taken.push(bit / 8);
            }
        }
    }
    // What is unassigned may change, and numbers to unknown ones: the answer says what the ITR asked for nevertheless.
    let harmless = [5, 6, 7, 38, 39];
    assert!(taken.iter().all(|octet| harmless.contains(octet)), "{taken:?}");
}

#[test]
fn who_takes_the_security_away_gets_an_answer_that_the_itr_discards() {
    let mut bench = ready();
    let stripped = Ecm { security: None, ..Ecm::decode(&asks(5, "2001:db8:a::2")).unwrap() }.encode().unwrap();
    let (_, bytes) = only(&bench.datagram(ITR, &stripped));
    assert_eq!(verify_reply(&bytes, &otk(5), ASKED), Err(SecError::Missing("authentication data")));
}

#[test]
fn a_site_that_requires_lisp_sec_is_not_answered_for_without() {
    for proxy in [true, false] {
        let mut bench = bench_of(vec![Site { lisp_sec: LispSec::Required, ..site_a() }]);
        registers(&mut bench, 1, "198.51.100.1", proxy, true);
        let plain = ecm(&request(5, &[host("2001:db8:a::2")], &[RLOC]));
        assert_eq!(bench.datagram(ITR, &plain), []);
        assert_eq!(bench.only_refused(Refusal::SecRequired), 1);
        assert_eq!(sent(&bench.datagram(ITR, &asks(6, "2001:db8:a::2"))).len(), 1);
        // Others are asked about as before.
        assert_eq!(sent(&bench.pipe(&ecm(&request(7, &[host("2001:db8:a::3")], &[RLOC])))).len(), usize::from(!proxy));
    }
}

#[test]
fn a_replayed_request_gives_nothing_but_the_same_answer() {
    let mut bench = ready();
    let asked = asks(5, "2001:db8:a::2");
    let (to, first) = only(&bench.datagram(ITR, &asked));
    let again = only(&bench.datagram(ITR, &asked));
    assert_eq!(again, (to, first.clone()), "which the ITR, whose key is used up, does not take");
    assert!(verify_reply(&first, &otk(6), ASKED).is_err(), "nor for another request");
    let replies = (0..20).map(|_| sent(&bench.datagram(ITR, &asked)).len()).sum::<usize>();
    assert_eq!(replies, 2, "four in three seconds, as without LISP-SEC");
}

#[test]
fn a_protected_answer_is_no_more_than_three_times_its_request() {
    let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut bench = bench_of(vec![open]);
    let inner = (1..=8).map(|n| record(prefix(&format!("2001:db8:a:{n}::/64")), &["198.51.100.1", "198.51.100.2"]));
    let records = std::iter::once(record(prefix(SITE), &["198.51.100.1"])).chain(inner).collect();
    notify(&bench.datagram(ETR, &seal(register(1, records), &site_key())));
    let asked = asks(5, "2001:db8:a:99::2");
    let (_, bytes) = only(&bench.datagram(ITR, &asked));
    assert!(bytes.len() <= 3 * asked.len(), "{} for {}", bytes.len(), asked.len());
    assert!(verify_reply(&bytes, &otk(5), ASKED).is_ok());
}

#[test]
fn contradictory_associations_are_refused() {
    let now = bench().now;
    let refused = |lisp_sec: Vec<Association>| match Engine::new(
        now,
        Config { lisp_sec, ..config(vec![site_a()]) },
        Memory::default(),
    ) {
        Err(ConfigError::Association(error)) => error,
        other => panic!("{other:?}"),
    };
    let itrs = associations()[0].clone();
    let with = |secret: &str| SecKey { id: 7, secret: Secret::new(secret) };
    assert!(matches!(
        refused(vec![Association { keys: vec![with(SITE_SECRET)], ..itrs.clone() }]),
        AssociationError::SharedSecret { site, .. } if site == "a"
    ));
    assert!(matches!(refused(vec![Association { keys: vec![], ..itrs.clone() }]), AssociationError::NoKey(_)));
    let twice = Association { keys: vec![with("x"), with("y")], ..itrs.clone() };
    assert!(matches!(refused(vec![twice]), AssociationError::KeyTwice { id: 7, .. }));
    assert!(matches!(refused(vec![itrs.clone(), itrs]), AssociationError::PeersTwice(_)));
}

#[test]
fn the_nearest_association_counts() {
    let narrow = Association {
        name: "one".into(),
        peers: vec!["192.0.2.1/32".parse().unwrap()],
        keys: vec![SecKey { id: 3, secret: Secret::new("of this one") }],
        protected_path: false,
    };
    let lisp_sec = [associations(), vec![narrow]].concat();
    let mut bench = Bench::new(Config { lisp_sec, ..config(vec![site_a()]) });
    registers(&mut bench, 1, "198.51.100.1", true, true);
    assert_eq!(bench.datagram(ITR, &asks(5, "2001:db8:a::2")), []);
    assert_eq!(bench.only_refused(Refusal::SecNotUnwrapped), 1);
    takes(&bench.datagram("192.0.2.2:5000", &asks(5, "2001:db8:a::2")), 5, ASKED);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_authentication_data_is_answered_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..40), kind in 0..3u8) {
        let length = u16::try_from(octets.len()).unwrap().to_be_bytes();
        let security = [&[1, 0, 0, 2], &length[..], &[3, kind], &octets, &[0, 4, 0, 2]].concat();
        let plain = ecm(&request(5, &[host("2001:db8:a::2")], &[RLOC]));
        let asked = Ecm { security: Some(security), ..Ecm::decode(&plain).unwrap() }.encode().unwrap();
        let mut bench = ready();
        prop_assert_eq!(bench.datagram(ITR, &asked), vec![]);
        prop_assert_eq!(bench.engine.tally().total(), 1);
    }
}
