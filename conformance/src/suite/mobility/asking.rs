// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Requests of an ITR, and which answers it believes (RFC 9301, sections 5.2 to 5.4).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use wire::address::Address;
use wire::control::{ControlMessage, MapReply, Nonce};
use wire::record::MappingRecord;

use super::{Room, are_apart};
use crate::suite::probe::{Fault, Judgement, Probe, broken, equal, expect, must, nothing};
use crate::suite::xtr::{Family, Flow, GRACE, Heard, PATIENCE, Rig, SERVER, families, is_ours};

pub(super) const PROBES: &[Probe<Room>] = &[
    must("CP-020.1", "9301 5.2", "a packet without a mapping: one record, and ITR-RLOCs of both families", shape),
    must(
        "CP-026.1",
        "9301 5.2",
        "a packet without a mapping: its destination alone is asked about, for its source",
        shape,
    ),
    must("CP-037.1", "9301 5.8", "a packet without a mapping: the question goes in an ECM, to the Map-Resolver", shape),
    must("CP-024.1", "9301 5.2", "64 Map-Requests: their nonces", nonces),
    must(
        "CP-032.1",
        "9301 5.3",
        "100 packets in two seconds to an EID that nobody answers for: how many questions",
        rate,
    ),
    must(
        "CP-033.1",
        "9301 5.3",
        "packets for 25 seconds to an EID that nobody answers for: a question and ten retransmissions at most",
        retransmissions,
    ),
    must("CP-034.1", "9301 5.3", "answers with nonces that nobody asked with: no mapping", unasked),
    must(
        "CP-034.2",
        "9301 5.3",
        "the same about an EID that is cached: its packets go on where they went",
        unasked_cached,
    ),
    must("CP-062.1", "9301 5.5", "an answer about another EID-prefix than was asked about: no mapping", unfitting),
    must(
        "CP-062.2",
        "9301 5.5",
        "an answer with a second record, about what was not asked: no mapping is made of that",
        overclaimed,
    ),
];

fn shape(room: &Room) -> Judgement {
    let rig = room.rig()?;
    for inner in [Family::V4, Family::V6] {
        let (flow, mark) = (rig.unmapped(inner, Family::V4), rig.core.mark());
        rig.site.send(&flow.leaving(b"miss").octets())?;
        let heard = rig.core.first(mark, PATIENCE, "a Map-Request", |heard| heard.asks_about(flow.peer))?;
        let request = heard.question().ok_or_else(|| broken("not in an ECM"))?;
        equal("records", request.records.len(), 1)?;
        let asked = request.records[0].eid.ip_prefix().ok_or_else(|| broken("no EID"))?;
        equal(
            "EID",
            (asked.net.addr(), asked.net.prefix_len()),
            (flow.peer, if inner == Family::V4 { 32 } else { 128 }),
        )?;
        equal("source EID", request.source_eid.ip(), Some(flow.host))?;
        equal("flags", (request.probe, request.smr, request.smr_invoked, request.pitr), (false, false, false, false))?;
        let mut rlocs: Vec<_> = request.itr_rlocs.iter().filter_map(Address::ip).collect();
        rlocs.sort_unstable();
        equal("ITR-RLOCs", rlocs, families().iter().map(|family| rig.own(*family)).collect())?;
        equal("from", (heard.source.ip(), heard.destination.port()), (rig.own(Family::V4), wire::CONTROL_PORT))?;
    }
    Ok("so it is".into())
}

fn nonces(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let mark = rig.core.mark();
    for _ in 0..64 {
        let flow = rig.flow(Family::V4, Family::V4);
        rig.site.send(&flow.leaving(b"miss").octets())?;
    }
    let heard = rig.core.wait(mark, 64, PATIENCE, |heard| heard.question().is_some());
    let mut nonces: Vec<u64> = heard.iter().filter_map(Heard::request).map(|request| request.nonce.0).collect();
    nonces.sort_unstable();
    // 64 of 2^64: two that are nearer than 2^40 are a counter, but for one in 10,000 runs.
    let is_near = nonces.windows(2).any(|two| two[1] - two[0] < 1 << 40);
    expect(nonces.len() == 64 && !is_near, "far from each other")
}

/// Between two questions about one EID-prefix.
const INTERVAL: Duration = Duration::from_secs(1);

fn rate(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, mark, begun) = (rig.unmapped(Family::V4, Family::V4), rig.core.mark(), Instant::now());
    for _ in 0..100 {
        rig.site.send(&flow.leaving(b"miss").octets())?;
        std::thread::sleep(Duration::from_millis(20));
    }
    if is_ours() {
        // Others may give up.
        rig.core.wait(mark, 2, PATIENCE, |heard| heard.asks_about(flow.peer));
    }
    let asked = rig.core.wait(mark, usize::MAX, Duration::ZERO, |heard| heard.asks_about(flow.peer));
    let times: Vec<_> = asked.iter().map(|heard| heard.at - begun).collect();
    let least = if is_ours() { 2 } else { 1 };
    if times.len() < least || !are_apart(&times, INTERVAL) {
        return Err(broken(format!("{} questions, at {times:.2?}", times.len())));
    }
    let told = if is_ours() { "one in a second".into() } else { format!("{} a second or more apart", times.len()) };
    Ok(told)
}

/// A question a second, which is as many as may be, would be more than a question and ten retransmissions by then.
const UNANSWERED: Duration = Duration::from_secs(25);
/// Retransmissions behind which there are 30 seconds of rest.
const RETRANSMISSIONS: usize = 10;

fn retransmissions(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, mark, begun) = (rig.unmapped(Family::V4, Family::V4), rig.core.mark(), Instant::now());
    while begun.elapsed() < UNANSWERED {
        rig.site.send(&flow.leaving(b"miss").octets())?;
        std::thread::sleep(Duration::from_millis(250));
    }
    let asked = rig.core.wait(mark, usize::MAX, Duration::ZERO, |heard| heard.asks_about(flow.peer));
    let (first, last) = asked.first().zip(asked.last()).ok_or_else(|| broken("no question"))?;
    let took = last.at.duration_since(first.at);
    let found = format!("{} questions within {} s", asked.len(), took.as_secs());
    expect(asked.len() <= 1 + RETRANSMISSIONS, found)
}

/// The question about a flow's destination, and what the map system answers to it.
fn answer(rig: &Rig, flow: &Flow, records: Vec<MappingRecord>) -> Result<(), Fault> {
    let mark = rig.core.mark();
    rig.site.send(&flow.leaving(b"miss").octets())?;
    let question = rig.core.first(mark, PATIENCE, "a Map-Request", |heard| heard.asks_about(flow.peer))?;
    rig.core.answer(&question, records)?;
    std::thread::sleep(2 * GRACE);
    Ok(())
}

fn unfitting(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, other) = (rig.unmapped(Family::V4, Family::V4), rig.unmapped(Family::V4, Family::V4));
    answer(rig, &flow, vec![other.record()])?;
    for one in [&flow, &other] {
        nothing("encapsulated", &rig.leave_not(&[one.leaving(b"no mapping").octets()])?)?;
    }
    Ok("nothing is encapsulated, to either".into())
}

fn overclaimed(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, other) = (rig.unmapped(Family::V4, Family::V4), rig.unmapped(Family::V4, Family::V4));
    answer(rig, &flow, vec![flow.record(), other.record()])?;
    nothing("encapsulated", &rig.leave_not(&[other.leaving(b"not asked for").octets()])?)?;
    Ok("nothing is encapsulated".into())
}

/// Map-Replies that answer nothing.
fn forged(flow: &Flow, elsewhere: IpAddr) -> impl Iterator<Item = ControlMessage> {
    let record = flow.record_of(&[(elsewhere, 1, 100)]);
    (0..8_u64).map(move |number| {
        let nonce = Nonce(number.wrapping_mul(0x0123_4567_89ab_cdef));
        let reply = MapReply { nonce, records: vec![record.clone()], ..MapReply::default() };
        ControlMessage::from(reply)
    })
}

fn unasked(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let flow = rig.unmapped(Family::V4, Family::V4);
    let mark = rig.core.mark();
    rig.site.send(&flow.leaving(b"miss").octets())?;
    rig.core.first(mark, PATIENCE, "a Map-Request", |heard| heard.asks_about(flow.peer))?;
    let server = SERVER.parse().map_err(broken)?;
    let elsewhere = rig.rloc(Family::V4);
    forged(&flow, elsewhere).try_for_each(|reply| rig.core.send(server, flow.own, &reply))?;
    let came = rig.leave_not(&[flow.leaving(b"no mapping").octets()])?;
    expect(came.is_empty(), "nothing is encapsulated")
}

fn unasked_cached(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let flow = rig.flow(Family::V4, Family::V4);
    rig.leave(&flow.leaving(b"before").octets())?;
    let elsewhere = rig.rloc(Family::V4);
    forged(&flow, elsewhere).try_for_each(|reply| rig.core.send(flow.rloc, flow.own, &reply))?;
    std::thread::sleep(2 * GRACE);
    equal("locator", rig.leave(&flow.leaving(b"after").octets())?.destination, flow.rloc)?;
    Ok("so they do".into())
}
