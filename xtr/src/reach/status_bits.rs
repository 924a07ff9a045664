// SPDX-License-Identifier: GPL-2.0-or-later
//! Locator-status-bits of trusted peers (RFC 9300, section 10): which locators of their mappings packets do not go to.
//!
//! Bits are of a mapping: the same locator may be used for the EID-prefixes of another. A locator whose bit is clear is as if its R
//! bit were, until its bit is set again. Bits go with a version of the mapping; another version begins without. Bits that leave none to
//! be used say nothing: the locators are tried all the same, as where none answers probes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use wire::address::EidPrefix;
use wire::record::MapVersion;

use crate::limits as both;
use crate::map_cache::{Entry, Forwarding, Locator, Update};
use crate::refusal::{Refusal, Tally};
use crate::resolve::Installed;
use crate::trust::Trust;

/// Mappings of trusted peers, and their bits.
#[derive(Debug, Default)]
pub struct StatusBits {
    trust: Trust,
    known: BTreeMap<EidPrefix, Known>,
    expiries: BTreeSet<(Instant, EidPrefix)>,
    tally: Tally,
}

#[derive(Debug)]
struct Known {
    version: MapVersion,
    expires: Instant,
    /// The locators of the record, in its order.
    locators: Arc<[IpAddr]>,
    bits: Option<Bits>,
}

/// Status bits as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    /// Bit n is set if locator n can be reached.
    pub bits: u32,
    /// How many there are.
    pub width: u8,
}

impl Bits {
    /// Whether locator `ordinal` cannot be reached. Nothing is said of those beyond the field.
    fn is_down(self, ordinal: u8) -> bool {
        ordinal < self.width && 1_u32.checked_shl(ordinal.into()).is_some_and(|bit| self.bits & bit == 0)
    }
}

impl StatusBits {
    /// Those of these peers.
    pub fn new(trust: Trust) -> Self {
        Self { trust, ..Self::default() }
    }

    /// A mapping was installed, with this entry: what the packet half is told of it besides. Locators that are down by the bits of
    /// this version are taken out of the entry.
    pub fn installed(
        &mut self,
        now: Instant,
        prefix: EidPrefix,
        installed: &Installed,
        entry: &mut Entry,
    ) -> Option<Update> {
        let is_peer = installed.locators.iter().any(|(address, _)| self.trust.is_trusted(*address));
        let former = self.remove(&prefix);
        if !is_peer {
            return former.map(|_| gone(now, prefix));
        }
        while let Some((_, expired)) = self.expiries.first().copied().filter(|(at, _)| *at <= now) {
            self.remove(&expired);
        }
        if self.known.len() >= both::PEER_MAPPINGS {
            self.tally.count(Refusal::PeerTableFull);
            return former.map(|_| gone(now, prefix));
        }
        let locators: Arc<[_]> = installed.locators.iter().map(|(address, _)| *address).collect();
        let (version, expires) = (installed.map_version, installed.expires);
        // Without versions it is the same mapping if it has the same locators.
        let is_same =
            |former: &Known| former.version == version && (version != MapVersion(0) || former.locators == locators);
        let bits = former.filter(is_same).and_then(|former| former.bits);
        let rlocs = locators.clone();
        self.known.insert(prefix, Known { version, expires, locators, bits });
        self.expiries.insert((expires, prefix));
        self.apply(&prefix, installed, entry);
        Some(Update::Peer { prefix, version, rlocs, expires })
    }

    /// The mapping of exactly this prefix is gone: what the packet half is told, if it was told of it.
    pub fn removed(&mut self, now: Instant, prefix: EidPrefix) -> Option<Update> {
        self.remove(&prefix).map(|_| gone(now, prefix))
    }

    /// The packet half has heard bits, of this version of the mapping, from `rloc`. Whether they change anything.
    ///
    /// # Errors
    /// If they are not of the mapping as it is, or come from a locator that is not one of it.
    pub fn heard(
        &mut self,
        prefix: &EidPrefix,
        rloc: IpAddr,
        version: MapVersion,
        bits: Bits,
    ) -> Result<bool, Refusal> {
        let known = self.known.get_mut(prefix).filter(|known| known.version == version);
        let known = known.ok_or(Refusal::StatusBitsOfAnother)?;
        if !known.locators.contains(&rloc) {
            return Err(Refusal::StatusBitsOfAnother);
        }
        Ok(known.bits.replace(bits) != Some(bits))
    }

    /// Takes the locators out of an entry that packets must not go to.
    pub fn apply(&self, prefix: &EidPrefix, installed: &Installed, entry: &mut Entry) {
        let down = self.down(prefix, installed);
        if let Forwarding::Locators(locators) = &mut entry.forwarding {
            locators.retain(|locator| !down.contains(&locator.address));
        }
    }

    /// The locators of a mapping that are down by its bits; none if packets could go to no other.
    pub fn down(&self, prefix: &EidPrefix, installed: &Installed) -> Vec<IpAddr> {
        let Some(bits) = self.known.get(prefix).and_then(|known| known.bits) else { return Vec::new() };
        let is_down = |index: usize| bits.is_down(installed.ordinal(index));
        let all = || installed.locators.iter().enumerate();
        if all().all(|(index, (_, record))| is_down(index) || Locator::usable(record).is_none()) {
            return Vec::new();
        }
        all().filter(|(index, _)| is_down(*index)).map(|(_, (address, _))| *address).collect()
    }

    /// What was refused.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn remove(&mut self, prefix: &EidPrefix) -> Option<Known> {
        let known = self.known.remove(prefix)?;
        self.expiries.remove(&(known.expires, *prefix));
        Some(known)
    }
}

fn gone(now: Instant, prefix: EidPrefix) -> Update {
    Update::Peer { prefix, version: MapVersion(0), rlocs: Arc::default(), expires: now }
}
