// SPDX-License-Identifier: GPL-2.0-or-later
//! What comes from disk and is from the future: either this clock is behind, or the one by which it was taken was ahead.
//!
//! Nobody can tell the two apart at the start, and a clock that is behind may be put right a minute later. So it is kept: it is
//! not shown, proves nothing, and is the first to go when there is no room. It counts when the clock has come to it, and is
//! deleted when the peers have said that the clock is right.

use std::time::SystemTime;

use super::Store;
use crate::error::Refusal;
use crate::record::RecordKey;

impl Store {
    /// Bundles that are kept though they are from the future.
    pub fn waiting(&self) -> usize {
        self.ahead.len()
    }

    /// Of what is kept though it is from the future, what is not any more, `count` at most: it is proven in its turn.
    pub(super) fn ripen(&mut self, now: SystemTime, count: usize) {
        for _ in 0..count {
            let Some((at, key)) = self.ahead.first().copied().filter(|(at, _)| *at <= now) else { return };
            self.ahead.remove(&(at, key));
            // No other table asks for it.
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.ripe_at = None;
            }
            self.unproven.push(key);
        }
    }

    /// This clock is right: what is from the future by it never was anything else. Deletes `count` at most; how many it were.
    pub fn drop_ahead(&mut self, now: SystemTime, count: usize) -> usize {
        for dropped in 0..count {
            let Some((_, key)) = self.ahead.last().copied().filter(|(at, _)| *at > now) else { return dropped };
            self.give_up_ahead(key, now);
            // What else is under the key waits for its proof.
            self.unproven.push(key);
        }
        count
    }

    /// Gives up what is from the future under a key.
    pub(super) fn give_up_ahead(&mut self, key: RecordKey, now: SystemTime) {
        let sections = self.entries.get(&key).map(|entry| &entry.sections).into_iter().flatten();
        if let Some((class, held)) = sections.max_by_key(|(_, held)| held.version.signed_at()) {
            let refusal = Refusal::FromTheFuture(*class, held.version.signed_at());
            tracing::debug!(%key, %refusal, "stored record given up");
            *self.counters.refused.entry(refusal.name()).or_default() += 1;
        }
        self.update(key, |entry| entry.drop_ahead(&key, now));
    }
}
