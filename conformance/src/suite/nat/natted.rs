// SPDX-License-Identifier: GPL-2.0-or-later
//! What an xTR behind a NAT does (section 5.1 of the draft), seen from the NAT.

use std::net::SocketAddr;
use std::time::Duration;

use wire::address::Address;
use wire::control::auth::{self, Accept};
use wire::control::{Info, MapRegister, Nonce};

use super::behind::{Behind, Habits, NAT, asked, data_map_notify, relayed};
use super::outside::{Datagram, Outside, PRIVATE, Pair, RTR, SERVER, all, control, data, site_key};
use super::room::of_rtr;
use crate::suite::probe::{Fault, Judgement, Probe, broken, equal, expect, must};
use crate::suite::xtr::{Family, GRACE};

const CLAUSE: &str = "lisp-nat-traversal 5.1.1";

pub(super) const PROBES: &[Probe<Outside>] = &[
    must(
        "NAT-08.1",
        "lisp-nat-traversal 4.1",
        "an xTR that knows of no RTR: an Info-Request to its Map-Server, with its EID-prefix and a tag, AFI 0",
        asks_the_server,
    ),
    must(
        "NAT-08.2",
        "lisp-nat-traversal 5.1",
        "the Info-Reply of the Map-Server names an RTR: an Info-Request to that, from port 4341 to port 4342",
        asks_the_rtr,
    ),
    must("NAT-08.3", "lisp-nat-traversal 5.1", "the same under a foreign key: the RTR is not asked", misled),
    must(
        "NAT-08.4",
        "lisp-nat-traversal 5.1",
        "Info-Replies with another nonce, and from another address: nothing is registered before the right one",
        mistaken,
    ),
    must(
        "NAT-08.5",
        "lisp-nat-traversal 5.1",
        "an RTR that sees the xTR where it is: a Map-Register of its own locator, to the Map-Server itself",
        without_nat,
    ),
    must(
        "NAT-09.1",
        CLAUSE,
        "behind a NAT: the Map-Register in an ECM with R, for the Map-Server, from port 4341 to port 4342 of the RTR",
        encloses,
    ),
    must(
        "NAT-09.2",
        CLAUSE,
        "the same: R, I with an xTR-ID, the tag of the site, and the RTR as the only locator",
        registers,
    ),
    must(
        "NAT-09.3",
        "lisp-nat-traversal 4.5",
        "a Data-Map-Notify under a foreign key: it registers on; under its own: it stops",
        confirmed,
    ),
    must(
        "NAT-10.1",
        "lisp-nat-traversal 5.1.3",
        "packets of the site to anywhere: from port 4341 to port 4341 of the RTR, and the map system is not asked",
        leaves,
    ),
    must("NAT-10.2", CLAUSE, "packets of the RTR, from port 4342: to the site", enters),
    must(
        "NAT-10.3",
        "lisp-nat-traversal 5.1",
        "packets from anywhere in an instance that the site is not in, by way of the RTR: dropped",
        of_another_instance,
    ),
];

fn asks_the_server(_: &Outside) -> Judgement {
    let behind = Behind::open(&["--nat", "auto"], Habits::default())?;
    let (came, info) = behind.first("an Info-Request to the Map-Server", |came| asked(came, SERVER))?;
    auth::verify(&came.payload, &site_key(), Accept::STRICT).map_err(broken)?;
    let prefix = info.eid.ip_prefix().map(|prefix| prefix.to_string());
    let is_ours = prefix.as_deref().is_some_and(|prefix| prefix == "10.64.0.0/16" || prefix == "2001:db8:10::/48");
    expect(is_ours && info.address == Address::None && came.source.ip() == PRIVATE, &info)
}

/// Waits for a later Info-Request to the Map-Server than this one; whether the RTR was asked by then.
fn is_rtr_asked(behind: &Behind) -> Result<bool, Fault> {
    let (_, one) = behind.first("an Info-Request to the Map-Server", |came| asked(came, SERVER))?;
    behind.first("another Info-Request", |came| asked(came, SERVER).filter(|(_, info)| info.nonce != one.nonce))?;
    Ok(!all(&behind.outside, 0, |came| asked(came, RTR)).is_empty())
}

fn asks_the_rtr(_: &Outside) -> Judgement {
    let behind = Behind::open(&["--nat", "auto"], Habits { names_rtr: Some(site_key()), ..Habits::default() })?;
    let (came, info) = behind.first("an Info-Request to the RTR", |came| asked(came, RTR))?;
    equal("from", came.source, data(PRIVATE))?;
    expect(info.address == Address::None, &info)
}

fn misled(_: &Outside) -> Judgement {
    let foreign = auth::AuthKey { id: site_key().id, ..of_rtr() };
    let behind = Behind::open(&["--nat", "auto"], Habits { names_rtr: Some(foreign), ..Habits::default() })?;
    expect(!is_rtr_asked(&behind)?, "it is not, and the Map-Server is asked again")
}

fn through(habits: Habits) -> Result<Behind, Fault> {
    Behind::open(&["--nat", "on", "--rtr-at", &RTR.to_string()], habits)
}

fn mistaken(_: &Outside) -> Judgement {
    let behind = through(Habits::default())?;
    let (came, info) = behind.first("an Info-Request to the RTR", |came| asked(came, RTR))?;
    let right = info.answer(NAT, control(RTR), &[RTR]);
    let wrong = Info { nonce: Nonce(info.nonce.0 ^ 1), ..right.clone() }.encode().map_err(broken)?;
    behind.answer(&came, control(RTR), &wrong)?;
    let stranger = control("198.51.100.99".parse().map_err(broken)?);
    behind.answer(&came, stranger, &right.encode().map_err(broken)?)?;
    behind.first("another Info-Request", |came| asked(came, RTR).filter(|(_, other)| other.nonce != info.nonce))?;
    let registers = all(&behind.outside, 0, any_register);
    equal("Map-Registers after false Info-Replies", registers.len(), 0)?;
    behind.set(Habits { seen: Some(NAT), ..Habits::default() });
    behind.first("a Map-Register after the right one", relayed)?;
    Ok("asked again, and registered then".into())
}

/// A Map-Register to whomever, enclosed or not.
fn any_register(came: Datagram) -> Option<()> {
    let is_bare = MapRegister::decode(&came.payload).is_ok();
    (is_bare || relayed(came).is_some()).then_some(())
}

fn without_nat(_: &Outside) -> Judgement {
    let habits = Habits { seen: Some(data(PRIVATE)), ..Habits::default() };
    let behind = Behind::open(&["--nat", "auto", "--rtr-at", &RTR.to_string()], habits)?;
    let register = behind.first("a Map-Register to the Map-Server", |came| {
        MapRegister::decode(&came.payload).ok().filter(|_| came.destination == control(SERVER))
    })?;
    let rlocs: Vec<_> = register.records.iter().flat_map(|record| &record.locators).map(|one| one.rloc.ip()).collect();
    let is_own = !rlocs.is_empty() && rlocs.iter().all(|rloc| *rloc == Some(PRIVATE));
    expect(is_own && !register.through_rtr, format!("R {}, locators {rlocs:?}", register.through_rtr))
}

fn encloses(outside: &Outside) -> Judgement {
    let behind = outside.behind()?;
    let (came, ecm, _) = behind.first("a Map-Register through the RTR", relayed)?;
    equal("source and destination", (came.source, came.destination), (data(PRIVATE), control(RTR)))?;
    equal("R and N", (ecm.for_rtr, ecm.by_rtr), (true, false))?;
    equal("inner source and destination", (ecm.source, ecm.destination), (control(PRIVATE), control(SERVER)))?;
    Ok("so it is".into())
}

fn registers(outside: &Outside) -> Judgement {
    let (_, ecm, register) = outside.behind()?.first("a Map-Register through the RTR", relayed)?;
    auth::verify(&ecm.message, &site_key(), Accept::STRICT).map_err(broken)?;
    equal(
        "R, I and M",
        (register.through_rtr, register.xtr_identity.is_some(), register.want_notify),
        (true, true, true),
    )?;
    let rlocs: Vec<_> = register.records.iter().map(|record| &record.locators).collect();
    let is_rtr = |locators: &&Vec<wire::record::LocatorRecord>| matches!(locators.as_slice(), [one] if one.rloc.ip() == Some(RTR));
    expect(!rlocs.is_empty() && rlocs.iter().all(is_rtr), format!("{} records, the RTR in each", rlocs.len()))
}

fn confirmed(_: &Outside) -> Judgement {
    let behind = through(Habits { seen: Some(NAT), ..Habits::default() })?;
    let (came, ecm, register) = behind.first("a Map-Register through the RTR", relayed)?;
    let foreign = auth::AuthKey { id: site_key().id, ..of_rtr() };
    behind.answer(&came, control(RTR), &data_map_notify(&ecm, &register, &foreign)?)?;
    behind.set(Habits { seen: Some(NAT), confirms: Some(site_key()), ..Habits::default() });
    let again = |came: Datagram| relayed(came).filter(|(_, _, other)| other.nonce != register.nonce);
    behind.first("another Map-Register", again)?;
    // All that were sent by now are confirmed. On a busy machine one may be sent before what confirms the others is taken: then a second
    // time is quiet, longer than the pause, which doubles from a second on, can be by then.
    let quiet = |time| {
        std::thread::sleep(2 * GRACE);
        let mark = behind.outside.mark();
        std::thread::sleep(time);
        all(&behind.outside, mark, relayed).len()
    };
    let more = match quiet(Duration::from_millis(2500)) {
        0 => 0,
        _ => quiet(Duration::from_secs(6)),
    };
    equal("Map-Registers once it is confirmed", more, 0)?;
    Ok("sent again, and not any more once it is confirmed".into())
}

fn leaves(outside: &Outside) -> Judgement {
    let behind = outside.behind()?;
    let mark = behind.outside.mark();
    for family in [Family::V4, Family::V6] {
        let pair = Pair::new(0x01, family)?;
        let came = behind.leave(&pair.leaving(b"anywhere"))?;
        equal("source and destination", (came.source, came.destination), (data(PRIVATE), data(RTR)))?;
    }
    let asked = all(&behind.outside, mark, |came| {
        let message = wire::control::ControlMessage::decode(&came.payload).ok()?;
        (came.destination == control(SERVER)).then_some(message)
    });
    equal("messages to the map system", asked.len(), 0)?;
    Ok("so they do, IPv4 and IPv6 inside".into())
}

fn enters(outside: &Outside) -> Judgement {
    let behind = outside.behind()?;
    for family in [Family::V4, Family::V6] {
        behind.enter(&Pair::new(0x02, family)?.entering(b"in"), RTR, wire::CONTROL_PORT)?;
    }
    Ok("so they do, IPv4 and IPv6 inside".into())
}

fn of_another_instance(outside: &Outside) -> Judgement {
    let behind = outside.behind()?;
    let packet = Pair::new(0x03, Family::V6)?.entering(b"of instance 7");
    let mark = behind.site.mark();
    let payload = [&[0x08, 0, 0, 0, 0, 0, 7, 0][..], &packet].concat();
    let sent = super::outside::datagram(SocketAddr::new(RTR, wire::CONTROL_PORT), data(PRIVATE), &payload);
    (0..3).try_for_each(|_| behind.outside.send(&sent))?;
    behind.enter(&Pair::new(0x04, Family::V6)?.entering(b"fence"), RTR, wire::CONTROL_PORT)?;
    std::thread::sleep(GRACE);
    expect(!behind.has_entered(mark, &packet), "dropped; a later one of no instance is not")
}
