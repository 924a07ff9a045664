// SPDX-License-Identifier: GPL-2.0-or-later
//! What is answered, by whom, and where it comes from (RFC 9301, sections 8.2 to 8.4).

use std::time::{Duration, Instant};

use wire::address::{EidPrefix, InstanceId};
use wire::control::{Ecm, MapRegister};
use wire::record::{Action, Ttl};

use super::{OTHER, RLOC};
use crate::suite::mapsys::{Room, host, prefix, record, register, request, rlocs, sealed};
use crate::suite::probe::{Judgement, Probe, broken, expect, must, should};

const SERVER: &str = "9301 8.2";
const ANSWER: &str = "9301 8.3";
const RESOLVER: &str = "9301 8.4";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("FC-064.1", ANSWER, "EIDs of a site that nobody has registered", unregistered),
    must("FC-064.2", ANSWER, "EIDs of no site", not_configured),
    must("FC-064.3", ANSWER, "an EID of a site that has registered a part of it: the part is left out", beside_a_part),
    should("FC-066.1", RESOLVER, "EIDs between sites: the hole that is told", holes),
    should("FC-082.1", SERVER, "a registration that nobody repeats: when it ends", silence),
    must("FC-104.1", SERVER, "a site that wants to be answered for (P)", proxied),
    must("FC-105.1", ANSWER, "a site that answers itself: what its ETR gets", forwarded),
    must("FC-105.2", ANSWER, "the same, with an ETR that has other locators too", forwarded_once),
    must("FC-003.1", "9301 8.3, 8060 4.1", "the same EID in an instance and in none", instances),
    must("FC-057.1", "9301 5, 8.3", "questions at each address of the server", from_the_address_asked),
    must("FC-059.1", "9301 5.5", "register and ask over IPv6", over_ipv6),
    must("FC-004.1", SERVER, "an IPv4 site", ipv4_site),
    must("FC-117.1", "lisp-signed-dht 10.1", "a CGEID registered over the network", cgeid),
    must("FC-054.1", "9301 5.6, LOCAL", "a more-specific that is withdrawn again", more_specific_goes),
];

fn unregistered(room: &Room) -> Judgement {
    let (neighbour, xtr) = (room.site()?, room.xtr()?);
    let message = register(room.nonce(), vec![record(neighbour.prefix, &[RLOC])]);
    xtr.registers(room.common()?.first()?, &message, &neighbour.key())?;
    let mut told = Vec::new();
    for site in room.special("never registered")?.prefixes {
        let host = EidPrefix::host(site.iid, site.net.addr());
        let reply = room.answer(host)?;
        let record = reply.records.first().ok_or_else(|| broken("a Map-Reply without a record"))?;
        let prefix = record.eid.ip_prefix().ok_or_else(|| broken("a hole that is no prefix"))?;
        // RFC 9301 gives action and TTL; of the prefix follows only what it must hold, and what not.
        let fits = prefix.covers(&host) && !prefix.covers(&neighbour.prefix);
        let right = fits && (prefix == site || !room.is_ours()) && record.locators.is_empty();
        if !right || record.ttl != Ttl(1) || record.action != Action::NativelyForward {
            return Err(broken(format!("expected {site} for a minute, natively-forward; came {record:?}")));
        }
        told.push(prefix.to_string());
    }
    Ok(format!("{}: natively-forward, 1 minute", told.join(", ")))
}

fn beside_a_part(room: &Room) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let part = EidPrefix::new(site.prefix.iid, site.prefix.net.addr(), 64).ok_or_else(|| broken("no /64"))?;
    let upper = site.prefix.net.broadcast();
    xtr.registers(room.common()?.first()?, &register(room.nonce(), vec![record(part, &[RLOC])]), &site.key())?;
    let reply = room.answer(EidPrefix::host(site.prefix.iid, upper))?;
    let told = reply.records.first().and_then(|record| record.eid.ip_prefix()).ok_or_else(|| broken(&reply))?;
    // The part may be told beside it (RFC 9301, section 5.5).
    let (parts, holes): (Vec<_>, Vec<_>) = reply.records.iter().partition(|it| it.eid.ip_prefix() == Some(part));
    let is_negative = holes.iter().all(|record| record.locators.is_empty());
    let is_left_out = !told.covers(&part) || (!parts.is_empty() && !room.is_ours());
    expect(is_negative && is_left_out, format!("{part} is registered, and {told} is said to have no locator"))
}

fn not_configured(room: &Room) -> Judgement {
    for eid in ["2001:db9::2", "192.0.2.9"] {
        let reply = room.answer(host(eid)?)?;
        let record = &reply.records[0];
        let covers = record.eid.ip_prefix().is_some_and(|told| host(eid).is_ok_and(|eid| told.covers(&eid)));
        let right = record.locators.is_empty() && record.ttl == Ttl(15) && record.action == Action::NativelyForward;
        if !(covers && right) {
            return Err(broken(format!("expected a hole round {eid} for 15 minutes; came {record:?}")));
        }
    }
    Ok("natively-forward, 15 minutes".into())
}

/// Deployed Map-Servers tell holes that do not contain the EID, or that cover sites.
fn holes(room: &Room) -> Judgement {
    let sites = room.configured()?;
    let mut told = Vec::new();
    for eid in ["2001:db8:77::2", "2001:db8:3fff::1", "2001:db8:8000::2", "10.100.77.2", "10.5.0.1"] {
        let eid = host(eid)?;
        if sites.iter().any(|site| site.covers(&eid)) {
            continue;
        }
        let reply = room.answer(eid)?;
        let hole = reply
            .records
            .first()
            .ok_or_else(|| broken("a Map-Reply without a record"))?
            .eid
            .ip_prefix()
            .ok_or_else(|| broken("a hole that is no prefix"))?;
        if !hole.covers(&eid) {
            return Err(broken(format!("{hole} does not contain {eid}")));
        }
        if let Some(site) = sites.iter().find(|site| hole.covers(site) || site.covers(&hole)) {
            return Err(broken(format!("{hole}, told for {eid}, and the site {site} have addresses in common")));
        }
        told.push(hole.to_string());
    }
    Ok(format!("each contains its EID and no site: {}", told.join(", ")))
}

/// Ours says how many of the three minutes are left: that they run, whoever asks, and begin anew with a Map-Register alone. Others are waited for.
fn silence(room: &Room) -> Judgement {
    const SILENCE: u64 = 180;
    // Between a Map-Register and the answer to a question about it, on a machine that has other work.
    const BUSY: u64 = 20;
    if !room.is_ours() {
        return silence_of_others(room, Duration::from_secs(SILENCE + BUSY));
    }
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    xtr.registers(server, &register(room.nonce(), vec![record(site.prefix, &[RLOC])]), &site.key())?;
    let before = Instant::now();
    let first = room.seconds_left(&site.prefix)?;
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(2100));
    // That somebody asks is no Map-Register.
    let came = rlocs(&room.answer(site.host(2))?.records);
    let least = begun.elapsed().as_secs();
    let later = room.seconds_left(&site.prefix)?;
    // Either was read somewhere between its question and its answer.
    let passed = before.elapsed().as_secs();
    xtr.registers(server, &register(room.nonce(), vec![record(site.prefix, &[RLOC])]), &site.key())?;
    let again = room.seconds_left(&site.prefix)?;
    let found = format!("{first} s are left, {passed} s later {later} s, and after another Map-Register {again} s");
    let is_whole = |left: &u64| (SILENCE - BUSY..=SILENCE).contains(left);
    let runs = (least - 1..=passed + 1).contains(&first.saturating_sub(later));
    if came != [RLOC] || ![first, again].iter().all(is_whole) || !runs || again <= later {
        return Err(broken(format!("{found}; meanwhile it is answered {came:?}")));
    }
    Ok(found)
}

fn silence_of_others(room: &Room, silence: Duration) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    xtr.registers(server, &register(room.nonce(), vec![record(site.prefix, &[RLOC])]), &site.key())?;
    let before = rlocs(&room.answer(site.host(2))?.records);
    // What is not served at all does not end.
    if before != [RLOC] {
        return Err(broken(format!("expected [{RLOC:?}] right after the Map-Register; came {before:?}")));
    }
    room.rest(silence)?;
    let reply = room.answer(site.host(3))?;
    let came = rlocs(&reply.records);
    expect(came.is_empty(), format!("{} s after the last Map-Register it is answered {came:?}", silence.as_secs()))
}

fn proxied(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    xtr.registers(server, &register(room.nonce(), vec![record(site.prefix, &[RLOC])]), &site.key())?;
    let reply = room.answer(site.host(2))?;
    let record = &reply.records[0];
    let right = record.eid.ip_prefix() == Some(site.prefix) && rlocs(&reply.records) == [RLOC];
    let found = format!("the Map-Server answers {:?}, A {}", rlocs(&reply.records), record.authoritative);
    expect(right && !record.authoritative, found)
}

/// A Map-Register without P.
fn by_itself(room: &Room, site: &crate::suite::mapsys::Site, rlocs: &[&str]) -> MapRegister {
    MapRegister { proxy_reply: false, ..register(room.nonce(), vec![record(site.prefix, rlocs)]) }
}

fn forwarded(room: &Room) -> Judgement {
    let (site, etr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    let rloc = etr.address.ip().to_string();
    etr.registers(server, &by_itself(room, &site, &[&rloc]), &site.key())?;
    let itr = room.xtr()?;
    let ecm = itr.ecm(&request(room.nonce(), &[site.host(2)], &[itr.address.ip()]))?;
    itr.send(server, &ecm)?;
    let came = etr.hear(etr.patience())?.ok_or_else(|| broken("nothing came to the ETR"))?;
    room.works()?;
    itr.hears_nothing(room.grace())?;
    let inner = |bytes: &[u8]| Ecm::decode(bytes).map(|ecm| (ecm.source, ecm.destination, ecm.message)).map_err(broken);
    let same = inner(&came.bytes)? == inner(&ecm)?;
    // The port is allocated at random (RFC 9301, section 5.8).
    let is_servers = room.common()?.addresses.iter().any(|address| address.ip() == came.from.ip());
    expect(same && is_servers, format!("the ETR gets the question unchanged from {}", came.from))
}

fn forwarded_once(room: &Room) -> Judgement {
    let (site, etr, other) = (room.site()?, room.xtr()?, room.xtr()?);
    let server = room.common()?.first()?;
    let [first, second] = [&etr, &other].map(|xtr| xtr.address.ip().to_string());
    etr.registers(server, &by_itself(room, &site, &[&first, &second]), &site.key())?;
    let itr = room.xtr()?;
    itr.send(server, &itr.ecm(&request(room.nonce(), &[site.host(2)], &[itr.address.ip()]))?)?;
    room.works()?;
    let wait = Duration::from_millis(100);
    let came = etr.hear_all(wait)?.len() + other.hear_all(wait)?.len();
    expect(came == 1, format!("{came} copies of the question went to two locators"))
}

fn instances(room: &Room) -> Judgement {
    let (xtr, server) = (room.xtr()?, room.common()?.first()?);
    let site = room.special("instance 5")?;
    let in_5 = site.prefixes[0];
    let register = register(room.nonce(), vec![record(in_5, &[RLOC])]);
    xtr.registers(server, &register, &site.key)?;
    let there = room.answer(EidPrefix::host(in_5.iid, in_5.net.addr()))?;
    let elsewhere = room.answer(EidPrefix::host(InstanceId(6), in_5.net.addr()))?;
    let right = rlocs(&there.records) == [RLOC] && there.records[0].eid.ip_prefix() == Some(in_5);
    let told = elsewhere.records[0].eid.ip_prefix();
    let apart = told.is_some_and(|told| told.iid.0 == 6) && rlocs(&elsewhere.records).is_empty();
    expect(right && apart, format!("[5] {:?}; for [6] {told:?} without locators", rlocs(&there.records)))
}

fn from_the_address_asked(room: &Room) -> Judgement {
    let server = room.common()?;
    let site = room.special("never registered")?.prefixes[0];
    let site = EidPrefix::host(site.iid, site.net.addr());
    let mut asked = Vec::new();
    for address in &server.addresses {
        let xtr = if address.is_ipv4() { room.xtr()? } else { room.xtr6()? };
        let question = request(room.nonce(), &[site], &[xtr.address.ip()]);
        xtr.send(*address, &xtr.ecm(&question)?)?;
        let (from, _) = xtr.message()?;
        if !room.is_answer_from(from, *address) {
            return Err(broken(format!("asked was {address}, answered {from}")));
        }
        asked.push(from.to_string());
    }
    expect(asked.len() == 3 || !room.is_ours(), format!("answered from {}", asked.join(", ")))
}

fn over_ipv6(room: &Room) -> Judgement {
    let (xtr, server) = (room.xtr6()?, room.common()?.ipv6()?);
    let site = room.special_or_any("behind a NAT")?;
    let message = register(room.nonce(), vec![record(site.prefixes[0], &[OTHER])]);
    xtr.registers(server, &message, &site.key)?;
    let asked = EidPrefix::host(site.prefixes[0].iid, site.prefixes[0].net.addr());
    let reply = xtr.asks(server, &request(room.nonce(), &[asked], &[xtr.address.ip()]))?;
    expect(rlocs(&reply.records) == [OTHER], format!("{:?} by {}", rlocs(&reply.records), server))
}

fn ipv4_site(room: &Room) -> Judgement {
    let (xtr, server) = (room.xtr()?, room.common()?.first()?);
    let site = room.special("ipv4")?;
    let message = register(room.nonce(), vec![record(site.prefixes[0], &["2001:db8:c::1"])]);
    xtr.registers(server, &message, &site.key)?;
    let reply = room.answer(EidPrefix::host(site.prefixes[0].iid, site.prefixes[0].net.addr()))?;
    expect(rlocs(&reply.records) == ["2001:db8:c::1"], "an IPv4 EID behind an IPv6 locator")
}

fn cgeid(room: &Room) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let own = cgeid::Network::LAB.to_string();
    let cgeid = prefix(&own.replace("::/32", "::1/128"))?;
    let alone = register(room.nonce(), vec![record(cgeid, &[RLOC])]);
    let beside = register(room.nonce(), vec![record(site.prefix, &[RLOC]), record(cgeid, &[RLOC])]);
    room.are_ignored(&xtr, [sealed(&alone, &site.key())?, sealed(&beside, &site.key())?])?;
    let reply = room.answer(site.host(2))?;
    expect(rlocs(&reply.records).is_empty(), format!("{cgeid} refused, alone and beside a prefix of the site"))
}

fn more_specific_goes(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    let inside = prefix(&format!("{}/64", site.prefix.net.addr()))?;
    let both = vec![record(site.prefix, &[RLOC]), record(inside, &[OTHER])];
    xtr.registers(server, &register(room.nonce(), both), &site.key())?;
    let first = rlocs(&room.answer(site.host(2))?.records);
    let mut end = record(inside, &[]);
    end.ttl = Ttl::WITHDRAWN;
    xtr.registers(server, &register(room.nonce(), vec![end]), &site.key())?;
    let then = rlocs(&room.answer(site.host(2))?.records);
    expect(first == [OTHER] && then == [RLOC], format!("before {first:?}, afterwards {then:?}"))
}
