// SPDX-License-Identifier: GPL-2.0-or-later
//! What an ITR checks before it takes a Map-Reply (RFC 9303, section 6.9).

use super::ad::{EidAd, Granted, MapReplyAd};
use super::{HmacAlgorithm, HmacId, Kdf, KdfId, OneTimeKey, SecError};
use crate::address::Eid;
use crate::control::MapReply;

/// What the ITR asked for in its Map-Request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Requested HMAC ID.
    pub hmac: HmacId,
    /// KDF ID.
    pub kdf: KdfId,
}

/// A Map-Reply whose HMACs hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The message, with the records that the Map-Server vouches for.
    pub reply: MapReply,
    /// The EID-prefixes of other records: claimed by the ETR alone, to be logged (RFC 9303, section 6.9.1).
    pub overclaimed: Vec<Eid>,
    /// E: a request without LISP-SEC might reach further ETRs, which cannot sign.
    pub cant_sign: bool,
}

/// Checks a Map-Reply against the one-time key of the Map-Request with its nonce, in constant time. A Map-Reply that holds uses the
/// key up: the caller forgets it with the nonce (RFC 9303, section 6.9). After one that does not the right one may still come.
///
/// # Errors
/// Says why the Map-Reply is to be discarded; [`SecError::HmacId`] and [`SecError::KdfId`] are worth another request with
/// another number (RFC 9303, section 6.9).
pub fn verify_reply(payload: &[u8], itr_otk: &OneTimeKey, asked: Asked) -> Result<Verified, SecError> {
    let (reply, end) = MapReply::read(payload)?;
    let security = reply.security.as_deref().ok_or(SecError::Missing("authentication data"))?;
    let (ad, eid_ad) = MapReplyAd::read(security)?;
    let (kdf, granted) = verify_eid_ad(eid_ad, itr_otk)?;
    if asked.kdf != KdfId::NOPREF && asked.kdf != kdf.id() {
        return Err(SecError::KdfId(kdf.id().0));
    }
    let pkt = HmacAlgorithm::from_id(ad.pkt_hmac_id);
    let pkt = pkt.filter(|_| asked.hmac == HmacId::NOPREF || asked.hmac == ad.pkt_hmac_id);
    let pkt = pkt.ok_or(SecError::HmacId(ad.pkt_hmac_id.0))?;
    check_last("PKT HMAC", &payload[..end], pkt, &itr_otk.derive(kdf), &ad.pkt_hmac)?;

    let (records, others): (Vec<_>, Vec<_>) =
        reply.records.into_iter().partition(|record| granted.eids.iter().any(|granted| grants(granted, &record.eid)));
    let overclaimed = others.into_iter().map(|record| record.eid).collect();
    Ok(Verified { reply: MapReply { records, ..reply }, overclaimed, cant_sign: granted.cant_sign })
}

/// Checks what a Map-Server vouches for against the one-time key of the ITR.
///
/// # Errors
/// When it vouches for nothing, or the HMAC does not hold.
pub fn verify_eid_ad(octets: &[u8], itr_otk: &OneTimeKey) -> Result<(Kdf, Granted), SecError> {
    let EidAd { kdf, granted } = EidAd::decode(octets)?;
    let granted = granted.ok_or(SecError::Missing("EID-AD of a Map-Server"))?;
    let hmac = HmacAlgorithm::from_id(granted.hmac_id).ok_or(SecError::HmacId(granted.hmac_id.0))?;
    check_last("EID HMAC", octets, hmac, itr_otk, &granted.hmac)?;
    // Whatever the number says, it is now known to be the Map-Server's.
    let kdf = Kdf::from_id(kdf).ok_or(SecError::KdfId(kdf.0))?;
    Ok((kdf, granted))
}

/// Whether an EID-prefix lies inside one that a Map-Server vouches for. Wider ones claim too much (RFC 9303, section 6.9.1).
pub fn grants(granted: &Eid, claimed: &Eid) -> bool {
    match (granted.ip_prefix(), claimed.ip_prefix()) {
        (Some(granted), Some(claimed)) => granted.covers(&claimed),
        _ => granted == claimed,
    }
}

/// The HMAC ends the octets, and counts as zeros in what it is over.
fn check_last(
    name: &'static str,
    octets: &[u8],
    hmac: HmacAlgorithm,
    key: &OneTimeKey,
    tag: &[u8],
) -> Result<(), SecError> {
    let covered = octets.len().checked_sub(tag.len()).map(|at| &octets[..at]);
    let zeros = vec![0; tag.len()];
    let holds = covered.is_some_and(|covered| hmac.matches(key, &[covered, &zeros], tag));
    if holds { Ok(()) } else { Err(SecError::Hmac(name)) }
}
