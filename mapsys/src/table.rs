// SPDX-License-Identifier: GPL-2.0-or-later
//! A table by EID-prefix with longest match: one ordered map, keyed by 24 octets a prefix.
//!
//! In the order of address and length a prefix stands before what it covers, so the longest match of an address is its
//! predecessor or covers that too, and the largest hole around an address is bounded by its two neighbours alone. A million
//! prefixes take no more steps than their order needs, and no nodes of a trie.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;

use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};

/// Values by EID-prefix.
#[derive(Debug, Clone)]
pub struct PrefixTable<T> {
    map: BTreeMap<Key, T>,
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        Self { map: BTreeMap::new() }
    }
}

/// An EID-prefix in few octets. Addresses of both families stand at the left; the family comes before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    iid: u32,
    is_v6: bool,
    address: [u8; 16],
    len: u8,
}

impl Key {
    fn of(prefix: &EidPrefix) -> Self {
        let (is_v6, bits) = match prefix.net {
            IpNet::V4(net) => (false, u128::from(net.addr().to_bits()) << 96),
            IpNet::V6(net) => (true, net.addr().to_bits()),
        };
        Self { iid: prefix.iid.0, is_v6, address: bits.to_be_bytes(), len: prefix.net.prefix_len() }
    }

    fn prefix(self) -> EidPrefix {
        let [a, b, c, d, ..] = self.address;
        let address = if self.is_v6 { IpAddr::from(self.address) } else { IpAddr::from([a, b, c, d]) };
        let iid = InstanceId(self.iid);
        EidPrefix::new(iid, address, self.len).unwrap_or_else(|| EidPrefix::host(iid, address))
    }

    fn bits(&self) -> u128 {
        u128::from_be_bytes(self.address)
    }

    fn is_beside(&self, other: &Self) -> bool {
        (self.iid, self.is_v6) == (other.iid, other.is_v6)
    }

    /// Leading bits that both share, at most the length of the shorter.
    fn shared(&self, other: &Self) -> u8 {
        let same = (self.bits() ^ other.bits()).leading_zeros();
        u8::try_from(same).unwrap_or(u8::MAX).min(self.len).min(other.len)
    }

    fn covers(&self, other: &Self) -> bool {
        self.is_beside(other) && self.shared(other) == self.len
    }

    /// Its first `len` bits.
    fn truncated(self, len: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
        Self { address: (self.bits() & mask).to_be_bytes(), len, ..self }
    }

    /// Behind all that it covers.
    fn end(self) -> Self {
        let hosts = u128::MAX.checked_shr(self.len.into()).unwrap_or(0);
        Self { address: (self.bits() | hosts).to_be_bytes(), len: u8::MAX, ..self }
    }
}

impl<T> PrefixTable<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Puts a value, and returns the one it replaces.
    pub fn insert(&mut self, prefix: EidPrefix, value: T) -> Option<T> {
        self.map.insert(Key::of(&prefix), value)
    }

    /// Takes a value out.
    pub fn remove(&mut self, prefix: &EidPrefix) -> Option<T> {
        self.map.remove(&Key::of(prefix))
    }

    /// The value of exactly this prefix.
    pub fn get(&self, prefix: &EidPrefix) -> Option<&T> {
        self.map.get(&Key::of(prefix))
    }

    /// The value of exactly this prefix.
    pub fn get_mut(&mut self, prefix: &EidPrefix) -> Option<&mut T> {
        self.map.get_mut(&Key::of(prefix))
    }

    /// The longest prefix that covers `prefix`.
    pub fn longest(&self, prefix: &EidPrefix) -> Option<(EidPrefix, &T)> {
        let (key, value) = self.longest_key(Key::of(prefix))?;
        Some((key.prefix(), value))
    }

    /// The longest prefix that covers `prefix`.
    pub fn longest_mut(&mut self, prefix: &EidPrefix) -> Option<(EidPrefix, &mut T)> {
        let (key, _) = self.longest_key(Key::of(prefix))?;
        Some((key.prefix(), self.map.get_mut(&key)?))
    }

    /// The predecessor covers `sought`, or shares with it as many bits as anything that does: each step leaves fewer.
    fn longest_key(&self, mut sought: Key) -> Option<(Key, &T)> {
        loop {
            let (key, value) = self.map.range(..=sought).next_back()?;
            if key.covers(&sought) {
                return Some((*key, value));
            }
            if !key.is_beside(&sought) || sought.len == 0 {
                return None;
            }
            sought = sought.truncated(key.shared(&sought).min(sought.len - 1));
        }
    }

    /// The prefixes that cover `prefix`, itself included, the longest first.
    pub fn covering(&self, prefix: &EidPrefix) -> impl Iterator<Item = (EidPrefix, &T)> + '_ {
        let mut sought = Some(Key::of(prefix));
        std::iter::from_fn(move || {
            let (key, value) = self.longest_key(sought?)?;
            sought = key.len.checked_sub(1).map(|len| key.truncated(len));
            Some((key.prefix(), value))
        })
    }

    /// The prefixes inside `prefix`, itself included.
    pub fn inside<'a>(&'a self, prefix: &EidPrefix) -> impl Iterator<Item = (EidPrefix, &'a T)> + use<'a, T> {
        let start = Key::of(prefix);
        self.map.range(start..=start.end()).map(|(key, value)| (key.prefix(), value))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (EidPrefix, &T)> + '_ {
        self.map.iter().map(|(key, value)| (key.prefix(), value))
    }

    /// All of them, in order, to change their values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (EidPrefix, &mut T)> + '_ {
        self.map.iter_mut().map(|(key, value)| (key.prefix(), value))
    }

    /// All that come after `prefix` in the order; all of them after none.
    pub fn after<'a>(&'a self, prefix: Option<&EidPrefix>) -> impl Iterator<Item = (EidPrefix, &'a T)> + use<'a, T> {
        let start = prefix.map_or(Bound::Unbounded, |prefix| Bound::Excluded(Key::of(prefix)));
        self.map.range((start, Bound::Unbounded)).map(|(key, value)| (key.prefix(), value))
    }

    /// The least-specific prefix inside `within` that contains `eid` and overlaps none of the prefixes strictly inside
    /// `within`: the hole of RFC 9301, section 8.4. `None` if one of these covers `eid`, or `within` does not.
    pub fn hole(&self, within: &EidPrefix, eid: &EidPrefix) -> Option<EidPrefix> {
        let (outer, sought) = (Key::of(within), Key::of(eid));
        if !outer.covers(&sought) {
            return None;
        }
        if self.longest_key(sought).is_some_and(|(key, _)| key != outer && outer.covers(&key)) {
            return None;
        }
        // `outer` itself may be the one before; it shares no more than its own bits, which the fold begins with.
        let before = self.map.range(outer..=sought).next_back().filter(|(key, _)| **key != outer);
        let after = self.map.range((Bound::Excluded(sought), Bound::Included(outer.end()))).next();
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
    fn a_key_takes_24_octets() {
        assert_eq!(size_of::<Key>(), 24);
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
