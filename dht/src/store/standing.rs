// SPDX-License-Identifier: GPL-2.0-or-later
//! What a store knows of an identity, beside its records.

use cgeid::Cn;

use super::Store;
use crate::record::RecordKey;

/// What is known of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Its owner has revoked it.
    pub is_revoked: bool,
    /// The highest epoch of an operational key that signed for it, if any is known.
    pub epoch: Option<u32>,
}

impl Store {
    /// What is known of an identity.
    pub fn standing(&self, cn: Cn) -> Standing {
        let entry = self.entries.get(&RecordKey::node(self.network, cn));
        let epoch = entry.and_then(|entry| entry.marks.0.values().map(|mark| mark.version.epoch).max());
        Standing { is_revoked: self.is_revoked(cn), epoch }
    }
}
