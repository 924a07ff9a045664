// SPDX-License-Identifier: GPL-2.0-or-later
//! Answers already found: served until they expire, looked up anew before that if used, and served a little longer while
//! the DHT does not answer.

use std::collections::VecDeque;
use std::time::Instant;

use wire::address::EidPrefix;

use crate::limits::{CACHED_ANSWERS, LOOKUP_TIMEOUT, REFRESH_AHEAD_PERCENT, SERVE_STALE};
use crate::resolve::found::Found;
use crate::table::PrefixTable;

/// The cache.
#[derive(Debug, Default)]
pub struct Cache {
    entries: PrefixTable<Entry>,
    order: VecDeque<EidPrefix>,
}

#[derive(Debug)]
struct Entry {
    found: Found,
    put: Instant,
    refresh_at: Instant,
    expires: Instant,
}

/// A cached answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hit {
    /// Serve it.
    Fresh(Found),
    /// Serve it, and look it up again.
    Refresh(Found),
    /// Look it up; serve this only if the DHT does not answer.
    Stale(Found),
}

impl Hit {
    /// The answer.
    pub fn found(&self) -> &Found {
        match self {
            Self::Fresh(found) | Self::Refresh(found) | Self::Stale(found) => found,
        }
    }
}

impl Cache {
    /// What is known about `eid`. [`Hit::Refresh`] is said once in the time of a lookup: many EIDs share an entry.
    pub fn get(&mut self, now: Instant, eid: &EidPrefix) -> Option<Hit> {
        let (_, entry) = self.entries.longest_mut(eid)?;
        if now >= entry.expires {
            let stale = now < entry.expires + SERVE_STALE && matches!(entry.found, Found::Mapping(_));
            return stale.then(|| Hit::Stale(entry.found.clone()));
        }
        if now < entry.refresh_at {
            return Some(Hit::Fresh(entry.found.clone()));
        }
        entry.refresh_at = now + LOOKUP_TIMEOUT;
        Some(Hit::Refresh(entry.found.clone()))
    }

    /// Whether what is known about `eid` was looked up after `then`.
    pub fn is_from_after(&self, then: Instant, eid: &EidPrefix) -> bool {
        self.entries.longest(eid).is_some_and(|(_, entry)| entry.put > then)
    }

    /// Keeps an answer in place of all that was known inside its prefix.
    pub fn put(&mut self, now: Instant, found: Found) {
        let lifetime = found.lifetime(now);
        if lifetime.is_zero() {
            return;
        }
        let prefix = found.prefix();
        let superseded: Vec<_> = self.entries.inside(&prefix).map(|(inner, _)| inner).collect();
        for inner in superseded {
            self.entries.remove(&inner);
        }
        let refresh_at = now + lifetime * REFRESH_AHEAD_PERCENT / 100;
        self.entries.insert(prefix, Entry { found, put: now, refresh_at, expires: now + lifetime });
        self.order.push_back(prefix);
        self.shrink();
    }

    /// Forgets what is known about `eid`: something registered here says otherwise.
    pub fn forget(&mut self, eid: &EidPrefix) {
        while let Some((covering, _)) = self.entries.longest(eid) {
            self.entries.remove(&covering);
        }
        let inside: Vec<_> = self.entries.inside(eid).map(|(inner, _)| inner).collect();
        for inner in inside {
            self.entries.remove(&inner);
        }
    }

    /// Forgets all answers.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Number of cached answers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The oldest insertions go first; a prefix put twice stands in the order twice, which only makes it go early.
    fn shrink(&mut self) {
        while self.entries.len() > CACHED_ANSWERS || self.order.len() > 2 * CACHED_ANSWERS {
            let Some(oldest) = self.order.pop_front() else { return };
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resolve::found::Mapping;
    use std::sync::Arc;
    use std::time::Duration;
    use wire::address::InstanceId;
    use wire::record::{MapVersion, Ttl};

    fn prefix(text: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
    }

    fn mapping(text: &str, now: Instant, ttl: u32) -> Found {
        Found::Mapping(Arc::new(Mapping {
            prefix: prefix(text),
            registered: prefix(text),
            locators: vec![],
            ttl: Ttl(ttl),
            map_version: MapVersion(0),
            proxy: true,
            map_servers: vec![],
            expires: now + Duration::from_secs(3600),
        }))
    }

    #[test]
    fn a_positive_answer_is_fresh_then_refreshed_then_stale_then_gone() {
        let now = Instant::now();
        let mut cache = Cache::default();
        let found = mapping("2001:db8:a::/48", now, 10);
        cache.put(now, found.clone());
        let eid = prefix("2001:db8:a::1/128");
        let at = |minutes: f64| now + Duration::from_secs_f64(minutes * 60.0);
        assert_eq!(cache.get(at(7.9), &eid), Some(Hit::Fresh(found.clone())));
        assert_eq!(cache.get(at(8.1), &eid), Some(Hit::Refresh(found.clone())));
        let sibling = prefix("2001:db8:a::2/128");
        assert_eq!(cache.get(at(8.2), &sibling), Some(Hit::Fresh(found.clone())), "one refresh for all its EIDs");
        assert_eq!(cache.get(at(9.0), &sibling), Some(Hit::Refresh(found.clone())), "the first may have failed");
        assert_eq!(cache.get(at(10.1), &eid), Some(Hit::Stale(found)));
        assert_eq!(cache.get(at(20.1), &eid), None);
    }

    #[test]
    fn the_signature_ends_a_mapping_before_its_ttl_does() {
        let now = Instant::now();
        let found = mapping("2001:db8:a::/48", now, 1440);
        assert_eq!(found.lifetime(now), Duration::from_secs(3600));
        assert_eq!(found.lifetime(now + Duration::from_secs(3590)), Duration::from_secs(10));
    }

    #[test]
    fn negatives_are_never_served_stale_and_unknown_is_not_kept() {
        let now = Instant::now();
        let mut cache = Cache::default();
        cache.put(now, Found::Unregistered(prefix("2001:db8:b::/48")));
        cache.put(now, Found::Unknown(prefix("2001:db8:c::/48")));
        assert_eq!(cache.len(), 1);
        assert_eq!(cache.get(now + Duration::from_secs(61), &prefix("2001:db8:b::1/128")), None);
    }

    #[test]
    fn a_new_answer_replaces_those_inside_it() {
        let now = Instant::now();
        let mut cache = Cache::default();
        cache.put(now, Found::Unregistered(prefix("2001:db8:a:1::/64")));
        cache.put(now, mapping("2001:db8:a::/48", now, 10));
        assert_eq!(cache.len(), 1);
        cache.forget(&prefix("2001:db8:a:1::1/128"));
        assert!(cache.is_empty());
    }
}
