// SPDX-License-Identifier: GPL-2.0-or-later
//! UDP between the routers: checksums, source ports, lengths (RFC 9300, sections 5.3 and 12; RFC 6935, 6936).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use wire::data::{checksum, protocol};

use super::{each, equal, nothing};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, may, must, should};
use crate::suite::xtr::{Came, Checksum, Encapsulated, Family, Packet, Tier, ends, forwarded, icmp, is_ours, udp};

pub(super) const PROBES: &[Probe<Tier>] = &[
    should("DP-020.1", "9300 5.3", "datagrams to locators of both families: the outer checksum", sent),
    must("DP-021.1", "9300 5.3, 6935 5", "a checksum of zero, over IPv6 too", |tier| taken(tier, Checksum::Zero)),
    must("DP-021.2", "9300 5.3", "a checksum that is right", |tier| taken(tier, Checksum::Right)),
    must("DP-022.1", "9300 5.3", "datagrams of even and odd lengths: a checksum that is not zero is right", right),
    must("DP-023.1", "9300 5.3", "a checksum that is wrong: dropped, and nobody is told", wrong),
    should("DP-025.1", "9300 12", "100 datagrams of one flow: source ports", one_flow),
    should("DP-026.1", "9300 12", "1,000 flows: source ports", many_flows),
    should("DP-027.1", "9300 12", "ICMP between two hosts, with each other identifiers: source ports", addresses_only),
    may("DP-028.1", "6438", "flow labels over IPv6: the same within a flow, others in others", flow_labels),
    must("DP-029.1", "LOCAL", "1,000 flows: the least and the greatest source port", range),
    should("DP-030.1", "LOCAL", "first and later fragments of one datagram: source ports", fragments),
    must("DP-031.1", "9300 5.3", "datagrams of even and odd lengths: the UDP length", length),
    must("DP-279.1", "6936 4", "packets without a checksum over IPv6: no line of the log says so", logged),
    must("DP-283.1", "6936 5", "what the router sends to other ports than that of tunnels: checksums", elsewhere),
];

fn sent(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let mut zeros = 0;
    each(|inner, outer| {
        let came = rig.leave(&rig.flow(inner, outer).leaving(b"sum").octets())?;
        zeros += usize::from(came.checksum == 0);
        if came.checksum == 0 || came.is_checksum_right { Ok(()) } else { Err(broken("neither zero nor right")) }
    })?;
    match zeros {
        4 => Ok("zero".into()),
        // They SHOULD be zero; whoever has a reason to do otherwise sends right ones, and does so always.
        0 => Ok("none is zero as they should be, and all are right".into()),
        _ => Err(broken(format!("zero in {zeros} of 4"))),
    }
}

fn taken(tier: &Tier, checksum: Checksum) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packet = flow.entering(b"sum").octets();
        let outer = flow.outer().with_checksum(checksum).around(&packet);
        equal("at the site", rig.enter(&outer, flow.inwards())?, forwarded(packet))
    })?;
    Ok("decapsulated".into())
}

fn right(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packets: Vec<_> = (0..32).map(|length| flow.leaving(&vec![0x77; length * 37]).octets()).collect();
        let came = rig.leave_all(&packets)?;
        let wrong = came.iter().filter(|packet| packet.checksum != 0 && !packet.is_checksum_right).count();
        equal("wrong ones", wrong, 0)
    })?;
    Ok("all of 128".into())
}

fn wrong(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let mut taken = 0;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let bad = flow.outer().with_checksum(Checksum::Wrong).around(&flow.entering(b"wrong").octets());
        let mark = rig.core.port.mark();
        let entered = rig.enter_not(&flow, &[bad], flow.inwards())?;
        // An ETR MAY verify it: if it does not, it takes the packet.
        if is_ours() {
            nothing("at the site", &entered)?;
        }
        taken += entered.len();
        let back = rig.core.port.between(mark, (flow.own, flow.rloc));
        let errors: Vec<_> = back.iter().filter(|octets| icmp_type(octets).is_some()).collect();
        nothing("ICMP back", &errors)
    })?;
    Ok(if taken == 0 { "nothing comes to the site, and nothing back" } else { "not verified, and taken" }.into())
}

/// The type of an ICMP message of either version.
fn icmp_type(octets: &[u8]) -> Option<u8> {
    let (number, own, header) = if octets[0] >> 4 == 4 { (octets[9], 1, 20) } else { (octets[6], 58, 40) };
    octets.get(header).filter(|_| number == own).copied()
}

fn one_flow(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packets: Vec<_> = (0..100_u8).map(|number| flow.leaving(&[number]).octets()).collect();
        let ports = ports_of(&rig.leave_all(&packets)?);
        equal("ports", ports.len(), 1)
    })?;
    Ok("one".into())
}

/// Packets of each source port.
fn ports_of(packets: &[Encapsulated]) -> BTreeMap<u16, usize> {
    let mut ports = BTreeMap::new();
    for packet in packets {
        *ports.entry(packet.source_port).or_default() += 1;
    }
    ports
}

/// What came of 1,000 flows between two hosts, half of them from one port each, and half to one port each.
fn thousand(tier: &Tier) -> Result<Vec<Encapsulated>, Fault> {
    let rig = tier.rig()?;
    let flow = rig.flow(Family::V4, Family::V4);
    let ports = (0..1000).map(|number| if number < 500 { (1024 + number, 80) } else { (5000, 1024 + number) });
    rig.leave_all(&ports.map(|ports| flow.leaving_at(ports, b"flow").octets()).collect::<Vec<_>>())
}

fn many_flows(tier: &Tier) -> Judgement {
    let ports = ports_of(&thousand(tier)?);
    let most = ports.values().max().copied().unwrap_or_default();
    let (least, limit, found) = match (is_ours(), tier.is_zero()) {
        // How many is for an implementation to say.
        (false, _) => (2, 999, "more than one"),
        (true, true) => (300, 20, "more than 300"),
        // Tier 1 has 16 sockets: as many ways through the underlay.
        (true, false) => (16, 125, "all 16 of the sockets, none for an eighth of the flows"),
    };
    let is_spread = ports.len() >= least && most <= limit;
    if is_spread { Ok(found.into()) } else { Err(broken(format!("{} ports, {most} flows at one", ports.len()))) }
}

fn range(tier: &Tier) -> Judgement {
    let came = thousand(tier)?;
    let outside = came.iter().filter(|packet| packet.source_port < 49_152).count();
    expect(outside == 0, format!("{outside} below 49152"))
}

fn addresses_only(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let echo = if inner == Family::V4 { (8, 0) } else { (128, 0) };
        let ping = |number: u32| icmp((flow.host, flow.peer), echo, number << 16 | number, b"ping").octets();
        let ports = ports_of(&rig.leave_all(&(1..=32).map(ping).collect::<Vec<_>>())?);
        equal("ports", ports.len(), 1)
    })?;
    Ok("one".into())
}

fn flow_labels(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let mut set = 0;
    for inner in [Family::V4, Family::V6] {
        let flow = rig.flow(inner, Family::V6);
        let packets: Vec<_> =
            (0..64).map(|number| flow.leaving_at((1024 + number % 16, 80), b"label").octets()).collect();
        let came = rig.leave_all(&packets)?;
        let mut labels: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
        came.iter().for_each(|packet| labels.entry(packet.inner.clone()).or_default().push(packet.flow_label));
        if !is_ours() && came.iter().all(|packet| packet.flow_label == 0) {
            // They MAY be set.
            continue;
        }
        let is_one = labels.values().all(|labels| labels.iter().all(|label| label == &labels[0] && *label != 0));
        let mut different: Vec<_> = labels.values().map(|labels| labels[0]).collect();
        different.sort_unstable();
        different.dedup();
        if !is_one || different.len() < 12 {
            return Err(broken(format!("{labels:?}")));
        }
        set += 1;
    }
    Ok(if set == 0 { "they are not set" } else { "so they are" }.into())
}

fn fragments(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    for outer in [Family::V4, Family::V6] {
        let flow = rig.flow(Family::V4, outer);
        let ends = (SocketAddr::new(flow.host, 4000), SocketAddr::new(flow.peer, 4001));
        let whole = udp(ends.0, ends.1, &[0x33; 1000], Checksum::Right);
        let part = |range: std::ops::Range<usize>, fragment| {
            let packet = Packet::new(flow.host, flow.peer, protocol::UDP, whole[range].to_vec());
            packet.with_fragment(fragment).octets()
        };
        // MF; then an offset of 504 octets.
        let came = rig.leave_all(&[part(0..504, 0x2000), part(504..whole.len(), 504 / 8)])?;
        equal("ports of IPv4 fragments", ports_of(&came).len(), 1)?;

        let flow = rig.flow(Family::V6, outer);
        let ends = (SocketAddr::new(flow.host, 4000), SocketAddr::new(flow.peer, 4001));
        let whole = udp(ends.0, ends.1, &[0x33; 1000], Checksum::Right);
        let part = |range: std::ops::Range<usize>, fragment: u16| {
            let [high, low] = fragment.to_be_bytes();
            let header = [protocol::UDP, 0, high, low, 0, 0, 0x43, 0x41];
            Packet::new(flow.host, flow.peer, IPV6_FRAGMENT, [&header[..], &whole[range]].concat()).octets()
        };
        let came = rig.leave_all(&[part(0..504, 1), part(504..whole.len(), 504)])?;
        equal("ports of IPv6 fragments", ports_of(&came).len(), 1)?;
    }
    Ok("one for each datagram".into())
}

/// Next header of a Fragment header (RFC 8200, section 4.5).
const IPV6_FRAGMENT: u8 = 44;

fn length(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packets: Vec<_> = (0..16).map(|length| flow.leaving(&vec![0x11; length * 67]).octets()).collect();
        let came = rig.leave_all(&packets)?;
        let is_right = |packet: &&Encapsulated| {
            let header = if outer == Family::V4 { 20 } else { 40 };
            packet.udp_length == packet.inner.len() + 16 && packet.octets.len() == packet.udp_length + header
        };
        equal("right lengths", came.iter().filter(is_right).count(), packets.len())?;
        let sizes = |lengths: &mut Vec<usize>| lengths.sort_unstable();
        let (mut sent, mut inner): (Vec<_>, Vec<_>) =
            (packets.iter().map(Vec::len).collect(), came.iter().map(|packet| packet.inner.len()).collect());
        sizes(&mut sent);
        sizes(&mut inner);
        equal("inner lengths", inner, sent)
    })?;
    Ok("that of the inner packet, and 16".into())
}

fn logged(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    for inner in [Family::V4, Family::V6] {
        let flow = rig.flow(inner, Family::V6);
        let packet = flow.entering(b"silent").octets();
        let outer = flow.outer().with_checksum(Checksum::Zero).around(&packet);
        equal("at the site", rig.enter(&outer, flow.inwards())?, forwarded(packet))?;
    }
    let says = |line: &String| line.to_lowercase().contains("checksum");
    equal("lines about checksums", rig.dut.log().into_iter().filter(says).collect::<Vec<_>>(), vec![])?;
    Ok("both come to the site, and no line says so".into())
}

fn elsewhere(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let own = [Family::V4, Family::V6].map(|outer| rig.flow(Family::V4, outer).own);
    let read = |came: &Came| {
        sum_elsewhere(&came.octets).filter(|_| ends(&came.octets).is_some_and(|ends| own.contains(&ends.0)))
    };
    let came = rig.core.port.wait(0, usize::MAX, Duration::ZERO, read);
    let wrong = came.iter().filter(|is_right| !**is_right).count();
    // It has registered, if nothing else.
    if came.is_empty() || wrong > 0 {
        return Err(broken(format!("of {} datagrams {wrong} have none, or a wrong one", came.len())));
    }
    Ok(format!("all of {} datagrams have one that is right", came.len()))
}

/// Of a whole UDP datagram to another port than that of tunnels whether its checksum is there and right.
fn sum_elsewhere(octets: &[u8]) -> Option<bool> {
    let (source, destination) = ends(octets)?;
    // MF, or an offset.
    if source.is_ipv4() && u16::from_be_bytes([octets[6], octets[7]]) & 0x3fff != 0 {
        return None;
    }
    let (number, header) =
        if source.is_ipv4() { (octets[9], usize::from(octets[0] & 0x0f) * 4) } else { (octets[6], 40) };
    let segment = octets.get(header..).filter(|segment| number == protocol::UDP && segment.len() >= 8)?;
    if segment[2..4] == wire::DATA_PORT.to_be_bytes() {
        return None;
    }
    let mut blank = segment.to_vec();
    blank[6..8].fill(0);
    let right = checksum::udp(source, destination, &blank).to_be_bytes();
    Some(segment[6..8] != [0, 0] && segment[6..8] == right)
}
