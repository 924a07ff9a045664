// SPDX-License-Identifier: GPL-2.0-or-later
//! Recorded DDT exchanges with OpenOverlayRouter and OpenLISP (`conformance/captures/INDEX.md`): what a DDT client asked them,
//! asked of our node; and what they answered, given to our client.

use mapsys::ddt::{Config as Ddt, Kind};
use mapsys::engine::{Config, Output};
use mapsys::refusal::Refusal;
use mapsys::register::site::{NotifyPort, Site};
use pcap_file::pcap::PcapReader;
use wire::address::EidPrefix;
use wire::control::auth::{self, Algorithm, TagForm};
use wire::control::{ControlMessage, MapReferral, MapRegister, ReferralAction};

use super::world::*;
use crate::common::*;

/// UDP payloads of a capture, in order: all of them are IPv4 in Ethernet.
fn payloads(name: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/../conformance/captures/{name}.pcap", env!("CARGO_MANIFEST_DIR"));
    let mut reader = PcapReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut payloads = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let frame = packet.unwrap().data.into_owned();
        let udp = &frame[14 + usize::from(frame[14] & 0x0f) * 4..];
        payloads.push(udp[8..usize::from(u16::from_be_bytes([udp[4], udp[5]]))].to_vec());
    }
    payloads
}

fn messages(name: &str) -> Vec<(ControlMessage, Vec<u8>)> {
    payloads(name).into_iter().map(|bytes| (ControlMessage::decode(&bytes).unwrap(), bytes)).collect()
}

/// The DDT Map-Requests of a capture.
fn requests(name: &str) -> Vec<Vec<u8>> {
    let of_ddt = |(message, bytes)| matches!(message, ControlMessage::Ecm(ecm) if ecm.ddt).then_some(bytes);
    messages(name).into_iter().filter_map(of_ddt).collect()
}

fn referrals(name: &str) -> Vec<MapReferral> {
    let of_ddt = |(message, _)| match message {
        ControlMessage::MapReferral(referral) => Some(referral),
        _ => None,
    };
    messages(name).into_iter().filter_map(of_ddt).collect()
}

const T: &str = "10.20.5.2:4342";

/// What ours says to each of the requests.
fn ours(bench: &mut Bench, name: &str) -> Vec<(ReferralAction, EidPrefix, u32, bool)> {
    let said = requests(name).into_iter().map(|bytes| {
        let (to, referral) = referral(&bench.datagram(T, &bytes));
        assert_eq!(to, address(T));
        (referral.action, referral.eid.ip_prefix().unwrap(), referral.ttl.0, referral.incomplete)
    });
    said.collect()
}

/// The node of the recordings: 2001:db8::/32 and 10.100.0.0/16, and what they delegate.
fn recorded_node(more: &str) -> Bench {
    let delegations = vec![
        delegation("2001:db8:d::/48", Kind::MapServer, &["10.20.4.2"]),
        delegation("10.100.2.0/24", Kind::MapServer, &["10.20.3.2"]),
        delegation(more, Kind::Node, &["10.20.5.5"]),
    ];
    Bench::new(node(&["2001:db8::/32", "10.100.0.0/16"], delegations))
}

#[test]
fn our_node_answers_the_questions_to_openoverlayrouter_with_a_hole_that_contains_the_eid() {
    let said = ours(&mut recorded_node("2001:db8:8000::/33"), "oor-ddt-node-referral");
    let expected = [
        (ReferralAction::MsReferral, prefix("2001:db8:d::/48"), 1440, false),
        (ReferralAction::DelegationHole, prefix("2001:db8:40::/42"), 15, false),
        (ReferralAction::NotAuthoritative, host("2001:db9::2"), 0, true),
        (ReferralAction::NodeReferral, prefix("2001:db8:8000::/33"), 1440, false),
    ];
    assert_eq!(said, expected);
}

#[test]
fn our_node_answers_the_questions_to_openlisp_with_a_hole_that_covers_no_delegation() {
    let said = ours(&mut recorded_node("2001:db8:8000::/33"), "opencp-ddt-node-referral");
    let expected = [
        (ReferralAction::MsReferral, prefix("2001:db8:d::/48"), 1440, false),
        (ReferralAction::DelegationHole, prefix("2001:db8:40::/42"), 15, false),
        (ReferralAction::NotAuthoritative, host("2001:db9::2"), 0, true),
        (ReferralAction::MsReferral, prefix("10.100.2.0/24"), 1440, false),
    ];
    assert_eq!(said, expected);
}

#[test]
fn our_map_server_acknowledges_what_is_registered_and_knows_what_is_not() {
    let own = |name: &str, text: &str| Site {
        legacy: true,
        notify: NotifyPort::Source,
        ..site(name, 0, "secretkey", &[prefix(text)])
    };
    let sites = vec![own("d", "2001:db8:d::/48"), own("f", "2001:db8:f::/48")];
    let ddt = Ddt { is_complete: true, ..Ddt::default() };
    let mut bench = Bench::new(Config { ddt, ..config(sites) });
    let sha1 = key(0, Algorithm::HmacSha1, "secretkey");
    let registers = |nonce, proxy_reply, rloc: &str| {
        let message = MapRegister {
            proxy_reply,
            want_notify: false,
            ..register(nonce, vec![record(prefix("2001:db8:d::/48"), &[rloc])])
        };
        auth::seal(&message.into(), &sha1, TagForm::Untruncated).unwrap()
    };
    let asked = requests("oor-ddt-bit-request");
    let [first, second, third] = asked.get(..3).expect("three requests") else { panic!() };
    bench.datagram(T, &registers(1, true, "10.20.5.3"));
    let outputs = bench.datagram(T, first);
    assert_eq!(referral(&outputs).1.action, ReferralAction::MsAck);
    assert!(sent(&outputs).iter().any(|(_, message)| matches!(message, ControlMessage::MapReply(_))));
    let (_, gone) = referral(&bench.datagram(T, second));
    assert_eq!(gone.action, ReferralAction::MsNotRegistered);
    assert_eq!((gone.eid.ip_prefix(), gone.ttl.0), (Some(prefix("2001:db8:f::/48")), 1), "the site, for a minute");
    bench.datagram(T, &registers(2, false, "10.20.5.5"));
    let outputs = bench.datagram(T, third);
    assert_eq!(referral(&outputs).1.action, ReferralAction::MsAck);
    let etr = sent(&outputs).into_iter().find(|(_, message)| matches!(message, ControlMessage::Ecm(_)));
    let Some((to, ControlMessage::Ecm(ecm))) = etr else { panic!("{outputs:?}") };
    assert_eq!((to, ecm.ddt), (address("10.20.5.5:4342"), false));
}

/// Our client asks for `eid`, whose root is the peer, and gets the peer's answer with its own nonce.
fn client_hears(peer: &str, eid: &str, recorded: &MapReferral) -> (Bench, Vec<Output>) {
    let mut bench = Bench::new(resolver(&[peer]));
    let outputs = bench.datagram(ITR, &ecm(&request(1, &[host(eid)], &[RLOC])));
    let [Output::Send { remote, bytes, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
    let answer = MapReferral { nonce: inside(bytes).nonce, ..recorded.clone() };
    let outputs = bench.datagram(&remote.to_string(), &answer.encode().unwrap());
    (bench, outputs)
}

fn receivers(outputs: &[Output]) -> Vec<String> {
    sent(outputs).iter().map(|(to, _)| to.ip().to_string()).collect()
}

#[test]
fn our_client_follows_the_referrals_of_openoverlayrouter_and_refuses_its_wrong_hole() {
    let said = referrals("oor-ddt-node-referral");
    let (peer, [ms, hole, wrong, child]) = ("10.20.3.2", said.as_slice()) else { panic!("{said:?}") };
    let (bench, outputs) = client_hears(peer, "2001:db8:d::2", ms);
    assert_eq!(receivers(&outputs), ["10.20.4.2"]);
    assert!(matches!(&outputs[0], Output::Send { bytes, .. } if inside(bytes).nonce.0 == 1), "the ITR's own request");
    assert_eq!(bench.engine.ddt().cached, 1);

    let (bench, outputs) = client_hears(peer, "2001:db8:77::2", hole);
    assert_eq!(outputs, [], "2001:db8:140::/42 does not contain it: no answer");
    assert_eq!(bench.only_refused(Refusal::ReferralAstray), 1);
    assert_eq!(bench.engine.ddt().cached, 0);

    let (bench, outputs) = client_hears(peer, "2001:db9::2", wrong);
    assert_eq!(outputs, [], "stops");
    assert_eq!(bench.only_refused(Refusal::ReferralNotAuthoritative), 1);
    assert_eq!(bench.engine.ddt().searches, 0);

    let (_, outputs) = client_hears(peer, "2001:db8:8000::2", child);
    assert_eq!(receivers(&outputs), ["10.20.5.5"]);
    assert!(matches!(&outputs[0], Output::Send { bytes, .. } if inside(bytes).nonce.0 != 1), "asked in our own name");
}

#[test]
fn our_client_takes_no_more_of_openlisps_hole_than_the_eid() {
    let said = referrals("opencp-ddt-node-referral");
    let (peer, [node, hole, wrong, v4]) = ("10.20.4.2", said.as_slice()) else { panic!("{said:?}") };
    let (mut bench, outputs) = client_hears(peer, "2001:db8:d::2", node);
    let mut asked = receivers(&outputs);
    asked.extend(receivers(&bench.pass(std::time::Duration::from_secs(1))));
    asked.sort();
    assert_eq!(asked, ["10.20.3.2", "2001:db8:c3::2"], "each has half of them, and its turn when the other is silent");

    // 2001:db8::/35 covers 2001:db8:d::/48, which it delegates; it says itself that it is incomplete.
    let (bench, outputs) = client_hears(peer, "2001:db8:77::2", hole);
    let (_, reply) = reply(&outputs);
    assert_eq!(reply.records[0].eid.ip_prefix(), Some(host("2001:db8:77::2")));
    assert_eq!(bench.engine.ddt().cached, 0);

    let (bench, outputs) = client_hears(peer, "2001:db9::2", wrong);
    assert_eq!((outputs, bench.only_refused(Refusal::ReferralNotAuthoritative)), (vec![], 1));

    let (_, outputs) = client_hears(peer, "10.100.2.2", v4);
    assert_eq!(receivers(&outputs), ["10.20.3.2"]);
}

#[test]
fn openlisps_ms_ack_names_the_etr_which_is_not_asked_as_a_map_server() {
    let said = referrals("opencp-nonproxy-forward");
    let [ack] = said.as_slice() else { panic!("{said:?}") };
    let (mut bench, outputs) = client_hears("10.20.4.2", "2001:db8:b::2", ack);
    assert_eq!(receivers(&outputs), ["10.20.4.2"], "the ITR's request to who acknowledged ours");
    let outputs =
        bench.datagram("198.51.100.10:61000", &ecm(&request(2, &[host("2001:db8:b::3")], &["198.51.100.10"])));
    assert_eq!(receivers(&outputs), ["10.20.4.2"], "not 10.20.2.2");
}

/// It says MS-ACK and sends a Map-Reply, to whatever has the bit D: to our own question, and to the one of the ITR.
#[test]
fn both_answers_of_openoverlayrouter_to_one_ddt_map_request_bring_it_one_request_of_the_itr_in_either_order() {
    let recorded: Vec<_> = payloads("oor-ddt-bit-request")[1..3].to_vec();
    let under = |nonce: u64, which: usize| {
        let mut bytes = recorded[which].clone();
        bytes[4..12].copy_from_slice(&nonce.to_be_bytes());
        bytes
    };
    for order in [[0, 1], [1, 0]] {
        let mut bench = Bench::new(resolver(&["10.20.3.2"]));
        let outputs = bench.datagram(ITR, &ecm(&request(1, &[host("2001:db8:d::2")], &[RLOC])));
        let [Output::Send { remote, bytes, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
        let (peer, nonce) = (remote.to_string(), inside(bytes).nonce.0);
        assert_ne!(nonce, 1, "in our own name");
        let outputs: Vec<_> = order.iter().flat_map(|which| bench.datagram(&peer, &under(nonce, *which))).collect();
        let [Output::Send { remote, bytes, .. }] = outputs.as_slice() else { panic!("{order:?}: {outputs:?}") };
        assert_eq!((remote.to_string(), inside(bytes).nonce.0), (peer.clone(), 1), "the ITR's own request, once");
        assert_eq!(bench.datagram(&peer, &under(1, 0)), [], "{order:?}: the ITR has its Map-Reply from the peer");
        assert_eq!((bench.engine.ddt().searches, bench.engine.tally().total()), (0, 0), "{order:?}");
        order.iter().for_each(|which| assert_eq!(bench.datagram(&peer, &under(nonce, *which)), [], "{order:?}: late"));
        let refused = [Refusal::ReferralUnasked, Refusal::NotForMapSystem].map(|of| bench.engine.tally().get(of));
        assert_eq!((refused, bench.pass(std::time::Duration::from_secs(60))), ([1, 1], vec![]), "{order:?}");
    }
}
