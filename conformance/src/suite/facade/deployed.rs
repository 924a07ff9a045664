// SPDX-License-Identifier: GPL-2.0-or-later
//! What ends deployed Map-Servers, or opens them: each was seen to do so to one of them. This one must go on, and tell nobody.

use wire::address::{Address, EidPrefix, InstanceId, Lcaf};
use wire::control::auth::{self, Algorithm, AlgorithmId, AuthKey, Authentication, Secret, TagForm};
use wire::control::{EidRequest, MapRegister, MapRequest};
use wire::record::LocatorRecord;

use super::{OTHER, RLOC};
use crate::suite::mapsys::{Room, Site, Xtr, host, prefix, prefix_in, record, register, request, rlocs, sealed};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, unfit};
use crate::target::Claim;

const LOCAL: &str = "9301 8, LOCAL";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("FC-90.1", LOCAL, "a Map-Request with two records, which ends one", two_records),
    must("FC-90.2", LOCAL, "a Map-Register of 12 octets, which ends one", twelve_octets),
    must("FC-90.3", LOCAL, "a locator that is an AFI-list, which ends one", afi_list),
    must("FC-90.4", LOCAL, "EIDs with an Instance-ID, of which the Source-EID ends one", instance),
    must("FC-90.5", LOCAL, "more ITR-RLOCs counted than there are, which ends one", itr_rloc_count),
    must("FC-90.6", LOCAL, "HMAC-SHA-1, which ends one", sha1),
    must("FC-90.7", LOCAL, "authentication data cut short, which ends one", cut_tag),
    must("FC-90.8", LOCAL, "N without an xTR-ID, which ends one", notify_without_id),
    must("FC-91.1", LOCAL, "no tag at all, which one takes", no_tag),
    must("FC-91.2", LOCAL, "the last tag with another nonce, which one takes unseen", old_tag),
    must("FC-91.3", LOCAL, "a wrong tag with M, which one signs a Map-Notify for", no_oracle),
    must("FC-91.4", LOCAL, "an old Map-Register replayed, which all take", replayed),
    must("FC-92.1", LOCAL, "two EID-prefixes registered one after the other: one forgets the first", keeps_both),
    must("FC-92.2", LOCAL, "a prefix that ended and is registered again: one ignores it", comes_back),
    must("FC-92.3", LOCAL, "three records in a question: two answer the first alone", answers_each),
];

fn registered(room: &Room) -> Result<(Site, Xtr), Fault> {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let message = register(room.nonce(), vec![record(site.prefix, &[RLOC])]);
    xtr.registers(room.common()?.first()?, &message, &site.key())?;
    Ok((site, xtr))
}

/// The site's locator is what it was.
fn stays(room: &Room, site: &Site) -> Judgement {
    let came = rlocs(&room.answer(site.host(2))?.records);
    expect(came == [RLOC], format!("afterwards it goes on and answers {came:?}"))
}

fn two_records(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let asked = request(room.nonce(), &[site.host(2), site.host(3)], &[xtr.address.ip()]);
    xtr.asks(room.common()?.first()?, &asked)?;
    room.works()?;
    stays(room, &site)
}

fn twelve_octets(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let whole = sealed(&register(room.nonce(), vec![record(site.prefix, &[OTHER])]), &site.key())?;
    room.is_ignored(&xtr, &whole[..12])?;
    stays(room, &site)
}

fn afi_list(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let mut odd = record(site.prefix, &[RLOC]);
    let inner = Address::from(RLOC.parse::<std::net::IpAddr>().map_err(broken)?);
    // Where an AFI is not known it voids the message (RFC 9301, section 5.1).
    let beside = if room.claims(Claim::Names) { Address::Name(b"x"[..].into()) } else { Address::None };
    let list = Address::Lcaf(Box::new(Lcaf::AfiList(vec![inner, beside])));
    let like = odd.locators[0].clone();
    lists_alone(room, &like)?;
    odd.locators.push(LocatorRecord { rloc: list, ..like });
    xtr.registers(room.common()?.first()?, &register(room.nonce(), vec![odd]), &site.key())?;
    room.works()?;
    stays(room, &site)
}

/// AFI-lists and nothing else: what becomes of the site is not asked, but the map system goes on.
fn lists_alone(room: &Room, like: &LocatorRecord) -> Result<(), Fault> {
    let (v4, v6) = ("198.51.100.3".parse().map_err(broken)?, "2001:db8:c::3".parse().map_err(broken)?);
    let [v4, v6] = [v4, v6].map(|ip: std::net::IpAddr| Address::from(ip));
    for list in [vec![v4.clone()], vec![v4, v6.clone()], vec![v6, Address::None]] {
        let (other, xtr) = registered(room)?;
        let mut odd = record(other.prefix, &[]);
        odd.locators.push(LocatorRecord { rloc: Address::Lcaf(Box::new(Lcaf::AfiList(list))), ..like.clone() });
        let odd = register(room.nonce(), vec![odd]);
        xtr.send(room.common()?.first()?, &sealed(&odd, &other.key())?)?;
        room.works()?;
    }
    Ok(())
}

fn instance(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    for iid in [0, 5, 0x00ff_ffff] {
        let address = site.host(2).net.addr().into();
        // As an ITR asks whose own EID is in the instance too.
        let source_eid = Lcaf::InstanceId { iid: InstanceId(iid), iid_mask_len: 0, address }.into();
        let asked = request(room.nonce(), &[prefix_in(iid, "2001:db8:77::2/128")?], &[xtr.address.ip()]);
        let asked = MapRequest { source_eid, ..asked };
        if !room.claims(Claim::InstanceId) {
            // Whether and what it answers is its own affair, if it goes on.
            xtr.send(room.common()?.first()?, &xtr.ecm(&asked)?)?;
            xtr.hear(room.grace())?;
            room.works()?;
            continue;
        }
        let reply = xtr.asks(room.common()?.first()?, &asked)?;
        let told = reply.records.first().and_then(|record| record.eid.ip_prefix());
        if told.is_none_or(|told| told.iid.0 != iid) {
            return Err(broken(format!("asked in instance {iid}, answered {told:?}")));
        }
    }
    room.works()?;
    Ok(if room.claims(Claim::InstanceId) { "answered in each instance" } else { "it goes on" }.into())
}

fn itr_rloc_count(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let mut bytes = request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]).encode().map_err(broken)?;
    bytes[2] = bytes[2] & 0xe0 | 8;
    room.is_ignored(&xtr, &xtr.wrapped(bytes)?)?;
    stays(room, &site)
}

fn sha1(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    if site.key().algorithm == Algorithm::HmacSha1 {
        return Err(unfit("the keys of the target's sites are for HMAC-SHA-1"));
    }
    let message = register(room.nonce(), vec![record(site.prefix, &[OTHER])]).into();
    let mut key = site.key_number(1, Algorithm::HmacSha1);
    key.id = 0;
    let bytes = auth::seal(&message, &key, TagForm::Untruncated).map_err(broken)?;
    if !room.is_ours() {
        // Whether it takes that is its own affair, if it goes on.
        xtr.send(room.common()?.first()?, &bytes)?;
        room.works()?;
        return Ok("it goes on".into());
    }
    room.is_ignored(&xtr, &bytes)?;
    stays(room, &site)
}

fn cut_tag(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let whole = sealed(&register(room.nonce(), vec![record(site.prefix, &[OTHER])]), &site.key())?;
    room.are_ignored(&xtr, (16..32).map(|length| whole[..length].to_vec()))?;
    stays(room, &site)
}

fn notify_without_id(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let records = vec![EidRequest { notify: true, eid: site.host(2).into() }];
    let asked = MapRequest { records, ..request(room.nonce(), &[], &[xtr.address.ip()]) };
    xtr.send(room.common()?.first()?, &xtr.ecm(&asked)?)?;
    room.works()?;
    stays(room, &site)
}

fn no_tag(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let message = |want_notify, algorithm| {
        let auth = Authentication { key_id: site.key().id, algorithm: AlgorithmId(algorithm), tag: vec![] };
        MapRegister { auth, want_notify, ..register(room.nonce(), vec![record(site.prefix, &[OTHER])]) }.encode()
    };
    let all = [(false, 0), (true, 0), (true, 1), (true, 2), (true, 3)].map(|(notify, id)| message(notify, id));
    room.are_ignored(&xtr, all.into_iter().collect::<Result<Vec<_>, _>>().map_err(broken)?)?;
    stays(room, &site)
}

fn old_tag(room: &Room) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let message = register(room.nonce(), vec![record(site.prefix, &[RLOC])]);
    xtr.registers(room.common()?.first()?, &message, &site.key())?;
    let mut bytes = sealed(&message, &site.key())?;
    bytes[4..12].copy_from_slice(&room.nonce().0.to_be_bytes());
    room.is_ignored(&xtr, &bytes)?;
    stays(room, &site)
}

fn no_oracle(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let bytes = sealed(
        &register(room.nonce(), vec![record(site.prefix, &[OTHER])]),
        &AuthKey { secret: Secret::new("anything"), ..site.key() },
    )?;
    room.is_ignored(&xtr, &bytes)?;
    stays(room, &site)
}

fn replayed(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    let old = register(room.nonce(), vec![record(site.prefix, &[OTHER])]);
    xtr.registers(server, &old, &site.key())?;
    xtr.registers(server, &register(room.nonce(), vec![record(site.prefix, &[RLOC])]), &site.key())?;
    room.is_ignored(&xtr, &sealed(&old, &site.key())?)?;
    stays(room, &site)
}

fn keeps_both(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    let stem = site.prefix.net.addr().to_string();
    let stem = stem.trim_end_matches(':');
    let [first, second] = [1, 2].map(|number| format!("{stem}:{number}::"));
    for (part, rloc) in [(&first, RLOC), (&second, OTHER)] {
        let message = register(room.nonce(), vec![record(prefix(&format!("{part}/64"))?, &[rloc])]);
        xtr.registers(server, &message, &site.key())?;
    }
    let [first, second] = [first, second].map(|part| room.answer(host(&format!("{part}9"))?));
    let (first, second) = (rlocs(&first?.records), rlocs(&second?.records));
    expect(first == [RLOC] && second == [OTHER], format!("answered {first:?} and {second:?}"))
}

fn comes_back(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let server = room.common()?.first()?;
    let mut end = record(site.prefix, &[]);
    end.ttl = wire::record::Ttl::WITHDRAWN;
    xtr.registers(server, &register(room.nonce(), vec![end]), &site.key())?;
    xtr.registers(server, &register(room.nonce(), vec![record(site.prefix, &[RLOC])]), &site.key())?;
    stays(room, &site)
}

fn answers_each(room: &Room) -> Judgement {
    let ((site, xtr), (other, _)) = (registered(room)?, registered(room)?);
    let never = room.special("never registered")?.prefixes[0];
    let eids = [site.host(2), other.host(2), EidPrefix::host(never.iid, never.net.addr())];
    let records = room.answers(&xtr, &request(room.nonce(), &eids, &[xtr.address.ip()]))?;
    let told: Vec<_> = records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
    let all = eids.iter().all(|eid| told.iter().any(|told| told.covers(eid)));
    expect(all, format!("{} records for three", told.len()))
}
