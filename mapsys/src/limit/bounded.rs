// SPDX-License-Identifier: GPL-2.0-or-later
//! A map that forgets its oldest entry when it is full.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A map of bounded size.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
    limit: usize,
}

impl<K: Eq + Hash + Clone, V> Bounded<K, V> {
    /// At most `limit` entries, at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self { values: HashMap::new(), order: VecDeque::new(), limit: limit.max(1) }
    }

    /// The entry of `key`, made by `make` if there is none.
    pub(crate) fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if !self.values.contains_key(&key) {
            if self.order.len() >= self.limit
                && let Some(oldest) = self.order.pop_front()
            {
                self.values.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.values.entry(key).or_insert_with(make)
    }

    /// The entry of `key`, if there is one.
    #[cfg_attr(not(feature = "shell"), allow(dead_code, reason = "sockets ask"))]
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
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
}
