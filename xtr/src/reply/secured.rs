// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC as ETR (RFC 9303, section 6.8): the one-time key that a Map-Server gives us, and the Map-Reply that it seals.
//!
//! The key is wrapped with one that we register with, whichever address the Map-Server forwards from: who can wrap it has that.
//! What the Map-Server vouches for (EID-AD) is keyed with what only it and the ITR know, and is handed on as it came.

use std::time::Instant;

use wire::EncodeError;
use wire::control::auth::AuthKey;
use wire::control::lispsec::{EcmAd, HmacAlgorithm, OneTimeKey, WrapId, eid_ad_octets, seal_reply};
use wire::control::{MapReply, Nonce};

use crate::pause::Pause;
use crate::refusal::Refusal;
use crate::transport::Via;

/// What a protected Map-Request gives for its answer.
#[derive(Debug)]
pub struct Protection {
    ms_otk: OneTimeKey,
    hmac: HmacAlgorithm,
    /// As it came, octet for octet.
    eid_ad: Vec<u8>,
}

/// Opens protected Map-Requests.
#[derive(Debug, Default)]
pub struct Opener {
    logged: Pause,
}

impl Opener {
    /// Unwraps the one-time key in the authentication data of an ECM; `keys` are those that we register with, `nonce` is that of the
    /// Map-Request.
    ///
    /// # Errors
    /// The reason for which the whole message is dropped (RFC 9303, section 6.5).
    pub fn open<'k>(
        &mut self,
        now: Instant,
        via: Via,
        keys: impl Iterator<Item = &'k AuthKey>,
        security: &[u8],
        nonce: Nonce,
    ) -> Result<Protection, Refusal> {
        let opened = open(via, keys, security, nonce);
        if let Err(refusal) = &opened {
            self.logged.line(now, |left_out| {
                tracing::warn!(from = %via, refusal = refusal.name(), left_out, "a protected Map-Request is dropped");
            });
        }
        opened
    }
}

fn open<'k>(
    via: Via,
    keys: impl Iterator<Item = &'k AuthKey>,
    security: &[u8],
    nonce: Nonce,
) -> Result<Protection, Refusal> {
    let ad = EcmAd::decode(security).map_err(|_| Refusal::SecMalformed)?;
    // Of an ITR or a Map-Resolver: no ITR would take an answer without what a Map-Server vouches for (section 6.9).
    if ad.eid_ad.granted.is_none() {
        return Err(Refusal::SecEidAdMissing);
    }
    let ms_otk = match ad.otk.wrap {
        WrapId::AES_HKDF_SHA256 => {
            let mut keys = keys.filter(|key| key.id == ad.otk.key_id).peekable();
            keys.peek().ok_or(Refusal::EcmSecurity)?;
            keys.find_map(|key| ad.otk.unwrap(&key.secret, nonce).ok()).ok_or(Refusal::SecNotUnwrapped)?
        }
        // What comes from the map system in this process was never on a path; there is no DTLS on any other (section 6.5, step 2).
        WrapId::NULL if via == Via::Pipe => ad.otk.open().map_err(|_| Refusal::SecNotUnwrapped)?,
        WrapId::NULL => return Err(Refusal::SecUnencrypted),
        _ => return Err(Refusal::SecUnknownWrap),
    };
    let eid_ad = eid_ad_octets(security).map_err(|_| Refusal::SecMalformed)?.to_vec();
    Ok(Protection { ms_otk, hmac: HmacAlgorithm::for_request(ad.requested_hmac), eid_ad })
}

impl Protection {
    /// A Map-Reply with S, the EID-AD as it came, and an HMAC over all of it (RFC 9303, section 6.8).
    ///
    /// # Errors
    /// When the Map-Reply has no encoding.
    pub(super) fn seal(&self, reply: &MapReply) -> Result<Vec<u8>, EncodeError> {
        seal_reply(reply, &self.eid_ad, &self.ms_otk, self.hmac)
    }
}
