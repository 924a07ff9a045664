// SPDX-License-Identifier: GPL-2.0-or-later
//! Signs what this node says, each record once for a while: an RSA signature takes as long as a thousand answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wire::control::{Referral, ReferralSignature};

use super::keys::{self, KeyError, SigningKey};
use crate::limit::Bounded;
use crate::limits::SIGNED_REFERRALS;

/// The keys of this node, and how long their signatures hold.
#[derive(Debug, Clone)]
pub struct Signing {
    /// Each signs every record; without any nothing is signed.
    pub keys: Vec<Arc<SigningKey>>,
    /// From signing to expiration.
    pub life: Duration,
}

impl Default for Signing {
    fn default() -> Self {
        Self { keys: Vec::new(), life: crate::limits::SIGNATURE_LIFE }
    }
}

/// Signatures that were made.
#[derive(Debug)]
pub struct Signer {
    signing: Signing,
    /// By the record without them.
    made: Bounded<Vec<u8>, (SystemTime, Vec<ReferralSignature>)>,
}

impl Default for Signer {
    fn default() -> Self {
        Self::new(Signing::default())
    }
}

impl Signer {
    /// Nothing is signed yet.
    pub fn new(signing: Signing) -> Self {
        Self { signing, made: Bounded::new(SIGNED_REFERRALS) }
    }

    /// Whether there is a key.
    pub fn signs(&self) -> bool {
        !self.signing.keys.is_empty()
    }

    /// The record with the signatures that it had before, if more than a half of their life is left.
    pub fn again(&self, referral: &Referral, now: SystemTime) -> Option<Referral> {
        let (made, signatures) = self.made.get(&referral.encode().ok()?)?;
        let age = now.duration_since(*made).ok()?;
        (age < self.signing.life / 2).then(|| Referral { signatures: signatures.clone(), ..referral.clone() })
    }

    /// Signs it now.
    ///
    /// # Errors
    /// As [`keys::sign`].
    pub fn sign(&mut self, referral: Referral, now: SystemTime) -> Result<Referral, KeyError> {
        let key = referral.encode().map_err(|_| KeyError::Sign)?;
        let signed = keys::sign(referral, &self.signing.keys, now, self.signing.life)?;
        self.made.renew(key, (now, signed.signatures.clone()));
        Ok(signed)
    }
}
