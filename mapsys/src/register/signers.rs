// SPDX-License-Identifier: GPL-2.0-or-later
//! The keys that records are signed with. Identities come, get the key of their next month, and leave while others read
//! what they published.

use cgeid::{Cn, OperationalKey};

use crate::limits::IDENTITIES;
use crate::refusal::Refusal;

/// Keys of the identities of this node, one an identity; the first is the registrar's.
#[derive(Debug)]
pub struct Signers {
    keys: Vec<OperationalKey>,
    /// Of identities that were removed and have yet to withdraw what they published.
    leaving: Vec<OperationalKey>,
}

/// What a key that was taken is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// The key of an identity that had none.
    New,
    /// It takes the place of one with a lower epoch.
    Renewed,
    /// It is there already.
    Known,
}

impl Signers {
    /// The keys that a map system starts with.
    pub fn new(keys: Vec<OperationalKey>) -> Self {
        Self { keys, leaving: Vec::new() }
    }

    /// The key that signs for sites.
    pub fn registrar(&self) -> Option<&OperationalKey> {
        self.keys.first()
    }

    /// The key of an identity, also of one that is leaving.
    pub fn of(&self, cn: Cn) -> Option<&OperationalKey> {
        self.keys.iter().chain(&self.leaving).find(|key| key.cn() == cn)
    }

    /// The keys of all identities that are not leaving, the registrar's first.
    pub fn iter(&self) -> impl Iterator<Item = &OperationalKey> {
        self.keys.iter()
    }

    /// Whether that identity has only its withdrawal left to publish.
    pub fn is_leaving(&self, cn: Cn) -> bool {
        self.leaving.iter().any(|key| key.cn() == cn)
    }

    /// Takes a key.
    ///
    /// # Errors
    /// [`Refusal::IdentityOldEpoch`], [`Refusal::IdentityTableFull`], [`Refusal::IdentityNoRegistrar`].
    pub fn add(&mut self, key: OperationalKey) -> Result<Added, Refusal> {
        if self.keys.is_empty() {
            return Err(Refusal::IdentityNoRegistrar);
        }
        if let Some(known) = self.of(key.cn()) {
            let is_same = known.certificate_der() == key.certificate_der();
            if !is_same && key.epoch() <= known.epoch() {
                return Err(Refusal::IdentityOldEpoch);
            }
            if is_same && !self.is_leaving(key.cn()) {
                return Ok(Added::Known);
            }
        }
        self.leaving.retain(|other| other.cn() != key.cn());
        if let Some(known) = self.keys.iter_mut().find(|known| known.cn() == key.cn()) {
            *known = key;
            return Ok(Added::Renewed);
        }
        if self.keys.len() + self.leaving.len() >= IDENTITIES {
            return Err(Refusal::IdentityTableFull);
        }
        self.keys.push(key);
        Ok(Added::New)
    }

    /// Lets an identity go; its key is kept for the withdrawal until [`Self::forget`].
    ///
    /// # Errors
    /// [`Refusal::IdentityUnknown`], [`Refusal::IdentityIsRegistrar`].
    pub fn remove(&mut self, cn: Cn) -> Result<(), Refusal> {
        match self.keys.iter().position(|key| key.cn() == cn) {
            None => Err(Refusal::IdentityUnknown),
            Some(0) => Err(Refusal::IdentityIsRegistrar),
            Some(index) => {
                self.leaving.push(self.keys.remove(index));
                Ok(())
            }
        }
    }

    /// Drops the key of an identity that is leaving.
    pub fn forget(&mut self, cn: Cn) {
        self.leaving.retain(|key| key.cn() != cn);
    }
}
