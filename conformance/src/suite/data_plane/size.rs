// SPDX-License-Identifier: GPL-2.0-or-later
//! Packets that are too long, and what routers on the way say about them (RFC 9300, section 7).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{each, equal, nothing};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, may, must, should};
use crate::suite::xtr::{Encapsulated, Family, Flow, GRACE, PATIENCE, Rig, Tier, ends, icmp, is_ours};

pub(super) const PROBES: &[Probe<Tier>] = &[
    should("DP-060.1", "9300 7.1", "a datagram of L - H octets, and one of an octet more, with DF", effective),
    must("DP-061.1", "9300 7.1", "an IPv4 datagram of 1,500 octets without DF: in two halves", halves),
    must("DP-062.1", "9300 7.1", "an IPv4 datagram of 1,500 octets with DF: what its source is told", |tier| {
        told(tier, Family::V4)
    }),
    must("DP-063.1", "9300 7.1", "an IPv6 datagram of 1,500 octets: what its source is told", |tier| {
        told(tier, Family::V6)
    }),
    must(
        "DP-063.2",
        "9300 7.1, 8200 5",
        "the same where the way is known to take 1,300: never less than 1,280",
        least_v6,
    ),
    should("DP-064.1", "9300 7.1", "datagrams over IPv4: outer DF", outer_df),
    may(
        "DP-065.1",
        "9300 7.2",
        "frag-needed of 1,400 about a packet that was sent: what the next long one draws",
        |tier| learned(tier, Family::V4),
    ),
    should("DP-066.1", "9300 7.2", "frag-needed about packets that were never sent: no change", |tier| {
        strangers(tier, Family::V4)
    }),
    must(
        "DP-067.1",
        "9300 7.2",
        "too-big of 1,400 about a packet that was sent: what the next long one draws",
        |tier| learned(tier, Family::V6),
    ),
    must("DP-067.2", "9300 7.2", "too-big about packets that were never sent: no change", |tier| {
        strangers(tier, Family::V6)
    }),
    should("DP-068.1", "LOCAL", "an MTU of 68 over IPv4, of 600 over IPv6: not below 576 and 1,280", floor),
    should("DP-073.1", "9300 5", "long datagrams, fragments of them too: no outer fragment", no_outer_fragments),
    must("DP-074.1", "LOCAL", "300 datagrams that are too long, at once: how many errors their source gets", rate),
];

/// L of RFC 9300, section 7.1.
const CORE_MTU: usize = 1500;
/// A long datagram that leaves, whatever room a router keeps for its headers: 60 octets.
const LONG: usize = 1440;
/// DF of IPv4, in the octet of the flags.
const DONT_FRAGMENT: u8 = 0x40;
/// A router on the way.
const ROUTERS: [&str; 2] = ["203.0.113.99", "2001:db8:99::1"];

fn header(family: Family) -> usize {
    if family == Family::V4 { 20 } else { 40 }
}

/// The least MTU that there is.
fn least(family: Family) -> usize {
    if family == Family::V4 { 576 } else { 1280 }
}

/// H: octets in front of an inner packet.
fn overhead(outer: Family) -> usize {
    header(outer) + 16
}

/// A datagram of so many octets in all.
fn datagram(flow: &Flow, size: usize) -> Vec<u8> {
    let family = if flow.host.is_ipv4() { Family::V4 } else { Family::V6 };
    flow.leaving(&vec![0x42; size - header(family) - 8]).octets()
}

/// Frag-needed or Packet Too Big.
fn too_big(family: Family) -> (u8, u8) {
    if family == Family::V4 { (3, 4) } else { (2, 0) }
}

/// Sends a packet that is too long, until its source is told of an MTU: that, and the message.
fn refused(rig: &Rig, inner: Family, flow: &Flow, packet: &[u8]) -> Result<(usize, Vec<u8>), Fault> {
    let mark = rig.site.mark();
    rig.site.send(packet)?;
    let mut came = rig.icmp_to(mark, flow.host, too_big(inner), 1, PATIENCE);
    let message = came.pop().ok_or_else(|| broken("its source is told nothing"))?;
    let at = header(inner) + 4;
    let word = u32::from_be_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
    Ok((usize::try_from(word & if inner == Family::V4 { 0xffff } else { u32::MAX }).unwrap_or_default(), message))
}

fn effective(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let (flow, size) = (rig.flow(inner, outer), CORE_MTU - overhead(outer));
        let came = rig.leave(&datagram(&flow, size))?;
        equal("outer length", came.octets.len(), CORE_MTU)?;
        let mtu = refused(rig, inner, &flow, &datagram(&flow, size + 1))?.0;
        equal("MTU", mtu, size)?;
        nothing("encapsulated", &rig.leave_not(&[datagram(&flow, size + 1)])?)
    })?;
    Ok("1,464 over IPv4 and 1,444 over IPv6 leave, the others are refused".into())
}

fn halves(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    for outer in [Family::V4, Family::V6] {
        let flow = rig.flow(Family::V4, outer);
        let data: Vec<u8> = (0..CORE_MTU - 28).map(|number| u8::try_from(number % 251).unwrap_or_default()).collect();
        let whole = flow.leaving(&data).with_fragment(0).octets();
        rig.leave(&flow.leaving(b"known").octets())?;
        let mark = rig.core.port.mark();
        rig.site.send(&whole)?;
        let wanted = ends(&whole);
        let mut parts = rig.core.port.wait(mark, 3, 4 * GRACE, |came| {
            Encapsulated::read(&came.octets).filter(|packet| ends(&packet.inner) == wanted)
        });
        parts.sort_by_key(|part| u16::from_be_bytes([part.inner[6] & 0x1f, part.inner[7]]));
        equal("packets", parts.len(), 2)?;
        let fields = |part: &Encapsulated| u16::from_be_bytes([part.inner[6], part.inner[7]]);
        // The smallest multiple of eight that is half of 1,480 at least.
        equal("flags and offsets", (fields(&parts[0]), fields(&parts[1])), (0x2000, 744 / 8))?;
        equal("identifications", &parts[0].inner[4..6], &whole[4..6])?;
        equal("identifications", &parts[1].inner[4..6], &whole[4..6])?;
        let joined = [&parts[0].inner[20..], &parts[1].inner[20..]].concat();
        equal("the datagram, put together", joined == whole[20..], true)?;
    }
    Ok("744 and 736 octets, which make the datagram".into())
}

fn told(tier: &Tier, inner: Family) -> Judgement {
    let rig = tier.rig()?;
    for outer in [Family::V4, Family::V6] {
        let flow = rig.flow(inner, outer);
        let packet = datagram(&flow, CORE_MTU);
        rig.leave(&flow.leaving(b"known").octets())?;
        let (mtu, message) = refused(rig, inner, &flow, &packet)?;
        let most = CORE_MTU - overhead(outer);
        // A target may have an L of its own.
        let is_it = if is_ours() { mtu == most } else { (least(inner)..=most).contains(&mtu) };
        equal(&format!("MTU of {mtu}, where {most} fit, is right"), is_it, true)?;
        let quoted = &message[header(inner) + 8..];
        let least = header(inner) + 8;
        let quotes = ends(quoted) == ends(&packet) && quoted[header(inner)..least] == packet[header(inner)..least];
        equal("quotes the headers of the datagram", quotes, true)?;
        let is_rloc =
            ends(&message).is_some_and(|(from, _)| from == rig.own(Family::V4) || from == rig.own(Family::V6));
        equal("comes from an RLOC", is_rloc, false)?;
    }
    Ok("what fits behind the headers, and the beginning of the datagram".into())
}

/// What a router on the way says about a packet: that it takes so many octets.
fn report(rig: &Rig, packet: &Encapsulated, mtu: u16) -> Result<(), Fault> {
    let is_v4 = packet.source.is_ipv4();
    let router: IpAddr = ROUTERS[usize::from(!is_v4)].parse().map_err(broken)?;
    let kind = if is_v4 { too_big(Family::V4) } else { too_big(Family::V6) };
    let quoted = &packet.octets[..packet.octets.len().min(if is_v4 { 528 } else { 1232 })];
    rig.core.port.send(&icmp((router, packet.source), kind, mtu.into(), quoted).octets())
}

/// Sends long datagrams until the source is told of this MTU, or the patience is over.
fn until_told(rig: &Rig, inner: Family, flow: &Flow, expected: usize) -> Result<(), Fault> {
    let (begun, mut last) = (Instant::now(), None);
    while begun.elapsed() < PATIENCE {
        let mark = rig.site.mark();
        rig.site.send(&datagram(flow, LONG))?;
        if let Some(message) = rig.icmp_to(mark, flow.host, too_big(inner), 1, Duration::from_millis(200)).pop() {
            let at = header(inner) + 6;
            last = Some(usize::from(u16::from_be_bytes([message[at], message[at + 1]])));
            if last == Some(expected) {
                return Ok(());
            }
        }
    }
    Err(broken(format!("expected an MTU of {expected}; the last was {last:?}")))
}

fn learned(tier: &Tier, outer: Family) -> Judgement {
    let rig = tier.rig()?;
    for inner in [Family::V4, Family::V6] {
        let flow = rig.flow(inner, outer);
        report(rig, &rig.leave(&datagram(&flow, LONG))?, 1400)?;
        until_told(rig, inner, &flow, 1400 - overhead(outer))?;
        let came = rig.leave(&datagram(&flow, 1400 - overhead(outer)))?;
        equal("outer length of what fits", came.octets.len(), 1400)?;
    }
    Ok(format!("an MTU of {}; what fits leaves", 1400 - overhead(outer)))
}

fn strangers(tier: &Tier, outer: Family) -> Judgement {
    let rig = tier.rig()?;
    let flow = rig.flow(Family::V4, outer);
    let sent = rig.leave(&datagram(&flow, LONG))?;
    let (at, udp) = if outer == Family::V4 { (16..20, 20) } else { (24..40, 40) };
    // Another locator; another source port; another instance; another destination port; what a host of ours did not send.
    let mut forged = vec![sent.octets.clone(); 5];
    let mut stranger = rig.flow(Family::V4, outer).outer();
    stranger.destination = rig.rloc(outer);
    forged[0][at].copy_from_slice(&stranger.with_payload(&[])[if outer == Family::V4 { 16..20 } else { 24..40 }]);
    forged[1][udp..udp + 2].copy_from_slice(&1234_u16.to_be_bytes());
    forged[2][udp + 8..udp + 16].copy_from_slice(&[8, 0, 0, 0, 0, 0, 5, 0]);
    forged[3][udp + 2..udp + 4].copy_from_slice(&53_u16.to_be_bytes());
    forged[4][udp + 8..udp + 12].copy_from_slice(&[0xff; 4]);
    for octets in forged {
        report(rig, &Encapsulated { octets, ..sent.clone() }, 1300)?;
    }
    std::thread::sleep(4 * GRACE);
    let came = rig.leave(&datagram(&flow, LONG))?;
    equal("outer length", came.octets.len(), sent.octets.len())?;
    Ok("long packets leave as before".into())
}

fn least_v6(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    for outer in [Family::V6, Family::V4] {
        let flow = rig.flow(Family::V6, outer);
        report(rig, &rig.leave(&datagram(&flow, LONG))?, 1300)?;
        until_told(rig, Family::V6, &flow, 1280)?;
        if is_ours() {
            // Others may drop what the way does not take.
            let came = rig.leave(&datagram(&flow, 1280))?;
            equal("outer length of 1,280 octets", came.octets.len(), 1280 + overhead(outer))?;
            let may_be_fragmented = outer == Family::V4 && came.octets[6] & DONT_FRAGMENT == 0;
            equal("no DF over IPv4", may_be_fragmented, outer == Family::V4)?;
        }
    }
    Ok("1,280".into())
}

fn floor(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    for (outer, said, least) in [(Family::V4, 68, 576), (Family::V6, 600, 1280)] {
        let flow = rig.flow(Family::V4, outer);
        report(rig, &rig.leave(&datagram(&flow, LONG))?, said)?;
        let size = least - overhead(outer);
        // It is not believed, or believed as far as that.
        let told = until_told(rig, Family::V4, &flow, size);
        let came = rig.leave(&datagram(&flow, size))?;
        equal("outer length of what must fit", came.octets.len(), least)?;
        if let Err(Fault::Broken(why)) = told
            && !why.ends_with("None")
        {
            return Err(broken(why));
        }
    }
    Ok("packets of 576 octets leave over IPv4, of 1,280 over IPv6".into())
}

fn outer_df(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    for inner in [Family::V4, Family::V6] {
        let flow = rig.flow(inner, Family::V4);
        let may_split = flow.leaving(b"df").with_fragment(0).octets();
        for packet in [flow.leaving(b"df").octets(), may_split, datagram(&flow, 1400)] {
            equal("DF and nothing else", rig.leave(&packet)?.is_whole(), true)?;
        }
    }
    Ok("set, whether the inner packet has it or not".into())
}

fn no_outer_fragments(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let came = rig.leave(&datagram(&flow, LONG))?;
        equal("whole", came.is_whole(), true)?;
        let mark = rig.core.port.mark();
        let packet = flow.leaving(&[1; 1440]).with_fragment(0).octets();
        rig.site.send(&packet)?;
        rig.leave(&flow.leaving(b"behind it").octets())?;
        let of_rloc = rig.core.port.between(mark, (flow.own, flow.rloc));
        let is_fragment = |octets: &&std::sync::Arc<[u8]>| match octets[0] >> 4 {
            4 => u16::from_be_bytes([octets[6], octets[7]]) & 0x3fff != 0,
            _ => octets[6] == 44,
        };
        equal("outer fragments", of_rloc.iter().filter(is_fragment).count(), 0)
    })?;
    Ok("none".into())
}

fn rate(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let flow = rig.flow(Family::V6, Family::V4);
    rig.leave(&flow.leaving(b"known").octets())?;
    let (mark, begun) = (rig.site.mark(), Instant::now());
    let packet = datagram(&flow, CORE_MTU);
    for _ in 0..300 {
        rig.site.send(&packet)?;
    }
    rig.icmp_to(mark, flow.host, too_big(Family::V6), 1, PATIENCE);
    let errors = rig.icmp_to(mark, flow.host, too_big(Family::V6), usize::MAX, Duration::from_millis(500)).len();
    // RFC 4443, section 2.4 (f): some, and not one for each, nor more than ten in each second that a busy machine takes for it.
    let found = format!("{errors} errors");
    let most = begun.elapsed().as_secs().saturating_mul(10).clamp(40, 150);
    if (1..=most).contains(&(errors as u64)) {
        Ok("some, and far fewer than datagrams".into())
    } else {
        expect(false, found)
    }
}
