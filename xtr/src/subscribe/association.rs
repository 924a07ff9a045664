// SPDX-License-Identifier: GPL-2.0-or-later
//! Security associations with Map-Servers (RFC 9437, section 7.1).

use std::fmt;

use wire::EncodeError;
use wire::control::Nonce;
use wire::control::auth::{self, AuthKey, TagForm};
use wire::control::lispsec::{
    Asked, EcmAd, EidAd, HmacAlgorithm, Kdf, OneTimeKey, PubSubKey, SecError, Verified, WrapId, verify_reply,
};

use super::engine::ACCEPTED;
use crate::resolve::Wrapping;
use crate::transport::MapSystem;

/// A Map-Resolver behind which mappings are subscribed to, and the security association with its Map-Servers.
#[derive(Debug, Clone)]
pub struct Association {
    /// Where Map-Requests with the N-bit are sent.
    pub resolver: MapSystem,
    /// What Map-Notifies and their acknowledgements are signed with.
    pub security: Security,
    /// Length of our tags.
    pub tag: TagForm,
}

/// What Map-Notifies are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// A key that is shared beforehand.
    Shared(AuthKey),
    /// One that each Map-Request makes by LISP-SEC; how its one-time key is kept from others on the way.
    OneTime(Wrapping),
}

impl Security {
    /// The key that is shared beforehand.
    pub(super) fn shared(&self) -> Option<&AuthKey> {
        match self {
            Self::Shared(key) => Some(key),
            Self::OneTime(_) => None,
        }
    }
}

impl Association {
    /// Whether it is the shared key of this association that a message is signed with.
    pub(super) fn signs(&self, payload: &[u8]) -> bool {
        self.security.shared().is_some_and(|key| auth::verify(payload, key, ACCEPTED).is_ok())
    }
}

impl fmt::Display for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.security {
            Security::Shared(key) => write!(f, "{} (Key ID {}, {:?})", self.resolver, key.id, key.algorithm),
            Security::OneTime(_) => write!(f, "{} (keys that LISP-SEC makes)", self.resolver),
        }
    }
}

/// The one-time key of a Map-Request that subscribes.
#[derive(Debug, Clone)]
pub(super) struct OneTime {
    otk: OneTimeKey,
    /// What may come of it: it is not known how a Map-Resolver has wrapped it for the Map-Server.
    keys: [AuthKey; 2],
}

/// The functions that are asked for.
const ASKED: Asked = Asked { hmac: HmacAlgorithm::Sha256.id(), kdf: Kdf::HkdfSha256.id() };

impl OneTime {
    /// Of a Map-Request with this nonce.
    pub(super) fn new(octets: [u8; OneTimeKey::OCTETS], nonce: u64) -> Self {
        let otk = OneTimeKey::new(octets);
        let keys = [WrapId::AES_HKDF_SHA256, WrapId::NULL];
        let keys = keys.map(|wrap| PubSubKey::new(&otk, wrap, Nonce(nonce)).auth_key());
        Self { otk, keys }
    }

    /// The authentication data of its ECM (RFC 9303, section 6.4).
    pub(super) fn authentication(&self, wrapping: &Wrapping, nonce: u64) -> Result<Vec<u8>, EncodeError> {
        let otk = wrapping.wrap(&self.otk, Nonce(nonce));
        EcmAd { requested_hmac: ASKED.hmac, otk, eid_ad: EidAd::unfilled(ASKED.kdf) }.encode()
    }

    /// The key that a Map-Notify is signed with, if it is one of those that this one makes.
    pub(super) fn signs(&self, payload: &[u8]) -> Option<AuthKey> {
        self.keys.iter().find(|key| auth::verify(payload, key, ACCEPTED).is_ok()).cloned()
    }

    /// What a Map-Reply says in the place of a Map-Notify: LISP-SEC protects it as any other.
    pub(super) fn opens(&self, payload: &[u8]) -> Result<Verified, SecError> {
        verify_reply(payload, &self.otk, ASKED)
    }
}
