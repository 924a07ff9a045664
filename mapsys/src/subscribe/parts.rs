// SPDX-License-Identifier: GPL-2.0-or-later
//! What the xTR of a configured subscription may have inside of it: it asks for nothing again, so what is withdrawn there while
//! it cannot be told, or while the Map-Server is not running, must be told when it can be.

use std::collections::BTreeMap;

use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};

use crate::limits::CONFIGURED_PARTS;

/// The EID-prefixes inside a subscription that its xTR was told of, until it has acknowledged that one is gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// Each with whether the last word was that it is withdrawn.
    told: BTreeMap<EidPrefix, bool>,
}

impl Parts {
    /// As they are kept on disk. What the last word was is not: it is said again.
    pub(super) fn restore(iid: InstanceId, kept: &[IpNet]) -> Self {
        let kept = kept.iter().take(CONFIGURED_PARTS);
        Self { told: kept.map(|net| (EidPrefix { iid, net: *net }, false)).collect() }
    }

    /// For the disk.
    pub(super) fn kept(&self) -> Vec<IpNet> {
        self.told.keys().map(|part| part.net).collect()
    }

    /// Notes what the xTR is told of a part. Beyond [`CONFIGURED_PARTS`] no more are noted.
    pub(super) fn note(&mut self, part: EidPrefix, is_withdrawn: bool) {
        if self.told.contains_key(&part) || self.told.len() < CONFIGURED_PARTS {
            self.told.insert(part, is_withdrawn);
        }
    }

    /// The last word on a part was acknowledged: of one that is withdrawn the xTR has nothing any more.
    pub(super) fn acknowledged(&mut self, part: &EidPrefix) {
        if self.told.get(part) == Some(&true) {
            self.told.remove(part);
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = EidPrefix> + '_ {
        self.told.keys().copied()
    }
}
