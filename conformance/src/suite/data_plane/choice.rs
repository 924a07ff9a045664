// SPDX-License-Identifier: GPL-2.0-or-later
//! Which mapping a packet meets, and to which of its locators it goes (RFC 9300, sections 6, 9 and 12).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use wire::address::EidPrefix;
use wire::record::{MappingRecord, Ttl};

use super::{each, equal, nothing};
use crate::suite::probe::{Fault, Judgement, Probe, broken, may, must};
use crate::suite::xtr::{
    Came, Encapsulated, Family, Flow, LOCATOR_TTL, PATIENCE, Rig, Tier, families, is_ours, locator,
};

pub(super) const PROBES: &[Probe<Tier>] = &[
    must(
        "DP-080.1",
        "9300 6",
        "an EID with a mapping of its own in a prefix with another: which locator each gets",
        longest,
    ),
    may("DP-081.1", "9300 6", "20 datagrams to an EID whose mapping comes 100 ms later: which arrive", buffered),
    may("DP-081.2", "9300 6", "200 datagrams to an EID whose mapping comes later: how many are kept", bounded),
    must("DP-082.1", "9300 9", "locators of priority 2 and 1, in both orders: which is used", best_priority),
    must("DP-083.1", "9300 9", "locators of priority 255 only: not used", never),
    must("DP-084.1", "9300 9", "3,000 flows, weights of 30, 20, 20 and 10: shares", weights),
    may("DP-085.1", "9300 9", "1,000 flows, two locators of weight 0: shares", no_weights),
    must("DP-085.2", "9300 9", "300 flows, weights of 100 and 0: shares", one_weightless),
    must("DP-086.1", "9300 9, 9301 5.4", "R clear at the locator of the best priority: which is used", unreachable),
    must("DP-087.1", "9300 12", "100 datagrams of each of 16 flows, four equal locators: locators of a flow", sticky),
    must(
        "DP-088.1",
        "9300 5.3, 9301 5.4",
        "locators that are multicast, broadcast, loopback or unspecified: not used",
        no_host,
    ),
    must("DP-097.1", "9301 5.4", "a mapping in use is answered with TTL 0: the next packet asks anew", removed),
    must("DP-097.2", "9301 5.4", "a TTL of 0xFFFFFFFF: packets go, and the entry has a life of our choice", local_ttl),
];

fn longest(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let flow = rig.flow(inner, outer);
        let own = rig.rloc(outer);
        let host = EidPrefix::host(flow.prefix.iid, flow.peer);
        rig.core.map(MappingRecord::new(host, LOCATOR_TTL, vec![locator(own, 1, 100)]));
        let beside = Flow { peer: flow.other_peer, ..flow.clone() };
        for (to, rloc) in [(&flow, own), (&beside, flow.rloc), (&flow, own)] {
            equal("locator", rig.leave(&to.leaving(b"longest").octets())?.destination, rloc)?;
        }
        Ok(())
    })?;
    Ok("each that of the longest match".into())
}

/// Sends datagrams to an EID that nobody has mapped yet, and answers when it is asked about: their numbers as they come out.
fn missed(rig: &Rig, count: u16, outer: Family) -> Result<Vec<u16>, Fault> {
    let flow = rig.unmapped(Family::V4, outer);
    let (mark, packets) = (rig.core.mark(), rig.core.port.mark());
    for number in 0..count {
        rig.site.send(&flow.leaving(&number.to_be_bytes()).octets())?;
    }
    let question = rig.core.first(mark, PATIENCE, "a Map-Request", |heard| heard.asks_about(flow.peer))?;
    std::thread::sleep(Duration::from_millis(100));
    rig.core.map(flow.record());
    rig.core.answer(&question, vec![flow.record()])?;
    let number = |packet: Encapsulated| {
        let data = packet.inner.get(28..30)?;
        (packet.destination == flow.rloc).then(|| u16::from_be_bytes([data[0], data[1]]))
    };
    let read = |came: &Came| Encapsulated::read(&came.octets).and_then(number);
    if is_ours() {
        let last = |came: &Came| read(came).filter(|number| number + 1 == count);
        rig.core.port.wait(packets, 1, PATIENCE, last);
    } else {
        rig.core.port.wait(packets, usize::from(count.min(20)), PATIENCE, read);
    }
    Ok(rig.core.port.wait(packets, usize::MAX, Duration::from_millis(100), read))
}

fn buffered(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    for outer in families() {
        let came = missed(rig, 20, *outer)?;
        if is_ours() {
            equal("numbers", came, (0..20).collect())?;
        } else if !came.is_sorted_by(|one, next| one < next) {
            // To drop them is as good (RFC 9300, section 6).
            return Err(broken(format!("neither dropped nor in their order, each once: {came:?}")));
        }
    }
    Ok(if is_ours() { "all, in their order" } else { "none twice, and those in their order" }.into())
}

fn bounded(tier: &Tier) -> Judgement {
    let came = missed(tier.rig()?, 200, Family::V4)?;
    let is_newest = came.last() == Some(&199) && came.is_sorted();
    // More than any host sends before it waits, and not what a flood would take.
    if came.len() <= 64 && is_newest {
        Ok("no more than 64, the newest".into())
    } else {
        Err(broken(format!("{came:?}")))
    }
}

/// A flow to a site with these locators.
fn towards(rig: &Rig, inner: Family, locators: &[(IpAddr, u8, u8)]) -> Flow {
    let flow = rig.unmapped(inner, Family::V4);
    rig.core.map(flow.record_of(locators));
    flow
}

fn best_priority(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    each(|inner, outer| {
        let other = if outer == Family::V4 { Family::V6 } else { Family::V4 };
        for second in [outer, other] {
            let (best, worse) = (rig.rloc(outer), rig.rloc(second));
            for locators in [[(worse, 2, 100), (best, 1, 100)], [(best, 1, 100), (worse, 2, 100)]] {
                let flow = towards(rig, inner, &locators);
                equal("locator", rig.leave(&flow.leaving(b"best").octets())?.destination, best)?;
            }
        }
        Ok(())
    })?;
    Ok("that of priority 1".into())
}

fn never(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let only = towards(rig, Family::V4, &[(rig.rloc(Family::V4), 255, 100), (rig.rloc(Family::V6), 255, 100)]);
    nothing("encapsulated", &rig.leave_not(&vec![only.leaving(b"never").octets(); 3])?)?;
    let (first, second) = (rig.rloc(Family::V4), rig.rloc(Family::V4));
    let beside = towards(rig, Family::V4, &[(first, 255, 100), (second, 254, 0)]);
    equal("locator", rig.leave(&beside.leaving(b"254").octets())?.destination, second)?;
    Ok("nothing is encapsulated; beside one of priority 254 that is used".into())
}

/// Packets to each locator, of so many flows.
fn shares(rig: &Rig, flow: &Flow, flows: u16) -> Result<BTreeMap<IpAddr, usize>, Fault> {
    let packets: Vec<_> = (0..flows).map(|number| flow.leaving_at((1024 + number, 443), b"share").octets()).collect();
    let mut shares = BTreeMap::new();
    for packet in rig.leave_all(&packets)? {
        *shares.entry(packet.destination).or_default() += 1;
    }
    Ok(shares)
}

fn weights(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let rlocs = [Family::V4, Family::V4, Family::V6, Family::V6].map(|family| rig.rloc(family));
    let weights = [30, 20, 20, 10];
    let locators: Vec<_> = rlocs.into_iter().zip(weights).map(|(rloc, weight)| (rloc, 1, weight)).collect();
    let flow = towards(rig, Family::V4, &locators);
    let shares = shares(rig, &flow, 3000)?;
    for (rloc, _, weight) in locators {
        let (came, due) = (shares.get(&rloc).copied().unwrap_or_default(), 3000 * usize::from(weight) / 80);
        // Four percent of all: four times the deviation of a fair die.
        if came.abs_diff(due) > 120 {
            return Err(broken(format!("weight {weight}: {due} flows expected, {came} came")));
        }
    }
    Ok("37.5, 25, 25 and 12.5 percent, 4 more or less".into())
}

fn no_weights(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let (one, other) = (rig.rloc(Family::V4), rig.rloc(Family::V4));
    let flow = towards(rig, Family::V4, &[(one, 1, 0), (other, 1, 0)]);
    let shares = shares(rig, &flow, 1000)?;
    let of_one = shares.get(&one).copied().unwrap_or_default();
    if !is_ours() {
        // How is for the ITR to choose.
        equal("flows at both", of_one + shares.get(&other).copied().unwrap_or_default(), 1000)?;
        return Ok("all at one of both".into());
    }
    if of_one.abs_diff(500) <= 70 { Ok("even".into()) } else { Err(broken(format!("{shares:?}"))) }
}

fn one_weightless(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let (one, other) = (rig.rloc(Family::V4), rig.rloc(Family::V4));
    let flow = towards(rig, Family::V4, &[(one, 1, 0), (other, 1, 100)]);
    equal("shares", shares(rig, &flow, 300)?, BTreeMap::from([(other, 300)]))?;
    Ok("all to that of weight 100".into())
}

fn unreachable(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let (best, backup) = (rig.rloc(Family::V4), rig.rloc(Family::V6));
    let flow = rig.unmapped(Family::V6, Family::V4);
    let mut record = flow.record_of(&[(best, 1, 100), (backup, 2, 100)]);
    record.locators[0].reachable = false;
    rig.core.map(record);
    equal("shares", shares(rig, &flow, 20)?, BTreeMap::from([(backup, 20)]))?;
    let flow = rig.unmapped(Family::V4, Family::V4);
    let mut record = flow.record();
    record.locators[0].reachable = false;
    rig.core.map(record);
    nothing("to a site without any", &rig.leave_not(&[flow.leaving(b"unreachable").octets()])?)?;
    Ok("the other one; without another, none".into())
}

fn sticky(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let locators: Vec<_> = (0..4).map(|_| (rig.rloc(Family::V4), 1, 25)).collect();
    let flow = towards(rig, Family::V4, &locators);
    let packets: Vec<_> =
        (0..1600).map(|number| flow.leaving_at((1024 + number % 16, 80), b"sticky").octets()).collect();
    let mut locators_of: BTreeMap<Vec<u8>, Vec<IpAddr>> = BTreeMap::new();
    for packet in rig.leave_all(&packets)? {
        locators_of.entry(packet.inner[20..24].to_vec()).or_default().push(packet.destination);
    }
    equal("flows", locators_of.len(), 16)?;
    let moved = locators_of.values().filter(|rlocs| rlocs.iter().any(|rloc| rloc != &rlocs[0])).count();
    equal("flows with several", moved, 0)?;
    Ok("one".into())
}

fn no_host(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    // Those that RFC 9300 names, and more that nothing can be sent to.
    let named = ["224.0.0.9", "255.255.255.255", "ff02::1"];
    let others = ["127.0.0.1", "0.0.0.0", "ff0e::1", "::1", "::"];
    for rloc in named.into_iter().chain(others.into_iter().filter(|_| is_ours())) {
        let rloc: IpAddr = rloc.parse().map_err(broken)?;
        let flow = towards(rig, Family::V4, &[(rloc, 1, 100)]);
        nothing(&rloc.to_string(), &rig.leave_not(&[flow.leaving(b"nowhere").octets()])?)?;
        let other = rig.rloc(Family::V4);
        let beside = towards(rig, Family::V4, &[(rloc, 1, 100), (other, 2, 100)]);
        equal("locator", rig.leave(&beside.leaving(b"beside").octets())?.destination, other)?;
    }
    Ok("nothing is encapsulated, and another locator beside them is used".into())
}

fn removed(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let flow = rig.flow(Family::V4, Family::V4);
    rig.leave(&flow.leaving(b"in use").octets())?;
    rig.core.map(MappingRecord { ttl: Ttl(0), ..flow.record() });
    let mark = rig.core.mark();
    rig.core.send(flow.rloc, flow.own, &flow.solicit())?;
    rig.core.first(mark, PATIENCE, "an SMR-invoked Map-Request", |heard| {
        heard.asks_about(flow.peer) && heard.question().is_some_and(|question| question.smr_invoked)
    })?;
    let (mark, begun) = (rig.core.mark(), Instant::now());
    rig.core.unmap(flow.prefix);
    // The answer may be on its way still.
    while !rig.leave_not(&[flow.leaving(b"gone").octets()])?.is_empty() && begun.elapsed() < PATIENCE {}
    nothing("encapsulated", &rig.leave_not(&[flow.leaving(b"gone").octets()])?)?;
    rig.core.first(mark, PATIENCE, "a Map-Request", |heard| {
        heard.asks_about(flow.peer) && heard.question().is_some_and(|question| !question.smr_invoked)
    })?;
    Ok("nothing is encapsulated any more, and the map system is asked".into())
}

fn local_ttl(tier: &Tier) -> Judgement {
    let rig = tier.rig()?;
    let flow = rig.unmapped(Family::V4, Family::V4);
    rig.core.map(MappingRecord { ttl: Ttl(u32::MAX), ..flow.record() });
    rig.leave(&flow.leaving(b"for ever").octets())?;
    let shown = rig.dut.show("map-cache")?;
    let rows = shown["map-cache"].as_array().cloned().unwrap_or_default();
    let row = rows.into_iter().find(|row| row["prefix"] == flow.prefix.to_string());
    let life = row.as_ref().and_then(|row| row["expires"].as_u64());
    match life {
        Some(60..=86_400) => Ok("no longer than a day".into()),
        _ => Err(broken(format!("{row:?}"))),
    }
}
