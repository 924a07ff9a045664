// SPDX-License-Identifier: GPL-2.0-or-later
//! A table by EID-prefix with longest match.
//!
//! Values lie one beside the other in pages. An index by hash finds the one of a prefix with three looks into memory, and the longest
//! match with some more for each length that there is: with a million prefixes the answers wait for memory, and not for the
//! processor. An ordered map beside it, keyed by 24 octets a prefix, is for what needs the order: in that of address and length a
//! prefix stands before what it covers, so that the largest hole around an address is bounded by its two neighbours alone, and the
//! longest match of an address is its predecessor or covers that too.

mod held;
mod index;
mod key;

use std::collections::BTreeMap;
use std::ops::Bound;

use wire::address::EidPrefix;

use held::{Held, Pages};
use index::Index;
use key::Key;

/// Values by EID-prefix.
#[derive(Debug, Clone)]
pub struct PrefixTable<T> {
    held: Pages<T>,
    index: Index,
    order: BTreeMap<Key, u32>,
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        Self { held: Pages::default(), index: Index::default(), order: BTreeMap::new() }
    }
}

impl<T> PrefixTable<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Puts a value, and returns the one it replaces; or the value itself, if there are 2^32 of them.
    pub fn insert(&mut self, prefix: EidPrefix, value: T) -> Option<T> {
        let key = Key::of(&prefix);
        if let Some(at) = self.at(&key) {
            return Some(std::mem::replace(&mut self.held.get_mut(at).value, value));
        }
        let Some(at) = self.held.next() else { return Some(value) };
        if let Some(above) = self.longest_at(key) {
            self.held.get_mut(above).has_inside = true;
        }
        self.held.push(Held::new(key, self.has_inside(&key), value));
        self.index.insert(&key, self.index.hash(&key), at);
        self.order.insert(key, at);
        None
    }

    /// Takes a value out.
    pub fn remove(&mut self, prefix: &EidPrefix) -> Option<T> {
        let key = Key::of(prefix);
        let hash = self.index.hash(&key);
        let Self { held, index, order } = self;
        let at = index.remove(&key, hash, |at| held.get(at).key() == key)?;
        order.remove(&key);
        let taken = held.swap_remove(at)?;
        if let Some(last) = held.next().filter(|last| *last != at) {
            let moved = held.get(at).key();
            index.renumber(index.hash(&moved), last, at);
            order.insert(moved, at);
        }
        if let Some(above) = self.longest_at(key) {
            let outer = self.held.get(above).key();
            self.held.get_mut(above).has_inside = self.has_inside(&outer);
        }
        Some(taken.value)
    }

    /// The value of exactly this prefix.
    pub fn get(&self, prefix: &EidPrefix) -> Option<&T> {
        Some(&self.held.get(self.at(&Key::of(prefix))?).value)
    }

    /// The value of exactly this prefix.
    pub fn get_mut(&mut self, prefix: &EidPrefix) -> Option<&mut T> {
        let at = self.at(&Key::of(prefix))?;
        Some(&mut self.held.get_mut(at).value)
    }

    /// The longest prefix that covers `prefix`.
    pub fn longest(&self, prefix: &EidPrefix) -> Option<(EidPrefix, &T)> {
        let held = self.held.get(self.longest_at(Key::of(prefix))?);
        Some((held.key().prefix(), &held.value))
    }

    /// The longest prefix that covers `prefix`.
    pub fn longest_mut(&mut self, prefix: &EidPrefix) -> Option<(EidPrefix, &mut T)> {
        let at = self.longest_at(Key::of(prefix))?;
        let held = self.held.get_mut(at);
        Some((held.key().prefix(), &mut held.value))
    }

    /// The number of exactly this prefix.
    fn at(&self, key: &Key) -> Option<u32> {
        self.index.get(self.index.hash(key), |at| self.held.get(at).key() == *key)
    }

    /// The number of the longest prefix that covers `sought`.
    fn longest_at(&self, sought: Key) -> Option<u32> {
        match self.index.lengths(&sought) {
            Some(mut lengths) => lengths.find_map(|len| self.at(&sought.truncated(len))),
            None => self.longest_in_order(sought),
        }
    }

    /// The predecessor covers `sought`, or shares with it as many bits as anything that does: each step leaves fewer.
    fn longest_in_order(&self, mut sought: Key) -> Option<u32> {
        loop {
            let (key, at) = self.order.range(..=sought).next_back()?;
            if key.covers(&sought) {
                return Some(*at);
            }
            if !key.is_beside(&sought) || sought.len == 0 {
                return None;
            }
            sought = sought.truncated(key.shared(&sought).min(sought.len - 1));
        }
    }

    /// Whether a more-specific of `key` is held: the first one stands right behind it.
    fn has_inside(&self, key: &Key) -> bool {
        let behind = (Bound::Excluded(*key), Bound::Unbounded);
        self.order.range(behind).next().is_some_and(|(next, _)| key.covers(next))
    }

    /// Whether no other prefix lies inside `key`, held or not.
    fn is_alone(&self, key: &Key) -> bool {
        self.order.range((Bound::Excluded(*key), Bound::Included(key.end()))).next().is_none()
    }

    fn pair(&self, (key, at): (&Key, &u32)) -> (EidPrefix, &T) {
        (key.prefix(), &self.held.get(*at).value)
    }

    /// The prefixes that cover `prefix`, itself included, the longest first.
    pub fn covering(&self, prefix: &EidPrefix) -> impl Iterator<Item = (EidPrefix, &T)> + '_ {
        let mut sought = Some(Key::of(prefix));
        std::iter::from_fn(move || {
            let held = self.held.get(self.longest_at(sought?)?);
            let key = held.key();
            sought = key.len.checked_sub(1).map(|len| key.truncated(len));
            Some((key.prefix(), &held.value))
        })
    }

    /// The prefixes inside `prefix`, itself included.
    pub fn inside<'a>(&'a self, prefix: &EidPrefix) -> impl Iterator<Item = (EidPrefix, &'a T)> + use<'a, T> {
        let start = Key::of(prefix);
        // Most have nothing inside them, and are known to have not: no way through the order, nor a look into it.
        let alone = self.at(&start).map(|at| self.held.get(at)).filter(|held| !held.has_inside);
        let walked = alone.is_none().then(|| self.order.range(start..=start.end()));
        let alone = alone.map(|held| (start.prefix(), &held.value));
        alone.into_iter().chain(walked.into_iter().flatten().map(|place| self.pair(place)))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (EidPrefix, &T)> + '_ {
        self.order.iter().map(|place| self.pair(place))
    }

    /// All of them, in no order, to change their values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (EidPrefix, &mut T)> + '_ {
        self.held.iter_mut().map(|held| (held.key().prefix(), &mut held.value))
    }

    /// All that come after `prefix` in the order; all of them after none.
    pub fn after<'a>(&'a self, prefix: Option<&EidPrefix>) -> impl Iterator<Item = (EidPrefix, &'a T)> + use<'a, T> {
        let start = prefix.map_or(Bound::Unbounded, |prefix| Bound::Excluded(Key::of(prefix)));
        self.order.range((start, Bound::Unbounded)).map(|place| self.pair(place))
    }

    /// The least-specific prefix inside `within` that contains `eid` and overlaps none of the prefixes strictly inside
    /// `within`: the hole of RFC 9301, section 8.4. `None` if one of these covers `eid`, or `within` does not.
    pub fn hole(&self, within: &EidPrefix, eid: &EidPrefix) -> Option<EidPrefix> {
        let (outer, sought) = (Key::of(within), Key::of(eid));
        if !outer.covers(&sought) {
            return None;
        }
        if self.is_alone(&outer) {
            return Some(*within);
        }
        let best = self.longest_at(sought).map(|at| self.held.get(at).key());
        if best.is_some_and(|key| key != outer && outer.covers(&key)) {
            return None;
        }
        // `outer` itself may be the one before; it shares no more than its own bits, which the fold begins with.
        let before = self.order.range(outer..=sought).next_back().filter(|(key, _)| **key != outer);
        let after = self.order.range((Bound::Excluded(sought), Bound::Included(outer.end()))).next();
        let neighbours = [before, after].into_iter().flatten().map(|(key, _)| key.shared(&sought) + 1);
        let length = neighbours.fold(outer.len, u8::max);
        EidPrefix::new(eid.iid, eid.net.addr(), length.min(sought.len))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use wire::address::InstanceId;

    fn prefix(text: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
    }

    fn table(prefixes: impl IntoIterator<Item = EidPrefix>) -> PrefixTable<()> {
        let mut table = PrefixTable::default();
        for prefix in prefixes {
            table.insert(prefix, ());
        }
        table
    }

    fn net(bits: u32, len: u8) -> EidPrefix {
        EidPrefix::new(InstanceId(0), std::net::Ipv4Addr::from_bits(bits).into(), len).unwrap()
    }

    #[test]
    fn longest_match_keeps_instances_and_families_apart() {
        let mut table = PrefixTable::default();
        table.insert(prefix("2001:db8::/32"), 1);
        table.insert(prefix("2001:db8:a::/48"), 2);
        table.insert(EidPrefix { iid: InstanceId(5), ..prefix("2001:db8:a::/48") }, 3);
        table.insert(prefix("32.1.13.0/24"), 4);
        assert_eq!(table.longest(&prefix("2001:db8:a::1/128")).map(|(_, v)| *v), Some(2));
        assert_eq!(table.longest(&prefix("2001:db8:b::1/128")).map(|(_, v)| *v), Some(1));
        assert_eq!(table.longest(&prefix("2001:db9::1/128")), None);
        assert_eq!(table.inside(&prefix("2001:db8::/32")).count(), 2);
        assert_eq!(table.len(), 4);
        assert_eq!(table.remove(&prefix("2001:db8:a::/48")), Some(2));
        assert_eq!(table.remove(&prefix("2001:db8:a::/48")), None);
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn the_hole_of_77_is_the_one_that_two_peers_get_wrong() {
        let known = table([prefix("2001:db8:a::/48"), prefix("2001:db8:b::/48")]);
        let found = known.hole(&prefix("2001:db8::/32"), &prefix("2001:db8:77::2/128"));
        assert_eq!(found, Some(prefix("2001:db8:40::/42")));
    }

    proptest! {
        #[test]
        fn longest_match_and_inside_are_what_a_walk_through_all_finds(
            // Few bits, so that prefixes nest.
            eid in (0u32..256, 24u8..=32), known in proptest::collection::vec((0u32..256, 20u8..=32), 0..24)
        ) {
            let sought = net(eid.0, eid.1);
            let known: Vec<_> = known.into_iter().map(|(bits, len)| net(bits, len)).collect();
            let mut table = table(known.clone());
            let best = known.iter().copied().filter(|k| k.covers(&sought)).max_by_key(|k| k.net.prefix_len());
            prop_assert_eq!(table.longest(&sought).map(|(prefix, ())| prefix), best);
            prop_assert_eq!(table.longest_mut(&sought).map(|(prefix, ())| prefix), best);
            let mut covering: Vec<_> = known.iter().copied().filter(|k| k.covers(&sought)).collect();
            covering.sort_by_key(|k| std::cmp::Reverse(k.net.prefix_len()));
            covering.dedup();
            prop_assert_eq!(table.covering(&sought).map(|(prefix, ())| prefix).collect::<Vec<_>>(), covering);
            let inside: std::collections::BTreeSet<_> = known.into_iter().filter(|k| sought.covers(k)).collect();
            prop_assert_eq!(table.inside(&sought).map(|(prefix, ())| prefix).collect::<Vec<_>>().len(), inside.len());
            let all: Vec<_> = table.iter().map(|(prefix, ())| prefix).collect();
            let mut walked: Vec<EidPrefix> = Vec::new();
            while let Some((next, ())) = table.after(walked.last()).next() {
                walked.push(next);
            }
            prop_assert_eq!(walked, all);
            prop_assert!(table.inside(&sought).all(|(prefix, ())| inside.contains(&prefix)));
        }

        #[test]
        fn what_comes_and_goes_leaves_what_a_plain_map_has(
            // Few bits and all lengths, or a few of them: both ways to the longest match are gone.
            lens in prop_oneof![Just(vec![24u8, 28, 30]), Just((20..=32).collect::<Vec<u8>>())],
            steps in proptest::collection::vec((0u32..64, any::<proptest::sample::Index>(), any::<bool>()), 0..48)
        ) {
            let (mut table, mut plain) = (PrefixTable::default(), BTreeMap::new());
            for (number, (bits, len, comes)) in steps.into_iter().enumerate() {
                let prefix = net(bits << 6, *len.get(&lens));
                if comes {
                    prop_assert_eq!(table.insert(prefix, number), plain.insert(prefix, number));
                } else {
                    prop_assert_eq!(table.remove(&prefix), plain.remove(&prefix));
                }
                prop_assert_eq!(table.len(), plain.len());
                let host = net(bits << 6, 32);
                let best = plain.iter().filter(|(k, _)| k.covers(&host)).max_by_key(|(k, _)| k.net.prefix_len());
                prop_assert_eq!(table.longest(&host), best.map(|(k, value)| (*k, value)));
                for around in plain.keys().chain([&prefix]) {
                    let inside: Vec<_> = table.inside(around).map(|(k, value)| (k, *value)).collect();
                    let wanted = plain.iter().filter(|(k, _)| around.covers(k)).map(|(k, value)| (*k, *value));
                    prop_assert_eq!(inside.iter().copied().collect::<BTreeMap<_, _>>(), wanted.collect());
                }
            }
            prop_assert!(plain.iter().all(|(prefix, value)| table.get(prefix) == Some(value)));
            prop_assert_eq!(table.iter_mut().count(), plain.len());
        }

        #[test]
        fn a_hole_contains_the_eid_and_overlaps_nothing_and_is_the_largest(
            eid: u32, within in 0u8..=8, known in proptest::collection::vec((any::<u32>(), 1u8..=32), 0..8)
        ) {
            let (eid, within) = (net(eid, 32), net(eid, within));
            let table = table(known.into_iter().map(|(bits, len)| net(bits, len)).chain([within]));
            let inside: Vec<_> = table.inside(&within).map(|(k, ())| k).filter(|k| *k != within).collect();
            match table.hole(&within, &eid) {
                None => prop_assert!(inside.iter().any(|k| k.covers(&eid))),
                Some(found) => {
                    prop_assert!(found.covers(&eid) && within.covers(&found));
                    prop_assert!(inside.iter().all(|k| !k.covers(&found) && !found.covers(k)));
                    if let Some(wider) = found.net.supernet().map(|net| EidPrefix { net, ..found }) {
                        prop_assert!(!within.covers(&wider) || inside.iter().any(|k| k.covers(&wider) || wider.covers(k)));
                    }
                }
            }
        }
    }
}
