// SPDX-License-Identifier: GPL-2.0-or-later
//! ETRs whose own keys are gone (RFC 9303, section 6.7.1).

use mapsys::engine::Reconfiguration;
use mapsys::register::site::{Site, SiteKey};
use wire::control::auth::{Algorithm, Secret};
use wire::control::lispsec::*;
use wire::control::{Ecm, Nonce};

use super::stage::*;
use crate::common::*;

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
