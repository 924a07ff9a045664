// SPDX-License-Identifier: GPL-2.0-or-later
//! Hops, DSCP and ECN in both directions (RFC 9300, section 5.3; RFC 6040).

use super::{each, equal, nothing};
use crate::suite::probe::{Fault, Judgement, Probe, broken, must, should};
use crate::suite::xtr::{Family, PATIENCE, Rig, Tier};

pub(super) const PROBES: &[Probe<Tier>] = &[
    should("DP-040.1", "9300 5.3", "datagrams of 2, 17, 64 and 255 hops: those of the outer header", hops_out),
    should("DP-041.1", "9300 5.3", "datagrams of each of six DSCPs: that of the outer header", dscp_out),
    must("DP-042.1", "9300 5.3, 6040 4.1", "datagrams of each ECN value: that of the outer header", ecn_out),
    must("DP-043.1", "9300 5.3", "outer 5 and inner 64 hops, outer 64 and inner 5: those at the site", hops_in),
    must(
        "DP-044.1",
        "9300 5.3",
        "a datagram of one hop to a router: not encapsulated, and its source is told",
        last_hop_out,
    ),
    must(
        "DP-044.2",
        "9300 5.3",
        "outer 1 and inner 64 hops, outer 64 and inner 1: nothing comes to the site",
        last_hop_in,
    ),
    should("DP-045.1", "9300 5.3", "outer DSCP of each of six, inner another: that at the site", dscp_in),
    ecn::<0, 0>("DP-046.01", "Not-ECT in Not-ECT: Not-ECT"),
    ecn::<0, 1>("DP-046.02", "Not-ECT in ECT(1): Not-ECT"),
    ecn::<0, 2>("DP-046.03", "Not-ECT in ECT(0): Not-ECT"),
    ecn::<0, 3>("DP-046.04", "Not-ECT in CE: dropped"),
    ecn::<1, 0>("DP-046.05", "ECT(1) in Not-ECT: ECT(1)"),
    ecn::<1, 1>("DP-046.06", "ECT(1) in ECT(1): ECT(1)"),
    ecn::<1, 2>("DP-046.07", "ECT(1) in ECT(0): ECT(1)"),
    ecn::<1, 3>("DP-046.08", "ECT(1) in CE: CE"),
    ecn::<2, 0>("DP-046.09", "ECT(0) in Not-ECT: ECT(0)"),
    ecn::<2, 1>("DP-046.10", "ECT(0) in ECT(1): ECT(1)"),
    ecn::<2, 2>("DP-046.11", "ECT(0) in ECT(0): ECT(0)"),
    ecn::<2, 3>("DP-046.12", "ECT(0) in CE: CE"),
    ecn::<3, 0>("DP-046.13", "CE in Not-ECT: CE"),
    ecn::<3, 1>("DP-046.14", "CE in ECT(1): CE"),
    ecn::<3, 2>("DP-046.15", "CE in ECT(0): CE"),
    ecn::<3, 3>("DP-046.16", "CE in CE: CE"),
];

/// Best effort, AF11, AF41, EF, and the least and greatest.
const DSCPS: [u8; 6] = [0, 10, 34, 46, 1, 63];

/// What comes out of each inner (row) and outer (column) value: figure 4 of RFC 6040; none = dropped.
const FIGURE_4: [[Option<u8>; 4]; 4] = [
    [Some(0), Some(0), Some(0), None],
    [Some(1), Some(1), Some(1), Some(3)],
    [Some(2), Some(1), Some(2), Some(3)],
    [Some(3), Some(3), Some(3), Some(3)],
];

const fn ecn<const INNER: usize, const OUTER: usize>(id: &'static str, about: &'static str) -> Probe<Tier> {
    must(id, "6040 4.2", about, ecn_in::<INNER, OUTER>)
}

/// Hops and traffic class of a packet.
fn hops_and_class(octets: &[u8]) -> (u8, u8) {
    if octets[0] >> 4 == 4 { (octets[8], octets[1]) } else { (octets[7], octets[0] << 4 | octets[1] >> 4) }
}

fn hops_out(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        [2, 17, 64, 255].into_iter().try_for_each(|hops| {
            let came = rig.leave(&flow.leaving(b"hops").with_ttl(hops).octets())?;
            equal("outer and inner hops", (came.ttl, hops_and_class(&came.inner).0), (hops - 1, hops - 1))
        })
    })?;
    Ok("those of the inner packet when it has been forwarded".into())
}

fn dscp_out(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        DSCPS.into_iter().try_for_each(|dscp| {
            let came = rig.leave(&flow.leaving(b"dscp").with_class(dscp << 2).octets())?;
            equal("outer and inner class", (came.class, hops_and_class(&came.inner).1), (dscp << 2, dscp << 2))
        })
    })?;
    Ok("that of the inner packet".into())
}

fn ecn_out(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        (0..4).try_for_each(|ecn| {
            let came = rig.leave(&flow.leaving(b"ecn").with_class(ecn).octets())?;
            equal("outer and inner ECN", (came.class & 3, hops_and_class(&came.inner).1 & 3), (ecn, ecn))
        })
    })?;
    Ok("that of the inner packet, CE too".into())
}

/// What comes to the site of a packet with these hops and classes, inner and outer.
fn arrives(rig: &Rig, families: (Family, Family), hops: (u8, u8), classes: (u8, u8)) -> Result<(u8, u8), Fault> {
    let flow = rig.flow(families.0, families.1);
    let mut outer = flow.outer();
    (outer.ttl, outer.class) = (hops.1, classes.1);
    let packet = flow.entering(b"in").with_ttl(hops.0).with_class(classes.0).octets();
    rig.enter(&outer.around(&packet), flow.inwards()).map(|octets| hops_and_class(&octets))
}

fn hops_in(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        for (hops, left) in [((64, 5), 4), ((5, 64), 4), ((2, 255), 1), ((255, 255), 254)] {
            let came = arrives(rig, (inner, outer), hops, (0, 0))?;
            equal(&format!("{hops:?}"), came.0, left)?;
        }
        Ok(())
    })?;
    Ok("the fewer, less that of forwarding".into())
}

fn last_hop_out(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let mark = rig.site.mark();
        let packet = flow.leaving(b"last hop").with_ttl(1).octets();
        nothing("encapsulated", &rig.leave_not(&[packet])?)?;
        let exceeded = if inner == Family::V4 { (11, 0) } else { (3, 0) };
        match rig.icmp_to(mark, flow.host, exceeded, 1, PATIENCE).len() {
            1 => Ok(()),
            _ => Err(broken("its source is told nothing")),
        }
    })?;
    Ok("Time Exceeded".into())
}

fn last_hop_in(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        for (ttl, outer_ttl) in [(64, 1), (1, 64), (1, 1)] {
            let flow = rig.flow(inner, outer);
            let mut header = flow.outer();
            header.ttl = outer_ttl;
            let packet = header.around(&flow.entering(b"last hop").with_ttl(ttl).octets());
            nothing("at the site", &rig.enter_not(&flow, &[packet], flow.inwards())?)?;
        }
        Ok(())
    })?;
    Ok("so it is".into())
}

fn dscp_in(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        for dscp in DSCPS {
            let came = arrives(rig, (inner, outer), (64, 64), (20 << 2, dscp << 2))?;
            equal("class at the site", came.1, dscp << 2)?;
        }
        Ok(())
    })?;
    Ok("the outer one".into())
}

fn ecn_in<const INNER: usize, const OUTER: usize>(tier: &Tier) -> Judgement {
    ecn_cell(tier.rig()?, [0; 8], INNER, OUTER)
}

/// One cell of the figure, for each pair of families.
pub(super) fn ecn_cell(rig: &Rig, lisp: [u8; 8], inner: usize, outer: usize) -> Judgement {
    let values = [inner, outer].map(|value| u8::try_from(value).unwrap_or(u8::MAX));
    each(|family, over| {
        let flow = rig.flow(family, over);
        let mut header = flow.outer().with_lisp(lisp);
        header.class = values[1];
        let packet = header.around(&flow.entering(b"ecn").with_class(values[0]).octets());
        match FIGURE_4[inner][outer] {
            Some(expected) => {
                let came = rig.enter(&packet, flow.inwards())?;
                equal("ECN at the site", hops_and_class(&came).1 & 3, expected)
            }
            None => nothing("at the site", &rig.enter_not(&flow, &[packet], flow.inwards())?),
        }
    })?;
    Ok("so it is".into())
}
