// SPDX-License-Identifier: GPL-2.0-or-later
//! Numbers by the hash of their prefix, and which lengths there are: the longest match of an address is found by asking for its first
//! bits of each length, whatever the number of prefixes.

use hashbrown::HashTable;
use wire::address::Keys;

use super::key::Key;

/// Parts of the table. Each grows by itself: at a million prefixes some thousand numbers are moved at a time, and not all of them
/// while nobody is answered.
const SHARDS: usize = 64;
/// Which part is told by bits of the hash that the parts do not look at.
const SHARD_SHIFT: u32 = 20;
/// Lengths that are asked for one after the other; of more the order of all prefixes finds the longest match sooner.
pub(super) const PROBES: usize = 8;

/// The index.
#[derive(Debug, Clone)]
pub(super) struct Index {
    /// Keyed: who registers prefixes shall not know which of them meet.
    keys: Keys,
    shards: Vec<HashTable<Place>>,
    /// Of IPv4 and IPv6: how many prefixes there are of each length, the longest first.
    lengths: [Vec<(u8, u32)>; 2],
}

/// A number, and the hash of its prefix: to compare and to move it needs no look at the prefix itself.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u32,
    hash: Hash,
}

/// The hash of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash(u32);

impl Hash {
    /// The table of a part looks at the lowest and the uppermost bits.
    fn wide(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn shard(self) -> usize {
        (self.0 >> SHARD_SHIFT) as usize % SHARDS
    }
}

impl Default for Index {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        Self { keys: Keys::default(), shards, lengths: [Vec::new(), Vec::new()] }
    }
}

impl Index {
    pub(super) fn hash(&self, key: &Key) -> Hash {
        let rest = u64::from(key.iid) << 16 | u64::from(key.len) << 1 | u64::from(key.is_v6);
        let (high, low) = ((key.bits() >> 64) as u64, key.bits() as u64);
        Hash((self.keys.hash_words(rest, high, low) >> 32) as u32)
    }

    /// The number with this hash that `is_it`.
    pub(super) fn get(&self, hash: Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let found = self.shards[hash.shard()].find(hash.wide(), |place| place.hash == hash && is_it(place.at));
        found.map(|place| place.at)
    }

    /// Adds the number of a prefix that is not there.
    pub(super) fn insert(&mut self, key: &Key, hash: Hash, at: u32) {
        self.shards[hash.shard()].insert_unique(hash.wide(), Place { at, hash }, |place| place.hash.wide());
        let lengths = &mut self.lengths[usize::from(key.is_v6)];
        match lengths.binary_search_by(|(len, _)| key.len.cmp(len)) {
            Ok(index) => lengths[index].1 += 1,
            Err(index) => lengths.insert(index, (key.len, 1)),
        }
    }

    /// Takes out the number of a prefix.
    pub(super) fn remove(&mut self, key: &Key, hash: Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let shard = &mut self.shards[hash.shard()];
        let found = shard.find_entry(hash.wide(), |place| place.hash == hash && is_it(place.at)).ok()?;
        let (Place { at, .. }, _) = found.remove();
        let lengths = &mut self.lengths[usize::from(key.is_v6)];
        if let Ok(index) = lengths.binary_search_by(|(len, _)| key.len.cmp(len)) {
            lengths[index].1 -= 1;
            if lengths[index].1 == 0 {
                lengths.remove(index);
            }
        }
        Some(at)
    }

    /// A prefix has another number now.
    pub(super) fn renumber(&mut self, hash: Hash, from: u32, to: u32) {
        let shard = &mut self.shards[hash.shard()];
        if let Some(place) = shard.find_mut(hash.wide(), |place| place.at == from) {
            place.at = to;
        }
    }

    /// The lengths up to that of a prefix, the longest first; `None` if they are too many to ask for each.
    pub(super) fn lengths(&self, sought: &Key) -> Option<impl Iterator<Item = u8>> {
        let lengths = &self.lengths[usize::from(sought.is_v6)];
        let from = lengths.partition_point(|(len, _)| *len > sought.len);
        (lengths.len() - from <= PROBES).then(|| lengths[from..].iter().map(|(len, _)| *len))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use wire::address::{EidPrefix, InstanceId};

    use super::*;

    #[test]
    fn lengths_are_known_as_long_as_there_is_a_prefix_of_them() {
        let mut index = Index::default();
        let key = |len: u8, iid: u32| {
            Key::of(&EidPrefix::new(InstanceId(iid), std::net::Ipv6Addr::LOCALHOST.into(), len).unwrap())
        };
        let all: Vec<Key> = [(32, 0), (48, 0), (48, 1), (64, 0)].into_iter().map(|(len, iid)| key(len, iid)).collect();
        for (at, key) in (0..).zip(&all) {
            index.insert(key, index.hash(key), at);
        }
        let lengths = |index: &Index, len| index.lengths(&key(len, 0)).map(Iterator::collect::<Vec<u8>>);
        assert_eq!(lengths(&index, 128), Some(vec![64, 48, 32]));
        assert_eq!(lengths(&index, 48), Some(vec![48, 32]));
        assert_eq!(lengths(&index, 31), Some(vec![]));
        assert_eq!(index.remove(&all[1], index.hash(&all[1]), |at| at == 1), Some(1));
        assert_eq!(lengths(&index, 128), Some(vec![64, 48, 32]));
        assert_eq!(index.remove(&all[2], index.hash(&all[2]), |at| at == 2), Some(2));
        assert_eq!(lengths(&index, 128), Some(vec![64, 32]));
        for len in 1..=8 {
            index.insert(&key(len, 0), index.hash(&key(len, 0)), len.into());
        }
        assert_eq!((lengths(&index, 128), lengths(&index, 8).map(|all| all.len())), (None, Some(8)));
    }
}
