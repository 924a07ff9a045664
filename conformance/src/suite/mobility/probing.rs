// SPDX-License-Identifier: GPL-2.0-or-later
//! RLOC-probes of an ITR: their form, their pace, and which answers count (RFC 9301, sections 5.2, 5.4 and 7.1).

use std::time::{Duration, Instant};

use wire::address::Address;

use super::{Room, shown};
use crate::suite::probe::{Fault, Judgement, Probe, broken, equal, expect, may, must};
use crate::suite::xtr::{Family, Flow, GRACE, Habit, Heard, PATIENCE, Rig, SERVER};

pub(super) const PROBES: &[Probe<Room>] = &[
    must("CP-025.1", "9301 5.2", "probes: the source EID has AFI 0", form),
    must(
        "CP-139.1",
        "9301 7.1",
        "a new mapping: its locator is asked about its EID-prefix, outside of ECMs, at port 4342",
        form,
    ),
    must("CP-139.2", "9301 7.1", "40 locators: probes are spread, each with a nonce of its own", spread),
    must(
        "CP-139.3",
        "9301 7.1",
        "a locator that does not answer, without traffic: probes in three seconds",
        unanswered,
    ),
    must("CP-139.4", "9301 7.1", "a locator that answers, with traffic to it only: probes in four seconds", one_way),
    must("CP-029.1", "9301 5.2", "all that the map system has got: no probe", never_to_the_map_system),
    must("CP-040.1", "9301 5.4", "answers to probes without A: discarded", |room| {
        counts(room, Habit::WithoutAuthority, false)
    }),
    must(
        "CP-049.1",
        "9301 5.4",
        "an answer from another address, with the p-bit on the locator: counts for that",
        from_elsewhere,
    ),
    may("CP-142.1", "9301 7.1", "answers after 150 ms: the round-trip time that is shown", rtt),
];

/// A flow to a site whose locator has this habit; the packet that brought the mapping has left.
fn mapped(rig: &Rig, outer: Family, habit: Option<Habit>) -> Result<(Flow, usize), Fault> {
    let flow = rig.flow(Family::V4, outer);
    rig.core.set_habit(flow.rloc, habit);
    let mark = rig.core.mark();
    rig.leave(&flow.leaving(b"mapped").octets())?;
    Ok((flow, mark))
}

fn form(room: &Room) -> Judgement {
    let rig = room.rig()?;
    for outer in [Family::V4, Family::V6] {
        let (flow, mark) = mapped(rig, outer, None)?;
        let heard = rig.core.first(mark, PATIENCE, "a probe", |heard| heard.probe_of(flow.rloc).is_some())?;
        equal("in an ECM", heard.enclosed, false)?;
        equal("destination port", heard.destination.port(), wire::CONTROL_PORT)?;
        equal("source", heard.source.ip(), flow.own)?;
        let request = heard.request().ok_or_else(|| broken("no Map-Request"))?;
        equal("flags", (request.smr, request.smr_invoked, request.pitr), (false, false, false))?;
        equal("source EID", &request.source_eid, &Address::None)?;
        let asked: Vec<_> = request.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
        equal("EID-prefixes", asked, vec![flow.prefix])?;
        let is_named = request.itr_rlocs.iter().any(|rloc| rloc.ip() == Some(flow.own));
        equal("one of its ITR-RLOCs is its source", is_named, true)?;
    }
    Ok("so it is".into())
}

fn spread(room: &Room) -> Judgement {
    /// So often of `TRIES`: where the program has no processor for a while, what was due meanwhile goes at once.
    const ENOUGH: usize = 2;
    const TRIES: usize = 3;
    let rig = room.rig()?;
    let mut times = Vec::new();
    let slow = |times: &[Duration]| times.iter().filter(|time| **time > Duration::from_millis(400)).count();
    while times.len() < TRIES && slow(&times) < ENOUGH {
        times.push(time_of_probes(rig)?);
    }
    expect(slow(&times) >= ENOUGH, format!("from the first to the last {times:.2?}"))
}

/// From the first to the last probe of 40 locators that come at once; each has a nonce of its own.
fn time_of_probes(rig: &Rig) -> Result<Duration, Fault> {
    let mark = rig.core.mark();
    let flows: Vec<_> = (0..40).map(|_| rig.flow(Family::V4, Family::V4)).collect();
    flows.iter().try_for_each(|flow| rig.site.send(&flow.leaving(b"mapped").octets()))?;
    let ours = |heard: &Heard| flows.iter().any(|flow| heard.probe_of(flow.rloc).is_some());
    let heard = rig.core.wait(mark, 40, PATIENCE, ours);
    let (Some(first), Some(last)) = (heard.first(), heard.last()) else { return Err(broken("no probes")) };
    let mut nonces: Vec<_> = heard.iter().filter_map(Heard::request).map(|request| request.nonce).collect();
    nonces.sort_unstable();
    nonces.dedup();
    equal("nonces", nonces.len(), 40)?;
    Ok(last.at - first.at)
}

fn unanswered(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, mark) = mapped(rig, Family::V4, Some(Habit::Silent))?;
    // What comes from there keeps the packets before from being a silence.
    rig.enter(&flow.outer().around(&flow.entering(b"alive").octets()), flow.inwards())?;
    let is_probe = |heard: &Heard| heard.probe_of(flow.rloc).is_some();
    let first = rig.core.first(mark, PATIENCE, "a probe", is_probe)?;
    std::thread::sleep(Duration::from_secs(3));
    rig.core.wait(mark, 2, PATIENCE, is_probe);
    let heard = rig.core.wait(mark, usize::MAX, Duration::ZERO, is_probe);
    let is_slow = heard.windows(2).all(|two| two[1].at - two[0].at > Duration::from_millis(600));
    let count = heard.iter().filter(|probe| probe.at - first.at < Duration::from_secs(3)).count();
    if heard.len() >= 2 && count <= 4 && is_slow {
        Ok("no more than four, 0.6 s apart at least".into())
    } else {
        Err(broken(format!("{count} of {}", heard.len())))
    }
}

fn one_way(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (begun, (flow, mark)) = (Instant::now(), mapped(rig, Family::V4, None)?);
    for _ in 0..80 {
        rig.site.send(&flow.leaving(b"one way").octets())?;
        std::thread::sleep(Duration::from_millis(50));
    }
    let is_probe = |heard: &Heard| heard.probe_of(flow.rloc).is_some();
    rig.core.first(mark, PATIENCE, "a probe", is_probe)?;
    let count = rig.core.wait(mark, usize::MAX, Duration::ZERO, is_probe).len();
    // One in a second of all that it took.
    let most = begun.elapsed().as_secs().max(4);
    if count as u64 <= most {
        Ok("one in a second at most".into())
    } else {
        Err(broken(format!("{count}, {most} may be")))
    }
}

fn never_to_the_map_system(room: &Room) -> Judgement {
    let rig = room.rig()?;
    let (flow, mark) = mapped(rig, Family::V4, None)?;
    rig.core.first(mark, PATIENCE, "a probe", |heard| heard.probe_of(flow.rloc).is_some())?;
    let wrong = rig.core.wait(0, usize::MAX, Duration::ZERO, |heard| {
        let is_probe = heard.request().is_some_and(|request| request.probe);
        is_probe && (heard.enclosed || heard.destination.ip().to_string() == SERVER)
    });
    equal("probes", wrong.len(), 0)?;
    Ok("none".into())
}

/// Whether the answer to the first probe of a locator with this habit counts.
fn counts(room: &Room, habit: Habit, expected: bool) -> Judgement {
    let rig = room.rig()?;
    let (flow, mark) = mapped(rig, Family::V4, Some(habit))?;
    rig.core.first(mark, PATIENCE, "a probe", |heard| heard.probe_of(flow.rloc).is_some())?;
    if expected {
        until_shown(rig, &flow, "answered_ago")?;
        return Ok("it counts".into());
    }
    std::thread::sleep(Duration::from_millis(300));
    let row = shown(rig, flow.rloc)?;
    if row["answered_ago"].is_u64() { Err(broken(row)) } else { Ok("it does not count".into()) }
}

/// What `show locators` says of a flow's locator under a key, once there is a number.
fn until_shown(rig: &Rig, flow: &Flow, key: &str) -> Result<u64, Fault> {
    let begun = Instant::now();
    loop {
        let row = shown(rig, flow.rloc)?;
        if let Some(number) = row[key].as_u64() {
            return Ok(number);
        }
        if begun.elapsed() > PATIENCE {
            return Err(broken(row));
        }
        std::thread::sleep(GRACE);
    }
}

fn from_elsewhere(room: &Room) -> Judgement {
    let other = room.rig()?.rloc(Family::V4);
    counts(room, Habit::From(other), true)
}

fn rtt(room: &Room) -> Judgement {
    const LATE: Duration = Duration::from_millis(150);
    /// Between when the program counts from and when the kernel has the probe.
    const SENDING: Duration = Duration::from_millis(300);
    let rig = room.rig()?;
    let (flow, mark) = mapped(rig, Family::V6, Some(Habit::Late(LATE)))?;
    let probe = rig.core.first(mark, PATIENCE, "a probe", |heard| heard.probe_of(flow.rloc).is_some())?;
    let rtt = Duration::from_micros(until_shown(rig, &flow, "rtt_us")?);
    let most = probe.at.elapsed() + SENDING;
    if (LATE..=most).contains(&rtt) {
        Ok(format!("{rtt:.2?}, {:.2?} after the probe", probe.at.elapsed()))
    } else {
        Err(broken(format!("{rtt:?} of {most:?}")))
    }
}
