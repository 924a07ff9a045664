// SPDX-License-Identifier: GPL-2.0-or-later
//! Recorded exchanges with OpenOverlayRouter and OpenLISP: what their xTRs and our hand-written ones sent to their
//! Map-Servers, sent to ours (`conformance/captures/INDEX.md` says what should happen).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::*;
use crate::recorded::{Datagram, ECM, MAP_REFERRAL, MAP_REGISTER, MAP_REQUEST, capture, judged};
use mapsys::engine::{Input, Output};
use mapsys::refusal::Refusal;
use mapsys::register::site::{NotifyPort, Site};
use mapsys::transport::Via;
use wire::address::EidPrefix;
use wire::control::auth::{Algorithm, TagForm};
use wire::control::{ControlMessage, MapRegister};
use wire::record::{Action, Ttl};

judged! {
    every_recorded_register_with_the_right_key_is_taken_and_notified: is_taken_and_notified = [
        "opencp-register-sha1-notify",
        "oor-register-two-records",
        "oor-register-xtr-id",
        "opencp-register-xtr-id",
        "oor-register-rloc-set-v4-v6",
        "opencp-register-rloc-set-v4-v6",
        "oor-register-over-ipv6",
        "opencp-register-over-ipv6",
        "oor-xtr-register",
        "oor-xtr-register-ipv6-rloc",
        "oor-xtr-register-proxy",
        "opencp-oor-xtr-register",
        "oor-xtr-retransmit-and-bad-notify",
        "opencp-xtr",
        "oor-dual-rloc-set",
        "oor-iid5-xtr",
        "oor",
        "oor-xtr-with-opencp-ms",
    ];
    a_register_without_m_is_taken_without_notify: is_taken_in_silence =
        ["oor-register-no-notify-bit", "opencp-register-no-notify-bit"];
    a_register_with_the_wrong_key_is_dropped_and_the_site_stays_unregistered: is_dropped_for_its_tag =
        ["oor-register-wrong-key"];
    a_new_rloc_replaces_the_old_one_at_once: replaces_the_rloc =
        ["oor-reregister-rloc-change", "opencp-reregister-rloc-change"];
    an_old_register_replayed_is_refused_where_both_peers_roll_back: is_refused_as_replayed =
        ["oor-replay-old-register", "opencp-replay-old-register"];
    a_ttl_of_zero_withdraws_where_a_peer_goes_on_answering: is_withdrawn = ["opencp-ttl0-not-withdrawn"];
    a_registration_ends_after_three_silent_minutes: ends_after_silence = ["oor-expiry"];
    a_proxied_reply_is_that_of_the_peer_without_a_and_l: is_answered_as_by_the_peer =
        ["oor-proxy-reply", "opencp-proxy-reply", "oor-xtr-register-proxy"];
    a_site_that_answers_itself_gets_the_ecm_unchanged_from_4342: is_forwarded_unchanged =
        ["oor-nonproxy-forward", "opencp-nonproxy-forward"];
    replies_go_to_the_first_itr_rloc_of_a_family_that_we_have: goes_to_the_first_itr_rloc =
        ["oor-multi-itr-rloc", "opencp-multi-itr-rloc"];
    a_bare_map_request_is_dropped: is_dropped_bare =
        ["oor-bare-map-request-dropped", "opencp-bare-map-request-dropped"];
    a_probe_inside_an_ecm_is_dropped_where_a_peer_answers_for_the_locator: is_no_probe = ["opencp-rloc-probe-in-ecm"];
    instances_are_kept_apart: keeps_instances_apart = ["oor-iid5"];
    an_unregistered_site_is_negative_for_a_minute_and_not_an_hour: is_negative_for_a_minute =
        ["opencp-negative-unregistered-site"];
    a_hole_contains_the_eid_and_no_site_where_both_peers_tell_wrong_ones: tells_a_right_hole =
        ["oor-negative-unknown", "opencp-negative-unknown"];
    a_request_with_d_is_never_answered_with_a_negative_map_reply: answers_no_negative_to_d = ["oor-ddt-bit-request"];
    a_map_referral_that_nobody_asked_for_changes_nothing: ignores_referrals =
        ["oor-ddt-bit-request", "oor-ddt-node-referral", "opencp-ddt-node-referral"];
}

const OF_T: [&str; 2] = ["2001:db8:d::/48", "10.100.2.0/24"];

/// The sites of both map-servers: key `secretkey`, key id 0 and HMAC-SHA-1 on the wire.
fn sites() -> Vec<Site> {
    let own = |name: &str, prefixes: &[&str]| {
        let prefixes: Vec<_> = prefixes.iter().map(|text| prefix(text)).collect();
        legacy(site(name, 0, "secretkey", &prefixes))
    };
    let five = [prefix_in(5, "2001:db8:e::/48"), prefix_in(5, "2001:db8:b::/48")];
    vec![
        own("A", &["2001:db8:a::/48", "10.100.0.0/24"]),
        own("B", &["2001:db8:b::/48", "10.100.1.0/24"]),
        own("T", &OF_T),
        own("never", &["2001:db8:f::/48", "10.100.3.0/24"]),
        own("60", &["2001:db8:60::/48"]),
        legacy(site("five", 0, "secretkey", &five)),
    ]
}

fn legacy(site: Site) -> Site {
    Site { legacy: true, notify: NotifyPort::Source, ..site }
}

fn bench() -> Bench {
    Bench::new(config(sites()))
}

/// A map system at which some prefixes are registered, as those that recorded registered them beforehand.
fn bench_with(prefixes: &[&str], rloc: &str, change: impl Fn(MapRegister) -> MapRegister) -> Bench {
    let mut bench = bench();
    let records = prefixes.iter().map(|text| record(prefix(text), &[rloc])).collect();
    let sha1 = key(0, Algorithm::HmacSha1, "secretkey");
    let message = change(register(0x7777, records)).into();
    let bytes = wire::control::auth::seal(&message, &sha1, TagForm::Untruncated).unwrap();
    notify(&bench.datagram(&format!("{rloc}:4342"), &bytes));
    bench
}

/// Plays everything that went to a Map-Server at its recorded time; what came of each datagram.
fn play(bench: &mut Bench, datagrams: &[Datagram]) -> Vec<Vec<Output>> {
    let mut last = datagrams.first().map(|first| first.at).unwrap_or_default();
    let mut outcomes = Vec::new();
    for datagram in datagrams {
        bench.pass(datagram.at.saturating_sub(last));
        last = datagram.at;
        if matches!(datagram.kind(), MAP_REGISTER | ECM) {
            outcomes.push(hear(bench, datagram));
        }
    }
    outcomes
}

fn hear(bench: &mut Bench, datagram: &Datagram) -> Vec<Output> {
    let via = Via::Socket { local: datagram.to, remote: datagram.from };
    bench.engine.handle(bench.now, Input::Datagram { via, bytes: datagram.payload.clone() });
    bench.drain()
}

/// The datagrams of one type that T sent.
fn of_t(name: &str, kind: u8) -> Vec<Datagram> {
    let of_t = |datagram: &Datagram| datagram.kind() == kind && is_t(datagram);
    let datagrams: Vec<_> = capture(name).into_iter().filter(of_t).collect();
    assert!(!datagrams.is_empty(), "{name}");
    datagrams
}

/// Whether T sent it.
fn is_t(datagram: &Datagram) -> bool {
    let from = datagram.from.ip().to_string();
    from.starts_with("10.20.5.") || from == "2001:db8:c5::2"
}

fn is_taken_and_notified(name: &str) {
    let mut bench = bench();
    let datagrams: Vec<_> = capture(name).into_iter().filter(|datagram| datagram.kind() == MAP_REGISTER).collect();
    assert!(!datagrams.is_empty(), "{name}");
    let mut prefixes = BTreeSet::new();
    for (datagram, outputs) in datagrams.iter().zip(play(&mut bench, &datagrams)) {
        let (to, notify) = notify(&outputs);
        assert_eq!(to, datagram.from, "{name}");
        let ControlMessage::MapRegister(register) = datagram.message() else { panic!("{name}") };
        assert_eq!(notify.nonce, register.nonce, "{name}");
        assert_eq!(notify.records, register.records, "{name}");
        // Where the register has I the peers copy it with the 24 octets behind the records; the figure of RFC 9301, section 5.7, has neither.
        assert_eq!(notify.xtr_identity, None, "{name}");
        assert_eq!(notify.auth.tag.len(), 20, "{name}: these peers refuse a truncated tag");
        prefixes.extend(register.records.iter().filter_map(|record| record.eid.ip_prefix()));
    }
    assert_eq!(bench.registered(), prefixes.into_iter().collect::<Vec<_>>(), "{name}");
    assert_eq!(bench.engine.tally().total(), 0, "{name}");
}

fn is_taken_in_silence(name: &str) {
    let mut bench = bench();
    let outcomes = play(&mut bench, &capture(name));
    assert_eq!(sent(&outcomes[0]), []);
    assert_eq!(bench.registered(), [prefix("10.100.2.0/24"), prefix("2001:db8:d::/48")], "{name}");
}

fn is_dropped_for_its_tag(name: &str) {
    let mut bench = bench();
    let outcomes = play(&mut bench, &capture(name));
    assert_eq!(outcomes[0], []);
    let (_, reply) = reply(&outcomes[1]);
    assert_eq!((reply.records[0].action, reply.records[0].ttl), (Action::NativelyForward, Ttl(1)));
    assert_eq!(bench.only_refused(Refusal::RegisterBadTag), 1);
    assert_eq!(bench.registered(), []);
}

fn replaces_the_rloc(name: &str) {
    let mut bench = bench();
    let rlocs: Vec<_> = play(&mut bench, &capture(name)).iter().flat_map(|outputs| rlocs(outputs)).collect();
    assert_eq!(rlocs, ["10.20.5.2", "10.20.5.3"], "{name}");
}

fn is_refused_as_replayed(name: &str) {
    let mut bench = bench();
    let outcomes = play(&mut bench, &capture(name));
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 1, "{name}");
    let rlocs: Vec<_> = outcomes.iter().flat_map(|outputs| rlocs(outputs)).collect();
    assert_eq!(rlocs, ["10.20.5.3", "10.20.5.3"], "{name}: the replay changed nothing");
}

fn is_withdrawn(name: &str) {
    let mut bench = bench_with(&OF_T, "10.20.5.2", |register| register);
    let outcomes = play(&mut bench, &capture(name));
    notify(&outcomes[0]);
    assert_eq!(bench.registered(), []);
    let (_, reply) = reply(&outcomes[1]);
    assert_eq!((reply.records[0].action, reply.records[0].ttl), (Action::NativelyForward, Ttl(1)));
}

fn ends_after_silence(name: &str) {
    let mut bench = bench();
    let outcomes = play(&mut bench, &capture(name));
    let positive = |outputs: &[Output]| !reply(outputs).1.records[0].locators.is_empty();
    assert!(positive(&outcomes[1]) && positive(&outcomes[2]), "at 0 and 150 s");
    let (_, negative) = reply(&outcomes[3]);
    assert_eq!((negative.records[0].action, negative.records[0].ttl), (Action::NativelyForward, Ttl(1)));
    assert!(positive(&outcomes[5]), "registered again");
}

fn is_answered_as_by_the_peer(name: &str) {
    let datagrams = capture(name);
    let mut bench = match datagrams[0].kind() {
        MAP_REGISTER => bench(),
        _ => bench_with(&OF_T, "10.20.5.3", |register| register),
    };
    let registers: Vec<_> = datagrams.iter().filter(|datagram| datagram.kind() == MAP_REGISTER).collect();
    for register in registers {
        notify(&hear(&mut bench, register));
    }
    for question in datagrams.iter().filter(|datagram| datagram.kind() == ECM) {
        let recorded = question.answer(&datagrams).unwrap();
        let (to, reply) = reply(&hear(&mut bench, question));
        assert_eq!(to, recorded.to, "{name}: the inner source port counts");
        let (ours, theirs) = (&reply.records, &recorded.reply().records);
        assert_eq!((ours.len(), &ours[0].eid), (1, &theirs[0].eid), "{name}");
        let addresses = |records: &[wire::record::MappingRecord]| -> Vec<_> {
            records[0].locators.iter().map(|locator| locator.rloc.clone()).collect()
        };
        assert_eq!(addresses(ours), addresses(theirs), "{name}");
        assert!(!ours[0].authoritative && ours[0].locators.iter().all(|locator| !locator.local), "{name}");
    }
}

fn is_forwarded_unchanged(name: &str) {
    let of_b = ["2001:db8:b::/48", "10.100.1.0/24"];
    let mut bench = bench_with(&of_b, "10.20.2.2", |register| MapRegister { proxy_reply: false, ..register });
    let asked: Vec<_> = of_t(name, ECM).into_iter().filter(|d| d.from.ip() == address("10.20.5.2:0").ip()).collect();
    assert!(asked.len() >= 2, "{name}");
    for (datagram, outputs) in asked.iter().zip(play(&mut bench, &asked)) {
        let [Output::Send { local, remote, bytes, .. }, referral @ ..] = outputs.as_slice() else { panic!("{name}") };
        assert_eq!(*remote, address("10.20.2.2:4342"), "{name}");
        assert_eq!(local.port(), 4342, "{name}");
        assert_eq!(bytes[1..], datagram.payload[1..], "{name}: inner message unchanged");
        // OpenLISP leaves D (RFC 8111) in what it forwards; an ETR is no DDT node.
        assert_eq!((bytes[0], referral.len()), (0x80, usize::from(is_ddt(datagram))), "{name}");
    }
}

/// D of the ECM.
fn is_ddt(datagram: &Datagram) -> bool {
    matches!(datagram.message(), ControlMessage::Ecm(ecm) if ecm.ddt)
}

fn goes_to_the_first_itr_rloc(name: &str) {
    let mut bench = bench_with(&OF_T, "10.20.5.2", |register| register);
    let targets: Vec<_> = of_t(name, ECM)
        .iter()
        .map(|datagram| {
            // One at a time: the limits are another test's matter.
            bench.pass(Duration::from_secs(11));
            reply(&hear(&mut bench, datagram)).0.ip().to_string()
        })
        .collect();
    let (two, three, six) = ("10.20.5.2", "10.20.5.3", "2001:db8:c5::2");
    assert_eq!(targets, [two, three, two, six, six, two, six], "{name}");
}

fn is_dropped_bare(name: &str) {
    let mut bench = bench();
    for datagram in of_t(name, MAP_REQUEST) {
        assert_eq!(bench.datagram("10.20.5.2:4342", &datagram.payload), []);
    }
    assert!(bench.only_refused(Refusal::RequestNotEncapsulated) >= 1, "{name}");
}

fn is_no_probe(name: &str) {
    let mut bench = bench();
    let outcomes = play(&mut bench, &capture(name));
    notify(&outcomes[0]);
    assert_eq!(outcomes[1], []);
    assert_eq!(bench.only_refused(Refusal::ProbeInEcm), 1);
}

fn keeps_instances_apart(name: &str) {
    let mut bench = bench();
    let outcomes = play(&mut bench, &capture(name));
    notify(&outcomes[0]);
    let (_, positive) = reply(&outcomes[1]);
    assert_eq!(positive.records[0].eid.ip_prefix(), Some(prefix_in(5, "2001:db8:e::/48")));
    for outputs in &outcomes[2..] {
        let sent = sent(outputs);
        let records = sent.iter().filter_map(|(_, message)| match message {
            ControlMessage::MapReply(reply) => Some(&reply.records[0]),
            _ => None,
        });
        assert!(records.into_iter().all(|record| record.locators.is_empty()), "[5] answers for no other instance");
    }
}

fn is_negative_for_a_minute(name: &str) {
    let mut bench = bench();
    for outputs in play(&mut bench, &capture(name)) {
        let (_, reply) = reply(&outputs);
        let prefix_told = reply.records[0].eid.ip_prefix().unwrap();
        assert_eq!(reply.records[0].ttl, Ttl(1));
        assert!([prefix("2001:db8:f::/48"), prefix("10.100.3.0/24")].contains(&prefix_told));
    }
}

fn tells_a_right_hole(name: &str) {
    let mut bench = bench();
    let configured: Vec<EidPrefix> = sites().iter().flat_map(|site| site.prefixes.clone()).map(|p| p.prefix).collect();
    for question in of_t(name, ECM) {
        let asked = question.request().records[0].eid.ip_prefix().unwrap();
        let (_, reply) = reply(&hear(&mut bench, &question));
        let told = reply.records[0].eid.ip_prefix().unwrap();
        assert_eq!((reply.records[0].action, reply.records[0].ttl), (Action::NativelyForward, Ttl(15)), "{asked}");
        assert!(told.covers(&asked), "{told} does not contain {asked}");
        let covered = configured.iter().find(|site| told.covers(site) || site.covers(&told));
        assert_eq!(covered, None, "{told} for {asked}");
    }
}

fn answers_no_negative_to_d(name: &str) {
    let mut bench = bench_with(&OF_T, "10.20.5.2", |register| register);
    let datagrams: Vec<_> = capture(name).into_iter().filter(is_t).collect();
    for outputs in play(&mut bench, &datagrams) {
        let replies = sent(&outputs).into_iter().filter_map(|(_, message)| match message {
            ControlMessage::MapReply(reply) => Some(reply),
            _ => None,
        });
        for reply in replies {
            assert!(reply.records.iter().all(|record| !record.locators.is_empty()), "{reply:?}");
        }
    }
    let etr = bench.registered();
    assert_eq!(etr, [prefix("10.100.2.0/24"), prefix("2001:db8:d::/48")], "[6] was taken");
}

fn ignores_referrals(name: &str) {
    let mut bench = bench();
    let referrals: Vec<_> = capture(name).into_iter().filter(|datagram| datagram.kind() == MAP_REFERRAL).collect();
    assert!(referrals.len() >= 3, "{name}");
    for referral in &referrals {
        assert!(matches!(referral.message(), ControlMessage::MapReferral(_)), "our codec reads it");
        assert_eq!(bench.datagram(&referral.from.to_string(), &referral.payload), [], "{name}");
    }
    assert_eq!(bench.engine.tally().total(), referrals.len() as u64, "each is counted");
    assert_eq!(bench.engine.cached(), 0, "{name}");
}

/// The locators of Map-Replies.
fn rlocs(outputs: &[Output]) -> Vec<String> {
    sent(outputs)
        .into_iter()
        .filter_map(|(_, message)| match message {
            ControlMessage::MapReply(reply) => Some(reply.records),
            _ => None,
        })
        .flatten()
        .flat_map(|record| record.locators)
        .map(|locator| locator.rloc.ip().unwrap().to_string())
        .collect()
}
