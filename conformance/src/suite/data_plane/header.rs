// SPDX-License-Identifier: GPL-2.0-or-later
//! The headers in front of an inner packet, and what is not one (RFC 9300, section 5).

use std::net::IpAddr;

use wire::address::{EidPrefix, InstanceId};
use wire::record::MappingRecord;

use super::{each, equal, nothing};
use crate::suite::probe::{Fault, Judgement, Probe, broken, must, should};
use crate::suite::xtr::{
    Encapsulated, Family, GRACE, Heard, LOCATOR_TTL, Outer, PATIENCE, Rig, Tier, ends, forwarded, is_ours, locator,
};
use crate::vectors::{self, Vector};

pub(super) const PROBES: &[Probe<Tier>] = &[
    must("DP-001.1", "9300 5.3", "datagrams to sites behind locators of both families: to which port they go", port),
    must("DP-002.1", "9300 5", "a datagram of each family to a locator of each family: the inner octets", out),
    must("DP-002.2", "9300 5", "a datagram of each family from a locator of each family: the octets at the site", into),
    must("DP-002.3", "9300 5", "the vectors D03, D04 and D10 as they are written", good_vectors),
    must("DP-003.1", "9300 5.1", "datagrams in the default instance: eight octets of LISP header, all zero", plain),
    must("DP-004.1", "9300 5.3", "datagrams to peers that are not known to take GPE: bit R", |tier| bits(tier, R, "R")),
    must(
        "DP-004.2",
        "9300 5.3",
        "R set, and any value where GPE has its next protocol: taken by the IP version",
        reserved,
    ),
    must("DP-006.1", "9300 5.3", "N and V both set: taken, and nobody is solicited for the versions", nonce_wins),
    must("DP-007.1", "9300 5.3", "E without N, and a nonce: taken, and not echoed", |tier| {
        no_echo(tier, [E, 0x12, 0x34, 0x56])
    }),
    must("DP-008.1", "9300 5.3", "datagrams without N and V: the 24 bits behind the flags", field),
    must("DP-008.2", "9300 5.3", "any 24 bits behind flags without N and V: ignored", garbage),
    must("DP-009.1", "9300 5.3", "datagrams in instance 0xABCDEF: I, 24 bits, and eight zero bits", instance),
    must("DP-009.2", "9300 5.3", "I without L, and 0xFF in the low octet: ignored", low_octet),
    must("DP-010.1", "9300 5.3", "L without I, and 32 status bits of each kind: taken", status_bits),
    must("DP-012.1", "9300 4.1", "datagrams by default: N, L, E and V", |tier| bits(tier, N | L | E | V, "N, L, E, V")),
    must("DP-013.1", "9300 4.1", "L with all status bits clear: packets go on to that locator", no_status),
    must(
        "DP-014.1",
        "9300 4.1",
        "packets of a known EID from another locator: the way back does not move",
        no_gleaning,
    ),
    must("DP-015.1", "9300 5.3", "datagrams: KK", |tier| bits(tier, KK, "KK")),
    must(
        "DP-015.2",
        "8061 6",
        "KK of 1, 2 and 3 without a key agreed, and the vectors D30 and D31: dropped",
        encrypted,
    ),
    must("DP-016.1", "LOCAL", "UDP payloads of 0 to 8 octets, and the vectors D22 and D23: dropped and counted", short),
    must("DP-017.1", "LOCAL", "inner versions other than 4 and 6, and the vector D24: dropped", version),
    must("DP-017.2", "LOCAL", "inner packets cut short anywhere, and header lengths that do not fit: dropped", lengths),
    should("DP-018.1", "LOCAL", "seven octets behind the inner packet: not forwarded", trailing),
    must(
        "DP-091.1",
        "9300 4.1",
        "packets of an EID that the map system does not know: no mapping is made of them",
        no_new_entry,
    ),
    must("DP-105.1", "9300 10.1", "N and E by default: no echo", |tier| no_echo(tier, [N | E, 0x12, 0x34, 0x56])),
    must("DP-122.1", "9302 8", "V by default: no versions come back, and nobody is solicited", |tier| {
        no_echo(tier, [V, 0x12, 0x34, 0x56])
    }),
];

pub(super) const N: u8 = 0x80;
pub(super) const L: u8 = 0x40;
pub(super) const E: u8 = 0x20;
pub(super) const V: u8 = 0x10;
const I: u8 = 0x08;
const R: u8 = 0x04;
const KK: u8 = 0x03;

fn port(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        // What is not to port 4341 is not seen as encapsulated.
        let flow = rig.flow(inner, outer);
        let came = rig.leave(&flow.leaving(b"port").octets())?;
        equal("RLOCs", (came.source, came.destination), (flow.own, flow.rloc))
    })?;
    Ok("4341, from the program's locator to that of the site".into())
}

fn out(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let packet = rig.flow(inner, outer).leaving(&[0x5a; 700]).octets();
        equal("inner packet", rig.leave(&packet)?.inner, forwarded(packet))
    })?;
    Ok("as the site sent them, one hop less".into())
}

fn into(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packet = flow.entering(&[0xa5; 700]).octets();
        equal("at the site", rig.enter(&flow.outer().around(&packet), flow.inwards())?, forwarded(packet))
    })?;
    Ok("as the other site sent them, one hop less".into())
}

fn vector(id: &str) -> Result<Vector, Fault> {
    let all = vectors::shipped().map_err(broken)?.vectors;
    all.into_iter().find(|vector| vector.id == id).ok_or_else(|| broken(format!("no vector {id}")))
}

fn good_vectors(tier: &Tier) -> Judgement {
    let (_alone, rig) = (tier.alone(), tier.rig()?);
    vector_site(rig)?;
    for (id, ttl, class) in [("D03", 63, 0), ("D04", 63, 0), ("D10", 4, 3)] {
        let packet = vector(id)?.packet;
        let inner = Encapsulated::read(&packet).ok_or_else(|| broken(id))?.inner;
        let came = rig
            .enter(&packet, ends(&inner).ok_or_else(|| broken(id))?)
            .map_err(|_| broken(format!("{id}: nothing came to the site")))?;
        let at = if came[0] >> 4 == 4 { (came[8], came[1]) } else { (came[7], came[0] << 4 | came[1] >> 4) };
        equal(id, (at, &came[20..]), ((ttl, class), &inner[20..]))?;
    }
    Ok("decapsulated; hops and congestion of D10 as its outer header says".into())
}

/// The site that the vectors come from.
fn vector_site(rig: &Rig) -> Result<(), Fault> {
    for (prefix, length) in [("10.1.1.0", 24), ("2001:db8:1:1::", 64)] {
        let prefix = EidPrefix::new(InstanceId(0), prefix.parse().map_err(broken)?, length);
        let rlocs = ["192.0.2.1", "2001:db8:a::1"];
        let rlocs = rlocs.iter().map(|rloc| rloc.parse().map_err(broken)).collect::<Result<Vec<IpAddr>, _>>()?;
        let locators = rlocs.into_iter().map(|rloc| locator(rloc, 1, 100)).collect();
        rig.core.map(MappingRecord::new(prefix.ok_or_else(|| broken("no prefix"))?, LOCATOR_TTL, locators));
    }
    Ok(())
}

/// Sends what must not enter, whole packets between the addresses of the vectors, and looks for all that comes to the site.
pub(super) fn dropped_vectors(tier: &Tier, ids: &[&str]) -> Result<(), Fault> {
    let rig = tier.rig()?;
    let hosts = [("10.1.1.1", "10.2.2.2"), ("2001:db8:1:1::1", "2001:db8:1:2::2")];
    for id in ids {
        let flow = rig.flow(Family::V4, Family::V4);
        for (source, host) in hosts {
            let ends = (source.parse().map_err(broken)?, host.parse().map_err(broken)?);
            nothing(id, &rig.enter_not(&flow, &[vector(id)?.packet], ends)?)?;
        }
    }
    Ok(())
}

fn plain(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        equal("LISP header", rig.leave(&rig.flow(inner, outer).leaving(b"plain").octets())?.lisp, [0; 8])
    })?;
    Ok("so it is, for each pair of families".into())
}

fn bits(tier: &Tier, mask: u8, name: &str) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let came = rig.leave(&rig.flow(inner, outer).leaving(b"bits").octets())?;
        equal(name, came.lisp[0] & mask, 0)
    })?;
    Ok("clear".into())
}

/// Packets with such LISP headers enter, whatever the families.
fn taken(tier: &Tier, headers: &[[u8; 8]]) -> Result<(), Fault> {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        headers.iter().try_for_each(|lisp| {
            let packet = flow.entering(&lisp[..]).octets();
            let came = rig.enter(&flow.outer().with_lisp(*lisp).around(&packet), flow.inwards());
            let came = came.map_err(|fault| broken(format!("{lisp:02x?}: {fault:?}")))?;
            equal("at the site", came, forwarded(packet))
        })
    })
}

fn reserved(tier: &Tier) -> Judgement {
    let next_protocols = [0, 1, 2, 3, 4, 0x7e, 0x80, 0xff];
    taken(tier, &next_protocols.map(|next| [R, 0, 0, next, 0, 0, 0, 0]))?;
    Ok("IPv4 and IPv6 decapsulated with 8 values".into())
}

fn nonce_wins(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let mark = rig.core.mark();
    let flow = rig.flow(Family::V4, Family::V4);
    let packet = flow.entering(b"both").octets();
    let lisp = [N | V, 0x12, 0x34, 0x56, 0, 0, 0, 0];
    rig.enter(&flow.outer().with_lisp(lisp).around(&packet), flow.inwards())?;
    nothing("solicit-map-requests", &solicited(tier, mark, &flow.rloc)?)?;
    Ok("decapsulated, no SMR".into())
}

fn solicited(tier: &Tier, mark: usize, rloc: &IpAddr) -> Result<Vec<Heard>, Fault> {
    let core = &tier.rig()?.core;
    Ok(core.wait(mark, usize::MAX, 3 * GRACE, |heard| {
        heard.destination.ip() == *rloc && heard.request().is_some_and(|request| request.smr)
    }))
}

fn no_echo(tier: &Tier, first: [u8; 4]) -> Judgement {
    let rig = tier.rig()?;
    let mark = rig.core.mark();
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packet = flow.entering(b"echo?").octets();
        let lisp = [first[0], first[1], first[2], first[3], 0, 0, 0, 0];
        rig.enter(&flow.outer().with_lisp(lisp).around(&packet), flow.inwards())?;
        let back = rig.leave_all(&vec![flow.leaving(b"back").octets(); 3])?;
        nothing("solicit-map-requests", &solicited(tier, mark, &flow.rloc)?)?;
        back.iter().try_for_each(|packet| equal("LISP header", packet.lisp, [0; 8]))
    })?;
    Ok("decapsulated; the packets back have no nonce and no versions".into())
}

fn field(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let came = rig.leave(&rig.flow(inner, outer).leaving(b"field").octets())?;
        equal("24 bits", &came.lisp[1..4], &[0; 3])
    })?;
    Ok("zero".into())
}

fn garbage(tier: &Tier) -> Judgement {
    taken(tier, &[[0, 0xff, 0xff, 0xff, 0, 0, 0, 0], [I, 1, 2, 3, 0, 0, 0, 0], [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]])?;
    Ok("decapsulated".into())
}

fn instance(tier: &Tier) -> Judgement {
    let rig = tier.strict()?;
    each(|inner, outer| {
        let came = rig.leave(&rig.flow(inner, outer).leaving(b"instance").octets())?;
        equal("LISP header", came.lisp, [I, 0, 0, 0, 0xab, 0xcd, 0xef, 0])
    })?;
    Ok("08 000000 abcdef 00".into())
}

fn low_octet(tier: &Tier) -> Judgement {
    let rig = tier.strict()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packet = flow.entering(b"low octet").octets();
        let lisp = [I, 0, 0, 0, 0xab, 0xcd, 0xef, 0xff];
        equal(
            "at the site",
            rig.enter(&flow.outer().with_lisp(lisp).around(&packet), flow.inwards())?,
            forwarded(packet),
        )
    })?;
    Ok("decapsulated".into())
}

fn status_bits(tier: &Tier) -> Judgement {
    taken(
        tier,
        &[0, 1, 0x8000_0000, u32::MAX].map(|bits: u32| {
            let [b4, b5, b6, b7] = bits.to_be_bytes();
            [L, 0, 0, 0, b4, b5, b6, b7]
        }),
    )?;
    Ok("decapsulated, in the default instance".into())
}

fn no_status(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let flow = rig.flow(Family::V4, Family::V4);
    let before = rig.leave(&flow.leaving(b"before").octets())?;
    let packet = flow.entering(b"all down").octets();
    rig.enter(&flow.outer().with_lisp([L, 0, 0, 0, 0, 0, 0, 0]).around(&packet), flow.inwards())?;
    let after = rig.leave(&flow.leaving(b"after").octets())?;
    equal("locators", (before.destination, after.destination), (flow.rloc, flow.rloc))?;
    Ok("so they do".into())
}

fn no_gleaning(tier: &Tier) -> Judgement {
    let rig = tier.unchecked()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        rig.leave(&flow.leaving(b"before").octets())?;
        let elsewhere = Outer::new(rig.rloc(outer), flow.own);
        rig.enter(&elsewhere.around(&flow.entering(b"moved?").octets()), flow.inwards())?;
        equal("locator", rig.leave(&flow.leaving(b"after").octets())?.destination, flow.rloc)
    })?;
    Ok("packets go on to the locator of the mapping".into())
}

fn encrypted(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packet = flow.entering(b"not encrypted").octets();
        let outers = [1, 2, 3].map(|key| flow.outer().with_lisp([key, 0, 0, 0, 0, 0, 0, 0]).around(&packet));
        nothing("at the site", &rig.enter_not(&flow, &outers, flow.inwards())?)
    })?;
    let _alone = tier.alone();
    dropped_vectors(tier, &["D30", "D31"])?;
    Ok("nothing comes to the site".into())
}

fn short(tier: &Tier) -> Judgement {
    // Counted is what all checks of this rig send: the vectors of others are among it.
    let (_alone, rig) = (tier.alone(), tier.rig()?);
    let before = rig.dut.counted("drop-core-short")?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let outers: Vec<_> = (0..=8).map(|length| flow.outer().with_payload(&[0; 8][..length])).collect();
        nothing("at the site", &rig.enter_not(&flow, &outers, flow.inwards())?)
    })?;
    equal("counted", rig.dut.counted("drop-core-short")?, before.map(|before| before + 36))?;
    dropped_vectors(tier, &["D22", "D23"])?;
    Ok(if is_ours() { "nothing comes to the site, and each is counted" } else { "nothing comes to the site" }.into())
}

fn version(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packet = flow.entering(b"version").octets();
        let other = |version: &u8| *version != packet[0] >> 4;
        let outers = (0..16).filter(other).map(|version| {
            let mut packet = packet.clone();
            packet[0] = version << 4 | packet[0] & 0x0f;
            flow.outer().around(&packet)
        });
        nothing("at the site", &rig.enter_not(&flow, &outers.collect::<Vec<_>>(), flow.inwards())?)
    })?;
    let _alone = tier.alone();
    dropped_vectors(tier, &["D24"])?;
    Ok("nothing comes to the site".into())
}

fn lengths(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packet = flow.entering(b"lengths").octets();
        let mut outers: Vec<_> = (1..packet.len()).map(|length| flow.outer().around(&packet[..length])).collect();
        let lies: &[(usize, u8)] = match inner {
            // Header lengths below 20 octets and beyond the packet; total lengths below the header and beyond the packet.
            Family::V4 => &[(0, 0x40), (0, 0x44), (0, 0x4f), (2, 0xff), (3, 19), (3, 0)],
            Family::V6 => &[(4, 0xff), (5, 0xff)],
        };
        outers.extend(lies.iter().map(|(at, value)| {
            let mut packet = packet.clone();
            packet[*at] = *value;
            flow.outer().around(&packet)
        }));
        // The queues of sockets and devices are short.
        outers.chunks(24).try_for_each(|some| nothing("at the site", &rig.enter_not(&flow, some, flow.inwards())?))
    })?;
    Ok("nothing comes to the site".into())
}

fn trailing(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packet = flow.entering(b"exactly this").octets();
        let outer = flow.outer().around(&[&packet[..], &[0xee; 7]].concat());
        equal("at the site", rig.enter(&outer, flow.inwards())?, forwarded(packet))
    })?;
    Ok("cut off".into())
}

fn no_new_entry(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.unmapped(inner, outer);
        rig.enter(&flow.outer().around(&flow.entering(b"unknown").octets()), flow.inwards())?;
        let mark = rig.core.mark();
        nothing("encapsulated", &rig.leave_not(&[flow.leaving(b"no mapping").octets()])?)?;
        rig.core.map(flow.record());
        // The question that waits for an answer is asked again, and then answered.
        let asked = rig.core.wait(mark, 1, PATIENCE, |heard| heard.asks_about(flow.peer));
        if asked.is_empty() { Err(broken("the map system is not asked")) } else { Ok(()) }
    })?;
    Ok("nothing is encapsulated before the map system has answered".into())
}
