// SPDX-License-Identifier: GPL-2.0-or-later
//! Recorded exchanges with OpenOverlayRouter and OpenLISP: our node in the place of one side, the peer's packets as they
//! were. What each should lead to is said in `conformance/captures/INDEX.md`.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod double;

use std::net::{IpAddr, SocketAddr};

use double::{Node, prefix, secs};
use pcap_file::pcap::PcapReader;
use pnet::packet::Packet as _;
use pnet::packet::ethernet::EthernetPacket;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::udp::UdpPacket;
use wire::control::auth::{Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapReply, MapRequest, Nonce};
use wire::record::{Action, Ttl};
use xtr::database::{Database, OwnLocator};
use xtr::engine::Config;
use xtr::map_cache::{Forwarding, Update};
use xtr::refusal::Refusal;
use xtr::register::Server;
use xtr::transport::MapSystem;

#[test]
fn our_xtr_goes_on_after_forged_notifies_and_stops_after_the_right_one() {
    // [4] wrong key, [6] right key but nonce 0, [8] right.
    let frames = capture("oor-xtr-retransmit-and-bad-notify.pcap");
    let registers: Vec<_> = frames.iter().enumerate().filter(|(_, frame)| frame.kind() == 3).collect();
    for (index, refusal) in [(3, Some(Refusal::NotifyBadTag)), (5, Some(Refusal::NotifyUnasked)), (7, None)] {
        let (_, before) = registers.iter().rfind(|(at, _)| *at < index).unwrap();
        let ControlMessage::MapRegister(register) = before.message() else { panic!("{before:?}") };
        let prefixes: Vec<_> = register.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
        let key =
            AuthKey { id: register.auth.key_id, algorithm: Algorithm::HmacSha1, secret: Secret::new("secretkey") };
        let to = MapSystem::Node(before.to.ip());
        let server = Server {
            to,
            key,
            tag: TagForm::Untruncated,
            proxy_reply: false,
            identity: None,
            prefixes: prefixes.clone(),
        };
        let locator = OwnLocator { address: before.from.ip(), priority: 1, weight: 100 };
        let mut node = Node::from_config(Config {
            database: Database::new(prefixes, vec![locator], Ttl(10)),
            cgeid_network: None,
            servers: vec![server],
            resolvers: vec![],
            nonce_floor: Nonce(register.nonce.0.wrapping_sub(1)),
            seed: [7; 32],
        });
        assert_eq!(node.registers()[0].1.nonce, register.nonce);
        node.bytes(&frames[index].from.to_string(), &frames[index].payload);
        node.advance(secs(10));
        match refusal {
            Some(refusal) => {
                assert_eq!(node.refused(refusal), 1, "[{}]", index + 1);
                assert!(!node.registers().is_empty(), "[{}]", index + 1);
            }
            None => assert!(node.registers().is_empty()),
        }
    }
}

#[test]
fn a_map_server_silent_after_a_wrong_key_is_asked_again() {
    let frames = capture("oor-register-wrong-key.pcap");
    assert!(frames.iter().all(|frame| frame.kind() != 4), "no Map-Notify came");
    let mut node = Node::registering(Algorithm::HmacSha1, TagForm::Untruncated);
    node.registers();
    node.advance(secs(180));
    assert!(node.registers().len() >= 7);
}

#[test]
fn wrong_holes_are_no_answers() {
    // [2] and [6] do not contain the EID asked for, [4] and [8] do.
    let outcomes = replay_requests("oor-negative-unknown.pcap");
    let expected = [None, Some("2001:db9::/32"), None, Some("128.0.0.0/1")];
    assert_eq!(outcomes.len(), expected.len());
    for (outcome, expected) in outcomes.iter().zip(expected) {
        let installed = outcome.updates.iter().map(prefix_of).collect::<Vec<_>>();
        assert_eq!(installed, expected.map(prefix).into_iter().collect::<Vec<_>>());
        assert_eq!(outcome.refused(Refusal::ReplyNotCovering), u64::from(expected.is_none()));
    }
}

#[test]
fn a_hole_over_registered_sites_is_narrowed_and_its_fifteen_hours_are_capped() {
    // [2] 2001:db8::/32 and [5] 10.100.0.0/16, TTL 900 minutes, cover the prefixes of our own site.
    let outcomes = replay_requests("opencp-negative-unknown.pcap");
    let answered: Vec<_> = outcomes.iter().filter(|outcome| !outcome.updates.is_empty()).collect();
    assert_eq!(answered.len(), 2);
    for (outcome, expected) in answered.iter().zip(["2001:db8:77::2/128", "10.100.77.2/32"]) {
        let [Update::Upsert { prefix: installed, entry }] = &outcome.updates[..] else {
            panic!("{:?}", outcome.updates)
        };
        assert_eq!(*installed, prefix(expected));
        assert_eq!(entry.forwarding, Forwarding::Negative(Action::NativelyForward));
        assert_eq!(entry.expires - outcome.node.now, secs(15 * 60));
    }
}

#[test]
fn proxied_replies_of_both_servers_are_taken_whatever_their_a_and_l_bits() {
    for name in ["oor-proxy-reply.pcap", "opencp-proxy-reply.pcap"] {
        let outcomes = replay_requests(name);
        assert_eq!(outcomes.len(), 4, "{name}");
        for outcome in outcomes {
            let [Update::Upsert { prefix: installed, entry }] = &outcome.updates[..] else { panic!("{name}") };
            assert!(["2001:db8:d::/48", "10.100.2.0/24"].map(prefix).contains(installed), "{name}: {installed}");
            let Forwarding::Locators(locators) = &entry.forwarding else { panic!("{name}: {entry:?}") };
            assert_eq!(locators.len(), 1, "{name}");
        }
    }
}

#[test]
fn a_new_rloc_replaces_the_old_one() {
    for name in ["oor-reregister-rloc-change.pcap", "opencp-reregister-rloc-change.pcap"] {
        let locators: Vec<_> = replay_requests(name)
            .iter()
            .map(|outcome| match &outcome.updates[..] {
                [Update::Upsert { entry, .. }] => match &entry.forwarding {
                    Forwarding::Locators(locators) => locators[0].address.to_string(),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(locators, ["10.20.5.2", "10.20.5.3"], "{name}");
    }
}

#[test]
fn instances_are_kept_apart() {
    // The answers are for instance 5, for none, and for instance 6; each only counts for the question of its instance.
    let outcomes = replay_requests("oor-iid5.pcap");
    assert!(outcomes.iter().any(|outcome| outcome.asked.iid.0 == 5 && !outcome.updates.is_empty()));
    for outcome in outcomes {
        for update in &outcome.updates {
            assert_eq!(prefix_of(update).iid, outcome.asked.iid);
        }
    }
}

#[test]
fn probes_are_answered_as_the_peers_etr_answers_them() {
    for name in ["oor-rloc-probe-answer.pcap", "oor-rloc-probe-answer-ipv6.pcap"] {
        let frames = capture(name);
        let probes = frames.iter().filter(|frame| frame.kind() == 1);
        let answers = frames.iter().filter(|frame| frame.kind() == 2);
        let pairs: Vec<_> = probes.zip(answers).collect();
        assert!(!pairs.is_empty(), "{name}");
        for (probe, answer) in pairs {
            let ControlMessage::MapReply(recorded) = answer.message() else { panic!("{name}") };
            let locators: Vec<IpAddr> = recorded.records[0].locators.iter().filter_map(|l| l.rloc.ip()).collect();
            let mut node = site_b(&locators);
            node.bytes_at(probe.to, &probe.from.to_string(), &probe.payload);
            let (to, ours) = node.reply_sent();
            assert_eq!(to, answer.to, "{name}");
            assert_eq!((ours.probe, ours.nonce), (true, recorded.nonce), "{name}");
            assert_eq!(ours.records[0].eid.ip_prefix(), recorded.records[0].eid.ip_prefix(), "{name}");
            let probed = |reply: &MapReply| -> Vec<_> {
                reply.records[0].locators.iter().filter(|l| l.probed).filter_map(|l| l.rloc.ip()).collect()
            };
            assert_eq!(probed(&ours), probed(&recorded), "{name}");
        }
    }
}

#[test]
fn forwarded_requests_are_answered_from_whatever_port_they_come_and_with_the_d_bit() {
    for name in ["oor-nonproxy-forward.pcap", "opencp-nonproxy-forward.pcap"] {
        let frames = capture(name);
        let forwarded = frames.iter().filter(|frame| frame.kind() == 8 && frame.to.ip().to_string() == "10.20.2.2");
        let mut seen = 0;
        for frame in forwarded {
            let mut node = site_b(&["10.20.2.2".parse().unwrap()]);
            node.bytes_at(frame.to, &frame.from.to_string(), &frame.payload);
            let (to, reply) = node.reply_sent();
            let recorded = frames.iter().find(|other| other.kind() == 2 && other.nonce() == reply.nonce.0).unwrap();
            assert_eq!(to, recorded.to, "{name}");
            let ControlMessage::MapReply(recorded) = recorded.message() else { panic!("{name}") };
            assert_eq!(reply.records[0].eid.ip_prefix(), recorded.records[0].eid.ip_prefix(), "{name}");
            seen += 1;
        }
        assert_eq!(seen, 2, "{name}");
    }
}

#[test]
fn an_smr_leads_to_an_smr_invoked_request_as_the_peer_sends_it() {
    let frames = capture("oor-smr-from-us.pcap");
    let ControlMessage::MapRequest(smr) = frames[0].message() else { panic!("{:?}", frames[0]) };
    assert!(smr.smr);
    let mut node = site_a();
    let (_, request) = node.miss("2001:db8:d::2/128");
    node.reply(&double::reply_to(&request, &[("2001:db8:d::/48", 10)]));
    node.updates();
    node.bytes_at(frames[0].to, &frames[0].from.to_string(), &frames[0].payload);
    let (_, ours) = node.requests().remove(0);
    let recorded = inner_request(&frames[1]);
    assert!(ours.smr_invoked && recorded.smr_invoked);
    assert_eq!(ours.records[0].eid.ip_prefix(), recorded.records[0].eid.ip_prefix());
    let mut answer = frames[2].payload.clone();
    answer[4..12].copy_from_slice(&ours.nonce.0.to_be_bytes());
    node.bytes_at(frames[2].to, &frames[2].from.to_string(), &answer);
    let (_, entry) = node.upsert();
    assert!(matches!(entry.forwarding, Forwarding::Locators(l) if l[0].address.to_string() == "10.20.5.3"));
}

// --- replaying

/// What one recorded question and its answer led to.
struct Outcome {
    node: Node,
    asked: wire::address::EidPrefix,
    updates: Vec<Update>,
}

impl Outcome {
    fn refused(&self, refusal: Refusal) -> u64 {
        self.node.refused(refusal)
    }
}

/// Asks every question of the capture anew from site A, and gives it the recorded answer under our nonce.
fn replay_requests(name: &str) -> Vec<Outcome> {
    let frames = capture(name);
    let requests = frames.iter().filter(|frame| frame.kind() == 8);
    let replay = |frame: &Frame| {
        let recorded = inner_request(frame);
        let asked = recorded.records[0].eid.ip_prefix().unwrap();
        let mut node = site_a();
        node.updates();
        let source = if asked.net.addr().is_ipv4() { "10.100.0.2" } else { "2001:db8:a::2" };
        let eid = wire::address::EidPrefix::host(asked.iid, asked.net.addr());
        node.event(xtr::map_cache::Event::Miss { eid, source: source.parse().unwrap() });
        let (_, request) = node.requests().remove(0);
        let answer = frames.iter().find(|other| other.kind() == 2 && other.nonce() == recorded.nonce.0);
        if let Some(answer) = answer {
            let mut bytes = answer.payload.clone();
            bytes[4..12].copy_from_slice(&request.nonce.0.to_be_bytes());
            node.bytes_at(answer.to, &answer.from.to_string(), &bytes);
        }
        let updates = node.updates();
        Outcome { node, asked, updates }
    };
    requests.map(replay).collect()
}

fn site_a() -> Node {
    let resolver = MapSystem::Node("10.20.3.2".parse().unwrap());
    Node::new(&["2001:db8:a::/48", "10.100.0.0/24"], &["10.20.1.2"], vec![], vec![resolver])
}

fn site_b(locators: &[IpAddr]) -> Node {
    let locators: Vec<_> = locators.iter().map(ToString::to_string).collect();
    let locators: Vec<_> = locators.iter().map(String::as_str).collect();
    Node::new(&["2001:db8:b::/48", "10.100.1.0/24"], &locators, vec![], vec![])
}

fn prefix_of(update: &Update) -> wire::address::EidPrefix {
    match update {
        Update::Upsert { prefix, .. } => *prefix,
        other => panic!("{other:?}"),
    }
}

fn inner_request(frame: &Frame) -> MapRequest {
    let ControlMessage::Ecm(ecm) = frame.message() else { panic!("{frame:?}") };
    match ControlMessage::decode(&ecm.message).unwrap() {
        ControlMessage::MapRequest(request) => request,
        other => panic!("{other:?}"),
    }
}

// --- reading captures

/// A UDP datagram of a capture.
#[derive(Debug)]
struct Frame {
    from: SocketAddr,
    to: SocketAddr,
    payload: Vec<u8>,
}

impl Frame {
    fn kind(&self) -> u8 {
        wire::control::message_type(&self.payload).unwrap()
    }

    fn nonce(&self) -> u64 {
        u64::from_be_bytes(self.payload[4..12].try_into().unwrap())
    }

    fn message(&self) -> ControlMessage {
        ControlMessage::decode(&self.payload).unwrap()
    }
}

fn capture(name: &str) -> Vec<Frame> {
    let path = format!("{}/../conformance/captures/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut reader = PcapReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(frame(&packet.unwrap().data));
    }
    frames
}

fn frame(data: &[u8]) -> Frame {
    let ethernet = EthernetPacket::new(data).unwrap();
    let ip = ethernet.payload();
    let (source, destination, udp): (IpAddr, IpAddr, Vec<u8>) = if ip[0] >> 4 == 4 {
        let packet = Ipv4Packet::new(ip).unwrap();
        (packet.get_source().into(), packet.get_destination().into(), packet.payload().to_vec())
    } else {
        let packet = Ipv6Packet::new(ip).unwrap();
        (packet.get_source().into(), packet.get_destination().into(), packet.payload().to_vec())
    };
    let udp = UdpPacket::new(&udp).unwrap();
    let length = usize::from(udp.get_length()) - 8;
    Frame {
        from: SocketAddr::new(source, udp.get_source()),
        to: SocketAddr::new(destination, udp.get_destination()),
        payload: udp.payload()[..length].to_vec(),
    }
}
