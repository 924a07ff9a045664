// SPDX-License-Identifier: GPL-2.0-or-later
//! EIDs that are pairs of a source and a group or destination (RFC 8060, sections 4.5 and 4.8): with them multicast is registered and
//! looked up (RFC 8378).

use wire::address::{Address, Eid, InstanceId, Lcaf};
use wire::record::{MappingRecord, Ttl};

use super::names::{IID, answer, leads_to, question, record_of, registers, site_key, within};
use super::{OTHER, RLOC, message};
use crate::suite::mapsys::{Room, rlocs, sealed};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must};

const MULTICAST: &str = "8060 4.5";
const KEY: &str = "8060 4.8";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("LI-239.1", MULTICAST, "a source and a group, of IPv4 and of IPv6, in an instance", groups),
    must("LI-239.2", "8378 8", "(S, G) where (*, G) is registered, and where it is registered too", all_sources),
    must(
        "LI-239.3",
        "8060 4.5, LOCAL",
        "(S, G) where one has the longer group and another the longer source",
        longest_group,
    ),
    must("LI-239.4", "8060 4.5, LOCAL", "a group that is none, one of another family, and AFI 0", no_groups),
    must("LI-239.5", "9301 5.6, LOCAL", "a source and a group that are withdrawn by TTL 0", withdrawn),
    must("LI-242.1", KEY, "a source and a destination, of a packet inside both prefixes", flows),
    must("LI-242.2", KEY, "the same source to another destination, and another source", other_flows),
    must("LI-242.3", "8060 4.8, LOCAL", "a source and a destination of two families, and AFI 0", no_flows),
];

/// The instance of another site of groups.
const OTHER_IID: u32 = 11;

/// An address, or AFI 0.
fn address(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().map_or(Address::None, Address::from)
}

/// Multicast Info; the mask-len of a record says nothing about it.
fn group_in(iid: u32, (source, source_mask_len): (&str, u8), (group, group_mask_len): (&str, u8)) -> Eid {
    let (iid, source, group) = (InstanceId(iid), address(source), address(group));
    let lcaf = Lcaf::MulticastInfo { iid, source_mask_len, group_mask_len, source, group };
    Eid { address: lcaf.into(), mask_len: source_mask_len.saturating_add(group_mask_len) }
}

fn group(source: (&str, u8), group: (&str, u8)) -> Eid {
    group_in(IID, source, group)
}

/// A Source/Dest Key in the instance of the site.
fn flow((source, source_mask_len): (&str, u8), (dest, dest_mask_len): (&str, u8)) -> Eid {
    let lcaf = Lcaf::SourceDestKey { source_mask_len, dest_mask_len, source: address(source), dest: address(dest) };
    within(IID, lcaf.into(), source_mask_len.saturating_add(dest_mask_len))
}

/// Answered at this locator, and with a pair that has both addresses in it.
fn is_led_to(room: &Room, asked: &Eid, locator: &str) -> Result<MappingRecord, Fault> {
    let reply = answer(room, asked)?;
    match reply.records.as_slice() {
        [record] if rlocs(&reply.records) == [locator] => Ok(record.clone()),
        _ => Err(broken(format!("expected {asked} at {locator}; came {reply:?}"))),
    }
}

fn groups(room: &Room) -> Judgement {
    for eid in [
        group(("10.1.1.1", 32), ("232.1.1.1", 32)),
        group(("2001:db8::1", 128), ("ff3e::8000:1", 128)),
        group_in(OTHER_IID, ("10.1.1.1", 32), ("232.1.1.1", 32)),
    ] {
        registers(room, &eid, RLOC)?;
        leads_to_lcaf(room, &eid)?;
    }
    Ok("notified and answered as registered, all three".into())
}

/// Answered with the same LCAF, whatever the mask-len beside it.
fn leads_to_lcaf(room: &Room, eid: &Eid) -> Result<(), Fault> {
    let record = is_led_to(room, eid, RLOC)?;
    if record.eid.address == eid.address { Ok(()) } else { Err(broken(format!("expected {eid}; came {record}"))) }
}

fn all_sources(room: &Room) -> Judgement {
    let all = group(("0.0.0.0", 0), ("239.1.1.1", 32));
    let (one, other) = (group(("10.1.1.1", 32), ("239.1.1.1", 32)), group(("10.1.1.2", 32), ("239.1.1.1", 32)));
    registers(room, &all, RLOC)?;
    let record = is_led_to(room, &one, RLOC)?;
    expect(record.eid.address == all.address, "answered with (0.0.0.0/0, G)")?;
    registers(room, &one, OTHER)?;
    is_led_to(room, &one, OTHER)?;
    let record = is_led_to(room, &other, RLOC)?;
    expect(record.eid.address == other.address, "of two, the best match; (0.0.0.0/0, G) never again without the other")
}

fn longest_group(room: &Room) -> Judgement {
    registers(room, &group(("10.2.1.1", 32), ("239.2.0.0", 16)), RLOC)?;
    registers(room, &group(("10.2.0.0", 16), ("239.2.1.1", 32)), OTHER)?;
    is_led_to(room, &group(("10.2.1.1", 32), ("239.2.1.1", 32)), OTHER)?;
    is_led_to(room, &group(("10.2.1.1", 32), ("239.2.1.2", 32)), RLOC)?;
    is_led_to(room, &group(("10.2.1.2", 32), ("239.2.1.1", 32)), OTHER)?;
    Ok("the one with the longer group, where both cover".into())
}

fn are_ignored(room: &Room, eids: &[Eid]) -> Judgement {
    for eid in eids {
        let register = message(room.nonce(), vec![record_of(eid.clone(), &[OTHER])?]);
        room.is_ignored(&room.xtr()?, &sealed(&register, &site_key(room)?)?)?;
        let xtr = room.xtr()?;
        room.is_ignored(&xtr, &xtr.ecm(&question(room, &xtr, eid.clone()))?)?;
    }
    Ok(format!("neither registered nor answered, all {}", eids.len()))
}

fn no_groups(room: &Room) -> Judgement {
    let source = ("10.1.1.1", 32);
    are_ignored(
        room,
        &[
            group(source, ("10.9.9.9", 32)),
            group(source, ("224.0.0.0", 3)),
            group(source, ("ff3e::1", 128)),
            group(("none", 0), ("239.1.1.1", 32)),
            group(source, ("none", 0)),
        ],
    )
}

fn withdrawn(room: &Room) -> Judgement {
    let eid = group(("10.3.1.1", 32), ("239.3.1.1", 32));
    registers(room, &eid, RLOC)?;
    let gone = MappingRecord { ttl: Ttl(0), ..record_of(eid.clone(), &[])? };
    room.xtr()?.registers(room.common()?.first()?, &message(room.nonce(), vec![gone]), &site_key(room)?)?;
    expect(rlocs(&answer(room, &eid)?.records).is_empty(), "no locator any more")
}

fn flows(room: &Room) -> Judgement {
    let key = flow(("10.1.0.0", 16), ("10.2.2.0", 24));
    registers(room, &key, RLOC)?;
    let record = is_led_to(room, &flow(("10.1.1.1", 32), ("10.2.2.2", 32)), RLOC)?;
    expect(record.eid.address == key.address, "answered with both prefixes as registered")
}

fn other_flows(room: &Room) -> Judgement {
    registers(room, &flow(("10.5.0.0", 16), ("10.6.2.0", 24)), RLOC)?;
    for asked in [flow(("10.5.1.1", 32), ("10.6.3.2", 32)), flow(("10.7.1.1", 32), ("10.6.2.2", 32))] {
        let reply = answer(room, &asked)?;
        expect(!reply.records.is_empty() && rlocs(&reply.records).is_empty(), "no locator: one prefix is not enough")?;
    }
    leads_to(room, &flow(("10.5.0.0", 16), ("10.6.2.0", 24)), &flow(("10.5.0.0", 16), ("10.6.2.0", 24)), RLOC)?;
    Ok("denied, both".into())
}

fn no_flows(room: &Room) -> Judgement {
    are_ignored(
        room,
        &[
            flow(("10.1.1.1", 32), ("2001:db8::1", 128)),
            flow(("none", 0), ("10.2.2.2", 32)),
            flow(("10.1.1.1", 32), ("none", 0)),
        ],
    )
}
