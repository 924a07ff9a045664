// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-GPE (RFC 9305), which is for the peers alone that are known to take it.

use super::hops::ecn_cell;
use super::{each, equal};
use crate::suite::probe::{Fault, Judgement, Probe, broken, must, should};
use crate::suite::xtr::{Encapsulated, Family, Flow, Outer, Rig, Tier, forwarded};

pub(super) const PROBES: &[Probe<Tier>] = &[
    must("DP-140.1", "9305 3", "datagrams to a peer that takes GPE: P, and N, E, V and bits 8 to 23 zero", sent),
    must("DP-140.2", "9305 3", "P from such a peer, with N, E, V and bits 8 to 23 set: ignored", ignored),
    must("DP-141.1", "9305 3", "datagrams of both families to such a peer: the next protocol", next_protocol),
    must("DP-143.1", "9305 5", "datagrams to peers of which nothing is known: no P", others),
    must("DP-144.1", "9305 4.3.1", "datagrams to such a peer over IPv6: a UDP checksum, and that is right", |tier| {
        summed(tier, Family::V6)
    }),
    should("DP-145.1", "9305 4.3", "datagrams to such a peer over IPv4: a UDP checksum, and that is right", |tier| {
        summed(tier, Family::V4)
    }),
    must("DP-146.1", "9305 4.4", "all 16 pairs of inner and outer ECN behind headers with P", ecn),
];

const P: u8 = 0x04;
const I: u8 = 0x08;

/// Hosts behind a peer that takes GPE.
fn flow(rig: &Rig, inner: Family, outer: Family) -> Result<Flow, Fault> {
    let peer = Tier::GPE_PEERS[usize::from(outer == Family::V6)].parse().map_err(broken)?;
    let flow = Flow { rloc: peer, ..rig.unmapped(inner, outer) };
    rig.core.map(flow.record());
    Ok(flow)
}

/// What becomes of a datagram to such a peer, for each pair of families.
fn each_sent(tier: &Tier, judge: impl Fn(Family, Family, &Encapsulated) -> Result<(), Fault>) -> Result<(), Fault> {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let came = rig.leave(&flow(rig, inner, outer)?.leaving(b"gpe").octets())?;
        judge(inner, outer, &came)
    })
}

fn sent(tier: &Tier) -> Judgement {
    each_sent(tier, |_, _, came| {
        equal("flags but I", came.lisp[0] & !I, P)?;
        equal("bits 8 to 23", &came.lisp[1..3], &[0, 0])
    })?;
    Ok("so they are".into())
}

fn next_protocol(tier: &Tier) -> Judgement {
    each_sent(tier, |inner, _, came| equal("next protocol", came.lisp[3], if inner == Family::V4 { 1 } else { 2 }))?;
    Ok("1 before IPv4, 2 before IPv6".into())
}

fn ignored(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = flow(rig, inner, outer)?;
        let next = if inner == Family::V4 { 1 } else { 2 };
        for lisp in
            [[P, 0, 0, next, 0, 0, 0, 0], [P | 0xb0, 0xff, 0xff, next, 0, 0, 0, 0], [P | I, 1, 2, next, 0, 0, 0, 9]]
        {
            let packet = flow.entering(&lisp[..]).octets();
            let outer = Outer::new(flow.rloc, flow.own).with_lisp(lisp).around(&packet);
            equal("at the site", rig.enter(&outer, flow.inwards())?, forwarded(packet))?;
        }
        Ok(())
    })?;
    Ok("decapsulated".into())
}

fn others(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        // Having sent GPE says nothing of taking it.
        let packet = flow.entering(b"gpe").octets();
        let next = if inner == Family::V4 { 1 } else { 2 };
        let outer = flow.outer().with_lisp([P, 0, 0, next, 0, 0, 0, 0]).around(&packet);
        rig.enter(&outer, flow.inwards())?;
        equal("LISP header", rig.leave(&flow.leaving(b"plain").octets())?.lisp, [0; 8])
    })?;
    Ok("none, also when they have sent GPE themselves".into())
}

fn summed(tier: &Tier, outer: Family) -> Judgement {
    each_sent(tier, |_, over, came| {
        let is_summed = came.checksum != 0 && came.is_checksum_right;
        if over != outer || is_summed { Ok(()) } else { Err(broken(format!("{:#06x}", came.checksum))) }
    })?;
    Ok("so they are".into())
}

fn ecn(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    for inner in 0..4 {
        for outer in 0..4 {
            ecn_cell(rig, [P, 0, 0, 1, 0, 0, 0, 0], inner, outer)?;
        }
    }
    Ok("as figure 4 of RFC 6040 has it".into())
}
