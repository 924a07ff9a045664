// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC (RFC 9303): the authentication data of an ECM and of a Map-Reply, and the keys and HMACs in them.
//!
//! [`Ecm::security`](super::Ecm::security) and [`MapReply::security`](super::MapReply::security) keep the authentication data
//! whole, because HMACs are over its octets and an ETR copies a part of it. Here it is read ([`EcmAd`], [`MapReplyAd`]),
//! made ([`seal_eid_ad`], [`seal_reply`]) and checked ([`verify_eid_ad`], [`verify_reply`]): all that an ITR, a
//! Map-Resolver, a Map-Server and an ETR compute, so that each of them has the same reading.
//!
//! Where the RFC can be read in more than one way, this is what we do:
//!
//! * **OTK Length** (section 6.1) counts preamble and key, 24 octets, as the text says, and not Key ID and OTK Wrapping ID,
//!   which the figure's bracket takes in. **EID-AD Length** and **PKT-AD Length** count themselves, as the 4 of an ITR says.
//! * **Key derivation** (sections 6.5 and 6.7): HKDF with the input keying material that the RFC lists, no salt, no info,
//!   16 octets out. Input for a wrapping key: nonce (8 octets), the string without a NUL, the secret.
//! * **Coverage**: for either HMAC only its own octets are zero (section 6.7.1). Section 6.9 has the ITR clear "EID HMAC ID"
//!   instead, which nobody who computed it has done.
//! * **OTK Wrapping ID** has the 8 bits of the figure, though its registry has 16.
//! * **A record wider than what the Map-Server vouches for** is discarded whole, as the example of section 6.9.1 has it,
//!   and not narrowed, as section 6.9 says.
//! * **PubSubKey** (RFC 9437, section 7.1): KDF(OTK + nonce) is HKDF-SHA256 over the 16 octets of the one-time key and the 8 of the nonce, no
//!   salt, no info, 16 octets out. Map-Notifies under it have Key ID 0 and algorithm 3 (HMAC-SHA-256-128 with a key of each message): the
//!   RFC names neither, and where nothing wraps the one-time key it is what the HMACs of a Map-Reply are keyed with, so that what
//!   signs a Map-Notify should not be the same key. Whoever unwraps decides by how it was wrapped for him: an ITR has to expect either
//!   key, since a Map-Resolver between them may wrap anew (RFC 9303, section 6.6).
//! * **E** stands in the Map-Reply where the ECM has it (section 6.2 draws no such bit, but the ITR is to see it).

mod ad;
mod keys;
mod pubsub;
mod seal;
mod verify;

pub use ad::{EcmAd, EidAd, Granted, MapReplyAd, WrappedOtk, eid_ad_octets};
pub use keys::{HmacAlgorithm, Kdf, OneTimeKey};
pub use pubsub::PubSubKey;
pub use seal::{seal_eid_ad, seal_reply};
pub use verify::{Asked, Verified, grants, verify_eid_ad, verify_reply};

use crate::error::DecodeError;

/// Number of an HMAC function (RFC 9303, section 8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct HmacId(pub u16);

/// Number of a key derivation function (RFC 9303, section 8.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct KdfId(pub u16);

/// Number of a way to wrap a one-time key (RFC 9303, section 8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct WrapId(pub u8);

impl HmacId {
    /// No preference.
    pub const NOPREF: Self = Self(0);
}

impl KdfId {
    /// No preference.
    pub const NOPREF: Self = Self(0);
}

impl WrapId {
    /// NULL-KEY-WRAP-128: not encrypted, for paths that something else protects.
    pub const NULL: Self = Self(1);
    /// AES-KEY-WRAP-128+HKDF-SHA256.
    pub const AES_HKDF_SHA256: Self = Self(2);
}

/// Why a one-time key, an EID-AD or a Map-Reply is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecError {
    /// It cannot be decoded.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// No authentication data, or none of a Map-Server, where there must be (RFC 9303, section 6.9).
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A one-time key wrapped in a way that we do not know.
    #[error("OTK Wrapping ID {0} is unknown")]
    Wrap(u8),
    /// What is unwrapped does not begin as it must: another secret, another nonce, or it was changed on the way.
    #[error("the one-time key does not unwrap")]
    Unwrap,
    /// An HMAC function that was not asked for, or that we do not have.
    #[error("HMAC ID {0} was not asked for, or is unknown")]
    HmacId(u16),
    /// A key derivation function that was not asked for, or that we do not have.
    #[error("KDF ID {0} was not asked for, or is unknown")]
    KdfId(u16),
    /// The HMAC is not that of these octets under this key.
    #[error("wrong {0}")]
    Hmac(&'static str),
}
