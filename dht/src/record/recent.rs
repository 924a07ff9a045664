// SPDX-License-Identifier: GPL-2.0-or-later
//! A bounded map that forgets what was not used for longest.
//!
//! Not what came first: strangers can make a reader meet new keys at will, and what honest lookups use all the time (the
//! certificate of a trust anchor, the mark of its page) must not be what that pushes out.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// At most `limit` entries.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    limit: usize,
    /// Counts uses: the time of this map.
    uses: u64,
    entries: HashMap<K, (u64, V)>,
    by_use: BTreeMap<u64, K>,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, uses: 0, entries: HashMap::new(), by_use: BTreeMap::new() }
    }

    /// Looks, without counting it as a use.
    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        let (used, value) = self.entries.get_mut(key)?;
        self.uses += 1;
        self.by_use.remove(used);
        self.by_use.insert(self.uses, *key);
        *used = self.uses;
        Some(value)
    }

    /// Keeps a value; what had to go for it, or was there under the key.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.uses += 1;
        self.by_use.insert(self.uses, key);
        if let Some((used, old)) = self.entries.insert(key, (self.uses, value)) {
            self.by_use.remove(&used);
            return Some(old);
        }
        if self.entries.len() > self.limit { self.pop() } else { None }
    }

    /// Gives up what was not used for longest.
    pub(crate) fn pop(&mut self) -> Option<V> {
        let (_, key) = self.by_use.pop_first()?;
        self.entries.remove(&key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut map = Recent::new(2);
        assert_eq!((map.insert('a', 1), map.insert('b', 2)), (None, None));
        assert_eq!(map.get(&'a'), Some(&1));
        assert_eq!(map.insert('c', 3), Some(2));
        assert_eq!((map.peek(&'a'), map.peek(&'b'), map.peek(&'c')), (Some(&1), None, Some(&3)));
        assert_eq!(map.insert('a', 4), Some(1));
        assert_eq!((map.pop(), map.pop(), map.pop()), (Some(3), Some(4), None));
    }
}
