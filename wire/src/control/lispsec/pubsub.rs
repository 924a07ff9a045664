// SPDX-License-Identifier: GPL-2.0-or-later
//! The key of a security association that LISP-SEC makes between an ITR and a Map-Server (RFC 9437, section 7.1).

use std::fmt;

use zeroize::Zeroizing;

use super::keys::hkdf_sha256;
use super::{OneTimeKey, WrapId};
use crate::control::Nonce;
use crate::control::auth::{Algorithm, AuthKey, Secret};

/// PubSubKey: what Map-Notifies of one subscription and their acknowledgements are signed with, if no key is shared beforehand. Wiped
/// when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PubSubKey(Zeroizing<[u8; OneTimeKey::OCTETS]>);

impl PubSubKey {
    /// Key ID of what is signed with it: that of no key that is shared beforehand. RFC 9437 names none.
    pub const KEY_ID: u8 = 0;

    /// The key that the one-time key of a Map-Request makes, as it was wrapped for whoever unwraps it: KDF(OTK + nonce) with the key
    /// derivation function of the wrapping, and the one-time key itself if it is not encrypted.
    pub fn new(otk: &OneTimeKey, wrap: WrapId, nonce: Nonce) -> Self {
        if wrap == WrapId::NULL {
            return Self::from_octets(*otk.expose());
        }
        // All the ways to wrap that we unwrap have this function.
        Self(hkdf_sha256(&Zeroizing::new([&otk.expose()[..], &nonce.0.to_be_bytes()].concat())))
    }

    /// A key that was kept.
    pub fn from_octets(octets: [u8; OneTimeKey::OCTETS]) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets, for whoever keeps it.
    pub fn expose(&self) -> &[u8; OneTimeKey::OCTETS] {
        &self.0
    }

    /// What messages are signed with: each has a key of its own, derived from this one.
    pub fn auth_key(&self) -> AuthKey {
        AuthKey { id: Self::KEY_ID, algorithm: Algorithm::HkdfSha256, secret: Secret::new(&self.0[..]) }
    }
}

impl fmt::Debug for PubSubKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PubSubKey(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 5869 by hand: extract with a salt of zeros, and the first block that expand gives.
    fn hkdf(input: &[u8]) -> [u8; 16] {
        use hmac::{Hmac, KeyInit, Mac};
        let hmac = |key: &[u8], data: &[u8]| {
            let mut hmac = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(key).unwrap();
            hmac.update(data);
            <[u8; 32]>::from(hmac.finalize().into_bytes())
        };
        let block = hmac(&hmac(&[0; 32], input), &[1]);
        std::array::from_fn(|at| block[at])
    }

    #[test]
    fn it_is_derived_from_key_and_nonce_or_is_the_key_that_nothing_wraps() {
        let (otk, nonce) = (OneTimeKey::new([7; 16]), Nonce(0x0102_0304_0506_0708));
        let input = [&[7; 16][..], &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
        let key = PubSubKey::new(&otk, WrapId::AES_HKDF_SHA256, nonce);
        assert_eq!(*key.expose(), hkdf(&input));
        assert_eq!(*PubSubKey::new(&otk, WrapId::NULL, nonce).expose(), [7; 16]);
        assert_ne!(key, PubSubKey::new(&otk, WrapId::AES_HKDF_SHA256, Nonce(1)));
        assert_eq!((key.auth_key().id, key.auth_key().algorithm), (0, Algorithm::HkdfSha256));
        assert_eq!(format!("{key:?}"), "PubSubKey(..)");
    }
}
