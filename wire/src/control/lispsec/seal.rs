// SPDX-License-Identifier: GPL-2.0-or-later
//! What a Map-Server and an ETR make (RFC 9303, sections 6.7 and 6.8).

use super::ad::{EidAd, Granted, reply_ad};
use super::{HmacAlgorithm, Kdf, OneTimeKey};
use crate::address::Eid;
use crate::control::MapReply;
use crate::error::EncodeError;

/// The EID-AD of a Map-Server, keyed with the one-time key of the ITR (RFC 9303, section 6.7.1): that `eids` may be answered
/// for, and whether some of their ETRs cannot sign.
///
/// # Errors
/// When there are too many of them, or one has no encoding.
pub fn seal_eid_ad(
    itr_otk: &OneTimeKey,
    kdf: Kdf,
    hmac: HmacAlgorithm,
    cant_sign: bool,
    eids: Vec<Eid>,
) -> Result<Vec<u8>, EncodeError> {
    let granted = Granted { cant_sign, hmac_id: hmac.id(), eids, hmac: vec![0; hmac.length()] };
    let mut octets = EidAd { kdf: kdf.id(), granted: Some(granted) }.encode()?;
    put_last(&mut octets, hmac, itr_otk);
    Ok(octets)
}

/// Encodes a Map-Reply with S, the octets of an EID-AD and an HMAC over all of it, keyed with the one-time key of the ETR
/// (RFC 9303, section 6.8); what stands in its own `security` is not looked at.
///
/// # Errors
/// When the Map-Reply has no encoding.
pub fn seal_reply(
    reply: &MapReply,
    eid_ad: &[u8],
    ms_otk: &OneTimeKey,
    hmac: HmacAlgorithm,
) -> Result<Vec<u8>, EncodeError> {
    let security = Some(reply_ad(eid_ad, hmac.id(), &vec![0; hmac.length()])?);
    let mut payload = MapReply { security, ..reply.clone() }.encode()?;
    put_last(&mut payload, hmac, ms_otk);
    Ok(payload)
}

/// Puts the HMAC in the place of the zeros that end the octets.
fn put_last(octets: &mut [u8], hmac: HmacAlgorithm, key: &OneTimeKey) {
    let tag = hmac.tag(key, &[octets]);
    let at = octets.len() - tag.len();
    octets[at..].copy_from_slice(&tag);
}
