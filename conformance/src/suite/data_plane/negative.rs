// SPDX-License-Identifier: GPL-2.0-or-later
//! Mappings without locators: what becomes of packets, by the action (RFC 9301, section 5.4).

use wire::record::{Action, MappingRecord, Ttl};

use super::{each, equal, nothing};
use crate::suite::probe::{Fault, Judgement, Probe, broken, must, should};
use crate::suite::xtr::{Family, Flow, GRACE, PATIENCE, Rig, Tier, ends, forwarded, is_ours};

pub(super) const PROBES: &[Probe<Tier>] = &[
    must("DP-096.1", "9301 5.4", "action 0, No-Action: not encapsulated", |tier| dropped(tier, Action::NoAction)),
    must("DP-096.2", "9301 5.4", "action 1, Natively-Forward: as it is, towards its destination", natively),
    must("DP-096.3", "9301 5.4", "action 2, Send-Map-Request: not encapsulated, and asked for again", ask_again),
    must("DP-096.4", "9301 5.4", "action 3, Drop/No-Reason: dropped", |tier| dropped(tier, Action::DropNoReason)),
    should("DP-096.5", "9301 5.4", "action 3: the source is told that it is unreachable", unreachable),
    must("DP-096.6", "9301 5.4", "action 4, Drop/Policy-Denied: dropped", |tier| {
        dropped(tier, Action::DropPolicyDenied)
    }),
    must("DP-096.7", "9301 5.4", "action 5, Drop/Auth-Failure: dropped", |tier| dropped(tier, Action::DropAuthFailure)),
    must("DP-096.8", "9301 5.4", "an action beside locators: without meaning", beside_locators),
];

/// Life of these mappings.
const TTL: Ttl = Ttl(1);

/// A flow to an EID of which the map system says so.
fn negative(rig: &Rig, inner: Family, action: Action) -> Flow {
    let flow = rig.unmapped(inner, Family::V4);
    rig.core.map(MappingRecord::negative(flow.prefix, TTL, action));
    flow
}

/// Waits until the map system was asked about a flow, and has answered.
fn first_packet(rig: &Rig, flow: &Flow) -> Result<(), Fault> {
    let mark = rig.core.mark();
    rig.site.send(&flow.leaving(b"first").octets())?;
    rig.core.first(mark, PATIENCE, "a Map-Request", |heard| heard.asks_about(flow.peer)).map(drop)
}

fn dropped(tier: &Tier, action: Action) -> Judgement {
    let rig = tier.rig()?;
    for inner in [Family::V4, Family::V6] {
        let flow = negative(rig, inner, action);
        let (mark, outwards) = (rig.core.port.mark(), (flow.host, flow.peer));
        first_packet(rig, &flow)?;
        nothing("encapsulated", &rig.leave_not(&vec![flow.leaving(b"dropped").octets(); 3])?)?;
        // Action 0 says nothing of that.
        if action != Action::NoAction || is_ours() {
            nothing("natively", &rig.core.port.between(mark, outwards))?;
        }
    }
    Ok("neither encapsulated nor forwarded".into())
}

fn natively(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    for inner in [Family::V4, Family::V6] {
        let flow = negative(rig, inner, Action::NativelyForward);
        if !is_ours() {
            // What comes before the answer may be dropped (RFC 9300, section 6).
            first_packet(rig, &flow)?;
            std::thread::sleep(4 * GRACE);
        }
        for data in [b"held back", b"at once.."] {
            let (mark, packet) = (rig.core.port.mark(), flow.leaving(data).octets());
            rig.site.send(&packet)?;
            let outwards = Some((flow.host, flow.peer));
            let came = rig
                .core
                .port
                .wait(mark, 1, PATIENCE, |came| (ends(&came.octets) == outwards).then(|| came.octets.to_vec()));
            // The kernel forwards it twice: to the tunnel, and from there.
            let twice = forwarded(forwarded(packet.clone()));
            let expected = if !is_ours() && came == [forwarded(packet.clone())] { forwarded(packet) } else { twice };
            equal("in the core", came, vec![expected])?;
        }
    }
    Ok("in the core, without headers of ours".into())
}

fn ask_again(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let flow = negative(rig, Family::V4, Action::SendMapRequest);
    first_packet(rig, &flow)?;
    let mark = rig.core.mark();
    nothing("encapsulated", &rig.leave_not(&[flow.leaving(b"again").octets()])?)?;
    rig.core.first(mark, PATIENCE, "another Map-Request", |heard| heard.asks_about(flow.peer))?;
    Ok("another Map-Request".into())
}

fn unreachable(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    for inner in [Family::V4, Family::V6] {
        let flow = negative(rig, inner, Action::DropNoReason);
        first_packet(rig, &flow)?;
        let mark = rig.site.mark();
        rig.site.send(&flow.leaving(b"unreachable").octets())?;
        let kind = if inner == Family::V4 { 3 } else { 1 };
        let is_told = |code| !rig.icmp_to(mark, flow.host, (kind, code), 1, PATIENCE / 16).is_empty();
        if !(0..=13).any(is_told) {
            return Err(broken(format!("{inner}: no Destination Unreachable")));
        }
    }
    Ok("Destination Unreachable".into())
}

fn beside_locators(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.unmapped(inner, outer);
        rig.core.map(MappingRecord { action: Action::DropNoReason, ..flow.record() });
        equal("locator", rig.leave(&flow.leaving(b"beside").octets())?.destination, flow.rloc)
    })?;
    Ok("packets go to the locators".into())
}
