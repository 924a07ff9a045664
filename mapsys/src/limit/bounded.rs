// SPDX-License-Identifier: GPL-2.0-or-later
//! A map that forgets its oldest entry when it is full.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map of bounded size.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    /// Each with its place in the order.
    values: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    next: u64,
    limit: usize,
}

impl<K: Eq + Hash + Clone, V> Bounded<K, V> {
    /// At most `limit` entries, at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self { values: HashMap::new(), order: BTreeMap::new(), next: 0, limit: limit.max(1) }
    }

    /// The entry of `key`, made by `make` if there is none.
    pub(crate) fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if !self.values.contains_key(&key) {
            if self.order.len() >= self.limit
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.values.remove(&oldest);
            }
            self.next += 1;
            self.order.insert(self.next, key.clone());
        }
        let place = self.next;
        &mut self.values.entry(key).or_insert_with(|| (place, make())).1
    }

    /// Takes out the entry of `key`, if there is one.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (place, value) = self.values.remove(key)?;
        self.order.remove(&place);
        Some(value)
    }

    /// Sets the entry of `key`, which is the youngest then.
    pub(crate) fn renew(&mut self, key: K, value: V) {
        self.remove(&key);
        self.entry(key, || value);
    }

    /// The entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.values.iter().map(|(key, (_, value))| (key, value))
    }

    /// Leaves the entries that `keeps` wants.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(&K, &V) -> bool) {
        self.values.retain(|key, (place, value)| {
            let is_kept = keeps(key, value);
            if !is_kept {
                self.order.remove(place);
            }
            is_kept
        });
    }

    /// The entry of `key`, if there is one.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut map = Bounded::new(2);
        for key in [1, 2, 1, 3] {
            map.entry(key, || key * 10);
        }
        assert_eq!(map.values.len(), 2);
        assert_eq!((map.get(&1), map.get(&2)), (None, Some(&20)));
        assert_eq!(*map.entry(2, || 0), 20);
        assert_eq!(*map.entry(1, || 0), 0);
    }

    #[test]
    fn what_is_renewed_is_the_youngest() {
        let mut map = Bounded::new(2);
        for key in [1, 2, 1, 3] {
            map.renew(key, key * 10);
        }
        assert_eq!((map.values.len(), map.order.len()), (2, 2));
        assert_eq!((map.get(&1), map.get(&2), map.get(&3)), (Some(&10), None, Some(&30)));
        assert_eq!((map.remove(&2), map.remove(&1)), (None, Some(10)));
        map.retain(|key, _| *key == 3);
        assert_eq!((map.values.len(), map.order.len(), map.iter().next()), (1, 1, Some((&3, &30))));
    }
}
