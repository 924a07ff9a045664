// SPDX-License-Identifier: GPL-2.0-or-later
//! The data-plane vectors and the data packets of the captures, at engine level. What each should lead to is said in
//! `conformance/vectors/vectors.json` and `conformance/captures/INDEX.md`.
//!
//! D21 (wrong UDP checksum) is judged where checksums are: in the kernel, by the test of real sockets in `kernel.rs`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pcap_file::pcap::PcapReader;
use serde_json::Value;
use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ecn, IpPacket, Ipv4Packet, Ipv6Packet, UdpHeader, checksum, protocol};
use xtr::counters::{Count, Counters, DropReason};
use xtr::etr::{Decapsulated, Etr, EtrConfig, OuterInfo};
use xtr::itr::{Itr, ItrConfig, Verdict};
use xtr::map_cache::{Entry, Forwarding, Locator, Update};

fn conformance() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance")
}

/// An ETR of these instances, which all have the EIDs of the vectors and captures.
fn etr(instances: &[u32]) -> (Etr, Arc<Counters>) {
    etr_with_gpe(vec![], instances)
}

/// The same with these GPE peers.
fn etr_with_gpe(gpe_peers: Vec<IpAddr>, instances: &[u32]) -> (Etr, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let mut etr = Etr::new(EtrConfig { gpe_peers, ..EtrConfig::default() }, counters.clone());
    let nets = ["10.1.1.0/24", "10.2.2.0/24", "2001:db8::/32", "10.100.0.0/16"];
    let prefixes: Vec<EidPrefix> = instances
        .iter()
        .flat_map(|iid| nets.map(|net| EidPrefix { iid: InstanceId(*iid), net: net.parse().unwrap() }))
        .collect();
    etr.set_local_eids(&prefixes);
    (etr, counters)
}

/// What the socket would say of a whole outer packet, and its UDP payload; `None` if it is no LISP data packet.
fn received(packet: &[u8]) -> Option<(OuterInfo, Vec<u8>)> {
    let outer = IpPacket::parse(packet).ok()?;
    let (protocol::UDP, segment) = outer.transport()? else { return None };
    let (udp, payload) = UdpHeader::parse(segment).ok()?;
    let info = OuterInfo {
        source: outer.source(),
        destination: outer.destination(),
        source_port: udp.source,
        ttl: outer.ttl(),
        class: outer.traffic_class(),
    };
    (udp.destination == wire::DATA_PORT).then(|| (info, payload.to_vec()))
}

fn vector(id: &str) -> (OuterInfo, Vec<u8>) {
    let text = std::fs::read_to_string(conformance().join("vectors/vectors.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let vector = file["vectors"].as_array().unwrap().iter().find(|vector| vector["id"] == id).unwrap().clone();
    let octets = |field: &str| -> Vec<u8> {
        let hex = vector[field].as_str().unwrap().as_bytes();
        hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    };
    let (outer, payload) = received(&octets("packet")).unwrap();
    assert_eq!(payload, octets("lisp"), "{id}");
    (outer, payload)
}

/// The inner packet as it was sent: the vectors have it behind 8 octets.
fn judge(etr: &Etr, id: &str) -> Result<(Vec<u8>, InstanceId), DropReason> {
    let (outer, mut payload) = vector(id);
    etr.handle(&outer, &mut payload).map(|Decapsulated { inner, iid, .. }| (inner.to_vec(), iid))
}

#[test]
fn well_formed_vectors_are_decapsulated_in_their_instance() {
    let (etr, counters) = etr(&[0, 7, 0x10, 257, 0xab_cdef]);
    let cases =
        [("D01", 0xab_cdef), ("D03", 0), ("D04", 0), ("D05", 0), ("D06", 7), ("D07", 257), ("D08", 0x10), ("D10", 0)];
    for (id, iid) in cases {
        let (inner, instance) = judge(&etr, id).unwrap_or_else(|reason| panic!("{id}: {reason:?}"));
        assert_eq!(instance, InstanceId(iid), "{id}");
        let (_, payload) = vector(id);
        let before = IpPacket::parse(&payload[8..]).unwrap();
        let after = IpPacket::parse(&inner).unwrap();
        assert_eq!((after.source(), after.transport()), (before.source(), before.transport()), "{id}");
    }
    assert_eq!(counters.get(Count::Decapsulated), 8);
}

#[test]
fn d08_is_ipv6_for_a_receiver_with_gpe_and_without() {
    for gpe_peers in [vec![], vec![vector("D08").0.source]] {
        let (inner, _) = judge(&etr_with_gpe(gpe_peers, &[0x10]).0, "D08").unwrap();
        assert_eq!(inner[0] >> 4, 6);
    }
}

#[test]
fn d10_ends_with_the_fewer_hops_and_congestion_experienced() {
    let (inner, _) = judge(&etr(&[0]).0, "D10").unwrap();
    let packet = Ipv4Packet::parse(&inner).unwrap();
    assert_eq!((packet.ttl(), packet.traffic_class().ecn()), (5, Ecn::Ce));
    assert_eq!(checksum::internet(&inner[..20]), 0);
}

#[test]
fn malformed_and_encrypted_vectors_are_dropped_and_counted() {
    let (etr, counters) = etr(&[0]);
    for (id, reason) in [
        ("D22", DropReason::CoreShort),
        ("D23", DropReason::CoreShort),
        ("D24", DropReason::CoreVersion),
        ("D30", DropReason::CoreEncrypted),
        ("D31", DropReason::CoreEncrypted),
    ] {
        let before = counters.dropped(reason);
        assert_eq!(judge(&etr, id), Err(reason), "{id}");
        assert_eq!(counters.dropped(reason), before + 1, "{id}");
    }
}

#[test]
fn an_instance_without_eids_of_ours_is_dropped() {
    let (etr, counters) = etr(&[0]);
    assert_eq!(judge(&etr, "D01"), Err(DropReason::CoreInstance));
    assert_eq!(counters.dropped(DropReason::CoreInstance), 1);
}

/// The IP packets of a capture: Ethernet, or Linux cooked.
fn packets(name: &str) -> Vec<Vec<u8>> {
    let file = std::fs::File::open(conformance().join("captures").join(name)).unwrap();
    let mut reader = PcapReader::new(file).unwrap();
    let link_header = match reader.header().datalink {
        pcap_file::DataLink::ETHERNET => 14,
        pcap_file::DataLink::LINUX_SLL2 => 20,
        other => panic!("{name}: {other:?}"),
    };
    std::iter::from_fn(|| reader.next_packet().map(|packet| packet.unwrap().data[link_header..].to_vec())).collect()
}

/// Judges each data packet of a capture.
fn decapsulate(name: &str, etr: &Etr) -> Vec<Result<Vec<u8>, DropReason>> {
    let data = packets(name).into_iter().filter_map(|packet| received(&packet));
    data.map(|(outer, mut payload)| etr.handle(&outer, &mut payload).map(|packet| packet.inner.to_vec())).collect()
}

#[test]
fn data_of_openoverlayrouter_is_decapsulated_for_each_pair_of_families() {
    let (etr, _) = etr(&[0]);
    for (name, version) in [
        ("oor-data-ipv6-in-ipv4.pcap", 6),
        ("oor-data-ipv4-in-ipv4.pcap", 4),
        ("oor-data-ipv6-in-ipv6.pcap", 6),
        ("oor-data-ipv4-in-ipv6.pcap", 4),
        ("oor-itr-to-our-etr.pcap", 6),
        ("oor-dual-rloc-set.pcap", 6),
        ("oor-smr.pcap", 6),
        ("opencp-oor-xtr-data.pcap", 6),
        ("oor.pcap", 6),
    ] {
        let judged = decapsulate(name, &etr);
        assert!(judged.len() >= 3, "{name}: {} data packets", judged.len());
        for inner in judged {
            let inner = inner.unwrap_or_else(|reason| panic!("{name}: {reason:?}"));
            assert_eq!(inner[0] >> 4, version, "{name}");
            assert_eq!(IpPacket::parse(&inner).unwrap().octets().len(), inner.len(), "{name}");
        }
    }
}

/// Either way: what OpenOverlayRouter sent is for our site, and what it took is what our ITR makes of the same inner packet. Where it has moved it
/// goes on sending from the locator that it had.
#[test]
fn data_between_openoverlayrouter_and_our_xtr_is_made_as_it_took_it_and_taken_as_it_sent_it() {
    for (name, sides) in [
        ("oor-xtr-to-our-xtr.pcap", [("10.20.1.2", 4), ("10.20.2.2", 4)]),
        ("oor-xtr-to-our-xtr-ipv6.pcap", [("2001:db8:c2::2", 4), ("2001:db8:c1::2", 4)]),
        ("oor-xtr-smr-to-our-xtr.pcap", [("10.20.1.2", 2), ("10.20.2.2", 2)]),
        ("oor-xtr-smr-to-our-xtr-ipv6.pcap", [("2001:db8:c2::2", 2), ("2001:db8:c1::2", 2)]),
    ] {
        let data: Vec<_> = packets(name).into_iter().filter_map(|packet| received(&packet)).collect();
        let of = |(side, count): (&str, usize)| -> Vec<_> {
            let side: IpAddr = side.parse().unwrap();
            let sent: Vec<_> = data.iter().filter(|(outer, _)| outer.source == side).cloned().collect();
            assert_eq!(sent.len(), count, "{name}: {side}");
            sent
        };
        for (outer, payload) in of(sides[0]) {
            assert_eq!(encapsulated(&outer, &payload[8..]), payload[..8], "{name}");
        }
        let (etr, counters) = etr(&[0]);
        for (outer, mut payload) in of(sides[1]) {
            // It counted no hop of its own on what it sent, the router between did on the outer header (RFC 9300, section 5.3).
            let mut sent = payload[8..].to_vec();
            let (ttl, class) = (IpPacket::parse(&sent).unwrap().ttl(), IpPacket::parse(&sent).unwrap().traffic_class());
            assert_eq!(outer.ttl + 1, ttl, "{name}");
            match sent[0] >> 4 {
                4 => Ipv4Packet::rewrite(&mut sent, outer.ttl, class),
                _ => Ipv6Packet::rewrite(&mut sent, outer.ttl, class),
            }
            assert_eq!(etr.handle(&outer, &mut payload).map(|packet| packet.inner.to_vec()), Ok(sent), "{name}");
        }
        assert_eq!(counters.get(Count::Decapsulated), sides[1].1 as u64, "{name}");
    }
}

/// The LISP header that our ITR puts before a packet to the recorded locator; all else of the outer header is as recorded.
fn encapsulated(outer: &OuterInfo, inner: &[u8]) -> [u8; 8] {
    let now = std::time::Instant::now();
    let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
    let mut itr = Itr::new(now, config, Arc::new(Counters::default()));
    itr.update(now, Update::LocalRlocs(vec![outer.source]));
    let packet = IpPacket::parse(inner).unwrap();
    let host = |address| EidPrefix::host(InstanceId(0), address);
    itr.update(now, Update::LocalEids(vec![host(packet.source())]));
    let locators = vec![Locator { address: outer.destination, priority: 1, weight: 100 }];
    let entry = Entry { forwarding: Forwarding::Locators(locators), expires: now + std::time::Duration::from_secs(60) };
    itr.update(now, Update::Upsert { prefix: host(packet.destination()), entry });
    let Verdict::Encapsulate(header, same) = itr.handle(now, inner) else { panic!("{outer:?}") };
    assert_eq!(same, inner);
    assert_eq!((header.source, header.destination), (outer.source, outer.destination));
    assert_eq!((header.ttl, header.class), (packet.ttl(), outer.class));
    header.lisp
}

#[test]
fn of_the_header_variants_only_the_foreign_instance_is_dropped() {
    for name in ["oor-data-header-variants.pcap", "oor-data-zero-udp-checksum.pcap"] {
        let (etr, _) = etr(&[0]);
        let toward_site: Vec<_> = packets(name)
            .iter()
            .filter_map(|packet| received(packet))
            .filter(|(outer, _)| outer.source == IpAddr::from([10, 20, 5, 2]))
            .map(|(outer, mut payload)| etr.handle(&outer, &mut payload).map(|packet| packet.lisp))
            .collect();
        assert_eq!(toward_site.len(), 9, "{name}");
        for (index, judged) in toward_site.iter().enumerate() {
            // The eighth has instance 5.
            match index {
                7 => assert_eq!(*judged, Err(DropReason::CoreInstance), "{name}"),
                _ => assert!(judged.is_ok(), "{name} {index}: {judged:?}"),
            }
        }
    }
}

#[test]
fn a_capture_in_instance_5_is_for_instance_5_only() {
    let name = "oor-iid5-xtr.pcap";
    assert!(decapsulate(name, &etr(&[5]).0).iter().all(Result::is_ok));
    let judged = decapsulate(name, &etr(&[0]).0);
    assert!(judged.len() > 2 && judged.iter().all(|inner| *inner == Err(DropReason::CoreInstance)));
}

#[test]
fn lisp_gpe_of_linux_is_decapsulated_and_is_what_our_itr_writes_to_it() {
    for name in ["linux-gpe-in-ipv4.pcap", "linux-gpe-in-ipv6.pcap"] {
        let peers = packets(name).iter().filter_map(|packet| Some(received(packet)?.0.source)).collect();
        for gpe_peers in [vec![], peers] {
            let judged = decapsulate(name, &etr_with_gpe(gpe_peers, &[0]).0);
            let versions: Vec<u8> = judged.into_iter().map(|inner| inner.unwrap()[0] >> 4).collect();
            assert_eq!(versions, [6, 6, 6, 6, 4, 4, 4, 4], "{name}");
        }
        for (outer, payload) in packets(name).iter().filter_map(|packet| received(packet)) {
            let next = if payload[8] >> 4 == 4 { 1 } else { 2 };
            assert_eq!(payload[..8], [0x0c, 0, 0, next, 0, 0, 0, 0], "{name}, from {}", outer.source);
        }
    }
}
