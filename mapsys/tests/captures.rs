// SPDX-License-Identifier: GPL-2.0-or-later
//! Recorded exchanges with OpenOverlayRouter and OpenLISP: what their xTRs and our hand-written ones sent to their
//! Map-Servers, sent to ours (`conformance/captures/INDEX.md` says what should happen).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::*;
use mapsys::engine::{Input, Output};
use mapsys::refusal::Refusal;
use mapsys::register::site::{NotifyPort, Site};
use mapsys::transport::Via;
use pcap_file::pcap::PcapReader;
use wire::control::{ControlMessage, message_type};
use wire::record::{Action, Ttl};

/// A recorded datagram.
struct Datagram {
    at: Duration,
    source: SocketAddr,
    destination: SocketAddr,
    payload: Vec<u8>,
}

const MAP_REGISTER: u8 = 3;
const ECM: u8 = 8;

fn capture(name: &str) -> Vec<Datagram> {
    let path = format!("{}/../conformance/captures/{name}.pcap", env!("CARGO_MANIFEST_DIR"));
    let mut reader = PcapReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut datagrams = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        datagrams.extend(datagram(packet.timestamp, &packet.data));
    }
    datagrams
}

/// UDP in IPv4 or IPv6 in Ethernet.
fn datagram(at: Duration, frame: &[u8]) -> Option<Datagram> {
    const ETHERNET: usize = 14;
    let ip = &frame[ETHERNET..];
    let word = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
    let v4 = |at: usize| std::net::Ipv4Addr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap()).into();
    let v6 = |at: usize| std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap()).into();
    let (source, destination, udp): (std::net::IpAddr, std::net::IpAddr, usize) = match ip[0] >> 4 {
        4 if ip[9] == 17 => (v4(12), v4(16), usize::from(ip[0] & 0x0f) * 4),
        6 if ip[6] == 17 => (v6(8), v6(24), 40),
        _ => return None,
    };
    let end = udp + usize::from(word(udp + 4));
    Some(Datagram {
        at,
        source: SocketAddr::new(source, word(udp)),
        destination: SocketAddr::new(destination, word(udp + 2)),
        payload: ip[udp + 8..end].to_vec(),
    })
}

/// The sites of both map-servers: key `secretkey`, key id 0 and HMAC-SHA-1 on the wire.
fn sites() -> Vec<Site> {
    let own = |name: &str, prefixes: &[&str]| {
        let prefixes: Vec<_> = prefixes.iter().map(|text| prefix(text)).collect();
        legacy(site(name, 0, "secretkey", &prefixes))
    };
    vec![
        own("A", &["2001:db8:a::/48", "10.100.0.0/24"]),
        own("B", &["2001:db8:b::/48", "10.100.1.0/24"]),
        own("T", &["2001:db8:d::/48", "10.100.2.0/24"]),
        own("never", &["2001:db8:f::/48", "10.100.3.0/24"]),
        own("60", &["2001:db8:60::/48"]),
        legacy(site("five", 0, "secretkey", &[prefix_in(5, "2001:db8:e::/48")])),
    ]
}

fn legacy(site: Site) -> Site {
    Site { legacy: true, notify: NotifyPort::Source, ..site }
}

fn bench() -> Bench {
    Bench::new(config(sites()))
}

/// Plays everything that went to a Map-Server at its recorded time; what came of each datagram.
fn play(bench: &mut Bench, datagrams: &[Datagram]) -> Vec<Vec<Output>> {
    let mut last = datagrams.first().map(|first| first.at).unwrap_or_default();
    let mut outcomes = Vec::new();
    for datagram in datagrams {
        bench.pass(datagram.at.saturating_sub(last));
        last = datagram.at;
        let for_server = matches!(message_type(&datagram.payload), Some(MAP_REGISTER | ECM));
        if for_server {
            let via = Via::Socket { local: datagram.destination, remote: datagram.source };
            bench.engine.handle(bench.now, Input::Datagram { via, bytes: datagram.payload.clone() });
            outcomes.push(bench.drain());
        }
    }
    outcomes
}

#[test]
fn every_recorded_register_with_the_right_key_is_taken_and_notified() {
    for name in [
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
    ] {
        let mut bench = bench();
        let datagrams: Vec<_> =
            capture(name).into_iter().filter(|d| message_type(&d.payload) == Some(MAP_REGISTER)).collect();
        assert!(!datagrams.is_empty(), "{name}");
        let mut prefixes = BTreeSet::new();
        for (datagram, outputs) in datagrams.iter().zip(play(&mut bench, &datagrams)) {
            let (to, notify) = notify(&outputs);
            assert_eq!(to, datagram.source, "{name}");
            let ControlMessage::MapRegister(register) = ControlMessage::decode(&datagram.payload).unwrap() else {
                panic!("{name}");
            };
            assert_eq!(notify.nonce, register.nonce, "{name}");
            assert_eq!(notify.records, register.records, "{name}");
            assert_eq!(notify.auth.tag.len(), 20, "{name}: these peers refuse a truncated tag");
            prefixes.extend(register.records.iter().filter_map(|record| record.eid.ip_prefix()));
        }
        assert_eq!(bench.registered(), prefixes.into_iter().collect::<Vec<_>>(), "{name}");
        assert_eq!(bench.engine.tally().total(), 0, "{name}");
    }
}

#[test]
fn a_register_without_m_is_taken_without_notify() {
    for name in ["oor-register-no-notify-bit", "opencp-register-no-notify-bit"] {
        let mut bench = bench();
        let outcomes = play(&mut bench, &capture(name));
        assert_eq!(sent(&outcomes[0]), []);
        assert_eq!(bench.registered(), [prefix("10.100.2.0/24"), prefix("2001:db8:d::/48")], "{name}");
    }
}

#[test]
fn a_register_with_the_wrong_key_is_dropped_and_the_site_stays_unregistered() {
    let mut bench = bench();
    let outcomes = play(&mut bench, &capture("oor-register-wrong-key"));
    assert_eq!(outcomes[0], []);
    let (_, reply) = reply(&outcomes[1]);
    assert_eq!((reply.records[0].action, reply.records[0].ttl), (Action::NativelyForward, Ttl(1)));
    assert_eq!(bench.only_refused(Refusal::RegisterBadTag), 1);
    assert_eq!(bench.registered(), []);
}

#[test]
fn a_new_rloc_replaces_the_old_one_at_once() {
    for name in ["oor-reregister-rloc-change", "opencp-reregister-rloc-change"] {
        let mut bench = bench();
        let rlocs: Vec<_> = play(&mut bench, &capture(name)).iter().flat_map(|outputs| rlocs(outputs)).collect();
        assert_eq!(rlocs, ["10.20.5.2", "10.20.5.3"], "{name}");
    }
}

#[test]
fn an_old_register_replayed_is_refused_where_both_peers_roll_back() {
    for name in ["oor-replay-old-register", "opencp-replay-old-register"] {
        let mut bench = bench();
        let outcomes = play(&mut bench, &capture(name));
        assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 1, "{name}");
        let rlocs: Vec<_> = outcomes.iter().flat_map(|outputs| rlocs(outputs)).collect();
        assert_eq!(rlocs, ["10.20.5.3", "10.20.5.3"], "{name}: the replay changed nothing");
    }
}

#[test]
fn a_registration_ends_after_three_silent_minutes() {
    let mut bench = bench();
    let outcomes = play(&mut bench, &capture("oor-expiry"));
    let positive = |outputs: &[Output]| !reply(outputs).1.records[0].locators.is_empty();
    assert!(positive(&outcomes[1]) && positive(&outcomes[2]), "at 0 and 150 s");
    let (_, negative) = reply(&outcomes[3]);
    assert_eq!((negative.records[0].action, negative.records[0].ttl), (Action::NativelyForward, Ttl(1)));
    assert!(positive(&outcomes[5]), "registered again");
}

#[test]
fn a_site_that_answers_itself_gets_the_ecm_unchanged_from_4342() {
    for name in ["oor-nonproxy-forward", "opencp-nonproxy-forward"] {
        let mut bench = bench();
        let b = register(
            1,
            vec![record(prefix("2001:db8:b::/48"), &["10.20.2.2"]), record(prefix("10.100.1.0/24"), &["10.20.2.2"])],
        );
        let b = wire::control::MapRegister { proxy_reply: false, ..b };
        let sha1 = key(0, wire::control::auth::Algorithm::HmacSha1, "secretkey");
        let b = wire::control::auth::seal(&b.into(), &sha1, wire::control::auth::TagForm::Untruncated).unwrap();
        bench.datagram("10.20.2.2:4342", &b);
        let asked: Vec<_> = capture(name)
            .into_iter()
            .filter(|d| message_type(&d.payload) == Some(ECM) && d.source.ip() == address("10.20.5.2:0").ip())
            .collect();
        assert!(asked.len() >= 2, "{name}");
        for (datagram, outputs) in asked.iter().zip(play(&mut bench, &asked)) {
            let [Output::Send { local, remote, bytes }, referral @ ..] = outputs.as_slice() else { panic!("{name}") };
            assert_eq!(*remote, address("10.20.2.2:4342"), "{name}");
            assert_eq!(local.port(), 4342, "{name}");
            assert_eq!(bytes[1..], datagram.payload[1..], "{name}: inner message unchanged");
            // OpenLISP leaves D (RFC 8111) in what it forwards; an ETR is no DDT node.
            let asks_for_referral = datagram.payload[0] & 0x04 != 0;
            assert_eq!((bytes[0], referral.len()), (0x80, usize::from(asks_for_referral)), "{name}");
        }
    }
}

#[test]
fn replies_go_to_the_first_itr_rloc_of_a_family_that_we_have() {
    let mut bench = bench();
    let datagrams = capture("opencp-multi-itr-rloc");
    let asked: Vec<_> = datagrams.iter().filter(|d| message_type(&d.payload) == Some(ECM)).collect();
    let targets: Vec<_> = asked
        .iter()
        .map(|datagram| {
            // One at a time: the limits are another test's matter.
            bench.pass(Duration::from_secs(11));
            let via = Via::Socket { local: datagram.destination, remote: datagram.source };
            bench.engine.handle(bench.now, Input::Datagram { via, bytes: datagram.payload.clone() });
            reply(&bench.drain()).0.ip().to_string()
        })
        .collect();
    let (two, three, six) = ("10.20.5.2", "10.20.5.3", "2001:db8:c5::2");
    assert_eq!(targets, [two, three, two, six, six, two, six]);
}

#[test]
fn a_bare_map_request_is_dropped() {
    for name in ["oor-bare-map-request-dropped", "opencp-bare-map-request-dropped"] {
        let mut bench = bench();
        let datagrams = capture(name);
        for datagram in datagrams.iter().filter(|d| message_type(&d.payload) == Some(1)) {
            assert_eq!(bench.datagram("10.20.5.2:4342", &datagram.payload), []);
        }
        assert!(bench.only_refused(Refusal::RequestNotEncapsulated) >= 1, "{name}");
    }
}

#[test]
fn instances_are_kept_apart() {
    let mut bench = bench();
    let outcomes = play(&mut bench, &capture("oor-iid5"));
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

#[test]
fn an_unregistered_site_is_negative_for_a_minute_and_not_an_hour() {
    let mut bench = bench();
    for outputs in play(&mut bench, &capture("opencp-negative-unregistered-site")) {
        let (_, reply) = reply(&outputs);
        let prefix_told = reply.records[0].eid.ip_prefix().unwrap();
        assert_eq!(reply.records[0].ttl, Ttl(1));
        assert!([prefix("2001:db8:f::/48"), prefix("10.100.3.0/24")].contains(&prefix_told));
    }
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
