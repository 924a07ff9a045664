// SPDX-License-Identifier: GPL-2.0-or-later
//! Solicit-map-requests that an ITR gets, right ones and forged ones (RFC 9301, section 6.1). One proves nothing: the map system
//! decides.

use std::time::{Duration, Instant};

use wire::control::{ControlMessage, MapRequest};

use super::Room;
use crate::suite::probe::{Fault, Judgement, Probe, broken, equal, must, should};
use crate::suite::xtr::{Family, Flow, GRACE, Heard, PATIENCE, Rig, SERVER, is_ours};

pub(super) const PROBES: &[Probe<Room>] = &[
    must(
        "CP-135.1",
        "9301 6.1",
        "an SMR about a mapping in use: a Map-Request with s, in an ECM, to the map system",
        invoked,
    ),
    must("CP-135.2", "9301 6.1", "an SMR after a change: packets go to the new locator within a second", moved),
    must(
        "CP-135.3",
        "9301 6.1",
        "a forged SMR, with a mapping of its own enclosed: packets go on where they went",
        forged,
    ),
    must("CP-135.4", "9301 6.1", "an SMR while the map system is silent: packets go on where they went", unanswered),
    should("CP-136.1", "9301 6.1", "ten SMRs in a second about one EID-prefix: Map-Requests", rate),
    should("CP-137.1", "9301 6.1", "an SMR about what is not cached: no Map-Request", unknown),
];

/// A mapping is not in use before its first packet has left.
fn in_use(rig: &Rig) -> Result<Flow, Fault> {
    let flow = rig.flow(Family::V4, Family::V4);
    equal("locator", rig.leave(&flow.leaving(b"in use").octets())?.destination, flow.rloc)?;
    Ok(flow)
}

fn is_invoked(heard: &Heard, flow: &Flow) -> bool {
    heard.asks_about(flow.peer) && heard.question().is_some_and(|question| question.smr_invoked)
}

fn invoked(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, mark) = (in_use(rig)?, rig.core.mark());
    rig.core.send(flow.rloc, flow.own, &flow.solicit())?;
    let heard = rig.core.first(mark, PATIENCE, "an SMR-invoked Map-Request", |heard| is_invoked(heard, &flow))?;
    let request = heard.question().ok_or_else(|| broken("not in an ECM"))?;
    equal("S and P", (request.smr, request.probe), (false, false))?;
    equal("to", heard.destination.ip().to_string().as_str(), SERVER)?;
    let asked: Vec<_> = request.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
    equal("EID-prefixes", asked, vec![flow.prefix])?;
    Ok("so it is, about the EID-prefix of the mapping".into())
}

fn moved(room: &Room) -> Judgement {
    let rig = room.rig()?;
    for outer in [Family::V4, Family::V6] {
        let (flow, new) = (in_use(rig)?, rig.rloc(outer));
        rig.core.map(flow.record_of(&[(new, 1, 100)]));
        equal("locator before the SMR", rig.leave(&flow.leaving(b"before").octets())?.destination, flow.rloc)?;
        rig.core.send(flow.rloc, flow.own, &flow.solicit())?;
        std::thread::sleep(Duration::from_secs(1));
        let (begun, where_to) = (Instant::now(), || rig.leave(&flow.leaving(b"after").octets()));
        let mut after = where_to()?.destination;
        // The second is our own promise.
        while !is_ours() && after != new && begun.elapsed() < PATIENCE {
            std::thread::sleep(GRACE);
            after = where_to()?.destination;
        }
        equal("locator after it", after, new)?;
    }
    Ok("so they do, over both families".into())
}

fn forged(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, forger) = (in_use(rig)?, rig.rloc(Family::V4));
    let mark = rig.core.mark();
    if let ControlMessage::MapRequest(request) = flow.solicit() {
        // M: the sender's own mapping, of the EID that it would like to have.
        let record = Some(flow.record_of(&[(forger, 1, 100)]));
        let request = MapRequest { map_reply_record: record, itr_rlocs: vec![forger.into()], ..request };
        rig.core.send(forger, flow.own, &ControlMessage::from(request))?;
    }
    rig.core.first(mark, PATIENCE, "an SMR-invoked Map-Request", |heard| is_invoked(heard, &flow))?;
    std::thread::sleep(Duration::from_millis(300));
    equal("locator", rig.leave(&flow.leaving(b"after").octets())?.destination, flow.rloc)?;
    Ok("the map system is asked, and says what it said".into())
}

fn unanswered(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, mark) = (in_use(rig)?, rig.core.mark());
    rig.core.unmap(flow.prefix);
    rig.core.send(flow.rloc, flow.own, &flow.solicit())?;
    rig.core.first(mark, PATIENCE, "an SMR-invoked Map-Request", |heard| is_invoked(heard, &flow))?;
    equal("locator", rig.leave(&flow.leaving(b"meanwhile").octets())?.destination, flow.rloc)?;
    Ok("so they do".into())
}

fn rate(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, mark) = (in_use(rig)?, rig.core.mark());
    for _ in 0..10 {
        rig.core.send(flow.rloc, flow.own, &flow.solicit())?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let invoked = rig.core.wait(mark, usize::MAX, Duration::from_millis(1000), |heard| is_invoked(heard, &flow));
    equal("Map-Requests", invoked.len(), 1)?;
    Ok("one".into())
}

fn unknown(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, mark) = (rig.flow(Family::V4, Family::V4), rig.core.mark());
    rig.core.send(flow.rloc, flow.own, &flow.solicit())?;
    let behind = in_use(rig)?;
    rig.core.send(behind.rloc, behind.own, &behind.solicit())?;
    rig.core.first(mark, PATIENCE, "the Map-Request of a later one", |heard| is_invoked(heard, &behind))?;
    let asked = rig.core.wait(mark, usize::MAX, Duration::ZERO, |heard| heard.asks_about(flow.peer));
    equal("Map-Requests", asked.len(), 0)?;
    Ok("none".into())
}
