// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Register, Map-Notify and Map-Notify-Ack (RFC 9301, sections 5.6 and 5.7).

use std::time::{Duration, Instant};

use wire::address::{Address, EidPrefix, Lcaf};
use wire::control::auth::{self, Algorithm, AuthKey, TagForm};
use wire::control::{ControlMessage, MapRegister, XtrIdentity};
use wire::record::{Action, LocatorRecord, MappingRecord, Ttl};

use super::{OTHER, RLOC, leads_to, message, registered};
use crate::suite::mapsys::{Room, key, prefix, record, rlocs, sealed};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, should, unfit};
use crate::target::Claim;

const REGISTER: &str = "9301 5.6";
const NOTIFY: &str = "9301 5.7";
const SERVER: &str = "9301 8.2";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("LI-098.1", NOTIFY, "a Map-Register with M", with_notify),
    must("LI-098.2", REGISTER, "a Map-Register without M", without_notify),
    must("LI-102.1", NOTIFY, "a Map-Register from another port than 4342", notified_at_4342),
    must("LI-102.2", "9301 5", "the same of a site whose Map-Notifies follow the source port", notified_at_source),
    must("LI-095.1", REGISTER, "a nonce below the last one", older_nonce),
    must("LI-095.2", "lisp-signed-dht 12.1", "the last Map-Register once more, octet by octet", same_again),
    must("LI-095.3", REGISTER, "the last nonce with another locator", same_nonce),
    must("LI-096.1", REGISTER, "nonces of two xTR-IDs, each in its own order", nonces_by_xtr),
    must("LI-103.1", SERVER, "an EID-prefix of another site", of_another_site),
    must("LI-103.2", SERVER, "an EID-prefix that covers what the site has", too_short),
    must("LI-103.3", SERVER, "more-specifics within what the site may register, and beyond", more_specifics),
    must("LI-109.1", REGISTER, "two xTRs that merge", merged),
    must("LI-109.3", "8378 5", "two xTRs that merge, with one locator", merged_once),
    must("LI-109.2", REGISTER, "a second xTR that does not merge", replaced),
    should(
        "LI-100.1",
        NOTIFY,
        "a merged EID-prefix that changes, not acknowledged for three seconds",
        told_until_acknowledged,
    ),
    must("LI-114.1", "9301 5.6, LOCAL", "TTL 0 and no locators", withdrawn),
    must("LI-114.2", "9301 5.6, LOCAL", "after a withdrawal, the Map-Register before it", not_brought_back),
    should("LI-114.3", "9301 5.4, LOCAL", "TTL 0 beside a locator: removed as well", withdrawn_beside_a_locator),
    must("LI-006.1", "9306 3", "locators of LCAF types that nobody knows beside an address", unknown_locators),
    should("LI-045.1", "9301 5.4", "an action in a record with locators", action_ignored),
];

fn with_notify(room: &Room) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let register = message(room.nonce(), vec![record(site.prefix, &[RLOC])]);
    let notify = xtr.registers(room.common()?.first()?, &register, &site.key())?;
    let same = notify.nonce == register.nonce && notify.records == register.records;
    leads_to(room, &site, &[RLOC])?;
    if !same {
        return Err(broken(format!("expected nonce and records of {register:?} in the Map-Notify; came {notify:?}")));
    }
    Ok(format!("a Map-Notify with nonce {:?} and {} record, signed", notify.nonce, notify.records.len()))
}

fn without_notify(room: &Room) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let register = message(room.nonce(), vec![record(site.prefix, &[RLOC])]);
    let register = MapRegister { want_notify: false, ..register };
    room.is_ignored(&xtr, &sealed(&register, &site.key())?)?;
    leads_to(room, &site, &[RLOC])?;
    Ok("taken, in silence".into())
}

fn notified_at_4342(room: &Room) -> Judgement {
    let (site, server) = (room.site()?, room.common()?.first()?);
    let (elsewhere, control) = room.xtr_at_two_ports()?;
    let register = message(room.nonce(), vec![record(site.prefix, &[RLOC])]);
    elsewhere.send(server, &sealed(&register, &site.key())?)?;
    let Some(came) = control.hear(control.patience())? else {
        return Err(match elsewhere.hear(room.grace())? {
            Some(_) if !room.is_ours() => unfit(CONTRADICTION),
            Some(came) => broken(format!("the Map-Notify came from {} to the source port", came.from)),
            None => broken("expected a Map-Notify; nothing came"),
        });
    };
    let from = came.from;
    let is_it = matches!(ControlMessage::decode(&came.bytes), Ok(ControlMessage::MapNotify(_)));
    let found = format!("the Map-Notify came from {from}, asked was {server}, to port 4342");
    expect(is_it && room.is_answer_from(from, server), found)
}

/// What follows one section of two that disagree is no fault.
const CONTRADICTION: &str =
    "the Map-Notify came to the source port, as RFC 9301, section 5, has it; 5.7 and 8.2 say port 4342";

fn notified_at_source(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.special("behind a NAT")?, room.xtr_elsewhere()?, room.common()?.first()?);
    let register = message(room.nonce(), vec![record(site.prefixes[0], &[RLOC])]);
    let notify = xtr.registers(server, &register, &site.key)?;
    expect(notify.nonce == register.nonce, format!("the Map-Notify came to {}", xtr.address))
}

fn older_nonce(room: &Room) -> Judgement {
    let early = room.nonce();
    let (site, xtr) = registered(room)?;
    let replay = message(early, vec![record(site.prefix, &[OTHER])]);
    room.is_ignored(&xtr, &sealed(&replay, &site.key())?)?;
    leads_to(room, &site, &[RLOC])?;
    Ok("dropped; the locator stayed".into())
}

fn same_again(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    let register = message(room.nonce(), vec![record(site.prefix, &[RLOC])]);
    xtr.registers(server, &register, &site.key())?;
    let notify = xtr.registers(server, &register, &site.key())?;
    expect(notify.nonce == register.nonce, "a Map-Notify again: the first may have been lost")
}

fn same_nonce(room: &Room) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let register = message(room.nonce(), vec![record(site.prefix, &[RLOC])]);
    xtr.registers(room.common()?.first()?, &register, &site.key())?;
    let other = message(register.nonce, vec![record(site.prefix, &[OTHER])]);
    room.is_ignored(&xtr, &sealed(&other, &site.key())?)?;
    leads_to(room, &site, &[RLOC])?;
    Ok("dropped; the locator stayed".into())
}

fn named(register: MapRegister, xtr: u8) -> MapRegister {
    MapRegister { xtr_identity: Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 7 }), ..register }
}

/// An unsolicited Map-Notify has come by then.
const NOTICE: Duration = Duration::from_millis(100);

fn nonces_by_xtr(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    let [first, second, third] = [room.nonce(), room.nonce(), room.nonce()];
    let register = |nonce, rloc| message(nonce, vec![record(site.prefix, &[rloc])]);
    xtr.registers(server, &named(register(third, RLOC), 1), &site.key())?;
    xtr.registers(server, &named(register(first, OTHER), 2), &site.key())?;
    // The first may be told that the other has its EID-prefix now.
    room.works()?;
    xtr.hear_all(NOTICE)?;
    room.is_ignored(&xtr, &sealed(&named(register(second, RLOC), 1), &site.key())?)?;
    let came = rlocs(&room.answer(site.host(2))?.records);
    // Whether one xTR takes the place of another that has not asked to be merged with it, RFC 9301 does not say.
    let is_right = if room.is_ours() { came == [OTHER] } else { came.iter().any(|rloc| rloc == OTHER) };
    if !is_right {
        return Err(broken(format!("expected locators {:?} for {}; came {came:?}", [OTHER], site.prefix)));
    }
    Ok("the other xTR's lower nonce was taken, its own lower one was not".into())
}

fn of_another_site(room: &Room) -> Judgement {
    let ((site, xtr), other) = (registered(room)?, room.site()?);
    let theirs = message(room.nonce(), vec![record(site.prefix, &[OTHER])]);
    room.is_ignored(&xtr, &sealed(&theirs, &other.key())?)?;
    let both = message(room.nonce(), vec![record(other.prefix, &[OTHER]), record(site.prefix, &[OTHER])]);
    let both = sealed(&both, &other.key())?;
    if !room.is_ours() {
        // What stands beside it may be taken, and confirmed.
        xtr.send(room.common()?.first()?, &both)?;
        room.works()?;
        leads_to(room, &site, &[RLOC])?;
        return Ok("dropped alone, and not taken beside one of its own".into());
    }
    room.is_ignored(&xtr, &both)?;
    leads_to(room, &site, &[RLOC])?;
    leads_to(room, &other, &[])?;
    Ok("dropped whole, alone and beside one of its own".into())
}

fn too_short(room: &Room) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let covering = message(room.nonce(), vec![record(prefix("2001:db8::/32")?, &[RLOC])]);
    room.is_ignored(&xtr, &sealed(&covering, &site.key())?)?;
    leads_to(room, &site, &[])?;
    Ok("dropped".into())
}

fn more_specifics(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    let inside = |length| prefix(&format!("{}/{length}", site.prefix.net.addr()));
    xtr.registers(server, &message(room.nonce(), vec![record(inside(64)?, &[RLOC])]), &site.key())?;
    leads_to(room, &site, &[RLOC])?;
    if !room.is_ours() {
        // What is beyond is a matter of configuration.
        return Ok("a /64 taken".into());
    }
    let beyond = message(room.nonce(), vec![record(inside(65)?, &[OTHER])]);
    room.is_ignored(&xtr, &sealed(&beyond, &site.key())?)?;
    leads_to(room, &site, &[RLOC])?;
    Ok("a /64 taken, a /65 dropped".into())
}

/// A Map-Register of an xTR that merges.
fn merging(room: &Room, site: &crate::suite::mapsys::Site, xtr: u8, rloc: &str) -> MapRegister {
    let register = message(room.nonce(), vec![record(site.prefix, &[rloc])]);
    named(MapRegister { merge: true, ..register }, xtr)
}

fn merged(room: &Room) -> Judgement {
    let (site, server) = (room.site()?, room.common()?.first()?);
    let (first, second) = (room.xtr()?, room.xtr()?);
    first.registers(server, &merging(room, &site, 1, OTHER), &site.key())?;
    second.registers(server, &merging(room, &site, 2, RLOC), &site.key())?;
    leads_to(room, &site, &[RLOC, OTHER])?;
    Ok("both locators, sorted".into())
}

fn merged_once(room: &Room) -> Judgement {
    let (site, server) = (room.site()?, room.common()?.first()?);
    let (first, second) = (room.xtr()?, room.xtr()?);
    first.registers(server, &merging(room, &site, 1, RLOC), &site.key())?;
    second.registers(server, &merging(room, &site, 2, RLOC), &site.key())?;
    leads_to(room, &site, &[RLOC])?;
    Ok("the locator once".into())
}

fn replaced(room: &Room) -> Judgement {
    let (site, server) = (room.site()?, room.common()?.first()?);
    let (first, second) = (room.xtr()?, room.xtr()?);
    let register = |xtr, rloc| named(message(room.nonce(), vec![record(site.prefix, &[rloc])]), xtr);
    first.registers(server, &register(1, RLOC), &site.key())?;
    second.registers(server, &register(2, OTHER), &site.key())?;
    leads_to(room, &site, &[OTHER])?;
    Ok("the later locator alone".into())
}

/// RFC 9301, section 5.7: three equal pauses first, which this map system takes to be of three seconds.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_millis(800);
/// What is sent again has come by then, whatever else the machine does.
const AGAIN: Duration = Duration::from_secs(15);

fn told_until_acknowledged(room: &Room) -> Judgement {
    let (site, server) = (room.site()?, room.common()?.first()?);
    let (first, second) = (room.xtr()?, room.xtr()?);
    first.registers(server, &merging(room, &site, 1, OTHER), &site.key())?;
    // It is told no sooner.
    let begun = Instant::now();
    second.registers(server, &merging(room, &site, 2, RLOC), &site.key())?;
    let told = first.notified(&site.key())?;
    if rlocs(&told.records) != [RLOC, OTHER] {
        return Err(broken(format!("expected both locators; the first xTR was told {told:?}")));
    }
    let again = first.notified_within(AGAIN, &site.key())?;
    let pause = begun.elapsed();
    // How long it pauses is for an implementation to say.
    let is_early = room.is_ours() && pause < FIRST_PAUSE;
    if again.nonce != told.nonce || is_early {
        return Err(broken(format!("expected the same after {FIRST_PAUSE:?}; after {pause:?} came {again:?}")));
    }
    let ack = auth::seal(&ControlMessage::MapNotifyAck(again), &site.key(), TagForm::Truncated).map_err(broken)?;
    first.send(server, &ack)?;
    // What was on its way when that was taken says nothing.
    room.works()?;
    first.hear_all(NOTICE)?;
    first.hears_nothing(FIRST_PAUSE + SLACK)?;
    Ok(format!("told of both locators, again after {pause:.1?}, and no more once that was acknowledged"))
}

fn withdrawn(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let mut end = record(site.prefix, &[]);
    end.ttl = Ttl::WITHDRAWN;
    xtr.registers(room.common()?.first()?, &message(room.nonce(), vec![end]), &site.key())?;
    let reply = room.answer(site.host(2))?;
    let negative = reply.records[0].locators.is_empty() && reply.records[0].ttl == Ttl(1);
    expect(negative, format!("the answer afterwards: {:?}", reply.records))
}

fn withdrawn_beside_a_locator(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let end = MappingRecord { ttl: Ttl::WITHDRAWN, ..record(site.prefix, &[RLOC]) };
    xtr.registers(room.common()?.first()?, &message(room.nonce(), vec![end]), &site.key())?;
    leads_to(room, &site, &[])?;
    Ok("the site has no locator any more".into())
}

fn not_brought_back(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    let register = message(room.nonce(), vec![record(site.prefix, &[RLOC])]);
    xtr.registers(server, &register, &site.key())?;
    let mut end = record(site.prefix, &[]);
    end.ttl = Ttl::WITHDRAWN;
    xtr.registers(server, &message(room.nonce(), vec![end]), &site.key())?;
    room.is_ignored(&xtr, &sealed(&register, &site.key())?)?;
    leads_to(room, &site, &[])?;
    Ok("dropped; the site stayed withdrawn".into())
}

fn unknown_locators(room: &Room) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let mut odd = record(site.prefix, &[RLOC]);
    let like = odd.locators[0].clone();
    let unknown = |kind| Lcaf::Opaque { flags: 0, kind, rsvd2: 0, body: vec![0; 8].into() };
    let mut others: Vec<Address> = [200, 254].map(|kind| unknown(kind).into()).into();
    // Where an AFI is not known it voids the message (RFC 9301, section 5.1).
    if room.claims(Claim::Names) {
        let name = || Address::Name(b"rloc"[..].into());
        others.extend([Lcaf::AfiList(vec![name(), Address::None]).into(), name()]);
    }
    if room.claims(Claim::Mac) {
        others.push(Address::Mac([2; 6]));
    }
    let count = others.len();
    odd.locators.extend(others.into_iter().map(|rloc| LocatorRecord { rloc, ..like.clone() }));
    xtr.registers(room.common()?.first()?, &message(room.nonce(), vec![odd]), &site.key())?;
    leads_to(room, &site, &[RLOC])?;
    Ok(format!("{count} were left out, the address was kept"))
}

fn action_ignored(room: &Room) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let mut odd = record(site.prefix, &[RLOC]);
    odd.action = Action::DropNoReason;
    xtr.registers(room.common()?.first()?, &message(room.nonce(), vec![odd]), &site.key())?;
    leads_to(room, &site, &[RLOC])?;
    let action = room.answer(site.host(3))?.records[0].action;
    expect(action == Action::NoAction, format!("answered with the locator and {action:?}"))
}

/// A site that may use HMAC-SHA-1: its EID-prefix and key.
pub(super) fn legacy(room: &Room) -> Result<(EidPrefix, AuthKey), Fault> {
    if room.is_ours() {
        return Ok((prefix("2001:db8:1e9::/48")?, key(0, Algorithm::HmacSha1, "legacy")));
    }
    let site = room.site()?;
    let key = site.key();
    if key.algorithm == Algorithm::HmacSha1 {
        Ok((site.prefix, key))
    } else {
        Err(unfit("no site of the target has HMAC-SHA-1"))
    }
}
