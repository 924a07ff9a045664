// SPDX-License-Identifier: GPL-2.0-or-later
//! What comes from disk is proven when it is first asked for, or put again, or when its turn comes: checking the signatures of
//! a full store takes half a minute, and a node serves again within seconds. Nothing leaves the store before it is proven, and
//! nothing is merged with it or counts as equivocation; until then it takes room, no more.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use cgeid::Network;

use super::Store;
use super::entry::Entry;
use crate::error::Refusal;
use crate::record::{CertificateCache, Chain, RecordKey, check_form, check_signature};

/// Whether the signatures under a key were checked. Reading it needs no exclusive store, finding it out neither.
#[derive(Debug, Default)]
pub(super) struct Proof(AtomicU8);

impl Proof {
    const PROVEN: u8 = 0;
    const OPEN: u8 = 1;
    const DISPROVEN: u8 = 2;

    pub(super) fn open() -> Self {
        Self(AtomicU8::new(Self::OPEN))
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) != Self::PROVEN
    }

    fn holds(&self, find_out: impl FnOnce() -> bool) -> bool {
        if self.0.load(Ordering::Relaxed) == Self::OPEN {
            let found = if find_out() { Self::PROVEN } else { Self::DISPROVEN };
            self.0.store(found, Ordering::Relaxed);
        }
        self.0.load(Ordering::Relaxed) == Self::PROVEN
    }
}

impl Clone for Proof {
    fn clone(&self) -> Self {
        Self(AtomicU8::new(self.0.load(Ordering::Relaxed)))
    }
}

impl Store {
    /// Checks up to `count` of the values that came from disk and have not been checked yet; how many are left. What does not
    /// hold is deleted.
    pub fn prove(&mut self, now: SystemTime, count: usize) -> usize {
        self.ripen(now, count);
        let mut left = count;
        while left > 0
            && let Some(key) = self.unproven.pop()
        {
            left -= usize::from(self.settle_proof(&key, now));
        }
        self.unproven.len()
    }

    /// Whether what is held under a key may be shown.
    pub(super) fn is_proven(&self, key: &RecordKey, entry: &Entry, now: SystemTime) -> bool {
        !entry.is_ahead(now)
            && entry.proof.holds(|| check(self.network, key, entry, now, &mut CertificateCache::new()).is_ok())
    }

    /// Proves or deletes what is held under a key; whether there was something to do. What is from the future cannot be proven.
    pub(super) fn settle_proof(&mut self, key: &RecordKey, now: SystemTime) -> bool {
        if self.entries.get(key).is_some_and(|entry| entry.is_ahead(now)) {
            self.give_up_ahead(*key, now);
        }
        let Some(entry) = self.entries.get(key).filter(|entry| entry.proof.is_open()) else { return false };
        match check(self.network, key, entry, now, &mut self.certificates) {
            Ok(()) => {
                // No table asks for it.
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.proof = Proof::default();
                    let ripe_at = entry.ripe_at.take();
                    ripe_at.map(|at| self.ahead.remove(&(at, *key)));
                }
            }
            Err(refusal) => {
                tracing::warn!(%key, %refusal, "the record database holds what its owner has not signed: deleted");
                *self.counters.refused.entry(refusal.name()).or_default() += 1;
                self.update(*key, |entry| entry.sections.clear());
            }
        }
        true
    }
}

/// All checks but those of times, which were made when it was taken from disk.
fn check(
    network: Network,
    key: &RecordKey,
    entry: &Entry,
    now: SystemTime,
    cache: &mut CertificateCache,
) -> Result<(), Refusal> {
    let value = entry.octets();
    let form = check_form(network, key, &value)?;
    let chain = Chain::open(network, key, &form.bundle, now, cache)?;
    form.sections().try_for_each(|(section, octets)| check_signature(key, section, octets, &chain, cache))
}
