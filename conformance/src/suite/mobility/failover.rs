// SPDX-License-Identifier: GPL-2.0-or-later
//! Locators that die, and come back (RFC 9301, section 7; RFC 9300, section 9).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use wire::control::{ControlMessage, MapReply, Nonce};

use super::Room;
use crate::suite::probe::{Fault, Judgement, Probe, broken, equal, may, must, should};
use crate::suite::xtr::{Came, Encapsulated, Family, Flow, Habit, PATIENCE, Rig, ends, icmp};

pub(super) const PROBES: &[Probe<Room>] = &[
    must(
        "CP-141.1",
        "9301 7",
        "the locator of priority 1 dies while packets go there: one of priority 2 within 4 s",
        dies,
    ),
    must("CP-141.2", "9301 7", "it answers again: packets go back to it", comes_back),
    must("CP-141.3", "9301 7.1", "it answers with nonces that were not asked: packets do not go back", forged_life),
    must("DP-072.1", "9301 7", "what goes to a locator that is dead: probes, and no packets of users", probes_only),
    must("DP-083.2", "9300 9", "the only locator below priority 255 dies: the others are not used", none_left),
    may("DP-070.1", "9301 7", "ICMP Host Unreachable about a packet that was sent: the locator is probed", |room| {
        hint(room, Family::V4, (3, 1))
    }),
    may("DP-070.2", "9301 7", "ICMPv6 No Route about a packet that was sent: the locator is probed", |room| {
        hint(room, Family::V6, (1, 0))
    }),
    may("DP-071.1", "9301 7", "ICMP Port Unreachable about a packet that was sent: the locator is probed", |room| {
        hint(room, Family::V4, (3, 3))
    }),
    should(
        "DP-066.2",
        "9300 7.2",
        "ICMP Unreachable about what was never sent, and a locator that lives: nothing changes",
        no_hint,
    ),
];

/// Within it packets must have left a locator that died: our own promise.
const FAILOVER: Duration = Duration::from_secs(4);
/// What proves more than that they do so has longer.
const PATIENT: Duration = Duration::from_secs(2 * PATIENCE.as_secs());
/// Between two packets of a flow.
const PACE: Duration = Duration::from_millis(20);
/// A hint is taken at once: one that is not taken by then is not taken.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Between two packets that come back, so that there is no silence.
const BEAT: Duration = Duration::from_millis(200);
/// Where no packet comes back for so long there may be silence, which has a locator probed too.
const SILENCE: Duration = Duration::from_millis(900);
/// How often what silence has spoilt is judged anew.
const TRIES: usize = 3;

/// A flow to a site with two locators, packets to the first, and that has answered a probe.
fn two_locators(rig: &Rig, second: u8) -> Result<(Flow, IpAddr), Fault> {
    let (flow, other) = (rig.unmapped(Family::V4, Family::V4), rig.rloc(Family::V6));
    let mark = rig.core.mark();
    rig.core.map(flow.record_of(&[(flow.rloc, 1, 100), (other, second, 100)]));
    equal("locator", rig.leave(&flow.leaving(b"first").octets())?.destination, flow.rloc)?;
    rig.core.first(mark, PATIENCE, "a probe", |heard| heard.probe_of(flow.rloc).is_some())?;
    Ok((flow, other))
}

/// Sends packets until they go to another locator than `from`, or the time is over: which. By how much each turn took longer than it waits
/// this machine was busy, and does not count, but for no longer than the time itself.
fn leaves(rig: &Rig, flow: &Flow, from: IpAddr, time: Duration) -> Result<Option<IpAddr>, Fault> {
    let (begun, mut mark, mut busy) = (Instant::now(), rig.core.port.mark(), Duration::ZERO);
    while begun.elapsed() < time + busy.min(time) {
        let (turn, read) = (Instant::now(), mark);
        rig.site.send(&flow.leaving(b"where?").octets())?;
        // What comes while it is looked for is looked at in the next turn too.
        mark = rig.core.port.mark();
        if let Some(rloc) = destinations(rig, flow, read, PACE).into_iter().find(|rloc| *rloc != from) {
            return Ok(Some(rloc));
        }
        busy += turn.elapsed().saturating_sub(PACE);
    }
    Ok(None)
}

/// Where the packets of a flow have gone from a mark on.
fn destinations(rig: &Rig, flow: &Flow, mark: usize, patience: Duration) -> Vec<IpAddr> {
    let read = |came: &Came| {
        let packet = Encapsulated::read(&came.octets)?;
        (ends(&packet.inner) == Some((flow.host, flow.peer))).then_some(packet.destination)
    };
    rig.core.port.wait(mark, usize::MAX, patience, read)
}

/// The first locator has died, and packets go to the second within this time.
fn failed_over(rig: &Rig, time: Duration) -> Result<(Flow, IpAddr), Fault> {
    let (flow, other) = two_locators(rig, 2)?;
    // Some packets while it lives.
    equal("locator of packets while it lives", leaves(rig, &flow, flow.rloc, 10 * PACE)?, None)?;
    rig.core.set_habit(flow.rloc, Some(Habit::Silent));
    let what = format!("locator within {} s", time.as_secs());
    equal(&what, leaves(rig, &flow, flow.rloc, time)?, Some(other))?;
    Ok((flow, other))
}

fn dies(room: &Room) -> Judgement {
    let rig = room.rig()?;
    // By its own times the program needs 3.9 s; where it had no processor for the rest, another flow shows it.
    failed_over(rig, FAILOVER).or_else(|_| failed_over(rig, FAILOVER))?;
    Ok("so they do".into())
}

fn comes_back(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, other) = failed_over(rig, PATIENT)?;
    rig.core.set_habit(flow.rloc, None);
    equal("locator", leaves(rig, &flow, other, PATIENT)?, Some(flow.rloc))?;
    Ok("so they do".into())
}

fn forged_life(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, other) = failed_over(rig, PATIENT)?;
    for number in 1..=16_u64 {
        let nonce = Nonce(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let reply = MapReply { probe: true, nonce, records: vec![flow.record()], ..MapReply::default() };
        rig.core.send(flow.rloc, flow.own, &ControlMessage::from(reply))?;
    }
    equal("locator", leaves(rig, &flow, other, 20 * PACE)?, None)?;
    Ok("so it is".into())
}

fn probes_only(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, other) = failed_over(rig, PATIENT)?;
    let (packets, messages) = (rig.core.port.mark(), rig.core.mark());
    equal("locator", leaves(rig, &flow, other, Duration::from_millis(1500))?, None)?;
    let to_it = rig.core.port.between(packets, (flow.own, flow.rloc));
    let data = to_it.iter().filter(|octets| Encapsulated::read(octets).is_some()).count();
    equal("packets of users", data, 0)?;
    rig.core.first(messages, PATIENCE, "a probe", |heard| heard.probe_of(flow.rloc).is_some())?;
    Ok("probes alone".into())
}

fn none_left(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, other) = two_locators(rig, 255)?;
    rig.core.set_habit(flow.rloc, Some(Habit::Silent));
    let mark = rig.core.port.mark();
    equal("another locator", leaves(rig, &flow, flow.rloc, FAILOVER)?, None)?;
    equal("packets to that of 255", rig.core.port.between(mark, (rig.own(Family::V6), other)).len(), 0)?;
    Ok("so it is".into())
}

/// A flow with one locator that has been probed, and in which there is no silence that would have it probed again.
fn settled(rig: &Rig, outer: Family) -> Result<Flow, Fault> {
    let flow = rig.flow(Family::V4, outer);
    let mark = rig.core.mark();
    rig.leave(&flow.leaving(b"out").octets())?;
    rig.enter(&flow.outer().around(&flow.entering(b"back").octets()), flow.inwards())?;
    rig.core.first(mark, PATIENCE, "a probe", |heard| heard.probe_of(flow.rloc).is_some())?;
    std::thread::sleep(Duration::from_millis(1300));
    Ok(flow)
}

/// An ICMP error of a router about a packet.
fn error(rig: &Rig, packet: &Encapsulated, kind: (u8, u8)) -> Result<(), Fault> {
    let router: IpAddr =
        if packet.source.is_ipv4() { "203.0.113.99" } else { "2001:db8:99::1" }.parse().map_err(broken)?;
    rig.core.port.send(&icmp((router, packet.source), kind, 0, &packet.octets).octets())
}

/// Whether a probe of a flow's locator comes in time while packets come back from there; none if none came back for so long since `since`
/// that the silence may have brought it about.
fn probed(rig: &Rig, flow: &Flow, mark: usize, since: Instant, time: Duration) -> Result<Option<bool>, Fault> {
    let back = flow.outer().around(&flow.entering(b"back").octets());
    let (begun, mut last, mut longest) = (Instant::now(), since, Duration::ZERO);
    loop {
        rig.enter(&back, flow.inwards())?;
        longest = longest.max(last.elapsed());
        last = Instant::now();
        let is_probed = !rig.core.wait(mark, 1, BEAT, |heard| heard.probe_of(flow.rloc).is_some()).is_empty();
        longest = longest.max(last.elapsed());
        if is_probed {
            return Ok((longest < SILENCE).then_some(true));
        }
        if begun.elapsed() >= time {
            return Ok(Some(false));
        }
    }
}

/// Judges until there was no silence.
fn without_silence(judge: impl Fn() -> Result<Option<bool>, Fault>) -> Result<bool, Fault> {
    for _ in 0..TRIES {
        if let Some(judged) = judge()? {
            return Ok(judged);
        }
    }
    Err(broken(format!("a probe, but no packet came back for {SILENCE:?}, {TRIES} times")))
}

fn hint(room: &Room, outer: Family, kind: (u8, u8)) -> Judgement {
    let rig = room.rig()?;
    let is_probed = without_silence(|| {
        let flow = settled(rig, outer)?;
        let (mark, since) = (rig.core.mark(), Instant::now());
        error(rig, &rig.leave(&flow.leaving(b"unreachable").octets())?, kind)?;
        let is_probed = probed(rig, &flow, mark, since, PATIENCE)?;
        equal("locator", rig.leave(&flow.leaving(b"it lives").octets())?.destination, flow.rloc)?;
        Ok(is_probed)
    })?;
    equal("a probe", is_probed, true)?;
    Ok("a probe; it is answered, and packets go on".into())
}

fn no_hint(room: &Room) -> Judgement {
    let rig = room.rig()?;
    for (outer, kind) in [(Family::V4, (3, 1)), (Family::V4, (3, 3)), (Family::V6, (1, 0))] {
        let is_probed = without_silence(|| {
            let flow = settled(rig, outer)?;
            let (mark, since) = (rig.core.mark(), Instant::now());
            never_sent(rig, &rig.leave(&flow.leaving(b"forged").octets())?, kind)?;
            let is_probed = probed(rig, &flow, mark, since, AT_ONCE)?;
            equal("locator", rig.leave(&flow.leaving(b"after").octets())?.destination, flow.rloc)?;
            Ok(is_probed)
        })?;
        equal("a probe", is_probed, false)?;
    }
    Ok("no probe, and packets go on".into())
}

/// ICMP errors about what is like a packet, but was never sent: another source port, another destination port, another LISP header.
fn never_sent(rig: &Rig, sent: &Encapsulated, kind: (u8, u8)) -> Result<(), Fault> {
    let udp = if sent.source.is_ipv4() { 20 } else { 40 };
    for (at, value) in [(udp, [0x04, 0xd2]), (udp + 2, [0, 53]), (udp + 8, [0xff, 0xff])] {
        let mut octets = sent.octets.clone();
        octets[at..at + 2].copy_from_slice(&value);
        error(rig, &Encapsulated { octets, ..sent.clone() }, kind)?;
    }
    Ok(())
}
