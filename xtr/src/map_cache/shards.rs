// SPDX-License-Identifier: GPL-2.0-or-later
//! A hash table in parts. Each grows by itself: at a million values that is some thousand to move at a time, a tenth of a
//! millisecond, where one table would make the packets wait for tens.

use hashbrown::HashTable;

use crate::limits;

/// Values of a part when there are as many as a full map-cache has entries. Of its 4096 places seven eighths may be taken before it
/// doubles; parts differ at random, and this is four standard deviations below. So of a full table four places in five are used.
const VALUES: usize = 3330;
/// Parts.
const SHARDS: usize = limits::MAP_CACHE_ENTRIES.div_ceil(VALUES);
/// Which part is told by bits of the hash that the parts do not look at: they use the lowest and the uppermost.
const SHARD_SHIFT: u32 = 25;

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
    // 32 bits, scaled to the number of parts: so below it.
    let bits = hash >> SHARD_SHIFT & u64::from(u32::MAX);
    usize::try_from(bits * SHARDS as u64 >> u32::BITS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::address::{InstanceId, Keys};

    #[test]
    fn what_a_full_map_cache_has_fills_four_fifths_of_the_places() {
        let (keys, mut shards) = (Keys::default(), Shards::default());
        let hash_of = |number: &u32| keys.hash_v4(InstanceId(0), (*number).into());
        let values = u32::try_from(limits::MAP_CACHE_ENTRIES).unwrap_or_default();
        (0..values).for_each(|number| shards.insert(hash_of(&number), number, hash_of));
        let octets: usize = shards.shards.iter().map(HashTable::allocation_size).sum();
        let of_a_place = size_of::<u32>() + 1;
        let places = octets / of_a_place;
        assert!(places * 4 < limits::MAP_CACHE_ENTRIES * 5, "{places} places");
        assert!((0..values).all(|number| shards.get(hash_of(&number), |other| *other == number).is_some()));
    }
}
