// SPDX-License-Identifier: GPL-2.0-or-later
//! What comes from disk and is from the future: either this clock is behind, or the one by which it was taken was ahead.
//!
//! Nobody can tell the two apart at the start, and a clock that is behind may be put right a minute later. So it is kept: it is
//! not shown, proves nothing, and is the first to go when there is no room. It counts when the clock has come to it, and is
//! deleted when the peers have said that the clock is right.

use std::time::SystemTime;

use super::Store;
use super::entry::{Entry, Offer};
use super::{Origin, compare};
use crate::error::Refusal;
use crate::limits;
use crate::record::{Chain, Class, Form, RecordKey, check_signature};

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

    /// This clock is right, as far as clocks agree: what is from the future by more than that never was anything else. Deletes
    /// `count` at most; how many it were.
    pub fn drop_ahead(&mut self, now: SystemTime, count: usize) -> usize {
        let latest = now + limits::CLOCK_SKEW;
        for dropped in 0..count {
            let Some((_, key)) = self.ahead.last().copied().filter(|(at, _)| *at > latest) else { return dropped };
            self.give_up_ahead(key, now);
            // What else is under the key waits for its proof.
            self.unproven.push(key);
        }
        count
    }

    /// Whether what is offered may take the place of what waits: it is newer, it holds, and there is room for it. Otherwise a
    /// stranger could have a node forget what it will need when its clock is put right.
    pub(super) fn check_beside_waiting(
        &mut self,
        (now, origin): (SystemTime, Origin),
        key: &RecordKey,
        form: &Form<'_>,
    ) -> Result<(), Refusal> {
        let Some(known) = self.entries.get(key).filter(|entry| entry.is_ahead(now)).cloned() else { return Ok(()) };
        if form.bundle.revocation().is_none() {
            if !compare(&known, form)?.iter().any(Offer::is_news) {
                return newest(&known)
                    .map_or(Ok(()), |(class, signed_at)| Err(Refusal::FromTheFuture(class, signed_at)));
            }
            if !known.quota.allows(now) {
                return Err(Refusal::Quota);
            }
        }
        let mut left = known.clone();
        left.drop_ahead(key, now);
        self.check_room(key, &left, origin, form.size())?;
        let chain = Chain::open(self.network, key, &form.bundle, now, &mut self.certificates)?;
        for (section, octets) in form.sections() {
            check_signature(key, section, octets, &chain, &mut self.certificates)?;
        }
        self.check_identity(key, &known, &chain, now)
    }

    /// Gives up what is from the future under a key.
    pub(super) fn give_up_ahead(&mut self, key: RecordKey, now: SystemTime) {
        if let Some((class, signed_at)) = self.entries.get(&key).and_then(newest) {
            let refusal = Refusal::FromTheFuture(class, signed_at);
            tracing::debug!(%key, %refusal, "stored record given up");
            *self.counters.refused.entry(refusal.name()).or_default() += 1;
        }
        self.update(key, |entry| entry.drop_ahead(&key, now));
    }
}

/// What was signed last under a key, and when.
fn newest(entry: &Entry) -> Option<(Class, SystemTime)> {
    let signed = entry.sections.iter().map(|(class, held)| (*class, held.version.signed_at()));
    signed.max_by_key(|(_, at)| *at)
}
