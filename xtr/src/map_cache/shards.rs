// SPDX-License-Identifier: GPL-2.0-or-later
//! A hash table in parts. Each grows by itself: at a million values that is some thousand to move at a time, a tenth of a
//! millisecond, where one table would make the packets wait for tens.

use hashbrown::HashTable;

/// Parts.
const SHARDS: usize = 256;
/// Which part is told by bits of the hash that the parts do not look at: they use the lowest and the uppermost.
const SHARD_SHIFT: u32 = 32;

/// The table; what a value's hash is its owner knows.
#[derive(Debug)]
pub(super) struct Shards<T> {
    shards: Box<[HashTable<T>; SHARDS]>,
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self { shards: Box::new([const { HashTable::new() }; SHARDS]) }
    }
}

impl<T> Shards<T> {
    /// The value with this hash that `is_it`.
    #[inline]
    pub(super) fn get(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.shards[shard(hash)].find(hash, is_it)
    }

    /// The value with this hash that `is_it`, to change in ways that leave its hash.
    pub(super) fn get_mut(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.shards[shard(hash)].find_mut(hash, is_it)
    }

    /// Adds a value that is not there.
    pub(super) fn insert(&mut self, hash: u64, value: T, hash_of: impl Fn(&T) -> u64) {
        self.shards[shard(hash)].insert_unique(hash, value, hash_of);
    }

    /// Takes out the value with this hash that `is_it`.
    pub(super) fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<T> {
        self.shards[shard(hash)].find_entry(hash, is_it).ok().map(|entry| entry.remove().0)
    }
}

fn shard(hash: u64) -> usize {
    // The remainder has eight bits.
    usize::try_from(hash >> SHARD_SHIFT).unwrap_or_default() % SHARDS
}
