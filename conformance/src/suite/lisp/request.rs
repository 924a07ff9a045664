// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Request, Map-Reply and ECM (RFC 9301, sections 5.2 to 5.5 and 5.8).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::address::Address;
use wire::control::{Ecm, MapReply, MapRequest};
use wire::record::Ttl;

use super::{OTHER, RLOC, message, registered};
use crate::suite::mapsys::{Room, host, prefix, record, request, rlocs, sealed};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, should};

const REQUEST: &str = "9301 5.2";
const REPLY: &str = "9301 5.4";
const ANSWER: &str = "9301 5.5";
const ENCAPSULATED: &str = "9301 5.8";
/// How long one of several is listened to before the next.
const TURN: Duration = Duration::from_millis(100);

pub(super) const PROBES: &[Probe<Room>] = &[
    must("LI-060.1", ANSWER, "a question whose outer and inner source ports differ", to_the_inner_port),
    must("LI-021.1", REQUEST, "two EID-records", two_records),
    must("LI-022.1", REQUEST, "an ITR-RLOC of AFI 0 alone", no_itr_rloc),
    must("LI-022.2", REQUEST, "counts of ITR-RLOCs above those that are there", too_few_itr_rlocs),
    must("LI-025.1", REQUEST, "a Source-EID of AFI 0, and one that is an address", source_eid),
    must("LI-030.1", REQUEST, "D of the Map-Request", wants_no_reply),
    must("LI-037.1", "9301 5.8, LOCAL", "a Map-Request without ECM", bare),
    must("LI-047.1", REPLY, "a proxied answer", no_authority),
    should("LI-044.1", REPLY, "the TTL of a proxied answer", ttl_as_registered),
    must("LI-054.1", ANSWER, "a /48 with two /64 inside", with_more_specifics),
    must("LI-057.1", ANSWER, "three locators registered in no order", sorted),
    must("LI-059.1", ANSWER, "two ITR-RLOCs of one family", to_an_itr_rloc),
    must("LI-059.2", ANSWER, "an ITR-RLOC of a family that the question did not come in", to_the_other_family),
    must("LI-016.1", "9301 5.2, LOCAL", "an EID-prefix with bits behind its length", host_bits),
    must("LI-131.1", "9301 5.8, LOCAL", "an inner UDP checksum that is 0, and one that is wrong", inner_checksum),
    must("LI-132.1", "9301 5.8, LOCAL", "port 4341 in the inner UDP header", data_port),
    must("LI-133.1", ENCAPSULATED, "a probe inside an ECM", probe_inside),
    must("LI-134.1", "9301 5.8, LOCAL", "a Map-Register and a Map-Reply inside an ECM", others_inside),
    must("LI-011.1", REQUEST, "reserved bits of ECM and Map-Request", reserved_bits),
    must("LI-013.1", "9301 5.2, LOCAL", "octets behind a Map-Request", trailing_octets),
    should("LI-108.1", "9301 8.3", "a Map-Reply sent to a Map-Server", map_reply),
];

fn to_the_inner_port(room: &Room) -> Judgement {
    let (site, _) = registered(room)?;
    let server = room.common()?.first()?;
    let (outer, inner) = room.xtr_at_two_ports()?;
    let asked = request(room.nonce(), &[site.host(2)], &[inner.address.ip()]);
    outer.send(server, &inner.ecm(&asked)?)?;
    let (from, _) = inner.message()?;
    expect(room.is_answer_from(from, server), format!("answered from {from}, to the inner source port"))
}

fn two_records(room: &Room) -> Judgement {
    let ((first, xtr), (second, _)) = (registered(room)?, registered(room)?);
    let asked = request(room.nonce(), &[first.host(2), second.host(2)], &[xtr.address.ip()]);
    let records = room.answers(&xtr, &asked)?;
    let told: Vec<_> = records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
    let both = [&first, &second].iter().all(|site| told.iter().any(|told| told.covers(&site.host(2))));
    room.works()?;
    expect(both && told.len() == 2, format!("answered with {}", join(&told)))
}

fn join(values: &[impl ToString]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn no_itr_rloc(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let asked = MapRequest { itr_rlocs: vec![Address::None], ..request(room.nonce(), &[site.host(2)], &[]) };
    room.is_ignored(&xtr, &xtr.ecm(&asked)?)?;
    Ok("dropped".into())
}

fn too_few_itr_rlocs(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let bytes = request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]).encode().map_err(broken)?;
    // IRC is the low five bits of the third octet: the number of ITR-RLOCs less one.
    let counts = (4..=31).map(|count| {
        let mut bytes = bytes.clone();
        bytes[2] = bytes[2] & 0xe0 | count;
        xtr.wrapped(bytes)
    });
    room.are_ignored(&xtr, counts.collect::<Result<Vec<_>, _>>()?)?;
    Ok("dropped, all 28".into())
}

fn source_eid(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let source = Address::from("2001:db8:5::5".parse::<std::net::IpAddr>().map_err(broken)?);
    for source_eid in [Address::None, source] {
        let asked = MapRequest { source_eid, ..request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]) };
        xtr.asks(room.common()?.first()?, &asked)?;
    }
    Ok("answered, both".into())
}

fn wants_no_reply(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let asked = MapRequest { dont_map_reply: true, ..request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]) };
    room.is_ignored(&xtr, &xtr.ecm(&asked)?)?;
    Ok("no Map-Reply".into())
}

fn bare(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let asked = request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]);
    room.is_ignored(&xtr, &asked.encode().map_err(broken)?)?;
    Ok("dropped".into())
}

fn no_authority(room: &Room) -> Judgement {
    let (site, _) = registered(room)?;
    let reply = room.answer(site.host(2))?;
    let record = &reply.records[0];
    let bits = record.locators.iter().map(|locator| (locator.local, locator.probed, locator.reachable));
    let bits: Vec<_> = bits.collect();
    expect(
        !record.authoritative && bits == [(false, false, true)],
        format!("A {}, L p R {bits:?}", record.authoritative),
    )
}

fn ttl_as_registered(room: &Room) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let mut short = record(site.prefix, &[RLOC]);
    short.ttl = Ttl(10);
    xtr.registers(room.common()?.first()?, &message(room.nonce(), vec![short]), &site.key())?;
    let ttl = room.answer(site.host(2))?.records[0].ttl;
    expect(ttl == Ttl(10), format!("10 minutes registered, {} told", ttl.0))
}

fn with_more_specifics(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    let text = site.prefix.net.addr().to_string();
    let stem = text.trim_end_matches(':');
    let inside = |number: u8| prefix(&format!("{stem}:{number}::/64"));
    let mut records = vec![record(site.prefix, &[RLOC]), record(inside(1)?, &[OTHER]), record(inside(2)?, &[OTHER])];
    records[1].ttl = Ttl(5);
    xtr.registers(server, &message(room.nonce(), records), &site.key())?;
    // An address in none of the /64; ten ITR-RLOCs make the question long enough for so long an answer.
    let beside = host(&format!("{stem}:ffff::9"))?;
    let asked = request(room.nonce(), &[beside], &[xtr.address.ip(); 10]);
    let reply = xtr.asks(server, &asked)?;
    let told: Vec<_> = reply.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
    let one_ttl = reply.records.iter().all(|record| record.ttl == Ttl(5));
    let has_all = told.len() == 3 && told.contains(&site.prefix);
    // Their order is not said, and their TTLs SHOULD be one.
    let is_right = if room.is_ours() { told[0] == site.prefix && one_ttl } else { true };
    expect(has_all && is_right, format!("{}; one TTL: {one_ttl}", join(&told)))
}

fn sorted(room: &Room) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let records = vec![record(site.prefix, &["2001:db8:c::1", OTHER, RLOC])];
    xtr.registers(room.common()?.first()?, &message(room.nonce(), records), &site.key())?;
    let came = rlocs(&room.answer(site.host(2))?.records);
    expect(came == [RLOC, OTHER, "2001:db8:c::1"], join(&came))
}

fn to_an_itr_rloc(room: &Room) -> Judgement {
    let (site, sender) = registered(room)?;
    let (first, second) = (room.xtr()?, room.xtr()?);
    let asked = request(room.nonce(), &[site.host(2)], &[first.address.ip(), second.address.ip()]);
    sender.send(room.common()?.first()?, &first.ecm(&asked)?)?;
    let begun = Instant::now();
    while begun.elapsed() < sender.patience() {
        for (name, itr) in [("first", &first), ("second", &second)] {
            let Some(came) = itr.hear(TURN)? else { continue };
            let reply = MapReply::decode(&came.bytes).map_err(broken)?;
            let found = format!("answered to the {name} of them, not to the sender");
            return expect(reply.nonce == asked.nonce && !reply.records.is_empty(), found);
        }
    }
    Err(broken("expected a Map-Reply at one of them; nothing came"))
}

fn to_the_other_family(room: &Room) -> Judgement {
    let (site, sender) = registered(room)?;
    let (server, itr) = (room.common()?, room.xtr6()?);
    let asked = request(room.nonce(), &[site.host(2)], &[itr.address.ip()]);
    let ecm = Ecm::wrap(
        itr.address,
        SocketAddr::new(site.host(2).net.addr(), wire::CONTROL_PORT),
        asked.encode().map_err(broken)?,
    );
    sender.send(server.first()?, &ecm.encode().map_err(broken)?)?;
    itr.replied(asked.nonce)?;
    Ok("asked over IPv4, answered over IPv6".into())
}

fn host_bits(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let asked = request(room.nonce(), &[site.prefix], &[xtr.address.ip()]);
    let mut bytes = asked.encode().map_err(broken)?;
    // The EID is the last field: its last octets are behind the 48 bits.
    let last = bytes.len() - 1;
    bytes[last] = 0x77;
    xtr.send(room.common()?.first()?, &xtr.wrapped(bytes)?)?;
    let reply = xtr.replied(asked.nonce)?;
    expect(rlocs(&reply.records) == [RLOC], "answered as if they were zero")
}

/// Where the inner UDP header of an ECM over IPv4 begins: behind the first word and the IP header.
const INNER_UDP: usize = 4 + 20;

fn changed(room: &Room, change: impl Fn(&mut [u8])) -> Result<(), Fault> {
    let (site, xtr) = registered(room)?;
    let asked = request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]);
    let mut bytes = xtr.ecm(&asked)?;
    change(&mut bytes);
    room.is_ignored(&xtr, &bytes)
}

fn inner_checksum(room: &Room) -> Judgement {
    changed(room, |bytes| bytes[INNER_UDP + 6..INNER_UDP + 8].fill(0))?;
    changed(room, |bytes| bytes[INNER_UDP + 6] ^= 1)?;
    Ok("dropped, both".into())
}

fn data_port(room: &Room) -> Judgement {
    for at in [INNER_UDP, INNER_UDP + 2] {
        changed(room, |bytes| {
            let before = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&wire::DATA_PORT.to_be_bytes());
            // The checksum with it (RFC 1624), so that it is the port that is refused.
            let sum = u16::from_be_bytes([bytes[INNER_UDP + 6], bytes[INNER_UDP + 7]]);
            let mut new = u32::from(!sum) + u32::from(!before) + u32::from(wire::DATA_PORT);
            while new > 0xffff {
                new = (new & 0xffff) + (new >> 16);
            }
            let new = !u16::try_from(new).unwrap_or_default();
            bytes[INNER_UDP + 6..INNER_UDP + 8].copy_from_slice(&new.to_be_bytes());
        })?;
    }
    Ok("dropped, as source and as destination".into())
}

fn probe_inside(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let asked = MapRequest { probe: true, ..request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]) };
    room.is_ignored(&xtr, &xtr.ecm(&asked)?)?;
    Ok("dropped".into())
}

fn others_inside(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let register = sealed(&message(room.nonce(), vec![record(site.prefix, &[OTHER])]), &site.key())?;
    let reply = MapReply { nonce: room.nonce(), records: vec![record(site.prefix, &[OTHER])], ..MapReply::default() };
    room.are_ignored(&xtr, [xtr.wrapped(register)?, xtr.wrapped(reply.encode().map_err(broken)?)?])?;
    super::leads_to(room, &site, &[RLOC])?;
    Ok("dropped, both".into())
}

fn reserved_bits(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let asked = request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]);
    let mut bytes = asked.encode().map_err(broken)?;
    // Bit 10 of a Map-Request, and bits 12 to 16 (RFC 9301, section 5.2); bits 6 to 31 of an ECM (section 5.8).
    bytes[1] |= 0x20 | 0x0f;
    bytes[2] |= 0x80;
    let mut ecm = xtr.wrapped(bytes)?;
    ecm[0] |= 0x03;
    ecm[1..4].fill(0xff);
    xtr.send(room.common()?.first()?, &ecm)?;
    let reply = xtr.replied(asked.nonce)?;
    expect(rlocs(&reply.records) == [RLOC], "answered as if they were zero")
}

fn trailing_octets(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let asked = request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]);
    let bytes = [asked.encode().map_err(broken)?, vec![0xa5; 24]].concat();
    xtr.send(room.common()?.first()?, &xtr.wrapped(bytes)?)?;
    let reply = xtr.replied(asked.nonce)?;
    expect(rlocs(&reply.records) == [RLOC], "answered as if they were not there")
}

fn map_reply(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let records = vec![record(site.prefix, &[OTHER])];
    let reply = MapReply { nonce: room.nonce(), records, ..MapReply::default() };
    room.is_ignored(&xtr, &reply.encode().map_err(broken)?)?;
    super::leads_to(room, &site, &[RLOC])?;
    Ok("discarded".into())
}
