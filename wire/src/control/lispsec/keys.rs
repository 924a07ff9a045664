// SPDX-License-Identifier: GPL-2.0-or-later
//! One-time keys, how they are wrapped, and the functions that use them (RFC 9303, sections 6.5 and 8.3 to 8.5).

use std::fmt;

use aws_lc_rs::key_wrap::{AES_128, AesKek, KeyWrap as _};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::ad::{WRAPPED, WrappedOtk};
use super::{HmacId, KdfId, SecError, WrapId};
use crate::control::Nonce;
use crate::control::auth::Secret;

/// A key for one Map-Request and its Map-Reply: wiped when dropped, never printed.
#[derive(Clone)]
pub struct OneTimeKey(Zeroizing<[u8; KEY]>);

/// The HMAC functions that we have (RFC 9303, section 8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HmacAlgorithm {
    /// 1: AUTH-HMAC-SHA-1-96, for ITRs that ask for it.
    Sha1,
    /// 2: AUTH-HMAC-SHA-256-128.
    Sha256,
}

/// The key derivation functions that we have (RFC 9303, section 8.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kdf {
    /// 1: HKDF-SHA1-128, for ITRs that ask for it.
    HkdfSha1,
    /// 2: HKDF-SHA256.
    HkdfSha256,
}

/// Octets of a one-time key, and of the key that wraps it.
const KEY: usize = 16;
/// Octets in front of an unencrypted one-time key, all of them zero (RFC 9303, section 6.5.1).
const PREAMBLE: usize = WRAPPED - KEY;
/// The string in the derivation of a wrapping key (RFC 9303, section 6.5, step 4).
const WRAP_STRING: &[u8] = b"OTK-Key-Wrap";

impl OneTimeKey {
    /// Octets of a key.
    pub const OCTETS: usize = KEY;

    /// A key of these octets: random ones, of an ITR (RFC 9303, section 7.2).
    pub fn new(octets: [u8; KEY]) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets, for whoever computes with them.
    pub fn expose(&self) -> &[u8; KEY] {
        &self.0
    }

    /// The key that the Map-Server gives to the ETR: MS-OTK from ITR-OTK (RFC 9303, section 6.7.1).
    #[must_use]
    pub fn derive(&self, kdf: Kdf) -> Self {
        Self(match kdf {
            Kdf::HkdfSha1 => {
                let mut key = Zeroizing::new([0; KEY]);
                Hkdf::<Sha1>::new(None, self.expose()).expand(&[], key.as_mut_slice()).expect(ONE_BLOCK);
                key
            }
            Kdf::HkdfSha256 => hkdf_sha256(self.expose()),
        })
    }

    /// Wraps it for whoever has the secret of that number: AES-KEY-WRAP-128+HKDF-SHA256 (RFC 9303, section 6.5).
    pub fn wrap(&self, key_id: u8, secret: &Secret, nonce: Nonce) -> WrappedOtk {
        let mut octets = vec![0; WRAPPED];
        wrapping_key(secret, nonce).wrap(self.expose(), &mut octets).expect("a key of 16 octets wraps to 24");
        WrappedOtk { key_id, wrap: WrapId::AES_HKDF_SHA256, octets }
    }

    /// As it is, for a path that something else protects: NULL-KEY-WRAP-128 (RFC 9303, section 6.5.1).
    pub fn unencrypted(&self) -> WrappedOtk {
        let octets = [&[0; PREAMBLE][..], self.expose()].concat();
        WrappedOtk { key_id: 0, wrap: WrapId::NULL, octets }
    }
}

impl fmt::Debug for OneTimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeKey(..)")
    }
}

impl WrappedOtk {
    /// Unwraps a key that was wrapped with `secret` for the Map-Request of that nonce.
    ///
    /// # Errors
    /// When it is wrapped in another way, or is not what was wrapped: then the whole message is to be discarded.
    pub fn unwrap(&self, secret: &Secret, nonce: Nonce) -> Result<OneTimeKey, SecError> {
        if self.wrap != WrapId::AES_HKDF_SHA256 {
            return Err(SecError::Wrap(self.wrap.0));
        }
        let mut key = Zeroizing::new([0; KEY]);
        // The initial value, 0xa6a6a6a6a6a6a6a6, is compared in constant time there.
        let unwrapped = wrapping_key(secret, nonce).unwrap(&self.octets, key.as_mut_slice());
        match unwrapped {
            Ok(octets) if octets.len() == KEY => Ok(OneTimeKey(key)),
            _ => Err(SecError::Unwrap),
        }
    }

    /// The key, if it is not encrypted at all: only to be taken from a path that something else protects.
    ///
    /// # Errors
    /// When it is wrapped in another way, or its preamble is not zero.
    pub fn open(&self) -> Result<OneTimeKey, SecError> {
        if self.wrap != WrapId::NULL {
            return Err(SecError::Wrap(self.wrap.0));
        }
        match self.octets.split_first_chunk::<PREAMBLE>() {
            Some((preamble, key)) if *preamble == [0; PREAMBLE] => {
                key.try_into().map(OneTimeKey::new).map_err(|_| SecError::Unwrap)
            }
            _ => Err(SecError::Unwrap),
        }
    }
}

impl HmacAlgorithm {
    /// Its number on the wire.
    pub const fn id(self) -> HmacId {
        match self {
            Self::Sha1 => HmacId(1),
            Self::Sha256 => HmacId(2),
        }
    }

    /// The function of a number, if we have it.
    pub const fn from_id(id: HmacId) -> Option<Self> {
        match id.0 {
            1 => Some(Self::Sha1),
            2 => Some(Self::Sha256),
            _ => None,
        }
    }

    /// The function for an ITR that would like `requested`: another one if we do not have that (RFC 9303, section 6.7.1).
    pub fn for_request(requested: HmacId) -> Self {
        Self::from_id(requested).unwrap_or(Self::Sha256)
    }

    /// Octets of an HMAC.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha1 => 12,
            Self::Sha256 => 16,
        }
    }

    pub(super) fn tag(self, key: &OneTimeKey, covered: &[&[u8]]) -> Vec<u8> {
        let mut tag = match self {
            Self::Sha1 => over::<Hmac<Sha1>>(key, covered).finalize().into_bytes().to_vec(),
            Self::Sha256 => over::<Hmac<Sha256>>(key, covered).finalize().into_bytes().to_vec(),
        };
        tag.truncate(self.length());
        tag
    }

    /// Constant time in the octets of the HMAC, whose length is no secret.
    pub(super) fn matches(self, key: &OneTimeKey, covered: &[&[u8]], tag: &[u8]) -> bool {
        tag.len() == self.length()
            && match self {
                Self::Sha1 => over::<Hmac<Sha1>>(key, covered).verify_truncated_left(tag).is_ok(),
                Self::Sha256 => over::<Hmac<Sha256>>(key, covered).verify_truncated_left(tag).is_ok(),
            }
    }
}

impl Kdf {
    /// Its number on the wire.
    pub const fn id(self) -> KdfId {
        match self {
            Self::HkdfSha1 => KdfId(1),
            Self::HkdfSha256 => KdfId(2),
        }
    }

    /// The function of a number, if we have it.
    pub const fn from_id(id: KdfId) -> Option<Self> {
        match id.0 {
            1 => Some(Self::HkdfSha1),
            2 => Some(Self::HkdfSha256),
            _ => None,
        }
    }

    /// The function for an ITR that would like `requested`: another one if we do not have that (RFC 9303, section 6.7).
    pub fn for_request(requested: KdfId) -> Self {
        Self::from_id(requested).unwrap_or(Self::HkdfSha256)
    }
}

const ONE_BLOCK: &str = "less than one block of HKDF output";

fn over<M: Mac + KeyInit>(key: &OneTimeKey, covered: &[&[u8]]) -> M {
    let mut hmac = <M as KeyInit>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
    for part in covered {
        hmac.update(part);
    }
    hmac
}

pub(super) fn hkdf_sha256(input: &[u8]) -> Zeroizing<[u8; KEY]> {
    let mut key = Zeroizing::new([0; KEY]);
    Hkdf::<Sha256>::new(None, input).expand(&[], key.as_mut_slice()).expect(ONE_BLOCK);
    key
}

/// The key of one message: KDF(nonce + "OTK-Key-Wrap" + PSK) (RFC 9303, section 6.5, step 4).
fn wrapping_key(secret: &Secret, nonce: Nonce) -> AesKek {
    let input = Zeroizing::new([&nonce.0.to_be_bytes(), WRAP_STRING, secret.expose()].concat());
    AesKek::new(&AES_128, hkdf_sha256(&input).as_slice()).expect("a key of 16 octets is one of AES-128")
}
