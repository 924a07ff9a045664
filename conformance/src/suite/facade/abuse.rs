// SPDX-License-Identifier: GPL-2.0-or-later
//! How much comes back, and to whom: the source of a datagram proves nothing (RFC 9301, section 5.4; RFC 8085).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::RLOC;
use crate::suite::mapsys::{Room, host, prefix, record, register, request};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, unfit};

const RATE: &str = "9301 5.4";
const LOCAL: &str = "9301 8, LOCAL";
/// A good question is answered in less, whatever else comes, also where the processors have other work.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is not known by then is said to be so (our own map system: 1.5 s).
const LATE: Duration = Duration::from_millis(1700);

pub(super) const PROBES: &[Probe<Room>] = &[
    must("FC-146.1", LOCAL, "400 questions in another's name about EIDs with long answers: octets out", amplification),
    must("FC-053.1", RATE, "100 questions about one EID-prefix in the name of one locator", reply_rate),
    must("FC-146.2", LOCAL, "a foreign EID asked for in the name of somebody else", not_from_itr),
    must("FC-146.3", LOCAL, "an ITR-RLOC that is multicast, broadcast or unspecified", unusable_itr_rloc),
    must("FC-146.4", LOCAL, "2,000 questions about random EIDs: what they get, and a good client meanwhile", flood),
    must("FC-146.5", LOCAL, "a foreign EID asked for from behind a NAT: where the answer goes", behind_nat),
];

fn amplification(room: &Room) -> Judgement {
    const PARTS: u16 = 40;
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    let many: Vec<_> = (1..=16).map(|number| format!("198.51.100.{number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let stem = site.prefix.net.addr().to_string();
    let stem = stem.trim_end_matches(':');
    let part = |number: u16| Ok(record(prefix(&format!("{stem}:{number:x}::/64"))?, &many));
    for half in [1..PARTS / 2, PARTS / 2..PARTS] {
        let records = half.map(part).collect::<Result<_, Fault>>()?;
        let taken = xtr.registers(server, &register(room.nonce(), records), &site.key());
        taken.map_err(|fault| match fault {
            Fault::Broken(came) if !room.is_ours() => unfit(format!("it does not take so long a Map-Register: {came}")),
            other => other,
        })?;
    }
    let (attacker, victim) = (room.xtr_elsewhere()?, room.xtr()?);
    let (mut sent, mut came) = (0, 0);
    for round in 0..400_u16 {
        let eid = host(&format!("{stem}:{:x}::9", 1 + round % (PARTS - 1)))?;
        let ecm = victim.ecm(&request(room.nonce(), &[eid], &[victim.address.ip()]))?;
        sent += ecm.len();
        attacker.send(server, &ecm)?;
        if round % 32 == 31 {
            room.works()?;
            came += victim.hear_all(Duration::from_millis(5))?.iter().map(|came| came.bytes.len()).sum::<usize>();
        }
    }
    room.works()?;
    came += victim.hear_all(Duration::from_millis(20))?.iter().map(|came| came.bytes.len()).sum::<usize>();
    expect(came > 0 && came <= 3 * sent, format!("{sent} octets in, {came} out to the one named"))
}

fn reply_rate(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    xtr.registers(server, &register(room.nonce(), vec![record(site.prefix, &[RLOC])]), &site.key())?;
    let (attacker, victim) = (room.xtr_elsewhere()?, room.xtr()?);
    let begun = Instant::now();
    let mut came = 0;
    for round in 0..100_u16 {
        let asked = request(room.nonce(), &[site.host(round)], &[victim.address.ip()]);
        attacker.send(server, &victim.ecm(&asked)?)?;
        if round % 32 == 31 {
            room.works()?;
            came += victim.hear_all(Duration::from_millis(5))?.len();
        }
    }
    room.works()?;
    came += victim.hear_all(Duration::from_millis(20))?.len();
    if !room.is_ours() {
        // How many is for an implementation to say; that all are answered is not.
        return expect((1..100).contains(&came), format!("{came} answers to 100 questions"));
    }
    // Four in three seconds, by this map system's reading of the section.
    let allowed = 4 * (1 + begun.elapsed().as_secs() / 3);
    expect((1..=allowed).contains(&(came as u64)), format!("{came} answers, {allowed} allowed"))
}

fn not_from_itr(room: &Room) -> Judgement {
    let (attacker, victim) = (room.xtr()?, room.xtr()?);
    // With a public one beside it, so that nobody takes the attacker for a NAT.
    let rlocs = [victim.address.ip(), RLOC.parse().map_err(broken)?];
    let asked = request(room.nonce(), &[host("2001:db9:1::2")?], &rlocs);
    room.is_ignored(&attacker, &victim.ecm(&asked)?)?;
    victim.hears_nothing(room.grace())?;
    Ok("nothing to the one named, nothing to the one who asked".into())
}

/// An ITR behind a NAT names an address that leads nowhere from outside, as those of loopback: it is answered at the address and the port that
/// its question came from, and nobody at the address that it named.
fn behind_nat(room: &Room) -> Judgement {
    let (nat, itr, server) = (room.xtr_elsewhere()?, room.xtr()?, room.common()?.first()?);
    let eid = host("2001:db9::2")?;
    let asked = request(room.nonce(), &[eid], &[itr.address.ip()]);
    nat.send(server, &itr.ecm(&asked)?)?;
    let reply = nat.replied(asked.nonce)?;
    itr.hears_nothing(room.grace())?;
    let told = reply.records.first().and_then(|record| record.eid.ip_prefix());
    let is_about_it = told.is_some_and(|told| told.covers(&eid));
    expect(is_about_it, format!("the NAT has {} records, the ITR-RLOC nothing", reply.records.len()))
}

fn unusable_itr_rloc(room: &Room) -> Judgement {
    const RLOCS: [&str; 6] = ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::", "fe80::1"];
    const COUNTER: &str = "request-no-itr-rloc";
    let (server, xtr) = (room.common()?.first()?, room.xtr_elsewhere()?);
    // A datagram to 0.0.0.0 goes to its own source, or to the first address of loopback; one to :: to ::1.
    let near = [server.ip(), Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let near = near.map(|ip| room.xtr_on(SocketAddr::new(ip, xtr.address.port())));
    let near = near.into_iter().collect::<Result<Vec<_>, _>>()?;
    let ask = |rloc: &str| {
        let rloc = rloc.parse().map_err(broken)?;
        xtr.ecm(&request(room.nonce(), &[host("2001:db8:f00::2")?], &[rloc]))
    };
    let before = room.counted(COUNTER)?;
    room.are_ignored(&xtr, RLOCS.map(ask).into_iter().collect::<Result<Vec<_>, _>>()?)?;
    for xtr in near {
        xtr.hears_nothing(Duration::from_millis(40))?;
    }
    let refused = room.counted(COUNTER)? - before;
    expect(refused == RLOCS.len() as u64, format!("{refused} of {} refused, nothing sent on this machine", RLOCS.len()))
}

/// Whoever floods has no more octets than three times his own, and no more lookups than his block has; a good client waits for neither.
fn flood(room: &Room) -> Judgement {
    const QUESTIONS: u32 = 2000;
    /// Ours refuses by this name who has used up his lookups: 64 of a block at once, and 16 a second.
    const COUNTER: &str = "miss-budget";
    const LOOKUPS: (u64, u64) = (64, 16);
    let (attacker, server) = (room.xtr()?, room.common()?.first()?);
    let before = if room.is_ours() { room.counted(COUNTER)? } else { 0 };
    let cgeids = cgeid::Network::LAB.to_string().replace("::/32", "");
    let (mut slowest, mut sent, mut came) = (Duration::ZERO, 0, 0);
    let begun = Instant::now();
    let mut hear = |time| -> Result<(), Fault> {
        came += attacker.hear_all(time)?.iter().map(|came| came.bytes.len()).sum::<usize>();
        Ok(())
    };
    for round in 0..QUESTIONS {
        let [a, b, c, d] = round.wrapping_mul(0x9e37_79b1).to_be_bytes();
        // Of sites, and of hosts: each of the latter would be a lookup of its own.
        let eid = match round % 2 {
            0 => format!("2a{a:02x}:{b:x}{c:02x}:{d:x}::1"),
            _ => format!("{cgeids}:{b:x}{c:02x}:{d:x}::{a:x}"),
        };
        let eid = host(&eid)?;
        let ecm = attacker.ecm(&request(room.nonce(), &[eid], &[attacker.address.ip()]))?;
        sent += ecm.len();
        attacker.send(server, &ecm)?;
        if round % 100 == 99 {
            let begun = Instant::now();
            room.works()?;
            slowest = slowest.max(begun.elapsed());
            hear(Duration::from_millis(5))?;
        }
    }
    let lasted = begun.elapsed();
    hear(LATE)?;
    let mut found =
        format!("the slowest of 20 registrations with a question took {slowest:.1?}; {sent} octets in, {came} out");
    let mut is_bounded = slowest < PATIENCE && came <= 3 * sent;
    if room.is_ours() {
        let looked_up = u64::from(QUESTIONS / 2).saturating_sub(room.counted(COUNTER)? - before);
        let allowed = LOOKUPS.0 + LOOKUPS.1 * (lasted.as_secs() + 1);
        found += &format!("; {looked_up} looked up, {allowed} allowed");
        is_bounded &= (1..=allowed).contains(&looked_up);
    }
    expect(is_bounded, found)
}
