// SPDX-License-Identifier: GPL-2.0-or-later
//! What is registered: one entry an EID-prefix, one part of it an xTR.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use wire::address::{Address, EidPrefix};
use wire::control::XtrIdentity;
use wire::record::{LocatorRecord, MapVersion, Ttl};

use crate::limits::{LOCATORS, MERGED_XTRS, REGISTRATIONS};
use crate::register::site::SiteId;
use crate::table::PrefixTable;

/// All registrations.
#[derive(Debug, Default)]
pub struct Registrations {
    table: PrefixTable<Registration>,
    /// Nothing falls silent before this time. It saves a walk through all registrations at every message.
    wake: Option<Instant>,
}

/// A registered EID-prefix.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The site that registered it.
    pub site: SiteId,
    /// The configured prefix under which it was accepted.
    pub configured: EidPrefix,
    parts: BTreeMap<[u8; 16], Part>,
}

/// What one xTR registered.
#[derive(Debug, Clone)]
pub struct Part {
    /// The locators that can be sent to.
    pub locators: Vec<LocatorRecord>,
    /// TTL for those who cache the mapping.
    pub ttl: Ttl,
    /// Version of the mapping.
    pub map_version: MapVersion,
    /// P: answer for the site.
    pub proxy: bool,
    /// xTR-ID and Site-ID, if it gave them.
    pub identity: Option<XtrIdentity>,
    /// Where it registered from; `None` = the pipe.
    pub source: Option<SocketAddr>,
    /// When it falls silent.
    pub expires: Instant,
}

/// The registration as others see it: the parts merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// All locators, ascending (RFC 9301, section 5.5), without duplicates, L and p cleared.
    pub locators: Vec<LocatorRecord>,
    /// The shortest TTL of the parts.
    pub ttl: Ttl,
    /// The highest version of the parts.
    pub map_version: MapVersion,
    /// P: answer for the site.
    pub proxy: bool,
    /// xTR-IDs and Site-IDs of the parts that gave them.
    pub identities: Vec<XtrIdentity>,
}

/// How a registration changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Others see the same as before.
    None,
    /// Others see something new, or nothing any more.
    Changed,
    /// No room.
    Full,
}

impl Registrations {
    /// Takes what `part` says about `prefix`. With `merge` it stands beside what other xTRs said, else in its place.
    pub fn put(&mut self, prefix: EidPrefix, site: SiteId, configured: EidPrefix, merge: bool, part: Part) -> Change {
        let xtr = part.xtr_id();
        let before = self.table.get(&prefix).map(Registration::merged);
        if before.is_none() {
            if self.table.len() >= REGISTRATIONS {
                return Change::Full;
            }
            self.table.insert(prefix, Registration { site, configured, parts: BTreeMap::new() });
        }
        let Some(entry) = self.table.get_mut(&prefix) else { return Change::Full };
        if !merge || entry.site != site {
            entry.parts.clear();
        }
        (entry.site, entry.configured) = (site, configured);
        if entry.parts.len() >= MERGED_XTRS && !entry.parts.contains_key(&xtr) {
            return Change::Full;
        }
        self.wake = Some(self.wake.map_or(part.expires, |at| at.min(part.expires)));
        entry.parts.insert(xtr, part);
        if before.as_ref() == Some(&entry.merged()) { Change::None } else { Change::Changed }
    }

    /// Whether [`Self::put`] has room for that.
    pub fn has_room(&self, prefix: &EidPrefix, merge: bool, xtr_id: [u8; 16]) -> bool {
        match self.table.get(prefix) {
            None => self.table.len() < REGISTRATIONS,
            Some(entry) => !merge || entry.parts.len() < MERGED_XTRS || entry.parts.contains_key(&xtr_id),
        }
    }

    /// Ends what one xTR registered for `prefix`. One that another has replaced meanwhile ends nothing.
    pub fn withdraw(&mut self, prefix: &EidPrefix, site: SiteId, xtr_id: [u8; 16]) -> Change {
        let Some(entry) = self.table.get_mut(prefix).filter(|entry| entry.site == site) else { return Change::None };
        let before = entry.merged();
        entry.parts.remove(&xtr_id);
        self.settle(prefix, &before)
    }

    /// Ends what all xTRs registered for `prefix`.
    pub fn remove(&mut self, prefix: &EidPrefix) {
        self.table.remove(prefix);
    }

    /// Ends all parts that are silent at `now`, and names the prefixes that others see changed.
    pub fn expire(&mut self, now: Instant) -> Vec<EidPrefix> {
        if self.wake.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let silent: Vec<_> = self
            .table
            .iter()
            .filter(|(_, entry)| entry.next_expiry().is_none_or(|at| at <= now))
            .map(|(prefix, _)| prefix)
            .collect();
        let mut changed = Vec::new();
        for prefix in silent {
            let Some(entry) = self.table.get_mut(&prefix) else { continue };
            let before = entry.merged();
            entry.parts.retain(|_, part| part.expires > now);
            if self.settle(&prefix, &before) == Change::Changed {
                changed.push(prefix);
            }
        }
        self.wake = self.table.iter().filter_map(|(_, entry)| entry.next_expiry()).min();
        changed
    }

    fn settle(&mut self, prefix: &EidPrefix, before: &Merged) -> Change {
        let after = self.table.get(prefix).map(Registration::merged);
        if self.table.get(prefix).is_some_and(|entry| entry.parts.is_empty()) {
            self.table.remove(prefix);
        }
        if after.as_ref() == Some(before) { Change::None } else { Change::Changed }
    }

    /// The next time at which [`Self::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }

    /// The registration of exactly this prefix.
    pub fn get(&self, prefix: &EidPrefix) -> Option<&Registration> {
        self.table.get(prefix)
    }

    /// The longest registered prefix that covers `eid`.
    pub fn longest(&self, eid: &EidPrefix) -> Option<(EidPrefix, &Registration)> {
        self.table.longest(eid)
    }

    /// The registered prefixes inside `prefix`, itself included.
    pub fn inside(&self, prefix: &EidPrefix) -> impl Iterator<Item = (EidPrefix, &Registration)> + '_ {
        self.table.inside(prefix)
    }

    /// The largest part of `within` around `eid` in which nothing more specific is registered; `None` if there is none.
    pub fn hole(&self, within: &EidPrefix, eid: &EidPrefix) -> Option<EidPrefix> {
        self.table.hole(within, eid)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (EidPrefix, &Registration)> + '_ {
        self.table.iter()
    }

    /// Number of registered prefixes.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

impl Registration {
    /// The parts, by xTR-ID.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.values()
    }

    /// What others see.
    pub fn merged(&self) -> Merged {
        let mut locators: Vec<LocatorRecord> = Vec::new();
        for locator in self.parts.values().flat_map(|part| &part.locators) {
            match locators.iter_mut().find(|known| known.rloc == locator.rloc) {
                Some(known) if locator.priority < known.priority => known.clone_from(locator),
                Some(_) => {}
                None => locators.push(locator.clone()),
            }
        }
        locators.sort_by(|a, b| a.rloc.cmp(&b.rloc));
        locators.truncate(LOCATORS);
        for locator in &mut locators {
            (locator.local, locator.probed) = (false, false);
        }
        Merged {
            locators,
            ttl: self.parts.values().map(|part| part.ttl).min().unwrap_or(Ttl::WITHDRAWN),
            map_version: self.parts.values().map(|part| part.map_version).max_by_key(|v| v.0).unwrap_or_default(),
            proxy: self.parts.values().any(|part| part.proxy),
            identities: self.parts.values().filter_map(|part| part.identity).collect(),
        }
    }

    /// The part whose ETR should get a forwarded Map-Request, and the locator to send it to: the best reachable one of
    /// a family that `sendable` says can be sent.
    pub fn forward_to(&self, sendable: impl Fn(IpAddr) -> bool) -> Option<(&Part, IpAddr)> {
        self.parts
            .values()
            .flat_map(|part| part.locators.iter().map(move |locator| (part, locator)))
            .filter_map(|(part, locator)| Some((part, locator, locator.rloc.ip()?)))
            .filter(|(_, _, address)| sendable(*address))
            .min_by_key(|(_, locator, address)| (!locator.reachable, locator.priority, *address))
            .map(|(part, _, address)| (part, address))
    }

    /// Seconds until the last part falls silent.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.parts.values().map(|part| part.expires.saturating_duration_since(now)).max().unwrap_or_default()
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.parts.values().map(|part| part.expires).min()
    }
}

impl Part {
    /// xTR-ID, zero if it gave none.
    pub fn xtr_id(&self) -> [u8; 16] {
        self.identity.map_or([0; 16], |identity| identity.xtr_id)
    }
}

/// Whether packets can be sent to a registered locator (RFC 9301, section 5.4: neither broadcast nor multicast).
pub fn usable(locator: &LocatorRecord) -> bool {
    match &locator.rloc {
        Address::V4(a) => !(a.is_multicast() || a.is_broadcast() || a.is_unspecified()),
        Address::V6(a) => !(a.is_multicast() || a.is_unspecified() || a.is_unicast_link_local()),
        _ => false,
    }
}
