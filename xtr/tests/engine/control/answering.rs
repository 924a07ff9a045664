// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Requests for EIDs of this node, and probes of its locators (RFC 9301, sections 5.3 and 7.1).

use crate::double::{Node, RLOC, prefix, reply_to, secs};
use wire::control::{ControlMessage, MapRequest, Nonce};
use xtr::refusal::Refusal;

const EID: &str = "2001:db8:b::2/128";

pub(super) fn request(eid: &str) -> MapRequest {
    MapRequest {
        nonce: Nonce(0x0011_2233_4455_6677),
        itr_rlocs: vec!["198.51.100.1".parse::<std::net::IpAddr>().unwrap().into()],
        records: vec![wire::control::EidRequest { notify: false, eid: prefix(eid).into() }],
        ..MapRequest::default()
    }
}

#[test]
fn requests_for_our_eids_are_answered_to_the_itr_rloc_and_the_port_they_came_from() {
    let mut node = Node::plain();
    node.datagram("198.51.100.9:61000", &request("2001:db8:a::2/128").into());
    let (remote, reply) = node.reply_sent();
    assert_eq!(remote, "198.51.100.1:61000".parse().unwrap());
    assert_eq!(reply.nonce, Nonce(0x0011_2233_4455_6677));
    assert!(reply.records[0].authoritative && !reply.probe);
    assert_eq!(reply.records[0].eid.ip_prefix(), Some(prefix("2001:db8:a::/48")));
    assert!(reply.records[0].locators.iter().all(|locator| locator.local && locator.reachable && !locator.probed));
}

#[test]
fn a_forwarded_request_is_answered_to_its_inner_port() {
    let mut node = Node::plain();
    let message = ControlMessage::from(request("2001:db8:a::2/128")).encode().unwrap();
    let inner = |text: &str| text.parse().unwrap();
    let ecm = wire::control::Ecm::wrap(inner("[2001:db8:99::1]:41001"), inner("[2001:db8:a::2]:4342"), message);
    node.datagram("203.0.113.10:50000", &ControlMessage::from(ecm));
    assert_eq!(node.reply_sent().0, "198.51.100.1:41001".parse().unwrap());
}

#[test]
fn a_probe_is_answered_with_the_probed_locator_marked() {
    let mut node = Node::plain();
    node.datagram("198.51.100.1:4342", &MapRequest { probe: true, ..request("2001:db8:a::/48") }.into());
    let (_, reply) = node.reply_sent();
    assert!(reply.probe && reply.records[0].authoritative);
    let probed: Vec<_> = reply.records[0].locators.iter().filter(|l| l.probed).filter_map(|l| l.rloc.ip()).collect();
    assert_eq!(probed, [RLOC.parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn answers_are_limited_per_receiver_and_prefix() {
    let mut node = Node::plain();
    for _ in 0..100 {
        node.datagram("198.51.100.1:4342", &request("2001:db8:a::2/128").into());
        node.datagram("198.51.100.1:4342", &MapRequest { probe: true, ..request("2001:db8:a::/48") }.into());
    }
    assert_eq!(node.replies().len(), 4 + 6);
    assert_eq!((node.refused(Refusal::RequestRateLimited), node.refused(Refusal::ProbeRateLimited)), (96, 94));
    node.datagram("198.51.100.1:4342", &request("10.1.2.3/32").into());
    assert_eq!(node.replies().len(), 1, "another prefix");
    node.advance(secs(3));
    node.datagram("198.51.100.1:4342", &request("2001:db8:a::2/128").into());
    assert_eq!(node.replies().len(), 1, "a new window");
}

#[test]
fn what_is_not_ours_or_not_to_be_answered_is_dropped_and_counted() {
    let cases = [
        (request("2001:db8:99::1/128"), Refusal::RequestNotOurs),
        (MapRequest { records: vec![], ..request("2001:db8:a::2/128") }, Refusal::RequestWithoutRecord),
        (MapRequest { dont_map_reply: true, ..request("2001:db8:a::2/128") }, Refusal::RequestWantsNoReply),
        (
            MapRequest {
                itr_rlocs: vec!["224.0.0.1".parse::<std::net::IpAddr>().unwrap().into()],
                ..request("2001:db8:a::2/128")
            },
            Refusal::RequestNoItrRloc,
        ),
    ];
    for (message, refusal) in cases {
        let mut node = Node::plain();
        let bytes = ControlMessage::from(message).encode();
        let Ok(bytes) = bytes else { continue };
        node.bytes("198.51.100.1:4342", &bytes);
        assert!(node.replies().is_empty());
        let refused = node.refused(refusal) + node.refused(Refusal::Malformed);
        assert_eq!(refused, 1, "{}", refusal.name());
    }
}

#[test]
fn a_piggybacked_record_is_not_believed() {
    let mut node = Node::plain();
    let record = reply_to(&request(EID), &[("2001:db8:b::/48", 1440)]).records.remove(0);
    node.datagram(
        "198.51.100.1:4342",
        &MapRequest { map_reply_record: Some(record), ..request("2001:db8:a::2/128") }.into(),
    );
    assert_eq!(node.replies().len(), 1);
    assert_eq!(node.updates(), []);
}
