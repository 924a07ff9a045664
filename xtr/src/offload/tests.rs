// SPDX-License-Identifier: GPL-2.0-or-later
//! Segmentation and coalescing against each other, and against lies.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

pub(crate) mod sample;

use proptest::prelude::*;
use wire::data::{IpPacket, Ipv4Header, LispHeader, OuterHeader, TrafficClass, UdpHeader, checksum};

use self::sample::{Sample, sample, transport_of};
use super::coalesce::MOST_PIECES;
use super::segment::{field, flag};
use super::*;

/// The segments of a packet, each whole.
fn cut(vnet: &VnetHeader, octets: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let Some(gso) = vnet.gso else { return Ok(vec![octets.to_vec()]) };
    let whole = SuperPacket::parse(gso, vnet.checksum, octets)?;
    let segment = |index: usize| {
        let mut segment = Vec::new();
        whole.write_header(octets, index, &mut segment);
        segment.extend_from_slice(&octets[whole.payload(index)]);
        segment
    };
    Ok((0..whole.count()).map(segment).collect())
}

/// What is written to the kernel for these packets.
fn merge(packets: &[Vec<u8>], merges_udp: bool) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut memory = packets.concat();
    let mut coalescer = Coalescer::new(merges_udp);
    let mut start = 0;
    for packet in packets {
        coalescer.push(&memory, start..start + packet.len());
        start += packet.len();
    }
    coalescer.seal(&mut memory);
    let whole = |parts: &mut dyn Iterator<Item = std::ops::Range<usize>>| {
        parts.flat_map(|part| memory[part].to_vec()).collect::<Vec<u8>>()
    };
    coalescer.packets().map(|(vnet, mut parts)| (vnet, whole(&mut parts))).collect()
}

/// What the kernel delivers of what was written.
fn delivered(written: &[(VnetHeader, Vec<u8>)]) -> Vec<Vec<u8>> {
    written.iter().flat_map(|(vnet, octets)| cut(vnet, octets).unwrap()).collect()
}

/// The identification of a packet with DF says nothing (RFC 6864): it may count on where a segment is missing.
fn without_identification(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] == 0x45 && packet[6] & 0x40 != 0 && checksum::internet(&packet[..20]) == 0 {
        packet[field::V4_IDENTIFICATION].fill(0);
        packet[field::V4_CHECKSUM].fill(0);
    }
    packet
}

fn transport_is_right(packet: &[u8]) -> bool {
    let (number, segment) = transport_of(packet);
    let packet = IpPacket::parse(packet).unwrap();
    checksum::transport(packet.source(), packet.destination(), number, segment) == 0
}

/// Sixty segments of one TCP connection, of 100 octets each.
fn connection(port: u16) -> Vec<Vec<u8>> {
    let sample = Sample {
        is_v6: true,
        is_tcp: true,
        class: 0,
        ttl: 60,
        port,
        dont_fragment: true,
        identification: 0,
        sequence: u32::MAX - 250,
        flags: flag::ACK,
        options: 3,
        ip_options: 0,
        extensions: vec![],
        size: 100,
        payload: vec![0x5a; 6000],
    };
    let (vnet, octets) = sample.packet();
    cut(&vnet, &octets).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_segment_is_right_in_all_that_it_says(sample in sample()) {
        let (vnet, octets) = sample.packet();
        let segments = cut(&vnet, &octets).unwrap();
        prop_assert_eq!(segments.len(), sample.payload.len().div_ceil(sample.size));
        let mut payload = Vec::new();
        for (index, octets) in segments.iter().enumerate() {
            let packet = IpPacket::parse(octets).unwrap();
            prop_assert_eq!(packet.octets().len(), octets.len());
            prop_assert_eq!((packet.ttl(), packet.traffic_class().0), (sample.ttl, sample.class));
            prop_assert!(transport_is_right(octets));
            let (is_first, is_last) = (index == 0, index + 1 == segments.len());
            if let IpPacket::V4(_) = packet {
                prop_assert_eq!(checksum::internet(&octets[..20 + 4 * sample.ip_options]), 0);
                let identification = u16::from_be_bytes([octets[4], octets[5]]);
                prop_assert_eq!(identification, sample.identification.wrapping_add(index as u16));
            }
            let segment = transport_of(octets).1;
            let header = if sample.is_tcp { 20 + 4 * sample.options } else { 8 };
            if sample.is_tcp {
                let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
                prop_assert_eq!(sequence, sample.sequence.wrapping_add(payload.len() as u32));
                let mut flags = sample.flags;
                if !is_last { flags &= !(flag::FIN | flag::PSH); }
                if !is_first { flags &= !flag::CWR; }
                prop_assert_eq!(segment[13], flags);
            } else {
                prop_assert_eq!(usize::from(u16::from_be_bytes([segment[4], segment[5]])), segment.len());
                prop_assert_ne!(&segment[6..8], &[0, 0]);
            }
            prop_assert!(is_last || segment.len() - header == sample.size);
            payload.extend_from_slice(&segment[header..]);
        }
        prop_assert_eq!(payload, sample.payload);
    }

    #[test]
    fn a_packet_is_cut_into_what_its_sender_would_have_sent_one_by_one(sample in sample()) {
        let (vnet, octets) = sample.packet();
        prop_assert_eq!(cut(&vnet, &octets).unwrap(), sample.segments());
    }

    #[test]
    fn what_was_cut_is_put_together_again(sample in sample()) {
        let sample = Sample { ip_options: 0, extensions: vec![], ..sample };
        let (vnet, octets) = sample.packet();
        let segments = cut(&vnet, &octets).unwrap();
        prop_assume!(segments.len() > 1 && segments.len() <= MOST_PIECES);
        // FIN or PSH on a lone last segment that is as long as the others ends the run all the same.
        let written = merge(&segments, true);
        prop_assert_eq!(written.len(), 1);
        prop_assert_eq!(written[0].0, vnet);
        prop_assert_eq!(&written[0].1, &octets);
    }

    #[test]
    fn whatever_is_merged_the_kernel_delivers_what_came(samples in proptest::collection::vec(sample(), 1..4), order in any::<u64>(), merges_udp: bool) {
        // Segments of several flows between each other, those of each in order.
        let mut flows: Vec<std::collections::VecDeque<Vec<u8>>> = samples.iter().enumerate().map(|(index, sample)| {
            let sample = Sample { port: index as u16, ..sample.clone() };
            let (vnet, octets) = sample.packet();
            cut(&vnet, &octets).unwrap().into()
        }).collect();
        let (mut packets, mut state) = (Vec::new(), order);
        while flows.iter().any(|flow| !flow.is_empty()) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % flows.len();
            packets.extend(flows[at].pop_front());
        }
        let mut got = delivered(&merge(&packets, merges_udp));
        // Flows may overtake each other.
        let key = |packet: &Vec<u8>| transport_of(packet).1[..2].to_vec();
        let mut sent = packets.clone();
        sent.sort_by_key(key);
        got.sort_by_key(key);
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn a_damaged_segment_is_delivered_as_it_came(sample in sample(), at in any::<prop::sample::Index>(), bit in 0..8u8, which in any::<prop::sample::Index>()) {
        let (vnet, octets) = sample.packet();
        let mut segments = cut(&vnet, &octets).unwrap();
        let index = which.index(segments.len());
        let octet = at.index(segments[index].len());
        segments[index][octet] ^= 1 << bit;
        let written = merge(&segments, true);
        // A bit that no checksum covers (hops and class of IPv6) may stand; but nothing is mended and nothing else is changed.
        let mut sent: Vec<Vec<u8>> = segments.into_iter().map(without_identification).collect();
        let mut got: Vec<Vec<u8>> = delivered(&written).into_iter().map(without_identification).collect();
        sent.sort();
        got.sort();
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn lies_never_panic(vnet in proptest::array::uniform10(any::<u8>()), kind in 0..6u8, mut octets in proptest::collection::vec(any::<u8>(), 0..300), version in 0..3u8, fits: bool) {
        let mut vnet = vnet;
        vnet[1] = kind;
        if fits { vnet[5] = 0; vnet[7] = 0; vnet[9] = 0; }
        if let Some(first) = octets.first_mut() {
            *first = match version { 0 => 0x45, 1 => 0x60, _ => *first };
        }
        if octets.len() > 40 && fits {
            let length = octets.len() as u16;
            octets[2..4].copy_from_slice(&length.to_be_bytes());
            octets[4..6].copy_from_slice(&(length - 40).to_be_bytes());
            octets[6] = if version == 1 { 6 } else { 0 };
            octets[9] = 6;
        }
        if let Ok((vnet, _)) = VnetHeader::parse(&vnet) {
            if let Ok(segments) = cut(&vnet, &octets) {
                prop_assert!(segments.len() <= segment::MOST_SEGMENTS);
            }
            if let Some(partial) = vnet.checksum {
                let _ = complete(partial, &mut octets);
            }
        }
        let packets = [octets.clone(), octets.clone(), octets];
        prop_assert_eq!(delivered(&merge(&packets, true)), packets.to_vec());
    }

    #[test]
    fn a_lying_header_of_a_real_packet_never_panics(sample in sample(), at in 0..10usize, value: u8, where_in in any::<prop::sample::Index>(), octet: u8) {
        let (vnet, mut octets) = sample.packet();
        let mut header = vnet.emit();
        header[at] = value;
        let length = octets.len().min(80);
        octets[where_in.index(length)] = octet;
        if let Ok((vnet, _)) = VnetHeader::parse(&header)
            && let Ok(segments) = cut(&vnet, &octets)
        {
            prop_assert!(segments.iter().all(|segment| segment.len() <= octets.len()));
        }
    }

    #[test]
    fn a_batch_keeps_each_packet_and_the_order_of_each_flow(packets in proptest::collection::vec((0..4u16, 1..300usize, 0..3u8), 1..200), longest in 1..80usize) {
        let mut batch = Batch::new(longest);
        let memory: Vec<u8> = packets.iter().enumerate().flat_map(|(index, (_, length, _))| vec![index as u8; *length]).collect();
        let mut start = 0;
        for (flow, length, kind) in &packets {
            batch.push(&outer(*flow, *kind), start..start + length);
            start += length;
        }
        let parts = batch.parts(&memory);
        let mut sent: Vec<(u16, (u8, u8), Vec<u8>)> = Vec::new();
        for message in batch.messages(&parts) {
            prop_assert!(message.count <= longest.min(batch::MOST_SEGMENTS));
            let octets: Vec<u8> = message.parts.iter().flat_map(|part| part.to_vec()).collect();
            let cut: Vec<&[u8]> = octets.chunks(message.size).collect();
            prop_assert_eq!(cut.len(), message.count);
            for packet in cut {
                prop_assert_eq!(&packet[..8], &message.outer.lisp);
                sent.push((message.outer.source_port, (message.outer.ttl, message.outer.class.0), packet[8..].to_vec()));
            }
        }
        for flow in 0..4 {
            let expected: Vec<((u8, u8), Vec<u8>)> = packets.iter().enumerate().filter(|(_, (of, ..))| *of == flow)
                .map(|(index, (_, length, kind))| (hops_and_class(*kind), vec![index as u8; *length])).collect();
            let got: Vec<((u8, u8), Vec<u8>)> = sent.iter().filter(|(of, ..)| *of == flow)
                .map(|(_, kind, packet)| (*kind, packet.clone())).collect();
            prop_assert_eq!(got, expected);
        }
    }
}

/// Packets of one flow may differ in these.
fn hops_and_class(kind: u8) -> (u8, u8) {
    [(9, 0), (8, 0), (9, 2)][usize::from(kind)]
}

fn outer(flow: u16, kind: u8) -> OuterHeader {
    let (ttl, class) = hops_and_class(kind);
    OuterHeader {
        source: [192, 0, 2, 1].into(),
        destination: [192, 0, 2, 2].into(),
        source_port: flow,
        destination_port: wire::DATA_PORT,
        ttl,
        class: TrafficClass(class),
        flow_label: 0,
        dont_fragment: true,
        lisp: [0; LispHeader::LENGTH],
    }
}

#[test]
fn segments_of_two_connections_are_never_merged_into_one() {
    let (a, b) = (connection(1), connection(2));
    let mixed: Vec<Vec<u8>> = a.iter().zip(&b).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    let written = merge(&mixed, true);
    assert_eq!(written.len(), 2);
    assert_eq!(delivered(&written), [a, b].concat());
}

#[test]
fn what_does_not_verify_is_written_alone_and_is_still_wrong() {
    let mut segments = connection(1);
    let at = segments[3].len() - 1;
    segments[3][at] ^= 1;
    let written = merge(&segments, true);
    assert_eq!(written.len(), 3);
    assert_eq!((written[1].0, &written[1].1), (VnetHeader::default(), &segments[3]));
    assert!(!transport_is_right(&written[1].1));
}

#[test]
fn the_first_segment_is_looked_at_too() {
    let mut segments = connection(1);
    segments[0][41] ^= 1;
    let written = merge(&segments, true);
    assert_eq!(written[0], (VnetHeader::default(), segments[0].clone()));
}

#[test]
fn other_hops_or_congestion_are_not_merged() {
    for (octet, bit) in [(7, 1), (1, 0x10)] {
        let mut segments = connection(1);
        segments[10][octet] ^= bit;
        let written = merge(&segments, true);
        assert_eq!(written.len(), 3, "octet {octet}");
        assert_eq!(delivered(&written), segments);
    }
}

#[test]
fn a_packet_between_is_not_overtaken() {
    let mut segments = connection(1);
    // A pure acknowledgment of the same connection, and a packet of no known transport.
    let mut acknowledgment = segments[5][..72].to_vec();
    acknowledgment[4..6].copy_from_slice(&32u16.to_be_bytes());
    let mut unknown = segments[6].clone();
    unknown[6] = 200;
    segments.insert(20, acknowledgment);
    segments.insert(40, unknown);
    let written = merge(&segments, true);
    assert_eq!(delivered(&written), segments);
    assert_eq!(written.len(), 5);
}

#[test]
fn datagrams_without_a_checksum_are_not_merged() {
    let udp = UdpHeader { source: 1, destination: 2, checksum: 0 }.emit(4).unwrap();
    let ip = Ipv4Header {
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 1, 1].into(),
        protocol: 17,
        ttl: 9,
        class: TrafficClass(0),
        dont_fragment: true,
    };
    let packet = [ip.emit(12).unwrap().as_slice(), &udp, &[1, 2, 3, 4]].concat();
    let packets = vec![packet; 3];
    assert_eq!(merge(&packets, true).len(), 3);
}

#[test]
fn without_uso_datagrams_stay_alone() {
    let sample = Sample { is_tcp: false, ..one_sample() };
    let (vnet, octets) = sample.packet();
    let segments = cut(&vnet, &octets).unwrap();
    assert_eq!((merge(&segments, false).len(), merge(&segments, true).len()), (segments.len(), 1));
}

#[test]
fn a_checksum_left_to_us_is_completed_and_no_udp_checksum_becomes_zero() {
    let sample = Sample { is_tcp: false, payload: vec![7; 33], ..one_sample() };
    let (vnet, mut octets) = sample.packet();
    complete(vnet.checksum.unwrap(), &mut octets).unwrap();
    assert!(transport_is_right(&octets));
    let mut packet = vec![0; 8];
    packet[4..6].copy_from_slice(&[0xff, 0xff]);
    complete(Partial { start: 0, offset: 6 }, &mut packet).unwrap();
    assert_eq!(packet[6..], [0xff, 0xff]);
    assert_eq!(complete(Partial { start: 3, offset: 4 }, &mut packet), Err(Malformed("csum_start")));
}

#[test]
fn more_segments_than_any_sender_makes_are_refused() {
    let sample = Sample { size: 1, payload: vec![1; segment::MOST_SEGMENTS + 1], ..one_sample() };
    let (vnet, octets) = sample.packet();
    assert_eq!(cut(&vnet, &octets), Err(Malformed("gso_size")));
}

#[test]
fn the_smallest_segments_that_linux_makes_are_cut() {
    for size in [8, 36] {
        let sample = Sample { size, payload: vec![1; 65_000], ..one_sample() };
        let (vnet, octets) = sample.packet();
        assert_eq!(cut(&vnet, &octets).map(|segments| segments.len()), Ok(65_000usize.div_ceil(size)));
    }
}

#[test]
fn a_packet_with_another_class_is_not_overtaken() {
    let mut batch = Batch::new(64);
    let not_ect = OuterHeader { class: TrafficClass(0), ..outer(1, 2) };
    let other_flow = outer(2, 2);
    for (index, outer) in [outer(1, 2), other_flow, not_ect, outer(1, 2), outer(1, 2), other_flow].iter().enumerate() {
        batch.push(outer, index..index + 1);
    }
    let memory = [0, 1, 2, 3, 4, 5];
    let parts = batch.parts(&memory);
    let groups: Vec<Vec<u8>> = batch
        .messages(&parts)
        .iter()
        .map(|message| message.parts.iter().skip(1).step_by(2).flat_map(|part| part.to_vec()).collect())
        .collect();
    assert_eq!(groups, [vec![0], vec![1, 5], vec![2], vec![3, 4]]);
}

#[test]
fn of_datagrams_no_more_are_merged_than_every_kernel_takes() {
    let sample = Sample { is_tcp: false, size: 10, payload: vec![3; 1000], ..one_sample() };
    let (vnet, octets) = sample.packet();
    let segments = cut(&vnet, &octets).unwrap();
    assert_eq!((segments.len(), merge(&segments, true).len()), (100, 2));
}

fn one_sample() -> Sample {
    Sample {
        is_v6: false,
        is_tcp: true,
        class: 2,
        ttl: 64,
        port: 5000,
        dont_fragment: true,
        identification: 9,
        sequence: 1,
        flags: flag::ACK,
        options: 0,
        ip_options: 0,
        extensions: vec![],
        size: 500,
        payload: vec![3; 2200],
    }
}
