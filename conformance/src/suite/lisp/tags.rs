// SPDX-License-Identifier: GPL-2.0-or-later
//! Authentication of Map-Registers (RFC 9301, sections 5.6 and 12.5).

use wire::address::EidPrefix;
use wire::control::auth::{self, Algorithm, AlgorithmId, AuthKey, Authentication, Secret, TagForm};
use wire::control::{MapRegister, XtrIdentity};

use super::register::legacy;
use super::{OTHER, RLOC, leads_to, message, registered};
use crate::suite::mapsys::{Room, form, record, rlocs, sealed};
use crate::suite::probe::{Judgement, Probe, broken, expect, must, should, unfit};

const REGISTER: &str = "9301 5.6";
const POLICY: &str = "9301 1.1";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("LI-085.1", REGISTER, "HMAC-SHA-256-128", |room| algorithm(room, Algorithm::HmacSha256)),
    should("LI-086.1", REGISTER, "HMAC-SHA-256-128 with a key per message from HKDF", |room| {
        algorithm(room, Algorithm::HkdfSha256)
    }),
    must("LI-084.1", REGISTER, "the two keys of a site, one after the other", both_keys),
    must("LI-084.2", REGISTER, "a Key ID that the site does not have", |room| wrong_key(room, 9, None)),
    must("LI-084.3", REGISTER, "the second key under the first one's Key ID", |room| wrong_key(room, 1, Some(2))),
    must("LI-092.1", "9301 5.7", "a secret that is not the site's", wrong_secret),
    must("LI-092.2", "9301 5.6", "hundreds of Map-Registers whose tags are all zero", zero_tags),
    must("LI-092.3", "9301 5.6", "a good Map-Register with each of its octets changed", changed_octets),
    must("LI-090.1", "9301 5.6, LOCAL", "tags of every length but those of the algorithm", lengths),
    must("LI-088.1", REGISTER, "an xTR-ID and Site-ID changed behind the tag", changed_tail),
    must("LI-115.1", POLICY, "algorithm 0 with and without a tag", none),
    must("LI-116.1", POLICY, "HMAC-SHA-1 at a site that does not allow it", sha1_refused),
    should("LI-116.2", POLICY, "HMAC-SHA-1, 20 octets, Key ID 0, at a site that allows it", sha1_taken),
];

fn algorithm(room: &Room, algorithm: Algorithm) -> Judgement {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let key = site.key_number(1, algorithm);
    if key.algorithm != site.key().algorithm && !room.is_ours() {
        return Err(unfit("the keys of the target's sites are of another algorithm"));
    }
    let register = message(room.nonce(), vec![record(site.prefix, &[RLOC])]);
    let notify = xtr.registers(room.common()?.first()?, &register, &key)?;
    leads_to(room, &site, &[RLOC])?;
    let same = notify.auth.algorithm == algorithm.id() && notify.auth.tag.len() == 16;
    expect(same, format!("a Map-Notify of algorithm {}, tag of {}", notify.auth.algorithm.0, notify.auth.tag.len()))
}

fn both_keys(room: &Room) -> Judgement {
    let (site, xtr, server) = (room.site()?, room.xtr()?, room.common()?.first()?);
    for (number, rloc) in [(1, OTHER), (2, RLOC)] {
        let key = site.key_number(number, site.key().algorithm);
        let register = message(room.nonce(), vec![record(site.prefix, &[rloc])]);
        let notify = xtr.registers(server, &register, &key)?;
        if notify.auth.key_id != key.id {
            return Err(broken(format!("Key ID {}, answered with {}", key.id, notify.auth.key_id)));
        }
    }
    leads_to(room, &site, &[RLOC])?;
    Ok("each taken, and answered with the same".into())
}

/// The secret of another Key ID, or one that no key has.
fn wrong_key(room: &Room, id: u8, secret_of: Option<u8>) -> Judgement {
    let (site, xtr) = registered(room)?;
    // Those of a target are its own affair.
    let first = site.key().id;
    let id = if secret_of.is_some() { first } else { id + u8::from(id == first) };
    let key = AuthKey { id, ..site.key_number(secret_of.unwrap_or(1), site.key().algorithm) };
    let register = message(room.nonce(), vec![record(site.prefix, &[OTHER])]);
    room.is_ignored(&xtr, &sealed(&register, &key)?)?;
    leads_to(room, &site, &[RLOC])?;
    Ok("dropped, nothing told, the locator stayed".into())
}

fn wrong_secret(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let register = message(room.nonce(), vec![record(site.prefix, &[OTHER])]);
    let wrong = AuthKey { secret: Secret::new("wrongkey"), ..site.key() };
    room.is_ignored(&xtr, &sealed(&register, &wrong)?)?;
    leads_to(room, &site, &[RLOC])?;
    Ok("dropped, nothing told, the locator stayed".into())
}

/// Deployed Map-Servers compare tags as C strings, and take one in 256 of these.
fn zero_tags(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let key = site.key();
    let zero = |_| {
        let tag = vec![0; key.algorithm.tag_length(form(key.algorithm))];
        let auth = Authentication { key_id: key.id, algorithm: key.algorithm.id(), tag };
        let register = message(room.nonce(), vec![record(site.prefix, &[OTHER])]);
        MapRegister { auth, ..register }.encode().map_err(broken)
    };
    // Of 300, one in three targets that take one in 256 would take none.
    let count = if room.is_ours() { 300 } else { 2000 };
    room.are_ignored(&xtr, (0..count).map(zero).collect::<Result<Vec<_>, _>>()?)?;
    leads_to(room, &site, &[RLOC])?;
    Ok(format!("none of {count} taken"))
}

fn changed_octets(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let good = sealed(&message(room.nonce(), vec![record(site.prefix, &[OTHER])]), &site.key())?;
    let changed = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        bad
    };
    room.are_ignored(&xtr, (0..good.len()).map(changed))?;
    leads_to(room, &site, &[RLOC])?;
    Ok(format!("none of {} taken", good.len()))
}

fn lengths(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let register = message(room.nonce(), vec![record(site.prefix, &[OTHER])]);
    let key = site.key();
    let whole = auth::seal(&register.clone().into(), &key, TagForm::Untruncated).map_err(broken)?;
    let cut = |length: usize| {
        let tag = whole[16..].iter().copied().take(length).collect();
        let auth = Authentication { key_id: key.id, algorithm: key.algorithm.id(), tag };
        MapRegister { auth, ..register.clone() }.encode().map_err(broken)
    };
    let right = [TagForm::Truncated, TagForm::Untruncated].map(|form| key.algorithm.tag_length(form));
    let lengths = (0..=40).filter(|length| !right.contains(length));
    room.are_ignored(&xtr, lengths.map(cut).collect::<Result<Vec<_>, _>>()?)?;
    leads_to(room, &site, &[RLOC])?;
    Ok("none of 39 taken".into())
}

fn changed_tail(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let register = message(room.nonce(), vec![record(site.prefix, &[OTHER])]);
    let identity = XtrIdentity { xtr_id: [3; 16], site_id: 9 };
    let mut bytes = sealed(&MapRegister { xtr_identity: Some(identity), ..register }, &site.key())?;
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    room.is_ignored(&xtr, &bytes)?;
    leads_to(room, &site, &[RLOC])?;
    Ok("dropped: the tag covers them".into())
}

fn none(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    for tag in [vec![], vec![0; 16]] {
        let auth = Authentication { key_id: site.key().id, algorithm: AlgorithmId(0), tag };
        let register = message(room.nonce(), vec![record(site.prefix, &[OTHER])]);
        let register = MapRegister { auth, ..register };
        room.is_ignored(&xtr, &register.encode().map_err(broken)?)?;
    }
    leads_to(room, &site, &[RLOC])?;
    Ok("dropped, both".into())
}

fn sha1_refused(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    if site.key().algorithm == Algorithm::HmacSha1 {
        return Err(unfit("the keys of the target's sites are for HMAC-SHA-1"));
    }
    let register = message(room.nonce(), vec![record(site.prefix, &[OTHER])]);
    for form in [TagForm::Truncated, TagForm::Untruncated] {
        let key = site.key_number(1, Algorithm::HmacSha1);
        let bytes = auth::seal(&register.clone().into(), &key, form).map_err(broken)?;
        room.is_ignored(&xtr, &bytes)?;
    }
    leads_to(room, &site, &[RLOC])?;
    Ok("dropped, with 12 octets and with 20".into())
}

fn sha1_taken(room: &Room) -> Judgement {
    let (xtr, server) = (room.xtr()?, room.common()?.first()?);
    let (prefix, key) = legacy(room)?;
    let register = message(room.nonce(), vec![record(prefix, &[RLOC])]);
    let bytes = auth::seal(&register.into(), &key, TagForm::Untruncated).map_err(broken)?;
    xtr.send(server, &bytes)?;
    let notify = xtr.notified(&key)?;
    let reply = room.answer(EidPrefix::host(prefix.iid, prefix.net.addr()))?;
    let length = notify.auth.tag.len();
    // RFC 9301 names 12 octets, and who is deployed sends 20.
    let is_long_enough = length == 20 || !room.is_ours();
    expect(is_long_enough && rlocs(&reply.records) == [RLOC], format!("taken; the Map-Notify has a tag of {length}"))
}
