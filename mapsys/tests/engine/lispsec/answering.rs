// SPDX-License-Identifier: GPL-2.0-or-later
//! What protected Map-Requests are answered with, or forwarded as (RFC 9303, sections 6.7 and 6.8).

use std::time::Duration;

use mapsys::engine::{Config, Output};
use mapsys::register::site::{Site, SitePrefix};
use mapsys::resolve::lispsec::{Association, SecKey};
use wire::address::Eid;
use wire::control::auth::{Algorithm, Secret};
use wire::control::lispsec::*;
use wire::control::{Ecm, MapRegister, MapReply, Nonce};
use wire::record::{Action, Ttl};

use super::stage::*;
use crate::common::*;

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
fn what_nobody_can_sign_says_so_of_itself_alone() {
    let other = site("b", 1, "secret of b", &[prefix("2001:db8:b::/48")]);
    let mut bench = bench_of(vec![site_a(), other]);
    registers(&mut bench, 1, "198.51.100.1", true, true);
    let records = vec![record(prefix("2001:db8:b::/48"), &["198.51.100.2"])];
    let message = MapRegister { proxy_reply: false, ..register(1, records) };
    notify(&bench.datagram(OTHER, &seal(message, &key(1, Algorithm::HmacSha256, "secret of b"))));
    let eids = ["2001:db8:b::2", "2001:db8:a::2", "2001:db8:b::2"].map(host);
    let outputs = bench.datagram(ITR, &protected(5, &eids, wrapped(5), ASKED));
    let told = outputs.iter().map(|output| match output {
        Output::Send { bytes, .. } => verify_reply(bytes, &otk(5), ASKED).unwrap(),
        other => panic!("{other:?}"),
    });
    let told: Vec<_> = told.map(|told| (told.cant_sign, self::eids(&told))).collect();
    let expected = [(true, vec![prefix("2001:db8:b::/48")]), (false, vec![prefix(SITE)])];
    assert_eq!(told, expected, "RFC 9303, table 1: with P, E is 0");
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
