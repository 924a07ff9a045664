// SPDX-License-Identifier: GPL-2.0-or-later
//! Who answers, and what the Map-Server vouches for.

use std::net::{IpAddr, Ipv4Addr};

use wire::address::{Eid, EidPrefix};
use wire::control::auth::{Algorithm, Secret};
use wire::control::lispsec::{
    Asked, EcmAd, Granted, HmacAlgorithm, HmacId, KdfId, MapReplyAd, OneTimeKey, SecError, eid_ad_octets, seal_reply,
    verify_eid_ad,
};
use wire::control::{Ecm, MapRegister, MapReply, Nonce, XtrIdentity};

use super::room::{ASKED, Asking, ITR, OF_VECTORS, Room, Router, eids, named, prefix_of, record, wrapped};
use crate::suite::mapsys::host_in;
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must};
use crate::target::Key;
use crate::vectors;

const ORDER: &str = "9303 6.7";
const REQUEST: &str = "9303 6.7.1";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("LS-02.1", ORDER, "an ETR with P and S: answered for it, E is 0", rule_1),
    must(
        "LS-02.2",
        ORDER,
        "an ETR with P that does no LISP-SEC: answered for it all the same, E is 0",
        rule_1_unsigned,
    ),
    must("LS-02.3", ORDER, "an ETR with S and without P gets the request, E is 0", rule_2),
    must("LS-02.4", ORDER, "of two ETRs the one with S gets the request, E is 1", rule_2_mixed),
    must("LS-02.5", ORDER, "no ETR with S: a protected negative Map-Reply, E is 1", rule_3),
    must("LS-02.6", "9303 6.3", "an ETR that registers anew without S", turned_off),
    must("LS-03.1", REQUEST, "vector S01 comes to the ETR as vector S02, octet for octet", octet_for_octet),
    must("LS-03.2", REQUEST, "the ETR's key is derived from the ITR's, and wrapped with the ETR's secret", its_own_key),
    must("LS-03.3", REQUEST, "the longest registered EID-prefix is vouched for", longest),
    must("LS-03.4", REQUEST, "the EID-AD is keyed with the ITR's key, and not with the ETR's", keyed),
    must("LS-03.5", REQUEST, "inner headers and Map-Request are forwarded as they came", unchanged),
    must("LS-03.6", REQUEST, "HMAC-SHA-1-96 and HKDF-SHA1-128 are asked for", old_functions),
    must("LS-03.7", REQUEST, "functions that nobody has are asked for: others are used, and named", unknown_functions),
    must("LS-03.8", "9303 6", "no function is preferred: HMAC-SHA-256-128 and HKDF-SHA256", no_preference),
    must("LS-04.1", "9303 6.8", "the ETR's answer holds before the ITR", whole_chain),
    must("LS-04.2", "9303 6.9.1", "an ETR that claims more than it registered", overclaiming),
    must("LS-04.3", "9303 6.7.2", "an EID that nobody has registered: the negative answer is protected", unregistered),
    must("LS-04.4", "9303 6.7.2", "each record of a proxy Map-Reply is vouched for", proxy_records),
];

/// A locator that nobody has: what an ETR claims is about EIDs.
const RLOC: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

/// Registers the site number `n` for its ETR; P and S as given.
fn register(room: &Room, n: u8, nonce: u64, proxy: bool, signs: bool) -> Result<Router, Fault> {
    let etr = room.etr(n)?;
    let records = vec![record(room.site_prefix(n)?, etr.ip)];
    room.registers(&etr, n, of(nonce, proxy, signs, records))?;
    Ok(etr)
}

fn of(nonce: u64, proxy: bool, signs: bool, records: Vec<wire::record::MappingRecord>) -> MapRegister {
    MapRegister { proxy_reply: proxy, security_capable: signs, nonce: Nonce(nonce), records, ..MapRegister::default() }
}

/// What came to the ETR of site `n`.
struct Forwarded {
    ecm: Ecm,
    octets: Vec<u8>,
    ad: EcmAd,
    ms_otk: OneTimeKey,
}

impl Forwarded {
    fn read(room: &Room, n: u8, message: &[u8], nonce: Nonce) -> Result<Self, Fault> {
        let ecm = Ecm::decode(message).map_err(broken)?;
        let octets = ecm.security.clone().ok_or_else(|| broken("the ECM has no S"))?;
        let ad = EcmAd::decode(&octets).map_err(broken)?;
        let ms_otk = ad.otk.unwrap(&Secret::new(room.site_key(n)?.secret), nonce).map_err(broken)?;
        Ok(Self { ecm, octets, ad, ms_otk })
    }

    fn granted(&self) -> Result<&Granted, Fault> {
        self.ad.eid_ad.granted.as_ref().ok_or_else(|| broken("the EID-AD is not filled in"))
    }

    /// The ETR's answer (RFC 9303, section 6.8).
    fn answer(&self, nonce: Nonce, claims: &[EidPrefix]) -> Result<Vec<u8>, Fault> {
        let records = claims.iter().map(|claim| record(*claim, RLOC)).collect();
        let reply = MapReply { nonce, records, ..MapReply::default() };
        let eid_ad = eid_ad_octets(&self.octets).map_err(broken)?;
        let hmac = HmacAlgorithm::for_request(self.ad.requested_hmac);
        seal_reply(&reply, eid_ad, &self.ms_otk, hmac).map_err(broken)
    }
}

/// A registered site that answers itself, a request for it, and what came to its ETR.
fn forwarded(room: &Room, n: u8, asked: Asked) -> Result<(Asking, Forwarded), Fault> {
    let etr = register(room, n, 1, false, true)?;
    let (itr, keys) = (room.router(ITR)?, room.itr_keys()?);
    let asking = itr.asking(200 + u64::from(n), room.host_of(n)?, asked, |otk, nonce| wrapped(&keys, otk, nonce))?;
    itr.send(&asking.message)?;
    let came = Forwarded::read(room, n, &etr.receive_request()?, asking.nonce)?;
    Ok((asking, came))
}

fn rule_1(room: &Room) -> Judgement {
    register(room, 2, 1, true, true)?;
    proxied(room, 2)
}

fn rule_1_unsigned(room: &Room) -> Judgement {
    register(room, 3, 1, true, false)?;
    proxied(room, 3)
}

fn proxied(room: &Room, n: u8) -> Judgement {
    let itr = room.router(ITR)?;
    let verified = itr.verified(&room.protected(&itr, 110, room.host_of(n)?)?)?;
    let is_found = verified.reply.records.iter().any(|record| !record.locators.is_empty());
    expect(is_found && !verified.cant_sign, format!("{}, E {}", named(&verified), verified.cant_sign))
}

fn rule_2(room: &Room) -> Judgement {
    let (_, came) = forwarded(room, 4, ASKED)?;
    let granted = came.granted()?;
    expect(!granted.cant_sign, format!("it came to the ETR, E {}", granted.cant_sign))
}

fn rule_2_mixed(room: &Room) -> Judgement {
    let (plain, signing) = (room.etr(5)?, room.etr(106)?);
    for (etr, xtr, signs) in [(&plain, 5, false), (&signing, 106, true)] {
        let records = vec![record(room.site_prefix(5)?, etr.ip)];
        let xtr_identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 5 });
        let message = MapRegister { merge: true, xtr_identity, ..of(1, false, signs, records) };
        room.registers(etr, 5, message)?;
    }
    let itr = room.router(ITR)?;
    let asking = room.protected(&itr, 111, room.host_of(5)?)?;
    itr.send(&asking.message)?;
    // A Map-Notify may come before, which tells this xTR of the other one.
    let came = Forwarded::read(room, 5, &signing.receive_request()?, asking.nonce)?;
    let verified = asking.verify(&came.answer(asking.nonce, &[room.site_prefix(5)?])?)?;
    expect(verified.cant_sign, format!("it came to the one with S, E {}", verified.cant_sign))
}

fn rule_3(room: &Room) -> Judgement {
    register(room, 6, 1, false, false)?;
    refused_by_all(room, 6, 112)
}

fn refused_by_all(room: &Room, n: u8, nonce: u64) -> Judgement {
    let itr = room.router(ITR)?;
    let verified = itr.verified(&room.protected(&itr, nonce, room.host_of(n)?)?)?;
    let is_negative = verified.reply.records.iter().all(|record| record.locators.is_empty());
    let is_right = is_negative && verified.cant_sign && !verified.reply.records.is_empty();
    expect(is_right, format!("{}, negative {is_negative}, E {}", named(&verified), verified.cant_sign))
}

fn turned_off(room: &Room) -> Judgement {
    let etr = register(room, 7, 1, false, true)?;
    let itr = room.router(ITR)?;
    itr.send(&room.protected(&itr, 113, room.host_of(7)?)?.message)?;
    etr.receive_request()?;
    drop(etr);
    register(room, 7, 2, false, false)?;
    refused_by_all(room, 7, 114)
}

fn octet_for_octet(room: &Room) -> Judgement {
    let file = vectors::shipped().map_err(broken)?;
    let vector = |id: &str| {
        let found = file.vectors.iter().find(|vector| vector.id == id);
        found.map(|vector| vector.lisp.clone()).ok_or_else(|| broken(format!("no vector {id}")))
    };
    let etr = room.etr(8)?;
    let records = vec![record(prefix_of("10.2.2.0", 24), etr.ip)];
    let secret = String::from_utf8_lossy(&file.psk).into_owned();
    let key = Key { id: 1, algorithm: Algorithm::HmacSha256, secret };
    etr.register_with(&key, of(1, false, true, records))?;
    room.router(OF_VECTORS)?.send(&vector("S01")?)?;
    let came = etr.receive_request()?;
    let hex: String = came.iter().map(|octet| format!("{octet:02x}")).collect();
    expect(came == vector("S02")?, hex)
}

fn its_own_key(room: &Room) -> Judgement {
    let (asking, came) = forwarded(room, 9, ASKED)?;
    let derived = asking.otk.derive(wire::control::lispsec::Kdf::HkdfSha256);
    expect(
        came.ms_otk.expose() == derived.expose() && came.ad.otk.key_id == room.site_key(9)?.id,
        format!(
            "the key under Key ID {} is HKDF-SHA256 of the ITR's: {}",
            came.ad.otk.key_id,
            came.ms_otk.expose() == derived.expose()
        ),
    )
}

fn longest(room: &Room) -> Judgement {
    let etr = room.etr(10)?;
    let inner = room.part_of(10)?;
    let records = [room.site_prefix(10)?, inner].map(|prefix| record(prefix, etr.ip));
    room.registers(&etr, 10, of(1, false, true, records.into()))?;
    let itr = room.router(ITR)?;
    let mut said = String::new();
    for (nonce, eid, wanted) in [(115, host_in(&inner, 9), inner), (116, room.host_of(10)?, room.site_prefix(10)?)] {
        let asking = room.protected(&itr, nonce, eid)?;
        itr.send(&asking.message)?;
        let came = Forwarded::read(room, 10, &etr.receive_request()?, asking.nonce)?;
        let granted = &came.granted()?.eids;
        if *granted != [Eid::from(wanted)] {
            return Err(broken(format!("{wanted} expected for {eid}; came {granted:?}")));
        }
        said += &format!("{wanted} for {eid}; ");
    }
    Ok(said)
}

fn keyed(room: &Room) -> Judgement {
    let (asking, came) = forwarded(room, 11, ASKED)?;
    let eid_ad = eid_ad_octets(&came.octets).map_err(broken)?;
    verify_eid_ad(eid_ad, &asking.otk).map_err(broken)?;
    let with_the_etrs = verify_eid_ad(eid_ad, &came.ms_otk);
    expect(with_the_etrs == Err(SecError::Hmac("EID HMAC")), "it holds under the ITR's key only")
}

fn unchanged(room: &Room) -> Judgement {
    let (asking, came) = forwarded(room, 12, ASKED)?;
    let bare = |ecm: Ecm| Ecm { security: None, ..ecm };
    let sent = bare(Ecm::decode(&asking.message).map_err(broken)?);
    expect(bare(came.ecm) == sent, format!("{} octets inside", sent.message.len()))
}

fn old_functions(room: &Room) -> Judgement {
    let asked = Asked { hmac: HmacId(1), kdf: KdfId(1) };
    let (asking, came) = forwarded(room, 13, asked)?;
    let verified = asking.verify(&came.answer(asking.nonce, &[room.site_prefix(13)?])?)?;
    let granted = came.granted()?;
    let used = (granted.hmac_id, came.ad.eid_ad.kdf, came.ad.requested_hmac);
    expect(used == (HmacId(1), KdfId(1), HmacId(1)) && eids(&verified) == [room.site_prefix(13)?], format!("{used:?}"))
}

/// The functions of a proxy Map-Reply.
fn used(room: &Room, nonce: u64, asked: Asked) -> Result<(HmacId, HmacId, KdfId), Fault> {
    let (itr, keys) = (room.router(ITR)?, room.itr_keys()?);
    let came =
        itr.exchange(&itr.asking(nonce, room.host_of(1)?, asked, |otk, nonce| wrapped(&keys, otk, nonce))?.message)?;
    let security = MapReply::decode(&came).map_err(broken)?.security.ok_or_else(|| broken("no S"))?;
    let ad = MapReplyAd::decode(&security).map_err(broken)?;
    let granted = ad.eid_ad.granted.ok_or_else(|| broken("the EID-AD is not filled in"))?;
    Ok((granted.hmac_id, ad.pkt_hmac_id, ad.eid_ad.kdf))
}

fn unknown_functions(room: &Room) -> Judgement {
    let used = used(room, 117, Asked { hmac: HmacId(60_000), kdf: KdfId(60_000) })?;
    expect(used == (HmacId(2), HmacId(2), KdfId(2)), format!("{used:?}"))
}

fn no_preference(room: &Room) -> Judgement {
    let used = used(room, 118, Asked::default())?;
    expect(used == (HmacId(2), HmacId(2), KdfId(2)), format!("{used:?}"))
}

fn whole_chain(room: &Room) -> Judgement {
    let (asking, came) = forwarded(room, 14, ASKED)?;
    let verified = asking.verify(&came.answer(asking.nonce, &[room.site_prefix(14)?])?)?;
    expect(eids(&verified) == [room.site_prefix(14)?] && !verified.cant_sign, named(&verified))
}

fn overclaiming(room: &Room) -> Judgement {
    let (asking, came) = forwarded(room, 15, ASKED)?;
    let claims = [room.site_prefix(15)?, prefix_of("2001:db8::", 32), room.site_prefix(16)?];
    let verified = asking.verify(&came.answer(asking.nonce, &claims)?)?;
    expect(
        eids(&verified) == [room.site_prefix(15)?] && verified.overclaimed.len() == 2,
        format!("{} of {} claims", named(&verified), claims.len()),
    )
}

fn unregistered(room: &Room) -> Judgement {
    let itr = room.router(ITR)?;
    let verified = itr.verified(&room.protected(&itr, 119, room.host_of(17)?)?)?;
    let is_negative = verified.reply.records.iter().all(|record| record.locators.is_empty());
    let signed = !verified.cant_sign;
    expect(
        is_negative && signed && !eids(&verified).is_empty(),
        format!("{}, negative {is_negative}, signed {signed}", named(&verified)),
    )
}

fn proxy_records(room: &Room) -> Judgement {
    let etr = room.etr(18)?;
    let inner = room.part_of(18)?;
    let records = [room.site_prefix(18)?, inner].map(|prefix| record(prefix, etr.ip));
    room.registers(&etr, 18, of(1, true, true, records.into()))?;
    let itr = room.router(ITR)?;
    let verified = itr.verified(&room.protected(&itr, 120, room.host_of(18)?)?)?;
    let found = eids(&verified);
    expect(
        verified.overclaimed.is_empty() && found == [room.site_prefix(18)?, inner],
        format!("{}; without proof {}", named(&verified), verified.overclaimed.len()),
    )
}
