// SPDX-License-Identifier: GPL-2.0-or-later
//! Dropping what has expired. Readers never see it, so when it goes is a matter of room only: a full store is looked through in
//! turns, each of which is short. That needs no order of the keys by their end, which would take memory for each of them.

use std::ops::Bound;
use std::time::SystemTime;

use super::Store;
use crate::record::RecordKey;

impl Store {
    /// Drops what has expired, and marks that are old enough to be forgotten.
    pub fn expire(&mut self, now: SystemTime) {
        self.looked_to = None;
        self.expire_next(now, usize::MAX, usize::MAX);
    }

    /// The same for the `look` keys that come next, after which it begins anew; it ends early when there was something to drop
    /// under `most` of them.
    pub fn expire_next(&mut self, now: SystemTime, look: usize, most: usize) {
        let from = self.looked_to.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut due, mut last) = (Vec::new(), None);
        let mut keys = self.entries.range((from, Bound::Unbounded));
        for (key, entry) in keys.by_ref().take(look) {
            last = Some(*key);
            if entry.is_due(now) {
                due.push(*key);
            }
            if due.len() >= most {
                break;
            }
        }
        self.looked_to = if keys.next().is_some() { last } else { None };
        due.into_iter().for_each(|key| self.drop_expired(now, key));
    }

    fn drop_expired(&mut self, now: SystemTime, key: RecordKey) {
        let mut dropped = 0;
        self.update(key, |entry| dropped = entry.expire(&key, now));
        self.counters.expired += u64::try_from(dropped).unwrap_or(u64::MAX);
    }
}
