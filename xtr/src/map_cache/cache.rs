// SPDX-License-Identifier: GPL-2.0-or-later
//! The cache proper: longest match, expiry, eviction.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use wire::address::{EidPrefix, InstanceId};
use wire::record::Action;

use super::pool::{Families, Pool};
use super::{Entry, Forwarding, Locator, PrefixTable};
use crate::limits;

/// Mappings that the ITR forwards by.
#[derive(Debug, Default)]
pub struct MapCache {
    table: PrefixTable<Cached>,
    expiries: BTreeSet<(Instant, EidPrefix)>,
    families: Families,
    /// In how many entries each RLOC is.
    rlocs: HashMap<IpAddr, usize>,
    /// Those of them that packets must not go to.
    unreachable: HashSet<IpAddr>,
}

#[derive(Debug)]
struct Cached {
    way: Way,
    expires: Instant,
    refresh_at: Instant,
    refresh_said: Cell<bool>,
}

#[derive(Debug)]
enum Way {
    Locators { all: Vec<Locator>, pool: Pool },
    Negative(Action),
}

/// What the cache knows about an address.
#[derive(Debug, Clone, Copy)]
pub struct Hit<'c> {
    /// The prefix that matched.
    pub prefix: EidPrefix,
    cached: &'c Cached,
}

/// What to do with a packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Encapsulate to this locator; `None` if there is none that we can reach.
    Locator(Option<IpAddr>),
    /// The action of a negative mapping.
    Negative(Action),
}

impl MapCache {
    /// Installs or replaces an entry. One that is expired already only removes. Returns the prefix that had to make room.
    pub fn insert(&mut self, now: Instant, prefix: EidPrefix, entry: Entry) -> Option<EidPrefix> {
        self.remove(&prefix);
        if entry.expires <= now {
            return None;
        }
        let evicted = if self.table.len() >= limits::MAP_CACHE_ENTRIES { self.evict() } else { None };
        let way = match entry.forwarding {
            Forwarding::Negative(action) => Way::Negative(action),
            Forwarding::Locators(mut all) => {
                all.truncate(limits::LOCATORS_PER_ENTRY);
                let pool = pool(&all, self.families, &self.unreachable);
                all.iter().for_each(|locator| *self.rlocs.entry(locator.address).or_default() += 1);
                Way::Locators { all, pool }
            }
        };
        let life = entry.expires - now;
        let refresh_at = now + life * limits::REFRESH_AFTER_PERCENT / 100;
        let cached = Cached { way, expires: entry.expires, refresh_at, refresh_said: Cell::new(false) };
        self.expiries.insert((cached.expires, prefix));
        self.table.insert(prefix, cached);
        evicted
    }

    /// Removes the entry of exactly this prefix; whether there was one.
    pub fn remove(&mut self, prefix: &EidPrefix) -> bool {
        let Some(cached) = self.table.remove(prefix) else { return false };
        self.expiries.remove(&(cached.expires, *prefix));
        if let Way::Locators { all, .. } = &cached.way {
            all.iter().for_each(|locator| self.forget_rloc(locator.address));
        }
        true
    }

    /// Removes what has expired. Before each lookup: then an expired entry cannot hide a shorter one.
    pub fn expire(&mut self, now: Instant) {
        while let Some((expires, prefix)) = self.expiries.first().copied()
            && expires <= now
        {
            self.remove(&prefix);
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|(expires, _)| *expires)
    }

    /// The longest match.
    pub fn lookup(&self, iid: InstanceId, address: IpAddr) -> Option<Hit<'_>> {
        self.table.longest_match(iid, address).map(|(prefix, cached)| Hit { prefix, cached })
    }

    /// Whether any entry has this locator.
    pub fn has_rloc(&self, rloc: IpAddr) -> bool {
        self.rlocs.contains_key(&rloc)
    }

    /// From now on only locators of these families are chosen.
    pub fn set_families(&mut self, families: Families) {
        self.families = families;
        self.choose_anew();
    }

    /// Whether this locator is chosen from now on; control says so of locators in use only.
    pub fn set_reachable(&mut self, rloc: IpAddr, reachable: bool) {
        let changed = if reachable { self.unreachable.remove(&rloc) } else { self.unreachable.insert(rloc) };
        if changed {
            self.choose_anew();
        }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn choose_anew(&mut self) {
        for cached in self.table.values_mut() {
            if let Way::Locators { all, pool: chosen } = &mut cached.way {
                *chosen = pool(all, self.families, &self.unreachable);
            }
        }
    }

    fn forget_rloc(&mut self, rloc: IpAddr) {
        if let Some(entries) = self.rlocs.get_mut(&rloc) {
            *entries -= 1;
            if *entries == 0 {
                self.rlocs.remove(&rloc);
            }
        }
    }

    /// What expires first goes first: negative entries, which strangers can cause, live shortest.
    fn evict(&mut self) -> Option<EidPrefix> {
        let (_, prefix) = self.expiries.first().copied()?;
        self.remove(&prefix);
        Some(prefix)
    }
}

fn pool(all: &[Locator], families: Families, unreachable: &HashSet<IpAddr>) -> Pool {
    let reachable: Vec<Locator> =
        all.iter().copied().filter(|locator| !unreachable.contains(&locator.address)).collect();
    Pool::new(&reachable, families)
}

impl Hit<'_> {
    /// Where a flow with this hash goes.
    pub fn next(&self, hash: u64) -> Next {
        match &self.cached.way {
            Way::Locators { pool, .. } => Next::Locator(pool.choose(hash)),
            Way::Negative(action) => Next::Negative(*action),
        }
    }

    /// Whether control should hear that an old entry is in use.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.cached.refresh_at && !self.cached.refresh_said.get()
    }

    /// Control has been told.
    pub fn refresh_said(&self) {
        self.cached.refresh_said.set(true);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn entry(expires: Instant, address: &str) -> Entry {
        let locator = Locator { address: address.parse().unwrap(), priority: 1, weight: 1 };
        Entry { forwarding: Forwarding::Locators(vec![locator]), expires }
    }

    fn host(number: u32) -> EidPrefix {
        EidPrefix::host(InstanceId(0), IpAddr::V4(number.into()))
    }

    fn cache() -> MapCache {
        let mut cache = MapCache::default();
        cache.set_families(Families { v4: true, v6: false });
        cache
    }

    #[test]
    fn an_expired_entry_uncovers_the_shorter_one() {
        let (now, mut cache) = (Instant::now(), cache());
        let later = |seconds| now + Duration::from_secs(seconds);
        let net = EidPrefix { iid: InstanceId(0), net: "0.0.0.0/0".parse().unwrap() };
        cache.insert(now, net, entry(later(100), "192.0.2.1"));
        cache.insert(now, host(7), entry(later(10), "192.0.2.2"));
        let matched = |cache: &MapCache| cache.lookup(InstanceId(0), host(7).net.addr()).map(|hit| hit.prefix);
        assert_eq!(matched(&cache), Some(host(7)));
        assert_eq!(cache.next_expiry(), Some(later(10)));
        cache.expire(later(10));
        assert_eq!(matched(&cache), Some(net));
        cache.expire(later(100));
        assert_eq!((matched(&cache), cache.len(), cache.next_expiry()), (None, 0, None));
        assert!(cache.rlocs.is_empty());
    }

    #[test]
    fn a_replaced_entry_expires_once_and_at_its_own_time() {
        let (now, mut cache) = (Instant::now(), cache());
        cache.insert(now, host(7), entry(now + Duration::from_secs(10), "192.0.2.1"));
        cache.insert(now, host(7), entry(now + Duration::from_secs(50), "192.0.2.2"));
        cache.expire(now + Duration::from_secs(20));
        assert_eq!(cache.len(), 1);
        cache.insert(now, host(7), entry(now, "192.0.2.2"));
        assert!(cache.is_empty());
        assert!(cache.rlocs.is_empty());
    }

    #[test]
    fn a_full_cache_evicts_what_expires_first() {
        let (now, mut cache) = (Instant::now(), cache());
        let most = u32::try_from(limits::MAP_CACHE_ENTRIES).unwrap();
        for number in 0..most {
            let life = Duration::from_secs(if number == 500 { 5 } else { 1000 });
            assert_eq!(cache.insert(now, host(number), entry(now + life, "192.0.2.1")), None);
        }
        let expires = now + Duration::from_secs(100);
        assert_eq!(cache.insert(now, host(most), entry(expires, "192.0.2.1")), Some(host(500)));
        assert_eq!(cache.len(), limits::MAP_CACHE_ENTRIES);
    }

    #[test]
    fn refresh_is_due_once_after_four_fifths_of_the_life() {
        let (now, mut cache) = (Instant::now(), cache());
        cache.insert(now, host(7), entry(now + Duration::from_secs(100), "192.0.2.1"));
        let hit = cache.lookup(InstanceId(0), host(7).net.addr()).unwrap();
        assert!(!hit.is_due(now + Duration::from_secs(79)));
        assert!(hit.is_due(now + Duration::from_secs(80)));
        hit.refresh_said();
        assert!(!hit.is_due(now + Duration::from_secs(99)));
    }

    #[test]
    fn families_can_change_under_the_entries() {
        let (now, mut cache) = (Instant::now(), cache());
        cache.insert(now, host(7), entry(now + Duration::from_secs(9), "2001:db8::1"));
        let next = |cache: &MapCache| cache.lookup(InstanceId(0), host(7).net.addr()).unwrap().next(0);
        assert_eq!(next(&cache), Next::Locator(None));
        cache.set_families(Families { v4: false, v6: true });
        assert_eq!(next(&cache), Next::Locator(Some("2001:db8::1".parse().unwrap())));
    }
}
