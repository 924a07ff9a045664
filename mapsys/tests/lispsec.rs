// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC (RFC 9303), one test a rule: the test is ITR and ETR, the engine Map-Resolver and Map-Server between them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "../../program/tests/support/log.rs"]
mod log;

use std::net::SocketAddr;
use std::time::Duration;

use common::*;
use log::logged;
use mapsys::engine::{Config, ConfigError, Engine, Memory, Output, Reconfiguration};
use mapsys::limits::LOG_PAUSE;
use mapsys::refusal::Refusal;
use mapsys::register::site::{LispSec, Site, SiteKey, SitePrefix};
use mapsys::resolve::lispsec::{Association, AssociationError, SecKey};
use proptest::prelude::*;
use wire::address::{Eid, EidPrefix};
use wire::control::auth::{Algorithm, AuthKey, Secret};
use wire::control::lispsec::*;
use wire::control::{
    ControlMessage, Ecm, MapReferral, MapRegister, MapReply, Nonce, Referral, ReferralAction, XtrIdentity,
};
use wire::record::{Action, Ttl};

const ETR: &str = "198.51.100.1:4342";
const OTHER: &str = "198.51.100.2:4342";
/// An ITR that shares a secret with the Map-Resolver.
const ITR: &str = "192.0.2.1:5000";
/// One whose path is protected otherwise.
const TUNNELLED: &str = "203.0.113.7:5000";
const RLOC: &str = "192.0.2.1";
const SITE: &str = "2001:db8:a::/48";
const ASKED: Asked = Asked { hmac: HmacId(2), kdf: KdfId(2) };
const ITR_SECRET: &str = "itr and resolver";
const SITE_SECRET: &str = "secret of a";

fn associations() -> Vec<Association> {
    let key = |id, secret: &str| SecKey { id, secret: Secret::new(secret) };
    vec![
        Association {
            name: "itrs".into(),
            peers: vec!["192.0.2.0/24".parse().unwrap()],
            keys: vec![key(3, ITR_SECRET), key(4, "the next one")],
            protected_path: false,
        },
        Association {
            name: "tunnelled".into(),
            peers: vec!["203.0.113.7/32".parse().unwrap()],
            keys: vec![],
            protected_path: true,
        },
    ]
}

fn site_a() -> Site {
    site("a", 1, SITE_SECRET, &[prefix(SITE)])
}

fn bench_of(sites: Vec<Site>) -> Bench {
    Bench::new(Config { lisp_sec: associations(), ..config(sites) })
}

fn bench() -> Bench {
    bench_of(vec![site_a()])
}

fn site_key() -> AuthKey {
    key(1, Algorithm::HmacSha256, SITE_SECRET)
}

/// How an ETR registers: P and S.
fn registers(bench: &mut Bench, nonce: u64, rloc: &str, proxy: bool, signs: bool) {
    let records = vec![record(prefix(SITE), &[rloc])];
    let message = MapRegister { proxy_reply: proxy, security_capable: signs, ..register(nonce, records) };
    notify(&bench.datagram(&format!("{rloc}:4342"), &seal(message, &site_key())));
}

/// The same of an xTR that merges.
fn merges(bench: &mut Bench, xtr: u8, rloc: &str, signs: bool) {
    bench.datagram(&format!("{rloc}:4342"), &seal(merging(xtr, rloc, signs), &site_key()));
}

fn merging(xtr: u8, rloc: &str, signs: bool) -> MapRegister {
    MapRegister {
        proxy_reply: false,
        security_capable: signs,
        merge: true,
        want_notify: false,
        xtr_identity: Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 }),
        ..register(1, vec![record(prefix(SITE), &[rloc])])
    }
}

fn otk(nonce: u64) -> OneTimeKey {
    let mut octets = [7; 16];
    octets[..8].copy_from_slice(&nonce.to_be_bytes());
    OneTimeKey::new(octets)
}

fn wrapped(nonce: u64) -> WrappedOtk {
    otk(nonce).wrap(3, &Secret::new(ITR_SECRET), Nonce(nonce))
}

/// A Protected Map-Request, as an ITR makes it (RFC 9303, section 6.4).
fn protected(nonce: u64, eids: &[EidPrefix], otk: WrappedOtk, asked: Asked) -> Vec<u8> {
    let ad = EcmAd { requested_hmac: asked.hmac, otk, eid_ad: EidAd::unfilled(asked.kdf) };
    with_ad(&ecm(&request(nonce, eids, &[RLOC])), &ad)
}

fn with_ad(ecm: &[u8], ad: &EcmAd) -> Vec<u8> {
    Ecm { security: Some(ad.encode().unwrap()), ..Ecm::decode(ecm).unwrap() }.encode().unwrap()
}

fn asks(nonce: u64, eid: &str) -> Vec<u8> {
    protected(nonce, &[host(eid)], wrapped(nonce), ASKED)
}

/// The octets of the only datagram, and where to.
fn only(outputs: &[Output]) -> (SocketAddr, Vec<u8>) {
    let sends: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send { remote, bytes, .. } => Some((*remote, bytes.clone())),
            _ => None,
        })
        .collect();
    let [one] = sends.as_slice() else { panic!("not one datagram: {outputs:?}") };
    one.clone()
}

/// The ITR checks the only answer.
fn takes(outputs: &[Output], nonce: u64, asked: Asked) -> Verified {
    let (_, bytes) = only(outputs);
    verify_reply(&bytes, &otk(nonce), asked).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

fn eids(verified: &Verified) -> Vec<EidPrefix> {
    verified.reply.records.iter().map(|record| record.eid.ip_prefix().unwrap()).collect()
}

/// The ETR answers what was forwarded to it (RFC 9303, section 6.8), claiming these.
fn etr_answers(bytes: &[u8], claims: &[&str]) -> Vec<u8> {
    let ecm = Ecm::decode(bytes).unwrap();
    let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).unwrap() else { panic!() };
    let octets = ecm.security.expect("a Protected Map-Request");
    let ad = EcmAd::decode(&octets).unwrap();
    assert_eq!(ad.otk.key_id, 1, "the key that the ETR registered with");
    let ms_otk = ad.otk.unwrap(&Secret::new(SITE_SECRET), request.nonce).unwrap();
    let records = claims.iter().map(|claim| record(prefix(claim), &["198.51.100.1"])).collect();
    let reply = MapReply { nonce: request.nonce, records, ..MapReply::default() };
    seal_reply(&reply, eid_ad_octets(&octets).unwrap(), &ms_otk, HmacAlgorithm::for_request(ad.requested_hmac)).unwrap()
}

#[test]
fn s01_is_answered_with_both_hmacs() {
    let vectors = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/vectors/vectors.json")).unwrap();
    let vectors: serde_json::Value = serde_json::from_slice(&vectors).unwrap();
    let unhex = |text: &serde_json::Value| -> Vec<u8> {
        let text = text.as_str().unwrap();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let vector = |id: &str| vectors["vectors"].as_array().unwrap().iter().find(|vector| vector["id"] == id).unwrap();
    let secret = Secret::new(unhex(&vectors["psk_itr_mr"]));
    let association = Association { keys: vec![SecKey { id: 1, secret }], ..associations()[0].clone() };
    let psk = String::from_utf8(unhex(&vectors["psk"])).unwrap();
    let site = site("vectors", 1, &psk, &[prefix("10.2.2.0/24")]);
    let itr_otk: [u8; 16] = unhex(&vector("S01")["sec"]["itr_otk"]).try_into().unwrap();
    for proxy in [true, false] {
        let mut bench = Bench::new(Config { lisp_sec: vec![association.clone()], ..config(vec![site.clone()]) });
        let records = vec![record(prefix("10.2.2.0/24"), &["198.51.100.1"])];
        let message = MapRegister { proxy_reply: proxy, security_capable: true, ..register(1, records) };
        notify(&bench.datagram(ETR, &seal(message, &key(1, Algorithm::HmacSha256, &psk))));
        let (to, bytes) = only(&bench.datagram(ITR, &unhex(&vector("S01")["lisp"])));
        if proxy {
            let verified = verify_reply(&bytes, &OneTimeKey::new(itr_otk), ASKED).unwrap();
            assert_eq!((to, eids(&verified)), (address("192.0.2.1:61000"), vec![prefix("10.2.2.0/24")]));
        } else {
            assert_eq!((to, bytes), (address(ETR), unhex(&vector("S02")["lisp"])), "S02 octet for octet");
        }
    }
}

#[test]
fn p_is_answered_for_the_site_and_e_is_0_even_if_the_etr_cannot_sign() {
    for signs in [true, false] {
        let mut bench = bench();
        registers(&mut bench, 1, "198.51.100.1", true, signs);
        let verified = takes(&bench.datagram(ITR, &asks(5, "2001:db8:a::2")), 5, ASKED);
        assert!(!verified.cant_sign && verified.overclaimed.is_empty());
        assert_eq!((verified.reply.nonce, eids(&verified)), (Nonce(5), vec![prefix(SITE)]));
        assert_eq!(verified.reply.records[0].locators.len(), 1);
    }
}

#[test]
fn s_is_forwarded_with_a_key_of_the_etrs_own_and_what_it_may_answer_for() {
    let mut bench = bench();
    registers(&mut bench, 1, "198.51.100.1", false, true);
    let asked = asks(5, "2001:db8:a::2");
    let (to, bytes) = only(&bench.datagram(ITR, &asked));
    assert_eq!(to, address(ETR));
    let (before, after) = (Ecm::decode(&asked).unwrap(), Ecm::decode(&bytes).unwrap());
    assert_eq!(Ecm { security: None, ..after.clone() }, Ecm { security: None, ..before }, "nothing else has changed");
    let ad = EcmAd::decode(&after.security.unwrap()).unwrap();
    assert!(ad.otk.unwrap(&Secret::new(ITR_SECRET), Nonce(5)).is_err(), "not what the ITR's secret opens");
    assert_eq!(ad.eid_ad.granted.unwrap().eids, [prefix(SITE).into()]);

    let verified = verify_reply(&etr_answers(&bytes, &[SITE]), &otk(5), ASKED).unwrap();
    assert!(!verified.cant_sign);
    assert_eq!(eids(&verified), [prefix(SITE)]);
    let greedy =
        verify_reply(&etr_answers(&bytes, &[SITE, "2001:db8::/32", "2001:db8:b::/48"]), &otk(5), ASKED).unwrap();
    assert_eq!(eids(&greedy), [prefix(SITE)]);
    assert_eq!(greedy.overclaimed, ["2001:db8::/32", "2001:db8:b::/48"].map(|text| Eid::from(prefix(text))));
}

#[test]
fn the_etr_cannot_widen_what_the_map_server_vouches_for() {
    let mut bench = bench();
    registers(&mut bench, 1, "198.51.100.1", false, true);
    let (_, bytes) = only(&bench.datagram(ITR, &asks(5, "2001:db8:a::2")));
    let ecm = Ecm::decode(&bytes).unwrap();
    let ad = EcmAd::decode(ecm.security.as_ref().unwrap()).unwrap();
    let ms_otk = ad.otk.unwrap(&Secret::new(SITE_SECRET), Nonce(5)).unwrap();
    // All that an ETR knows is its own key: it makes an EID-AD with that, or changes the one it has.
    let wide = vec![prefix("2001:db8::/32").into()];
    let forged = seal_eid_ad(&ms_otk, Kdf::HkdfSha256, HmacAlgorithm::Sha256, false, wide).unwrap();
    let mut changed = eid_ad_octets(ecm.security.as_ref().unwrap()).unwrap().to_vec();
    changed[9] = 32;
    let reply = MapReply {
        nonce: Nonce(5),
        records: vec![record(prefix("2001:db8::/32"), &["198.51.100.9"])],
        ..MapReply::default()
    };
    for eid_ad in [forged, changed] {
        let answer = seal_reply(&reply, &eid_ad, &ms_otk, HmacAlgorithm::Sha256).unwrap();
        assert_eq!(verify_reply(&answer, &otk(5), ASKED), Err(SecError::Hmac("EID HMAC")));
    }
}

#[test]
fn of_merged_etrs_one_that_signs_is_asked_and_e_says_that_others_cannot() {
    let mut bench = bench();
    merges(&mut bench, 1, "198.51.100.1", false);
    merges(&mut bench, 2, "198.51.100.2", true);
    let (to, bytes) = only(&bench.datagram(ITR, &asks(5, "2001:db8:a::2")));
    assert_eq!(to, address(OTHER), "though the other has the lower address");
    assert!(verify_reply(&etr_answers(&bytes, &[SITE]), &otk(5), ASKED).unwrap().cant_sign);
}

#[test]
fn where_no_etr_signs_the_answer_is_negative_protected_and_says_so() {
    let mut bench = bench();
    registers(&mut bench, 1, "198.51.100.1", false, false);
    let verified = takes(&bench.datagram(ITR, &asks(5, "2001:db8:a::2")), 5, ASKED);
    assert!(verified.cant_sign);
    let [record] = verified.reply.records.as_slice() else { panic!("{verified:?}") };
    assert_eq!((record.locators.len(), record.action, record.ttl), (0, Action::DropNoReason, Ttl(1)));
    // A request without LISP-SEC reaches it, and as soon as it signs, so does one with.
    assert_eq!(only(&bench.datagram(ITR, &ecm(&request(6, &[host("2001:db8:a::2")], &[RLOC])))).0, address(ETR));
    registers(&mut bench, 2, "198.51.100.1", false, true);
    assert_eq!(only(&bench.datagram(ITR, &asks(7, "2001:db8:a::2"))).0, address(ETR));
}

#[test]
fn negative_answers_are_protected_too() {
    let mut bench = bench();
    let unregistered = takes(&bench.datagram(ITR, &asks(5, "2001:db8:a::2")), 5, ASKED);
    assert!(!unregistered.cant_sign, "no ETR is there that could not sign");
    assert_eq!(unregistered.reply.records[0].action, Action::NativelyForward);
    let hole = takes(&bench.datagram(ITR, &asks(6, "2001:db8:ffff::1")), 6, ASKED);
    assert_eq!((hole.overclaimed.len(), hole.reply.records[0].ttl), (0, Ttl(15)));
}

#[test]
fn more_specifics_are_granted_by_the_best_match() {
    let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut bench = bench_of(vec![open]);
    let inner = "2001:db8:a:5::/64";
    let records = vec![record(prefix(SITE), &["198.51.100.1"]), record(prefix(inner), &["198.51.100.1"])];
    notify(&bench.datagram(ETR, &seal(register(1, records), &site_key())));
    let (_, bytes) = only(&bench.datagram(ITR, &asks(5, "2001:db8:a::2")));
    let verified = verify_reply(&bytes, &otk(5), ASKED).unwrap();
    assert_eq!(eids(&verified), [prefix(SITE), prefix(inner)]);
    let ad = MapReplyAd::decode(verified.reply.security.as_ref().unwrap()).unwrap();
    assert_eq!(ad.eid_ad.granted.unwrap().eids, [prefix(SITE).into()]);
}

#[test]
fn every_record_of_a_request_is_granted() {
    let other = site("b", 1, "secret of b", &[prefix("2001:db8:b::/48")]);
    let mut bench = bench_of(vec![site_a(), other]);
    registers(&mut bench, 1, "198.51.100.1", true, true);
    let both = [host("2001:db8:a::2"), host("2001:db8:b::2")];
    let outputs = bench.datagram(ITR, &protected(5, &both, wrapped(5), ASKED));
    let verified = takes(&outputs, 5, ASKED);
    assert_eq!(eids(&verified), [prefix(SITE), prefix("2001:db8:b::/48")]);
    assert!(verified.overclaimed.is_empty());
}

#[test]
fn an_etr_is_vouched_for_all_that_it_is_asked_for() {
    let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut bench = bench_of(vec![open]);
    let (one, two, elsewhere) = ("2001:db8:a:1::/64", "2001:db8:a:2::/64", "2001:db8:a:3::/64");
    for (nonce, claims, rloc) in [(1, vec![one, two], "198.51.100.1"), (2, vec![elsewhere], "198.51.100.2")] {
        let records = claims.iter().map(|claim| record(prefix(claim), &[rloc])).collect();
        let message = MapRegister { proxy_reply: false, security_capable: true, ..register(nonce, records) };
        notify(&bench.datagram(&format!("{rloc}:4342"), &seal(message, &site_key())));
    }
    let all = [host("2001:db8:a:1::9"), host("2001:db8:a:2::9"), host("2001:db8:a:3::9")];
    let outputs = bench.datagram(ITR, &protected(5, &all, wrapped(5), ASKED));
    let granted = |outputs: &[Output]| -> Vec<_> {
        let ecms = outputs.iter().filter_map(|output| match output {
            Output::Send { remote, bytes, .. } => Some((*remote, Ecm::decode(bytes).unwrap().security.unwrap())),
            _ => None,
        });
        ecms.map(|(to, ad)| (to, EcmAd::decode(&ad).unwrap().eid_ad.granted.unwrap().eids)).collect()
    };
    let eids = |texts: &[&str]| texts.iter().map(|text| Eid::from(prefix(text))).collect::<Vec<_>>();
    assert_eq!(granted(&outputs), [(address(ETR), eids(&[one, two])), (address(OTHER), eids(&[elsewhere]))]);
}

#[test]
fn the_functions_are_those_that_the_itr_asks_for_or_ours() {
    let mut bench = bench();
    registers(&mut bench, 1, "198.51.100.1", true, true);
    let used = |bytes: &[u8]| {
        let ad = MapReplyAd::decode(&MapReply::decode(bytes).unwrap().security.unwrap()).unwrap();
        (ad.pkt_hmac_id, ad.eid_ad.granted.unwrap().hmac_id, ad.eid_ad.kdf)
    };
    for (nonce, (asked, given)) in
        (10..).zip([((0, 0), (2, 2)), ((1, 1), (1, 1)), ((2, 2), (2, 2)), ((900, 900), (2, 2))])
    {
        let asked = Asked { hmac: HmacId(asked.0), kdf: KdfId(asked.1) };
        bench.pass(Duration::from_secs(3));
        let (_, bytes) = only(&bench.datagram(ITR, &protected(nonce, &[host("2001:db8:a::2")], wrapped(nonce), asked)));
        assert_eq!(used(&bytes), (HmacId(given.0), HmacId(given.0), KdfId(given.1)));
        let verified = verify_reply(&bytes, &otk(nonce), asked);
        assert_eq!(verified.is_ok(), asked.hmac.0 < 900, "{asked:?}: {verified:?}");
    }
}

#[test]
fn the_functions_that_the_itr_asks_for_reach_the_etr() {
    let mut bench = bench();
    registers(&mut bench, 1, "198.51.100.1", false, true);
    let asked = Asked { hmac: HmacId(1), kdf: KdfId(1) };
    let (_, bytes) = only(&bench.datagram(ITR, &protected(5, &[host("2001:db8:a::2")], wrapped(5), asked)));
    assert!(verify_reply(&etr_answers(&bytes, &[SITE]), &otk(5), asked).is_ok());
}

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
fn an_etr_whose_key_is_gone_counts_as_one_that_cannot_sign() {
    let mut bench = bench_of(vec![site_with(&[("old", 1), (SITE_SECRET, 2)])]);
    let old = key(1, Algorithm::HmacSha256, "old");
    bench.datagram(ETR, &seal(merging(1, "198.51.100.1", true), &old));
    let newer = key(2, Algorithm::HmacSha256, SITE_SECRET);
    bench.datagram(OTHER, &seal(merging(2, "198.51.100.2", true), &newer));
    let asked_for = |bench: &mut Bench, nonce| {
        let (to, bytes) = only(&bench.datagram(ITR, &asks(nonce, "2001:db8:a::2")));
        (to, EcmAd::decode(&Ecm::decode(&bytes).unwrap().security.unwrap()).unwrap())
    };
    let (to, ad) = asked_for(&mut bench, 5);
    assert_eq!((to, ad.otk.key_id, ad.eid_ad.granted.unwrap().cant_sign), (address(ETR), 1, false), "both can sign");
    reload(&mut bench, site_with(&[(SITE_SECRET, 2)]));
    let (to, ad) = asked_for(&mut bench, 6);
    assert_eq!(
        (to, ad.otk.key_id, ad.eid_ad.granted.unwrap().cant_sign),
        (address(OTHER), 2, true),
        "whose key is still there"
    );
    assert!(ad.otk.unwrap(&Secret::new(SITE_SECRET), Nonce(6)).is_ok());
    reload(&mut bench, site_with(&[("newest", 3)]));
    let answer = takes(&bench.datagram(ITR, &asks(7, "2001:db8:a::2")), 7, ASKED);
    assert!(answer.cant_sign && answer.reply.records[0].locators.is_empty(), "no key goes anywhere");
}

fn site_with(keys: &[(&str, u8)]) -> Site {
    let key = |(secret, id): &(&str, u8)| SiteKey { id: *id, algorithm: None, secret: Secret::new(*secret) };
    Site { keys: keys.iter().map(key).collect(), ..site_a() }
}

/// Takes another site in the place of the one that there is.
fn reload(bench: &mut Bench, site: Site) {
    let newer = Reconfiguration {
        sites: vec![site],
        trust_anchors: vec![],
        clients: vec![],
        foreign: mapsys::limit::Foreign::FromItrRloc,
        subscribers: vec![],
        pubsub: mapsys::subscribe::subscriber::Policy::default(),
        ddt: mapsys::ddt::Config::default(),
        lisp_sec: associations(),
    };
    let now = bench.now;
    bench.engine.reconfigure(now, newer).unwrap();
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
        locators: servers.iter().map(|server| locator(server)).collect(),
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

/// What is written, as RFC 9303, section 6.7.1, wants it, of keys that go nowhere.
fn withheld(run: impl FnOnce()) -> Vec<String> {
    let is_of_key = |line: &String| line.starts_with("WARN one-time key would be readable on the way");
    logged(run).into_iter().filter(is_of_key).collect()
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
fn that_a_key_goes_to_no_etr_whose_own_key_is_gone_is_logged() {
    let mut bench = bench();
    registers(&mut bench, 1, "198.51.100.1", false, true);
    reload(&mut bench, site_with(&[(SITE_SECRET, 2)]));
    let lines = withheld(|| {
        let (to, bytes) = only(&bench.datagram(ITR, &asks(5, "2001:db8:a::2")));
        assert_eq!(to.ip(), address(ITR).ip());
        assert!(verify_reply(&bytes, &otk(5), ASKED).unwrap().cant_sign);
    });
    assert!(matches!(lines.as_slice(), [line] if line.contains("198.51.100.1")), "{lines:?}");
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
