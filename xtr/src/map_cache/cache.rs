// SPDX-License-Identifier: GPL-2.0-or-later
//! The cache proper: longest match, expiry, eviction.

use std::net::IpAddr;
use std::time::Instant;

use wire::address::{EidPrefix, InstanceId};
use wire::record::{Action, MapVersion};

use super::clock::{Clock, Tick};
use super::expiries::{Ending, Expiries, Kind};
use super::locators::{Learned, LocatorIndex, Locators};
use super::sets::{Families, LocatorSets, SetIndex, Share};
use super::table::PrefixTable;
use super::{Binding, Entry, Forwarding};
use crate::limits;

/// Mappings that the ITR forwards by.
#[derive(Debug)]
pub struct MapCache {
    clock: Clock,
    table: PrefixTable<Cached>,
    expiries: Expiries,
    sets: LocatorSets,
    locators: Locators,
    bounds: Bounds,
}

/// How many entries there may be.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    entries: usize,
    negative: usize,
}

/// An entry in the table: twelve octets.
#[derive(Debug, Clone, Copy)]
struct Cached {
    way: PackedWay,
    expires: Tick,
    /// From when on control should hear that the entry is in use; never, if it has.
    refresh: Tick,
}

/// What an entry says about packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To one of these locators.
    Locators(SetIndex),
    /// A negative mapping.
    Negative(Action),
}

/// A [`Way`] in four octets: the number of a set, or an action below the largest number.
#[derive(Debug, Clone, Copy)]
struct PackedWay(u32);

/// What the cache knows about an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit {
    /// The length of the prefix that matched.
    pub(crate) length: u8,
    /// What to do.
    pub(crate) way: Way,
    /// Whether control should hear that an old entry is in use.
    pub(crate) is_due: bool,
}

impl PackedWay {
    const MOST_ACTIONS: u32 = 8;

    fn new(way: Way) -> Self {
        match way {
            Way::Locators(set) => Self(set.0),
            Way::Negative(action) => Self(u32::MAX - u32::from(action as u8)),
        }
    }

    #[inline]
    fn way(self) -> Way {
        let below = u32::MAX - self.0;
        match u8::try_from(below) {
            Ok(bits) if below < Self::MOST_ACTIONS => Way::Negative(Action::from_bits(bits)),
            _ => Way::Locators(SetIndex(self.0)),
        }
    }

    fn kind(self) -> Kind {
        match self.way() {
            Way::Locators(_) => Kind::Positive,
            Way::Negative(_) => Kind::Negative,
        }
    }
}

impl MapCache {
    /// A cache that begins at `now`. Without another one known packets of `usual_mtu` octets reach every locator, and
    /// those in `gpe_peers` take LISP-GPE.
    pub(crate) fn new(now: Instant, usual_mtu: usize, gpe_peers: Vec<IpAddr>) -> Self {
        Self {
            clock: Clock::new(now),
            table: PrefixTable::default(),
            expiries: Expiries::default(),
            sets: LocatorSets::default(),
            locators: Locators::new(usual_mtu, gpe_peers),
            bounds: Bounds { entries: limits::MAP_CACHE_ENTRIES, negative: limits::NEGATIVE_ENTRIES },
        }
    }

    /// Installs or replaces an entry. One that is expired already only removes. Returns the prefix that had to make room.
    pub fn insert(&mut self, now: Instant, prefix: EidPrefix, entry: Entry) -> Option<EidPrefix> {
        let (now, expires) = (self.clock.tick_of(now), self.clock.tick_of(entry.expires));
        if expires <= now {
            self.remove(&prefix);
            return None;
        }
        // The new set before the old one goes: what is known of the locators that are in both stays known.
        let way = match entry.forwarding {
            Forwarding::Negative(action) => Way::Negative(action),
            Forwarding::Locators(list) => Way::Locators(self.sets.acquire(&mut self.locators, &list)),
            Forwarding::Binding(binding) => Way::Locators(self.sets.acquire_binding(&mut self.locators, binding)),
        };
        let cached = Cached { way: PackedWay::new(way), expires, refresh: refresh(now, expires) };
        let former = self.table.get_mut(&prefix).map(|former| std::mem::replace(former, cached));
        let mut evicted = None;
        match former {
            Some(former) => self.gone(prefix, &former),
            None => {
                evicted = self.make_room(cached.way.kind());
                self.table.insert(prefix, cached);
            }
        }
        self.expiries.insert(cached.way.kind(), expires, prefix, self.table.hash_of(&prefix));
        evicted
    }

    /// Removes the entry of exactly this prefix; whether there was one.
    pub fn remove(&mut self, prefix: &EidPrefix) -> bool {
        let removed = self.table.remove(prefix);
        if let Some(cached) = &removed {
            self.gone(*prefix, cached);
        }
        removed.is_some()
    }

    /// Tells the cache the time. What has expired is invisible from then on, and some of it removed; whether a tick of the
    /// coarse clock has begun.
    #[inline]
    pub fn advance(&mut self, now: Instant) -> bool {
        let begins = self.clock.advance(now);
        if begins {
            self.expire();
        }
        begins
    }

    #[inline(never)]
    fn expire(&mut self) {
        for _ in 0..limits::EXPIRED_AT_ONCE {
            match self.expiries.first() {
                Some(first) if first.0 <= self.clock.tick() => self.end(first),
                _ => break,
            };
        }
    }

    /// When [`Self::advance`] has something to do, or one of the locators.
    pub fn next_deadline(&self) -> Option<Instant> {
        let expiry = self.expiries.first().map(|(expires, _)| expires);
        let next = [expiry, self.locators.next_check()].into_iter().flatten().min()?;
        // What was left over has its turn in the next tick.
        Some(self.clock.instant(next).max(self.clock.ends()))
    }

    /// The longest match at the time that the cache was last told.
    #[inline(always)]
    pub(crate) fn lookup(&self, iid: InstanceId, address: IpAddr) -> Option<Hit> {
        let now = self.clock.tick();
        let (length, cached) = self.table.longest_match(iid, address, |cached| cached.expires > now)?;
        Some(Hit { length, way: cached.way.way(), is_due: cached.refresh <= now })
    }

    /// The length of the prefix of the entry that a packet for `address` meets.
    #[inline]
    pub fn longest_match(&self, iid: InstanceId, address: IpAddr) -> Option<u8> {
        self.lookup(iid, address).map(|hit| hit.length)
    }

    /// The mapping of exactly this prefix has this version, until it is replaced.
    pub(crate) fn set_version(&mut self, prefix: &EidPrefix, version: MapVersion) {
        let Some(cached) = self.table.get_mut(prefix) else { return };
        let Way::Locators(former) = cached.way.way() else { return };
        // The new set before the old one goes, as in an insertion.
        let set = self.sets.with_version(&mut self.locators, former, version);
        cached.way = PackedWay::new(Way::Locators(set));
        self.sets.release(&mut self.locators, former);
    }

    /// The version of the mappings with this locator-set; none unless it was said.
    pub(crate) fn version(&self, set: SetIndex) -> MapVersion {
        self.sets.version(set)
    }

    /// Control has been told that this entry is in use.
    pub(crate) fn refresh_said(&mut self, prefix: &EidPrefix) {
        if let Some(cached) = self.table.get_mut(prefix) {
            cached.refresh = Tick::NEVER;
        }
    }

    /// The locator for a flow with this hash; `None` if there is none that we can reach.
    #[inline]
    pub(crate) fn choose(&mut self, set: SetIndex, hash: u64) -> Option<LocatorIndex> {
        self.sets.choose(&self.locators, set, hash)
    }

    /// How the flows of the entry that a packet for `address` meets are shared out; empty if it has no locators.
    pub fn shares(&self, iid: InstanceId, address: IpAddr) -> Vec<Share> {
        match self.lookup(iid, address).map(|hit| hit.way) {
            Some(Way::Locators(set)) => self.sets.shares(&self.locators, set),
            _ => Vec::new(),
        }
    }

    /// What is known of the locators.
    pub(crate) fn locators(&self) -> &Locators {
        &self.locators
    }

    /// What is known of the locators, to change.
    pub(crate) fn locators_mut(&mut self) -> &mut Locators {
        &mut self.locators
    }

    /// The tick that goes on.
    pub(crate) fn tick(&self) -> Tick {
        self.clock.tick()
    }

    /// From now on only locators of these families are chosen.
    pub fn set_families(&mut self, families: Families) {
        self.locators.set_families(families);
    }

    /// From now on this RLOC is chosen, or is not.
    pub fn set_reachable(&mut self, rloc: IpAddr, reachable: bool) {
        self.locators.set_reachable(rloc, reachable);
    }

    /// Whether an RLOC is in some entry.
    pub(crate) fn has_locator(&self, rloc: IpAddr) -> bool {
        self.locators.is_in_use(rloc)
    }

    /// The same of a way through a NAT.
    pub(crate) fn has_binding(&self, binding: Binding) -> bool {
        self.locators.is_binding_in_use(binding)
    }

    /// Takes a report of the MTU of the way to an RLOC, which must be in some entry: of all others forgers could fill the
    /// table.
    pub(crate) fn learn_mtu(&mut self, rloc: IpAddr, mtu: usize) -> Learned {
        self.locators.learn(self.clock.tick(), rloc, mtu)
    }

    /// Takes the path MTU that probing has found; whether it is another one than before.
    pub(crate) fn set_path_mtu(&mut self, rloc: IpAddr, mtu: Option<u16>) -> bool {
        self.locators.set_path_mtu(self.clock.tick(), rloc, mtu)
    }

    /// The same of a way through a NAT.
    pub(crate) fn learn_binding_mtu(&mut self, binding: Binding, mtu: usize) -> Learned {
        self.locators.learn_binding(self.clock.tick(), binding, mtu)
    }

    /// The locator-sets.
    #[cfg(test)]
    pub(super) fn sets(&self) -> &LocatorSets {
        &self.sets
    }

    /// Entries, those among them that have expired and are not removed yet.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Removes an entry by its end.
    fn end(&mut self, (expires, ending): (Tick, Ending)) -> Option<EidPrefix> {
        let prefix = match ending {
            Ending::Host(hash) => self.table.host(hash, |cached| cached.expires == expires)?,
            Ending::Prefix(prefix) => prefix,
        };
        self.remove(&prefix);
        Some(prefix)
    }

    fn gone(&mut self, prefix: EidPrefix, cached: &Cached) {
        self.expiries.remove(cached.way.kind(), cached.expires, prefix, self.table.hash_of(&prefix));
        if let Way::Locators(set) = cached.way.way() {
            self.sets.release(&mut self.locators, set);
        }
    }

    /// What expires first goes first, negative entries before positive ones: a scan by strangers must not cost live sites
    /// their entries.
    fn make_room(&mut self, kind: Kind) -> Option<EidPrefix> {
        let negative = self.expiries.count(Kind::Negative);
        let is_full = match kind {
            Kind::Negative if negative >= self.bounds.negative => true,
            _ => self.len() >= self.bounds.entries,
        };
        if !is_full {
            return None;
        }
        let first = self.expiries.first_of(if negative > 0 { Kind::Negative } else { Kind::Positive })?;
        self.end(first)
    }
}

/// When most of the life of an entry is over.
fn refresh(now: Tick, expires: Tick) -> Tick {
    let life = u64::from(expires.0 - now.0) * u64::from(limits::REFRESH_AFTER_PERCENT) / 100;
    Tick(now.0.saturating_add(u32::try_from(life).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::map_cache::Locator;
    use std::time::Duration;

    fn entry(expires: Instant, address: &str) -> Entry {
        let locator = Locator { address: address.parse().unwrap(), priority: 1, weight: 1 };
        Entry { forwarding: Forwarding::Locators(vec![locator]), expires }
    }

    fn negative(expires: Instant) -> Entry {
        Entry { forwarding: Forwarding::Negative(Action::DropNoReason), expires }
    }

    fn host(number: u32) -> EidPrefix {
        EidPrefix::host(InstanceId(0), IpAddr::V4(number.into()))
    }

    fn cache(now: Instant) -> MapCache {
        let mut cache = MapCache::new(now, 1500, vec![]);
        cache.set_families(Families { v4: true, v6: false });
        cache
    }

    fn bounded(now: Instant, entries: usize, negative: usize) -> MapCache {
        MapCache { bounds: Bounds { entries, negative }, ..cache(now) }
    }

    fn hit(cache: &MapCache, number: u32) -> Option<Hit> {
        cache.lookup(InstanceId(0), host(number).net.addr())
    }

    fn chosen(cache: &mut MapCache, number: u32) -> Option<IpAddr> {
        let Way::Locators(set) = hit(cache, number)?.way else { return None };
        let chosen = cache.choose(set, 0)?;
        Some(cache.locators.get(chosen).address())
    }

    #[test]
    fn an_expired_entry_uncovers_the_shorter_one() {
        let now = Instant::now();
        let mut cache = cache(now);
        let later = |seconds| now + Duration::from_secs(seconds);
        let prefix = |net: &str| EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() };
        cache.insert(now, prefix("0.0.0.0/0"), entry(later(100), "192.0.2.1"));
        cache.insert(now, prefix("0.0.0.0/29"), entry(later(20), "192.0.2.2"));
        cache.insert(now, host(7), entry(later(10), "192.0.2.2"));
        let matched = |cache: &MapCache| cache.longest_match(InstanceId(0), host(7).net.addr());
        assert_eq!(matched(&cache), Some(32));
        assert_eq!(cache.next_deadline(), Some(later(10)));
        for (seconds, expected) in [(10, Some(29)), (20, Some(0)), (100, None)] {
            assert!(cache.advance(later(seconds)));
            assert_eq!(matched(&cache), expected);
        }
        assert_eq!((cache.len(), cache.next_deadline(), cache.locators.len()), (0, None, 0));
    }

    #[test]
    fn what_expires_all_at_once_is_removed_little_by_little_and_invisible_at_once() {
        let now = Instant::now();
        let (mut cache, end) = (cache(now), now + Duration::from_secs(10));
        let many = u32::try_from(2 * limits::EXPIRED_AT_ONCE).unwrap();
        let net = EidPrefix { iid: InstanceId(0), net: "0.0.0.0/0".parse().unwrap() };
        cache.insert(now, net, entry(end + Duration::from_secs(90), "192.0.2.1"));
        for number in 0..many {
            let sub = EidPrefix::new(InstanceId(0), IpAddr::V4((number << 8).into()), 24).unwrap();
            cache.insert(now, sub, entry(end, "192.0.2.2"));
            cache.insert(now, host(number), entry(end, "192.0.2.2"));
        }
        let mut deadline = end;
        while cache.len() > 1 {
            let before = cache.len();
            assert!(cache.advance(deadline));
            assert!(before - cache.len() <= limits::EXPIRED_AT_ONCE);
            assert!((0..many).all(|number| hit(&cache, number).unwrap().length == 0));
            deadline = cache.next_deadline().unwrap();
        }
    }

    #[test]
    fn a_replaced_entry_expires_once_and_at_its_own_time() {
        let now = Instant::now();
        let mut cache = cache(now);
        cache.insert(now, host(7), entry(now + Duration::from_secs(10), "192.0.2.1"));
        cache.insert(now, host(7), entry(now + Duration::from_secs(50), "192.0.2.2"));
        cache.advance(now + Duration::from_secs(20));
        assert_eq!((cache.len(), cache.locators.len()), (1, 1));
        cache.insert(now, host(7), entry(now, "192.0.2.2"));
        assert!(cache.is_empty());
        assert_eq!((cache.locators.len(), cache.next_deadline()), (0, None));
    }

    #[test]
    fn a_full_cache_evicts_what_expires_first() {
        let now = Instant::now();
        let mut cache = bounded(now, 1000, 1000);
        for number in 0..1000 {
            let life = Duration::from_secs(if number == 500 { 5 } else { 1000 });
            assert_eq!(cache.insert(now, host(number), entry(now + life, "192.0.2.1")), None);
        }
        let expires = now + Duration::from_secs(100);
        assert_eq!(cache.insert(now, host(1000), entry(expires, "192.0.2.1")), Some(host(500)));
        assert_eq!(cache.insert(now, host(1000), entry(expires, "192.0.2.2")), None, "replaced");
        assert_eq!(cache.len(), 1000);
    }

    #[test]
    fn a_scan_by_strangers_evicts_no_live_site() {
        let now = Instant::now();
        let (mut cache, soon, late) =
            (bounded(now, 100, 20), now + Duration::from_secs(60), now + Duration::from_secs(900));
        for number in 0..90 {
            cache.insert(now, host(number), entry(soon, "192.0.2.1"));
        }
        for number in 1000..2000 {
            cache.insert(now, host(number), negative(late));
        }
        assert_eq!((cache.len(), cache.expiries.count(Kind::Negative)), (100, 10));
        assert!((0..90).all(|number| hit(&cache, number).is_some()));
        for number in 90..100 {
            cache.insert(now, host(number), entry(soon, "192.0.2.1"));
        }
        assert_eq!((cache.len(), cache.expiries.count(Kind::Negative)), (100, 0));
        let mut few = bounded(now, 100, 20);
        for number in 0..50 {
            few.insert(now, host(number), negative(late));
        }
        assert_eq!(few.len(), 20);
    }

    #[test]
    fn refresh_is_due_once_after_four_fifths_of_the_life() {
        let now = Instant::now();
        let mut cache = cache(now);
        cache.insert(now, host(7), entry(now + Duration::from_secs(100), "192.0.2.1"));
        let mut is_due = |seconds| {
            cache.advance(now + Duration::from_secs(seconds));
            let is_due = hit(&cache, 7).unwrap().is_due;
            if is_due {
                cache.refresh_said(&host(7));
            }
            is_due
        };
        assert!(!is_due(79));
        assert!(is_due(80));
        assert!(!is_due(99));
    }

    #[test]
    fn families_and_reachability_can_change_under_the_entries() {
        let now = Instant::now();
        let mut cache = cache(now);
        let rloc: IpAddr = "2001:db8::1".parse().unwrap();
        cache.insert(now, host(7), entry(now + Duration::from_secs(9), "2001:db8::1"));
        assert_eq!(chosen(&mut cache, 7), None);
        cache.set_families(Families { v4: false, v6: true });
        assert_eq!(chosen(&mut cache, 7), Some(rloc));
        cache.set_reachable(rloc, false);
        assert_eq!(chosen(&mut cache, 7), Some(rloc), "the only one is tried all the same");
        cache.set_families(Families { v4: true, v6: false });
        assert_eq!(chosen(&mut cache, 7), None, "nothing leads there");
    }

    #[test]
    fn each_way_is_read_as_it_was_written() {
        for bits in 0..8 {
            let way = Way::Negative(Action::from_bits(bits));
            assert_eq!((PackedWay::new(way).way(), PackedWay::new(way).kind()), (way, Kind::Negative));
        }
        // The last is a locator alone, the greatest number of those with the least important priority.
        for number in [0, 1, 1_000_000, 1 << 31, u32::MAX >> 3 | 1 << 31] {
            assert_eq!(PackedWay::new(Way::Locators(SetIndex(number))).way(), Way::Locators(SetIndex(number)));
        }
    }
}
