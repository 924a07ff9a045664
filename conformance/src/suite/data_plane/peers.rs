// SPDX-License-Identifier: GPL-2.0-or-later
//! Nonces, locator-status-bits and map-versions between peers that trust each other (RFC 9300, section 10; RFC 9302). What is used
//! with nobody by default the suite `data-plane` asks in `header`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use wire::record::{MapVersion, MappingRecord};

use super::header::{E, L, N, V};
use super::{each, equal, nothing};
use crate::suite::probe::{Fault, Judgement, Probe, broken, must, should};
use crate::suite::xtr::{Encapsulated, Family, Flow, GRACE, Habit, Heard, Outer, PATIENCE, Rig, Tier, forwarded};

pub(super) const PROBES: &[Probe<Tier>] = &[
    must(
        "DP-005.1",
        "9300 5.3",
        "all packets to trusted peers in this run: some have N, some V, and none both",
        never_both,
    ),
    must(
        "DP-100.1",
        "9300 10.1",
        "peers that echo: N, E and the RLOC's own nonce on every packet until its echo",
        asks,
    ),
    must(
        "DP-101.1",
        "9300 10.1",
        "N and E from a trusted peer: N without E, and that nonce, on one packet to it",
        echoes,
    ),
    must("DP-107.1", "9300 10", "a status bit falls, and rises: the locator is left, and used again", falls),
    must("DP-107.2", "LOCAL", "all status bits of a trusted peer clear: packets go on to its locators", all_clear),
    must("DP-114.1", "9302 6.1", "V from a trusted peer, and the own mapping has no version: dropped", unversioned),
    must("DP-115.1", "9302 7.1", "the own version as it is: taken", current),
    must("DP-116.1", "9302 7.1", "a newer version of the own mapping than there is: dropped", from_the_future),
    must("DP-117.1", "9302 7.1", "old versions of the own mapping, five in a second: one SMR to who has it", stale),
    must(
        "DP-119.1",
        "9302 7.2",
        "a newer version of the peer's mapping than is cached: the map system is asked",
        newer,
    ),
    should("DP-120.1", "9302 7.2", "an older version of the peer's mapping than is cached: dropped", older),
];

/// What the map system says of versioned mappings of peers.
const THEIRS: MapVersion = MapVersion(1000);
/// Between two packets that are to bring something about.
const BEAT: Duration = Duration::from_millis(20);
/// What the program does at once takes less, whatever else the machine does; what it does by a timer of its own takes longer.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Sends packets to the peer until one is as wanted, or this time is over.
fn until(
    rig: &Rig,
    flow: &Flow,
    (what, patience): (&str, Duration),
    wanted: impl Fn(&Encapsulated) -> bool,
) -> Result<Encapsulated, Fault> {
    let begun = Instant::now();
    loop {
        let came = rig.leave(&flow.leaving(b"to a peer").octets())?;
        if wanted(&came) {
            return Ok(came);
        }
        if begun.elapsed() > patience {
            return Err(broken(format!("expected {what}; {:02x?} came last, to {}", came.lisp, came.destination)));
        }
        std::thread::sleep(BEAT);
    }
}

/// A packet of the peer, behind this LISP header, that must enter.
fn say(rig: &Rig, flow: &Flow, from: IpAddr, lisp: [u8; 8]) -> Result<(), Fault> {
    let packet = flow.entering(b"of a peer").octets();
    let came = rig.enter(&Outer::new(from, flow.own).with_lisp(lisp).around(&packet), flow.inwards())?;
    equal("at the site", came, forwarded(packet))
}

fn with_nonce(flags: u8, [one, two, three]: [u8; 3]) -> [u8; 8] {
    [flags, one, two, three, 0, 0, 0, 0]
}

fn nonce_of(came: &Encapsulated) -> [u8; 3] {
    [came.lisp[1], came.lisp[2], came.lisp[3]]
}

fn with_versions(source: MapVersion, destination: MapVersion) -> [u8; 8] {
    let [_, one, two, three] = (u32::from(source.0) << 12 | u32::from(destination.0)).to_be_bytes();
    with_nonce(V, [one, two, three])
}

/// A flow to a peer whose mapping has a version, and the version of the program's own, as it tells it.
fn versioned(rig: &Rig, inner: Family, outer: Family) -> Result<(Flow, MapVersion), Fault> {
    let flow = rig.unmapped(inner, outer);
    rig.core.map(MappingRecord { map_version: THEIRS, ..flow.record() });
    let came = until(rig, &flow, ("V", PATIENCE), |came| came.lisp[0] & V != 0)?;
    let [one, two, three] = nonce_of(&came).map(u16::from);
    equal("version of the peer's mapping", MapVersion((two & 0x0f) << 8 | three), THEIRS)?;
    // Both ways have threads of their own, which need not learn of the mapping at once.
    std::thread::sleep(GRACE);
    Ok((flow, MapVersion(one << 4 | two >> 4)))
}

fn previous(version: MapVersion) -> MapVersion {
    if version.0 <= 1 { MapVersion(MapVersion::MAX) } else { MapVersion(version.0 - 1) }
}

fn never_both(tier: &Tier) -> Judgement {
    let rig = tier.trusted()?;
    let (flow, _) = versioned(rig, Family::V4, Family::V4)?;
    say(rig, &flow, flow.rloc, with_nonce(N | E, [9, 8, 7]))?;
    until(rig, &flow, ("N", PATIENCE), |came| came.lisp[0] & N != 0)?;
    let all = rig.core.port.wait(0, usize::MAX, GRACE, |came| Encapsulated::read(&came.octets));
    let count = |bits: u8| all.iter().filter(|packet| packet.lisp[0] & bits == bits).count();
    equal("some with N, some with V", (count(N) > 0, count(V) > 0), (true, true))?;
    equal("packets with both", count(N | V), 0)?;
    Ok("either, never both".into())
}

fn asks(tier: &Tier) -> Judgement {
    let rig = tier.trusted()?;
    let mut nonces = Vec::new();
    for family in [Family::V4, Family::V6] {
        let flow = rig.unmapped(family, family);
        // It says so when it is probed.
        rig.core.set_habit(flow.rloc, Some(Habit::Echoes));
        rig.core.map(flow.record());
        let first = until(rig, &flow, ("N and E", PATIENCE), |came| came.lisp[0] & E != 0)?;
        for came in rig.leave_all(&vec![flow.leaving(b"asks").octets(); 4])? {
            let expected = (N | E, nonce_of(&first));
            equal("N, E and nonce", (came.lisp[0] & (N | E), nonce_of(&came)), expected)?;
        }
        say(rig, &flow, flow.rloc, with_nonce(N, nonce_of(&first)))?;
        until(rig, &flow, ("no nonce behind the echo", AT_ONCE), |came| came.lisp[0] & (N | E) == 0)?;
        nonces.push(nonce_of(&first));
    }
    if nonces[0] == nonces[1] { Err(broken("one nonce for two RLOCs")) } else { Ok("so it is, for two RLOCs".into()) }
}

fn echoes(tier: &Tier) -> Judgement {
    let rig = tier.trusted()?;
    each(|inner, outer| {
        let (flow, nonce) = (rig.flow(inner, outer), [0x12, 0x34, 0x56]);
        until(rig, &flow, ("no nonce before it asks", AT_ONCE), |came| came.lisp[0] & N == 0)?;
        say(rig, &flow, flow.rloc, with_nonce(N | E, nonce))?;
        let echo = until(rig, &flow, ("N", AT_ONCE), |came| came.lisp[0] & N != 0)?;
        equal("E and nonce", (echo.lisp[0] & E, nonce_of(&echo)), (0, nonce))?;
        equal("N behind it", rig.leave(&flow.leaving(b"behind").octets())?.lisp[0] & N, 0)
    })?;
    Ok("so it is, within two seconds".into())
}

/// A peer with two locators, the first preferred, and the second.
fn two_locators(rig: &Rig, outer: Family) -> Result<(Flow, IpAddr), Fault> {
    let (flow, second) = (rig.unmapped(Family::V4, outer), rig.rloc(outer));
    rig.core.map(flow.record_of(&[(flow.rloc, 1, 100), (second, 2, 100)]));
    equal("locator", rig.leave(&flow.leaving(b"first").octets())?.destination, flow.rloc)?;
    std::thread::sleep(GRACE);
    Ok((flow, second))
}

/// The second locator sends these bits of both until packets go where they are to.
fn led_by(rig: &Rig, (flow, second): (&Flow, IpAddr), bits: u8, wanted: IpAddr) -> Result<(), Fault> {
    let begun = Instant::now();
    loop {
        say(rig, flow, second, [L, 0, 0, 0, 0, 0, 0, bits])?;
        let came = rig.leave(&flow.leaving(b"led").octets())?.destination;
        if came == wanted {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(broken(format!("bits {bits:02b}: expected packets to {wanted}, they go to {came}")));
        }
        std::thread::sleep(BEAT);
    }
}

fn falls(tier: &Tier) -> Judgement {
    let rig = tier.trusted()?;
    for outer in [Family::V4, Family::V6] {
        let (flow, second) = two_locators(rig, outer)?;
        led_by(rig, (&flow, second), 0b10, second)?;
        led_by(rig, (&flow, second), 0b11, flow.rloc)?;
    }
    Ok("so it is, over both families".into())
}

fn all_clear(tier: &Tier) -> Judgement {
    let rig = tier.trusted()?;
    let (flow, second) = two_locators(rig, Family::V4)?;
    // Bits are believed: the second locator is the only one for a while.
    led_by(rig, (&flow, second), 0b10, second)?;
    led_by(rig, (&flow, second), 0b00, flow.rloc)?;
    for _ in 0..4 {
        say(rig, &flow, second, [L, 0, 0, 0, 0, 0, 0, 0])?;
        equal("locator", rig.leave(&flow.leaving(b"all clear").octets())?.destination, flow.rloc)?;
        std::thread::sleep(BEAT);
    }
    Ok("to the preferred one, as if none were".into())
}

/// A packet of the peer with these versions.
fn of_versions(flow: &Flow, source: MapVersion, destination: MapVersion) -> Vec<u8> {
    flow.outer().with_lisp(with_versions(source, destination)).around(&flow.entering(b"version").octets())
}

/// The same, which must not enter.
fn dropped(rig: &Rig, flow: &Flow, source: MapVersion, destination: MapVersion) -> Result<(), Fault> {
    let outer = of_versions(flow, source, destination);
    nothing("at the site", &rig.enter_not(flow, &[outer], flow.inwards())?)
}

fn unversioned(tier: &Tier) -> Judgement {
    let rig = tier.unchecked()?;
    let flow = Flow { rloc: Tier::TRUSTED.parse().map_err(broken)?, ..rig.flow(Family::V4, Family::V4) };
    say(rig, &flow, flow.rloc, [0; 8])?;
    for destination in [MapVersion(1), MapVersion(MapVersion::MAX), MapVersion(0)] {
        dropped(rig, &flow, THEIRS, destination)?;
    }
    Ok("nothing comes to the site; without V it does".into())
}

fn current(tier: &Tier) -> Judgement {
    let rig = tier.trusted()?;
    each(|inner, outer| {
        let (flow, own) = versioned(rig, inner, outer)?;
        say(rig, &flow, flow.rloc, with_versions(THEIRS, own))
    })?;
    Ok("decapsulated".into())
}

fn from_the_future(tier: &Tier) -> Judgement {
    let rig = tier.trusted()?;
    each(|inner, outer| {
        let (flow, own) = versioned(rig, inner, outer)?;
        dropped(rig, &flow, THEIRS, own.next())
    })?;
    Ok("nothing comes to the site".into())
}

fn stale(tier: &Tier) -> Judgement {
    let rig = tier.trusted()?;
    let (flow, own) = versioned(rig, Family::V4, Family::V4)?;
    let is_told = |heard: &Heard| {
        heard.destination.ip() == flow.rloc && !heard.enclosed && heard.request().is_some_and(|request| request.smr)
    };
    let (mark, begun) = (rig.core.mark(), Instant::now());
    for _ in 0..5 {
        // Whether it enters is left open.
        let packet = flow.entering(b"old").octets();
        rig.core.port.send(&flow.outer().with_lisp(with_versions(THEIRS, previous(own))).around(&packet))?;
        std::thread::sleep(Duration::from_millis(200));
    }
    let smr = rig.core.first(mark, PATIENCE, "an SMR", is_told)?;
    let records = smr.request().map(|request| request.records.as_slice()).unwrap_or_default();
    let is_about = records.iter().filter_map(|it| it.eid.ip_prefix()).any(|prefix| prefix.net.contains(&flow.host));
    equal("it is about the EID-prefix of the packets", is_about, true)?;
    let count = rig.core.wait(mark, usize::MAX, 3 * GRACE, is_told).len();
    // One in three seconds of all that it took.
    let most = 1 + begun.elapsed().as_secs() / 3;
    equal(&format!("{count} SMRs are no more than {most}"), count as u64 <= most, true)?;
    Ok(format!("{count}, about the EID-prefix of the packets; {most} may be"))
}

fn newer(tier: &Tier) -> Judgement {
    let rig = tier.trusted()?;
    let (flow, own) = versioned(rig, Family::V4, Family::V4)?;
    let mark = rig.core.mark();
    let asks = |heard: &Heard| heard.asks_about(flow.peer);
    say(rig, &flow, flow.rloc, with_versions(THEIRS, own))?;
    nothing("Map-Requests for the version that is cached", &rig.core.wait(mark, usize::MAX, 3 * GRACE, asks))?;
    say(rig, &flow, flow.rloc, with_versions(THEIRS.next(), own))?;
    rig.core.first(mark, PATIENCE, "a Map-Request about the peer's EID", asks)?;
    Ok("decapsulated, and asked; for the version that is cached nobody is".into())
}

fn older(tier: &Tier) -> Judgement {
    let rig = tier.trusted()?;
    each(|inner, outer| {
        let (flow, own) = versioned(rig, inner, outer)?;
        // The way in may learn of the mapping later than the way out.
        rig.enter_no_more(&flow, &of_versions(&flow, previous(THEIRS), own))?;
        dropped(rig, &flow, previous(THEIRS), own)
    })?;
    Ok("nothing comes to the site".into())
}
