// SPDX-License-Identifier: GPL-2.0-or-later
//! Between whom packets from the core may be (RFC 9300, sections 8 and 16).

use std::net::IpAddr;
use std::time::Duration;

use super::header::dropped_vectors;
use super::{each, equal, nothing};
use crate::suite::probe::{Judgement, Probe, broken, may, must, should};
use crate::suite::xtr::{Family, Flow, GRACE, Outer, PATIENCE, Packet, Tier, ends, forwarded};

pub(super) const PROBES: &[Probe<Tier>] = &[
    should(
        "DP-024.1",
        "6936 4, 5",
        "zero checksums over IPv6 from a locator that the source does not map to: dropped",
        |tier| elsewhere(tier, Family::V6),
    ),
    must("DP-088.2", "LOCAL", "inner sources that are multicast, broadcast, loopback or unspecified: dropped", sources),
    must("DP-093.1", "9300 8", "the vectors D01, D06, D07 and D08, of other instances: dropped", other_vectors),
    must(
        "DP-093.2",
        "9300 8",
        "packets for an EID of instance 0xABCDEF in others, and in none: dropped",
        other_instances,
    ),
    must("DP-093.3", "9300 8", "packets for the EIDs of instance 0xABCDEF in that: at the site", own_instance),
    must("DP-093.4", "LOCAL", "inner destinations that are no EID of the site: dropped, and go nowhere else", not_ours),
    may("DP-095.1", "9300 16", "by default: packets of a known EID from another locator", |tier| {
        elsewhere(tier, Family::V4)
    }),
    may(
        "DP-095.2",
        "9300 16",
        "strict: packets of an EID of which nothing is known, until the map system answers",
        strict,
    ),
    may("DP-095.3", "9300 16", "strict: packets of a known EID from another locator", strict_elsewhere),
    may("DP-095.4", "6832 5.2", "strict: packets of what is no EID, from a PITR and from another", pitr),
    may("DP-095.5", "9300 16", "off: packets of any source from any locator, without a question", unchecked),
    may("DP-095.6", "9300 16", "packets from elsewhere whose source is an EID of the site itself", own_source),
];

/// What would enter once its question is answered does so in less.
const VERDICT: Duration = Duration::from_millis(400);

fn elsewhere(tier: &Tier, outer: Family) -> Judgement {
    let rig = tier.rig()?;
    for inner in [Family::V4, Family::V6] {
        let flow = rig.flow(inner, outer);
        rig.leave(&flow.leaving(b"known").octets())?;
        let elsewhere = Outer::new(rig.rloc(outer), flow.own);
        let packet = elsewhere.around(&flow.entering(b"spoofed").octets());
        // The first ones may enter: the question is about them.
        rig.enter_no_more(&flow, &packet)?;
        nothing("at the site", &rig.enter_not(&flow, &vec![packet; 4], flow.inwards())?)?;
        let mapped = flow.entering(b"from home").octets();
        equal("at the site", rig.enter(&flow.outer().around(&mapped), flow.inwards())?, forwarded(mapped))?;
    }
    Ok("dropped once that is known; those from the locator of the mapping enter".into())
}

fn sources(tier: &Tier) -> Judgement {
    let rig = tier.unchecked()?;
    for (family, sources) in [
        (Family::V4, ["224.0.0.1", "255.255.255.255", "127.0.0.1", "0.0.0.0"]),
        (Family::V6, ["ff02::1", "ff0e::1", "::1", "::"]),
    ] {
        let flow = rig.flow(family, Family::V4);
        for source in sources {
            let source: IpAddr = source.parse().map_err(broken)?;
            let packet = Packet { source, ..flow.entering(b"source") }.octets();
            let came = rig.enter_not(&flow, &[flow.outer().around(&packet)], (source, flow.host))?;
            nothing(&source.to_string(), &came)?;
        }
    }
    Ok("nothing comes to the site".into())
}

fn other_vectors(tier: &Tier) -> Judgement {
    let _alone = tier.alone();
    dropped_vectors(tier, &["D01", "D06", "D07", "D08"])?;
    Ok("nothing comes to the site".into())
}

fn other_instances(tier: &Tier) -> Judgement {
    let rig = tier.strict()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packet = flow.entering(b"instance").octets();
        let headers =
            [[0; 8], [8, 0, 0, 0, 0, 0, 0, 0], [8, 0, 0, 0, 0xab, 0xcd, 0xee, 0], [0x40, 0, 0, 0, 0xab, 0xcd, 0xef, 0]];
        let mark = rig.site.mark();
        headers.iter().try_for_each(|lisp| rig.core.port.send(&flow.outer().with_lisp(*lisp).around(&packet)))?;
        let fence = Flow { host: rig.host(inner), ..flow.clone() };
        let behind = fence.entering(b"fence").octets();
        rig.enter(&fence.outer().with_lisp(INSTANCE).around(&behind), fence.inwards())?;
        std::thread::sleep(GRACE);
        nothing("at the site", &rig.site.between(mark, flow.inwards()))
    })?;
    Ok("nothing comes to the site".into())
}

/// The LISP header of the instance of [`Tier::strict`].
const INSTANCE: [u8; 8] = [8, 0, 0, 0, 0xab, 0xcd, 0xef, 0];

fn own_instance(tier: &Tier) -> Judgement {
    let rig = tier.strict()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packet = flow.entering(b"instance").octets();
        equal(
            "at the site",
            rig.enter(&flow.outer().with_lisp(INSTANCE).around(&packet), flow.inwards())?,
            forwarded(packet),
        )
    })?;
    Ok("decapsulated".into())
}

fn not_ours(tier: &Tier) -> Judgement {
    // Counted is what all checks of this rig send: the vectors of others are among it.
    let (_alone, rig) = (tier.alone(), tier.rig()?);
    let before = rig.dut.counted("drop-core-not-our-eid")?;
    for (inner, hosts) in [
        (Family::V4, ["10.3.0.1", "198.51.100.1", "198.51.100.2", "224.0.0.1"]),
        (Family::V6, ["2001:db8:3::1", "2001:db8:b::1", "2001:db8:b::2", "ff0e::1"]),
    ] {
        for host in hosts {
            let mut flow = rig.flow(inner, Family::V4);
            let good = flow.clone();
            flow.host = host.parse().map_err(broken)?;
            let mark = rig.core.port.mark();
            let outer = flow.outer().around(&flow.entering(b"not ours").octets());
            nothing(host, &rig.enter_not(&good, &[outer], flow.inwards())?)?;
            nothing(host, &rig.core.port.between(mark, flow.inwards()))?;
        }
    }
    let counted = rig.dut.counted("drop-core-not-our-eid")?;
    equal("counted", counted, before.map(|before| before + 8))?;
    Ok("neither at the site nor in the core, and counted where that is seen".into())
}

fn strict(tier: &Tier) -> Judgement {
    let rig = tier.strict()?;
    each(|inner, outer| {
        let flow = rig.unmapped(inner, outer);
        let packet = flow.outer().with_lisp(INSTANCE).around(&flow.entering(b"waits").octets());
        let (mark, asked) = (rig.site.mark(), rig.core.mark());
        rig.core.port.send(&packet)?;
        let question = rig.core.first(asked, PATIENCE, "a Map-Request", |heard| heard.asks_about(flow.peer))?;
        std::thread::sleep(2 * GRACE);
        nothing("at the site before the answer", &rig.site.between(mark, flow.inwards()))?;
        rig.core.map(flow.record());
        rig.core.answer(&question, vec![flow.record()])?;
        let came = rig.site.wait(mark, 1, PATIENCE, |came| (ends(&came.octets) == Some(flow.inwards())).then_some(()));
        equal("at the site behind the answer", came.len(), 1)
    })?;
    Ok("it waits, and enters when it is known to map there".into())
}

fn strict_elsewhere(tier: &Tier) -> Judgement {
    let rig = tier.strict()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let packet = flow.entering(b"spoofed").octets();
        let mark = rig.site.mark();
        let elsewhere = Outer::new(rig.rloc(outer), flow.own).with_lisp(INSTANCE);
        rig.core.port.send(&elsewhere.around(&packet))?;
        let home = Flow { host: rig.host(inner), ..flow.clone() };
        let behind = home.entering(b"fence").octets();
        rig.enter(&home.outer().with_lisp(INSTANCE).around(&behind), home.inwards())?;
        std::thread::sleep(VERDICT);
        nothing("at the site", &rig.site.between(mark, flow.inwards()))
    })?;
    Ok("dropped, the first too".into())
}

fn pitr(tier: &Tier) -> Judgement {
    let rig = tier.strict()?;
    let flow = rig.unmapped(Family::V4, Family::V4);
    let packet = flow.entering(b"no EID").octets();
    let outer = Outer::new(Tier::PITR.parse().map_err(broken)?, flow.own).with_lisp(INSTANCE);
    equal("from the PITR", rig.enter(&outer.around(&packet), flow.inwards())?, forwarded(packet.clone()))?;
    let mark = rig.site.mark();
    rig.core.port.send(&Outer::new(rig.rloc(Family::V4), flow.own).with_lisp(INSTANCE).around(&packet))?;
    std::thread::sleep(VERDICT);
    nothing("from another", &rig.site.between(mark, flow.inwards()))?;
    Ok("from the PITR they enter, from another they wait".into())
}

fn unchecked(tier: &Tier) -> Judgement {
    let rig = tier.unchecked()?;
    each(|inner, outer| {
        let flow = rig.unmapped(inner, outer);
        let mark = rig.core.mark();
        for data in [b"one", b"two"] {
            let packet = flow.entering(data).octets();
            let outer = Outer::new(rig.rloc(outer), flow.own).around(&packet);
            equal("at the site", rig.enter(&outer, flow.inwards())?, forwarded(packet))?;
        }
        nothing("questions", &rig.core.wait(mark, usize::MAX, 2 * GRACE, |heard| heard.asks_about(flow.peer)))
    })?;
    Ok("they enter".into())
}

fn own_source(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    for inner in [Family::V4, Family::V6] {
        let flow = rig.flow(inner, Family::V4);
        let ours = Flow { peer: rig.host(inner), ..flow.clone() };
        let packet = flow.outer().around(&ours.entering(b"as ours").octets());
        // What is its own a router knows without a question: the first one counts, too.
        nothing("at the site, at once", &rig.enter_not(&flow, &vec![packet.clone(); 4], ours.inwards())?)?;
        std::thread::sleep(VERDICT);
        nothing("at the site", &rig.enter_not(&flow, &vec![packet; 4], ours.inwards())?)?;
    }
    Ok("dropped, from the first one on".into())
}
