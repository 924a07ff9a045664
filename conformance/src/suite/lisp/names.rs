// SPDX-License-Identifier: GPL-2.0-or-later
//! EIDs that are names (RFC 9735) or MAC addresses (AFI 16389), which a Map-Server keeps whatever its data plane carries.

use wire::address::{Address, Eid, InstanceId, Lcaf};
use wire::control::auth::{Algorithm, AuthKey};
use wire::control::{ControlMessage, Ecm, EidRequest, MapRegister, MapReply, MapRequest};
use wire::record::{MappingRecord, Ttl};

use super::{OTHER, RLOC, message};
use crate::suite::mapsys::{Room, Xtr, key, prefix, record, request, rlocs, sealed};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, unfit};

const FORMAT: &str = "9735 3";
const LOOKUP: &str = "9735 4";
const SERVER: &str = "9301 8.3";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("LI-248.1", FORMAT, "a name, in no instance and in one, its mask-len with the NUL", registered_and_answered),
    must("LI-248.2", LOOKUP, "\"ietf.lisp\" where \"ietf\" is registered", less_specific),
    must("LI-248.3", LOOKUP, "\"iana.lisp\" where \"iana\" is registered too", exact),
    must("LI-248.4", FORMAT, "a name too long for its mask-len, and mask-lens of other lengths", no_names),
    must("LI-248.5", FORMAT, "a name without its NUL, and with a NUL inside", wrong_nul),
    must("LI-248.6", SERVER, "a name that is configured and not registered, and one that is not configured", denied),
    must("LI-248.7", SERVER, "a name whose site answers itself", sent_on),
    must("LI-248.8", "9301 8.2", "a name of no site", of_no_site),
    must("LI-248.9", FORMAT, "a name of a NUL alone, which all others begin with", empty),
    must("LI-251.1", SERVER, "a MAC address in a block that is registered, and one that is registered beside", mac),
    must("LI-251.2", "9301 5.6, LOCAL", "a MAC address that is withdrawn by TTL 0", withdrawn),
];

/// The instance of the site that may register every name, MAC addresses that begin with 02, groups and flows.
pub(super) const IID: u32 = 9;
/// The instance of another such site, all of whose names one registration answers for.
const ALL_NAMES: u32 = 12;

/// Its key, where the suites configure the sites: a target file gives EID-prefixes alone.
pub(super) fn site_key(room: &Room) -> Result<AuthKey, Fault> {
    if room.is_ours() {
        Ok(key(1, Algorithm::HmacSha256, "names"))
    } else {
        Err(unfit("a target file gives no site of names, MAC addresses and pairs"))
    }
}

pub(super) fn within(iid: u32, address: Address, mask_len: u8) -> Eid {
    let in_instance = |address| Lcaf::InstanceId { iid: InstanceId(iid), iid_mask_len: 0, address }.into();
    Eid { address: if iid == 0 { address } else { in_instance(address) }, mask_len }
}

/// A name in an instance; its mask-len counts the NUL.
fn name_in(iid: u32, text: &str) -> Eid {
    let mask_len = u8::try_from(text.len() * 8 + 8).unwrap_or(u8::MAX);
    within(iid, Address::Name(text.as_bytes().into()), mask_len)
}

fn name(text: &str) -> Eid {
    name_in(IID, text)
}

fn station(last: [u8; 3], mask_len: u8) -> Eid {
    let [d, e, f] = last;
    within(IID, Address::Mac([2, 0, 0x5e, d, e, f]), mask_len)
}

pub(super) fn record_of(eid: Eid, locators: &[&str]) -> Result<MappingRecord, Fault> {
    Ok(MappingRecord { eid, ..record(prefix("2001:db8::/32")?, locators) })
}

/// Registers, and sees that the Map-Notify has the same record.
pub(super) fn registers(room: &Room, eid: &Eid, locator: &str) -> Result<(), Fault> {
    let register = message(room.nonce(), vec![record_of(eid.clone(), &[locator])?]);
    let notify = room.xtr()?.registers(room.common()?.first()?, &register, &site_key(room)?)?;
    if notify.records == register.records && notify.nonce == register.nonce {
        Ok(())
    } else {
        Err(broken(format!("expected the record of {eid} in the Map-Notify; came {notify:?}")))
    }
}

pub(super) fn question(room: &Room, xtr: &Xtr, eid: Eid) -> MapRequest {
    let records = vec![EidRequest { notify: false, eid }];
    MapRequest { records, ..request(room.nonce(), &[], &[xtr.address.ip()]) }
}

pub(super) fn answer(room: &Room, eid: &Eid) -> Result<MapReply, Fault> {
    let xtr = room.xtr()?;
    xtr.asks(room.common()?.first()?, &question(room, &xtr, eid.clone()))
}

/// A question is answered with one record of this EID and locator.
pub(super) fn leads_to(room: &Room, asked: &Eid, eid: &Eid, locator: &str) -> Result<(), Fault> {
    let reply = answer(room, asked)?;
    match reply.records.as_slice() {
        [record] if record.eid == *eid && rlocs(&reply.records) == [locator] => Ok(()),
        _ => Err(broken(format!("expected {eid} at {locator} for {asked}; came {reply:?}"))),
    }
}

fn registered_and_answered(room: &Room) -> Judgement {
    for eid in [name("printer"), name_in(0, "plain-printer")] {
        registers(room, &eid, RLOC)?;
        leads_to(room, &eid, &eid, RLOC)?;
    }
    Ok("notified and answered as registered, both".into())
}

fn less_specific(room: &Room) -> Judgement {
    registers(room, &name("ietf"), RLOC)?;
    leads_to(room, &name("ietf.lisp"), &name("ietf"), RLOC)?;
    Ok("answered with \"ietf\", 40 bits long".into())
}

fn exact(room: &Room) -> Judgement {
    registers(room, &name("iana"), RLOC)?;
    registers(room, &name("iana.lisp"), OTHER)?;
    leads_to(room, &name("iana.lisp"), &name("iana.lisp"), OTHER)?;
    Ok("answered with \"iana.lisp\", 80 bits long".into())
}

fn no_names(room: &Room) -> Judgement {
    let text = |octets: &[u8], mask_len| within(IID, Address::Name(octets.into()), mask_len);
    let eids = [text(&[b'x'; 40], 255), text(b"printer", 0), text(b"printer", 32), text(b"printer", 55)];
    let count = eids.len();
    for eid in eids {
        let register = message(room.nonce(), vec![record_of(eid.clone(), &[OTHER])?]);
        room.is_ignored(&room.xtr()?, &sealed(&register, &site_key(room)?)?)?;
        let xtr = room.xtr()?;
        room.is_ignored(&xtr, &xtr.ecm(&question(room, &xtr, eid))?)?;
    }
    Ok(format!("neither registered nor answered, all {count}"))
}

fn empty(room: &Room) -> Judgement {
    let eid = name_in(ALL_NAMES, "");
    registers(room, &eid, RLOC)?;
    for asked in [&eid, &name_in(ALL_NAMES, "whoever")] {
        leads_to(room, asked, &eid, RLOC)?;
    }
    Ok("registered, and the answer for itself and for a longer one".into())
}

fn wrong_nul(room: &Room) -> Judgement {
    registers(room, &name("scanner"), RLOC)?;
    let xtr = room.xtr()?;
    let asked = question(room, &xtr, name_in(0, "plain-scanner")).encode().map_err(broken)?;
    let without = asked[..asked.len() - 1].to_vec();
    let mut inside = asked;
    let at = inside.len() - 4;
    inside[at] = 0;
    room.are_ignored(&xtr, [xtr.wrapped(without)?, xtr.wrapped(inside)?])?;
    Ok("dropped, both".into())
}

fn denied(room: &Room) -> Judgement {
    site_key(room)?;
    let mut told = Vec::new();
    for (eid, minutes) in [(name("nobody"), 1), (name_in(10, "nobody"), 15)] {
        let reply = answer(room, &eid)?;
        let record = reply.records.first().ok_or_else(|| broken("no record"))?;
        if !record.locators.is_empty() || record.ttl != Ttl(minutes) || record.eid != eid {
            return Err(broken(format!("expected no locator of {eid} for {minutes} min; came {record}")));
        }
        told.push(record.to_string());
    }
    Ok(told.join("; "))
}

fn sent_on(room: &Room) -> Judgement {
    let (etr, server) = (room.xtr()?, room.common()?.first()?);
    let eid = name("answers-itself");
    let records = vec![record_of(eid.clone(), &[&etr.address.ip().to_string()])?];
    let register = MapRegister { proxy_reply: false, ..message(room.nonce(), records) };
    etr.registers(server, &register, &site_key(room)?)?;
    let itr = room.xtr()?;
    let asked = question(room, &itr, eid);
    itr.send(server, &itr.ecm(&asked)?)?;
    match etr.message()? {
        (_, ControlMessage::Ecm(Ecm { message, .. })) => {
            expect(message == asked.encode().map_err(broken)?, "sent on to the ETR, its inner message unchanged")
        }
        (from, other) => Err(broken(format!("expected an ECM at the ETR; from {from} came {other:?}"))),
    }
}

fn of_no_site(room: &Room) -> Judgement {
    for eid in [name_in(0, "printer"), name_in(10, "printer"), within(0, Address::Mac([2, 0, 0, 0, 0, 1]), 48)] {
        let register = message(room.nonce(), vec![record_of(eid, &[OTHER])?]);
        room.is_ignored(&room.xtr()?, &sealed(&register, &site_key(room)?)?)?;
    }
    Ok("dropped: in no instance, in another one, and a MAC address in no instance".into())
}

fn mac(room: &Room) -> Judgement {
    registers(room, &station([0, 0, 0], 24), RLOC)?;
    leads_to(room, &station([1, 2, 3], 48), &station([0, 0, 0], 24), RLOC)?;
    registers(room, &station([1, 2, 4], 48), OTHER)?;
    leads_to(room, &station([1, 2, 4], 48), &station([1, 2, 4], 48), OTHER)?;
    // The block with the address that is more specific, or a part of the block without it.
    let reply = answer(room, &station([1, 2, 3], 48))?;
    let has = |eid: &Eid, locator: &str| {
        reply.records.iter().any(|it| it.eid == *eid && rlocs(std::slice::from_ref(it)) == [locator])
    };
    let is_whole = has(&station([0, 0, 0], 24), RLOC) && has(&station([1, 2, 4], 48), OTHER);
    let is_right = match reply.records.as_slice() {
        // Both addresses have these bits in common, so that they tell no longer which is asked for.
        [part] => part.eid.mask_len > 45 && rlocs(&reply.records) == [RLOC],
        records => records.len() == 2 && is_whole,
    };
    if is_right {
        Ok("the longest match each time; the block never again without the address inside it".into())
    } else {
        Err(broken(format!("expected both records, or a part of the block at {RLOC}; came {reply:?}")))
    }
}

fn withdrawn(room: &Room) -> Judgement {
    let eid = within(IID, Address::Mac([2, 7, 0, 0, 0, 1]), 48);
    registers(room, &eid, RLOC)?;
    let gone = MappingRecord { ttl: Ttl(0), ..record_of(eid.clone(), &[])? };
    room.xtr()?.registers(room.common()?.first()?, &message(room.nonce(), vec![gone]), &site_key(room)?)?;
    let reply = answer(room, &eid)?;
    expect(rlocs(&reply.records).is_empty(), "no locator any more")
}
