// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Request: what is answered, sent on, or denied.

use mapsys::engine::Config;
use mapsys::limit::Foreign;
use mapsys::refusal::Refusal;
use mapsys::register::label::Spelling;
use mapsys::register::site::LispSec;
use mapsys::resolve::lispsec::{Association, SecKey};
use wire::control::auth::Secret;
use wire::control::lispsec::{
    Asked, EcmAd, EidAd, HmacAlgorithm, HmacId, KdfId, OneTimeKey, eid_ad_octets, seal_reply, verify_reply,
};
use wire::control::{ControlMessage, MapReply};
use wire::record::{Action, Ttl};

use super::*;

fn registered(eids: &[Eid]) -> Bench {
    let mut bench = bench();
    for (nonce, eid) in (1..).zip(eids) {
        notify(&bench.datagram(ETR, &sealed(nonce, eid.clone(), RLOC)));
    }
    bench
}

#[test]
fn a_longer_name_is_answered_with_the_registered_one_that_it_begins_with() {
    // RFC 9735, section 4, has this example, with these lengths.
    let mut bench = registered(&[name("ietf")]);
    assert_eq!((name("ietf").mask_len, name("ietf.lisp").mask_len), (40, 80));
    for asked in ["ietf", "ietf.lisp"] {
        let records = answer(&mut bench, 9, &name(asked));
        assert_eq!((records.len(), &records[0].eid, rlocs(&records[0])), (1, &name("ietf"), vec![RLOC.to_owned()]));
    }
}

#[test]
fn a_name_with_longer_ones_beside_it_comes_with_them_or_alone_for_what_was_asked() {
    let mut bench = registered(&[name("ietf"), name("ietf.lisp")]);
    // RFC 9301, section 5.5: the more-specifics come too, as far as the size of the question allows.
    let mut request = request_of(7, &[name("ietf.dns")]);
    request.itr_rlocs = vec![request.itr_rlocs[0].clone(); 10];
    let (_, came) = reply(&bench.datagram(ITR, &wrapped(&request)));
    let eids: Vec<_> = came.records.iter().map(|record| record.eid.clone()).collect();
    assert_eq!(eids, [name("ietf"), name("ietf.lisp")]);
    for n in 0..9 {
        let eid = name(&format!("ietf.{n}"));
        notify(&bench.datagram(ETR, &sealed(10 + n, eid, RLOC)));
    }
    let records = answer(&mut bench, 9, &name("ietf.dns"));
    assert_eq!((records.len(), &records[0].eid), (1, &name("ietf.dns")), "nine more-specifics are too many");
    assert_eq!(rlocs(&records[0]), [RLOC]);
}

#[test]
fn a_mac_address_is_answered_with_the_longest_prefix_that_is_registered() {
    let mut bench = registered(&[mac("02:00:5e:00:00:00/24")]);
    let records = answer(&mut bench, 8, &mac("02:00:5e:12:34:56/48"));
    assert_eq!((records.len(), &records[0].eid), (1, &mac("02:00:5e:00:00:00/24")));
    notify(&bench.datagram(OTHER, &sealed(9, mac("02:00:5e:12:34:56/48"), "198.51.100.2")));
    assert_eq!(rlocs(&answer(&mut bench, 9, &mac("02:00:5e:12:34:56/48"))[0]), ["198.51.100.2"]);
    // Either both, or no more of the wider one than its part without the other.
    for record in answer(&mut bench, 10, &mac("02:00:5e:12:34:57/48")) {
        let is_wide = record.eid == mac("02:00:5e:12:34:57/48") || record.eid == mac("02:00:5e:00:00:00/24");
        assert_eq!(is_wide, rlocs(&record) == [RLOC], "{record}");
    }
}

#[test]
fn an_asker_is_answered_as_he_writes() {
    let without_nul = Eid { mask_len: 56, ..name("printer") };
    let Address::Mac(octets) = mac("02:00:5e:00:00:01/48").address else { panic!() };
    let ieee = Eid { address: Address::Ieee802(octets), mask_len: 48 };
    let mut bench = registered(&[name("printer"), mac("02:00:5e:00:00:01/48")]);
    for asked in [name("printer"), without_nul, mac("02:00:5e:00:00:01/48"), ieee, within(0, name("printer"))] {
        let records = answer(&mut bench, 9, &asked);
        assert_eq!(rlocs(&records[0]), [RLOC], "{asked}");
        assert_eq!(records[0].eid.mask_len, asked.mask_len, "{asked}");
    }
}

#[test]
fn what_is_configured_and_not_registered_is_denied_for_a_minute_and_anything_else_for_fifteen() {
    let mut bench = registered(&[mac("02:00:5e:80:00:00/25")]);
    for (asked, denied, minutes) in [
        (name("printer"), name("printer"), 1),
        (name("ietf.lisp"), name("ietf.lisp"), 1),
        (within(5, name("a")), within(5, name("a")), 1),
        (mac("02:00:5e:00:00:01/48"), mac("02:00:5e:00:00:00/25"), 1),
        (name("unknown"), name("unknown"), 15),
        (within(6, name("a")), within(6, name("a")), 15),
        (mac("02:00:5f:00:00:01/48"), mac("02:00:5f:00:00:01/48"), 15),
    ] {
        let records = answer(&mut bench, 9, &asked);
        assert_eq!((records.len(), &records[0].eid), (1, &denied));
        let told = (records[0].action, records[0].ttl, records[0].locators.len());
        assert_eq!(told, (Action::NativelyForward, Ttl(minutes), 0), "{asked}");
    }
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn what_one_site_registered_says_nothing_about_what_another_has_inside() {
    let other = Site { labels: vec![exact("ietf.lisp")], ..site("other", 1, "other", &[]) };
    let mut bench = Bench::new(config(vec![machines(), other]));
    notify(&bench.datagram(ETR, &sealed(1, name("ietf"), RLOC)));
    let records = answer(&mut bench, 8, &name("ietf.lisp"));
    assert_eq!((records[0].locators.len(), records[0].ttl), (0, Ttl(1)));
    let records = answer(&mut bench, 9, &name("ietf.dns"));
    assert_eq!((&records[0].eid, rlocs(&records[0])), (&name("ietf.dns"), vec![RLOC.to_owned()]));
}

/// Not as RFC 9735, section 4, has it, but as of EID-prefixes (RFC 9301, section 8.3).
#[test]
fn what_a_site_registered_says_nothing_about_what_it_has_inside_by_another_rule() {
    let mut machines = machines();
    machines.labels.push(exact("ietf.lisp"));
    let mut bench = Bench::new(config(vec![machines]));
    notify(&bench.datagram(ETR, &sealed(1, name("ietf"), RLOC)));
    let records = answer(&mut bench, 8, &name("ietf.lisp"));
    assert_eq!((records[0].locators.len(), records[0].ttl), (0, Ttl(1)));
}

#[test]
fn a_name_that_one_site_has_by_itself_says_nothing_about_longer_ones_of_another() {
    let other_key = key(1, Algorithm::HkdfSha256, "other");
    let by_other =
        |nonce, text: &str| seal(register(nonce, vec![record_of(name(text), &["198.51.100.2"])]), &other_key);
    // The other's one name inside what begins so here, which is registered or not.
    let inner = Site { labels: vec![exact("ietf.1")], ..site("other", 1, "other", &[]) };
    let mut bench = Bench::new(config(vec![machines(), inner]));
    notify(&bench.datagram(OTHER, &by_other(1, "ietf.1")));
    let records = answer(&mut bench, 1, &name("ietf.12"));
    assert_eq!((&records[0].eid, records[0].locators.len(), records[0].ttl), (&name("ietf.12"), 0, Ttl(1)));
    notify(&bench.datagram(ETR, &sealed(1, name("ietf"), RLOC)));
    for (asked, rloc) in [("ietf.12", RLOC), ("ietf.7", RLOC), ("ietf.1", "198.51.100.2")] {
        let records = answer(&mut bench, 2, &name(asked));
        assert_eq!((records.len(), &records[0].eid, rlocs(&records[0])), (1, &name(asked), vec![rloc.to_owned()]));
    }
    // What begins so is the other's, inside one name here.
    let inner = Site { labels: vec![stem(0, "printer.")], ..site("other", 1, "other", &[]) };
    let mut bench = Bench::new(config(vec![machines(), inner]));
    notify(&bench.datagram(ETR, &sealed(1, name("printer"), RLOC)));
    assert_eq!(answer(&mut bench, 3, &name("printer.a"))[0].locators.len(), 0);
    notify(&bench.datagram(OTHER, &by_other(1, "printer.a")));
    assert_eq!(rlocs(&answer(&mut bench, 4, &name("printer.a"))[0]), ["198.51.100.2"]);
    assert_eq!(answer(&mut bench, 5, &name("printer.b"))[0].locators.len(), 0);
}

#[test]
fn names_that_are_made_up_under_one_rule_share_its_limit() {
    let mut bench = registered(&[name("ietf"), name("ietf.lisp")]);
    let answers = |bench: &mut Bench, names: &str| {
        let made_up = (0..6).map(|n| name(&format!("{names}{n}")));
        made_up.filter(|eid| !asks(bench, 1, eid).is_empty()).count()
    };
    assert_eq!(answers(&mut bench, "ietf."), 4, "of what is registered");
    let within_5 = (0..6).map(|n| within(5, name(&format!("a{n}"))));
    assert_eq!(within_5.filter(|eid| !asks(&mut bench, 1, eid).is_empty()).count(), 4, "of what is not");
    assert_eq!(bench.only_refused(Refusal::ReplyRate), 4);
}

#[test]
fn strangers_ask_for_unknown_ones_from_their_own_locator_only() {
    let mut bench = Bench::new(Config { foreign: Foreign::Nobody, ..config(vec![machines()]) });
    assert_eq!(asks(&mut bench, 1, &name("unknown")), []);
    assert_eq!(bench.only_refused(Refusal::ForeignNotServed), 1);
    let mut bench = super::bench();
    assert_eq!(bench.datagram("203.0.113.9:5000", &wrapped(&request_of(1, &[name("unknown")]))), []);
    assert_eq!(bench.only_refused(Refusal::ForeignNotFromItr), 1);
}

#[test]
fn one_label_is_told_to_one_target_four_times_in_three_seconds() {
    let mut bench = registered(&[name("printer"), name("x")]);
    let answers =
        |bench: &mut Bench, text: &str| (0..6).filter(|nonce| !asks(bench, *nonce, &name(text)).is_empty()).count();
    assert_eq!((answers(&mut bench, "printer"), answers(&mut bench, "x")), (4, 4));
    assert_eq!(bench.only_refused(Refusal::ReplyRate), 4);
}

#[test]
fn where_the_site_answers_itself_the_request_goes_to_its_etr_unchanged() {
    for eid in [name("printer"), mac("02:00:5e:00:00:01/48"), within(5, name("a")), group("192.0.2.1/32")] {
        let mut bench = bench();
        let message = MapRegister { proxy_reply: false, ..register(1, vec![record_of(eid.clone(), &[RLOC])]) };
        bench.datagram(ETR, &seal(message, &site_key()));
        let asked = wrapped(&request_of(7, &[eid]));
        let outputs = bench.datagram(ITR, &asked);
        let [Output::Send { remote, bytes, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
        assert_eq!((*remote, bytes), (address(ETR), &asked));
    }
}

#[test]
fn prefixes_and_names_may_be_asked_for_together() {
    let mut bench = registered(&[name("printer")]);
    let asked = [name("printer"), host("2001:db8:a::1").into(), name("x")];
    let (_, reply) = reply(&bench.datagram(ITR, &wrapped(&request_of(7, &asked))));
    let told: Vec<_> = reply.records.iter().map(|record| (record.eid.clone(), record.locators.len())).collect();
    assert_eq!(told, [(name("printer"), 1), (prefix(SITE).into(), 0), (name("x"), 0)]);
}

const SECRET: &str = "itr and resolver";
const ASKED: Asked = Asked { hmac: HmacId(2), kdf: KdfId(2) };

fn protected(nonce: u64, eid: &Eid) -> Vec<u8> {
    let otk = OneTimeKey::new([7; 16]).wrap(3, &Secret::new(SECRET), Nonce(nonce));
    let ad = EcmAd { requested_hmac: ASKED.hmac, otk, eid_ad: EidAd::unfilled(ASKED.kdf) };
    let ecm = Ecm::decode(&wrapped(&request_of(nonce, std::slice::from_ref(eid)))).unwrap();
    Ecm { security: Some(ad.encode().unwrap()), ..ecm }.encode().unwrap()
}

/// A source, and a group that the site has.
fn group(source: &str) -> Eid {
    pairs(0, true, source, "239.1.1.1/32").label.eid(Spelling::default())
}

fn with_lisp_sec(lisp_sec: LispSec, proxy: bool, signs: bool) -> Bench {
    let peers = vec!["192.0.2.0/24".parse().unwrap()];
    let keys = vec![SecKey { id: 3, secret: Secret::new(SECRET) }];
    let association = Association { name: "itrs".into(), peers, keys, protected_path: false };
    let sites = vec![Site { lisp_sec, ..machines() }];
    let mut bench = Bench::new(Config { lisp_sec: vec![association], ..config(sites) });
    let eids = [name("printer"), group("0.0.0.0/0")];
    let message = register(1, eids.map(|eid| record_of(eid, &[RLOC])).into());
    let message = MapRegister { proxy_reply: proxy, security_capable: signs, ..message };
    bench.datagram(ETR, &seal(message, &site_key()));
    bench
}

#[test]
fn lisp_sec_protects_answers_about_names_and_a_site_that_requires_it_is_not_answered_for_without() {
    let mut bench = with_lisp_sec(LispSec::Required, true, false);
    for (nonce, asked, told, locators) in [
        (7, name("printer"), name("printer"), 1),
        (8, name("x"), name("x"), 0),
        (9, group("192.0.2.1/32"), group("0.0.0.0/0"), 1),
    ] {
        let outputs = bench.datagram(ITR, &protected(nonce, &asked));
        let [Output::Send { bytes, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
        let verified = verify_reply(bytes, &OneTimeKey::new([7; 16]), ASKED).unwrap();
        let record = &verified.reply.records[0];
        assert_eq!((&record.eid, record.locators.len()), (&told, locators));
    }
    assert_eq!(asks(&mut bench, 10, &name("printer")), []);
    assert_eq!(asks(&mut bench, 11, &group("192.0.2.1/32")), []);
    assert_eq!(bench.only_refused(Refusal::SecRequired), 2);
}

#[test]
fn where_no_etr_signs_the_itr_hears_that_asking_without_lisp_sec_might_do() {
    let mut bench = with_lisp_sec(LispSec::Optional, false, false);
    let outputs = bench.datagram(ITR, &protected(7, &name("printer")));
    let [Output::Send { remote, bytes, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(*remote, address("192.0.2.1:61000"));
    let verified = verify_reply(bytes, &OneTimeKey::new([7; 16]), ASKED).unwrap();
    let record = &verified.reply.records[0];
    assert_eq!((record.action, record.ttl, record.locators.len()), (Action::DropNoReason, Ttl(1), 0));
    assert!(verified.cant_sign, "E");
    let outputs = asks(&mut bench, 8, &name("printer"));
    assert!(matches!(sent(&outputs).as_slice(), [(to, ControlMessage::Ecm(_))] if *to == address(ETR)), "{outputs:?}");
}

#[test]
fn a_protected_request_is_sent_on_to_an_etr_that_signs_for_what_it_registered() {
    for (asked, registered) in [(name("printer"), name("printer")), (group("192.0.2.1/32"), group("0.0.0.0/0"))] {
        a_protected_request_is_sent_on(&asked, &registered);
    }
}

fn a_protected_request_is_sent_on(asked: &Eid, registered: &Eid) {
    let mut bench = with_lisp_sec(LispSec::Required, false, true);
    let outputs = bench.datagram(ITR, &protected(7, asked));
    let [Output::Send { remote, bytes, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(*remote, address(ETR));
    let octets = Ecm::decode(bytes).unwrap().security.expect("a Protected Map-Request");
    let ad = EcmAd::decode(&octets).unwrap();
    let ms_otk = ad.otk.unwrap(&Secret::new("secret of machines"), Nonce(7)).unwrap();
    // The ETR answers as RFC 9303, section 6.8, has it, and the ITR takes what it may answer for.
    let answers = |eid: Eid| {
        let records = vec![record_of(eid, &[RLOC])];
        let reply = MapReply { nonce: Nonce(7), records, ..MapReply::default() };
        let hmac = HmacAlgorithm::for_request(ad.requested_hmac);
        seal_reply(&reply, eid_ad_octets(&octets).unwrap(), &ms_otk, hmac).unwrap()
    };
    let taken = |eid: Eid| verify_reply(&answers(eid), &OneTimeKey::new([7; 16]), ASKED);
    assert_eq!(taken(registered.clone()).unwrap().reply.records[0].eid, *registered);
    let verified = taken(name("x")).unwrap();
    assert_eq!(
        (verified.reply.records.len(), verified.overclaimed),
        (0, vec![name("x")]),
        "it has not registered that"
    );
}
