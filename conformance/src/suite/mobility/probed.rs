// SPDX-License-Identifier: GPL-2.0-or-later
//! Answers of an ETR to probes and to Map-Requests (RFC 9301, sections 5.2, 5.4 and 7.1).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use wire::address::{EidPrefix, InstanceId};
use wire::control::{ControlMessage, Ecm, EidRequest, MapReply, MapRequest, Nonce};
use wire::record::MappingRecord;

use super::Room;
use crate::suite::probe::{Fault, Judgement, Probe, broken, equal, expect, must};
use crate::suite::xtr::{Family, GRACE, Heard, PATIENCE, Rig, is_ours};

pub(super) const PROBES: &[Probe<Room>] = &[
    must(
        "CP-022.1",
        "9301 5.2, LOCAL",
        "a probe whose ITR-RLOC is multicast, broadcast or unspecified: no answer",
        unusable,
    ),
    must("CP-028.1", "9301 5.2", "a probe of each locator: a Map-Reply with P and the nonce of the probe", with_nonce),
    must("CP-030.1", "9301 5.2", "a Map-Request with D, of ours also a probe: no answer", |room| {
        // Of a probe with D one sentence asks for an answer and another for none.
        silent(room, |request| MapRequest { dont_map_reply: true, probe: is_ours(), ..request })
    }),
    must(
        "CP-041.1",
        "9301 5.4",
        "a Map-Request without P, to the ETR itself: the nonce of the request, and no P",
        plain,
    ),
    must("CP-049.2", "9301 5.4", "a probe of each locator: A, and the p-bit on that locator alone", marked),
    must("CP-053.1", "9301 5.4", "100 probes from one locator: how many answers", rate),
    must("CP-133.1", "LOCAL", "a probe in an ECM: no answer", enclosed),
    must("CP-140.1", "9301 7.1", "a probe of each locator: from that locator, with the mapping as it is", as_it_is),
];

/// A probe about a host of the site.
fn probe(nonce: u64, from: IpAddr, eid: IpAddr) -> MapRequest {
    MapRequest {
        probe: true,
        nonce: Nonce(nonce),
        itr_rlocs: vec![from.into()],
        records: vec![EidRequest { notify: false, eid: EidPrefix::host(InstanceId(0), eid).into() }],
        ..MapRequest::default()
    }
}

/// Map-Replies to an ITR with a nonce, from where and what.
fn replies(rig: &Rig, mark: usize, itr: IpAddr, nonce: u64, patience: Duration) -> Vec<(IpAddr, MapReply)> {
    let heard = rig.core.wait(mark, 1, patience, |heard| {
        let is_it = matches!(&heard.message, ControlMessage::MapReply(reply) if reply.nonce == Nonce(nonce));
        is_it && heard.destination.ip() == itr
    });
    let reply = |heard: Heard| match heard.message {
        ControlMessage::MapReply(reply) => Some((heard.source.ip(), reply)),
        _ => None,
    };
    heard.into_iter().filter_map(reply).collect()
}

/// The answer to a request that an ITR sends to a locator of the program.
fn ask(rig: &Rig, itr: IpAddr, to: IpAddr, request: MapRequest) -> Result<(IpAddr, MapReply), Fault> {
    let (mark, nonce) = (rig.core.mark(), request.nonce.0);
    rig.core.send(itr, to, &ControlMessage::from(request))?;
    let Some(came) = replies(rig, mark, itr, nonce, PATIENCE).pop() else {
        rig.core.port.holds()?;
        return Err(broken("no Map-Reply"));
    };
    Ok(came)
}

/// Looks at the answer to a probe of each locator: the family of that, where it came from, and what.
fn answered(rig: &Rig, judge: impl Fn(Family, IpAddr, &MapReply) -> Result<(), Fault>) -> Judgement {
    for (number, family) in [(1, Family::V4), (2, Family::V6)] {
        let (itr, own, host) = (rig.rloc(family), rig.own(family), rig.host(Family::V4));
        let nonce = 0xfeed_0000_0000_0000 | number;
        let (from, reply) = ask(rig, itr, own, probe(nonce, itr, host))?;
        judge(family, from, &reply)?;
    }
    Ok("so it is".into())
}

fn with_nonce(room: &Room) -> Judgement {
    answered(room.rig()?, |_, _, reply| equal("P", reply.probe, true))
}

/// The one record of an answer.
fn record(reply: &MapReply) -> Result<&MappingRecord, Fault> {
    match reply.records.as_slice() {
        [record] => Ok(record),
        records => Err(broken(format!("{} records", records.len()))),
    }
}

fn marked(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let judge = |family, _, reply: &MapReply| {
        let record = record(reply)?;
        equal("A", record.authoritative, true)?;
        let probed = record.locators.iter().filter(|locator| locator.probed).map(|locator| locator.rloc.ip());
        equal("locators with the p-bit", probed.collect(), vec![Some(rig.own(family))])
    };
    answered(rig, judge)
}

fn as_it_is(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let judge = |family, from, reply: &MapReply| {
        equal("source", from, rig.own(family))?;
        let record = record(reply)?;
        let prefix = record.eid.ip_prefix().map(|prefix| prefix.to_string());
        equal("EID-prefix", prefix, Some("10.2.0.0/16".into()))?;
        let mut locators: Vec<_> = record.locators.iter().map(|l| (l.rloc.ip(), l.reachable)).collect();
        locators.sort_unstable();
        equal("locators and R", locators, [Family::V4, Family::V6].map(|each| (Some(rig.own(each)), true)).to_vec())
    };
    answered(rig, judge)
}

fn plain(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (itr, own) = (rig.rloc(Family::V4), rig.own(Family::V4));
    let request = MapRequest { probe: false, ..probe(0xabcd_0001, itr, rig.host(Family::V6)) };
    let (_, reply) = ask(rig, itr, own, request)?;
    let is_probed = reply.records.iter().flat_map(|record| &record.locators).any(|locator| locator.probed);
    equal("P, and p-bits", (reply.probe, is_probed), (false, false))?;
    Ok("so it is".into())
}

/// A probe that must have no answer, before one that has.
fn silent(room: &Room, change: impl Fn(MapRequest) -> MapRequest) -> Judgement {
    let rig = room.rig()?;
    for family in [Family::V4, Family::V6] {
        let (itr, own, host) = (rig.rloc(family), rig.own(family), rig.host(Family::V4));
        let mark = rig.core.mark();
        rig.core.send(itr, own, &ControlMessage::from(change(probe(0x5111_0001, itr, host))))?;
        let good = rig.rloc(family);
        ask(rig, good, own, probe(0x5111_0002, good, host))?;
        let any = rig.core.wait(
            mark,
            usize::MAX,
            GRACE,
            |heard| matches!(&heard.message, ControlMessage::MapReply(reply) if reply.nonce == Nonce(0x5111_0001)),
        );
        equal("answers", any.len(), 0)?;
    }
    Ok("none".into())
}

fn unusable(room: &Room) -> Judgement {
    for rloc in ["224.0.0.9", "255.255.255.255", "0.0.0.0", "ff0e::1", "::"] {
        let rloc: IpAddr = rloc.parse().map_err(broken)?;
        silent(room, |request| MapRequest { itr_rlocs: vec![rloc.into()], ..request })?;
    }
    Ok("none".into())
}

fn enclosed(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (itr, own, host) = (rig.rloc(Family::V4), rig.own(Family::V4), rig.host(Family::V4));
    let message = ControlMessage::from(probe(0xecec_0001, itr, host)).encode().map_err(broken)?;
    let control = |address| SocketAddr::new(address, wire::CONTROL_PORT);
    let mark = rig.core.mark();
    rig.core.send(itr, own, &ControlMessage::from(Ecm::wrap(control(itr), control(host), message)))?;
    let good = rig.rloc(Family::V4);
    ask(rig, good, own, probe(0xecec_0002, good, host))?;
    equal("answers", replies(rig, mark, itr, 0xecec_0001, GRACE).len(), 0)?;
    Ok("none".into())
}

fn rate(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (itr, own, host) = (rig.rloc(Family::V4), rig.own(Family::V4), rig.host(Family::V4));
    let (mark, begun) = (rig.core.mark(), Instant::now());
    for number in 0..100 {
        rig.core.send(itr, own, &ControlMessage::from(probe(0x4a7e_0000 | number, itr, host)))?;
    }
    let is_answer =
        |heard: &Heard| heard.destination.ip() == itr && matches!(heard.message, ControlMessage::MapReply(_));
    rig.core.wait(mark, 1, PATIENCE, is_answer);
    let count = rig.core.wait(mark, usize::MAX, Duration::from_millis(400), is_answer).len();
    if !is_ours() {
        // How many is for an implementation to say; that all are answered is not.
        return expect((1..100).contains(&count), format!("{count} answers to 100 probes"));
    }
    // As many again in each three seconds that a busy machine takes for it.
    let most = 8 * (1 + begun.elapsed().as_secs() / 3);
    if (1..=most).contains(&(count as u64)) {
        Ok(format!("{count}, {most} at most"))
    } else {
        Err(broken(format!("{count}")))
    }
}
