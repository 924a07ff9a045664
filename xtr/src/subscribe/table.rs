// SPDX-License-Identifier: GPL-2.0-or-later
//! All subscriptions, and when each is to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use wire::address::EidPrefix;

use super::subscription::Subscription;

/// The subscriptions by EID-prefix.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<EidPrefix, Subscription>,
    schedule: BTreeSet<(Instant, EidPrefix)>,
}

impl Table {
    /// Puts one in, in the place of the one that was there.
    pub(super) fn put(&mut self, prefix: EidPrefix, subscription: Subscription) {
        self.take(&prefix);
        self.schedule.extend(subscription.at().map(|at| (at, prefix)));
        self.entries.insert(prefix, subscription);
    }

    /// Takes one out: to change it, and put it in again.
    pub(super) fn take(&mut self, prefix: &EidPrefix) -> Option<Subscription> {
        let subscription = self.entries.remove(prefix)?;
        subscription.at().map(|at| self.schedule.remove(&(at, *prefix)));
        Some(subscription)
    }

    pub(super) fn get(&self, prefix: &EidPrefix) -> Option<&Subscription> {
        self.entries.get(prefix)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EidPrefix, &Subscription)> + '_ {
        self.entries.iter().map(|(prefix, subscription)| (*prefix, subscription))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn prefixes(&self) -> Vec<EidPrefix> {
        self.entries.keys().copied().collect()
    }

    /// The longest subscription that covers `prefix`.
    pub(super) fn covering(&self, prefix: &EidPrefix) -> Option<EidPrefix> {
        self.covering_that(prefix, |_| true)
    }

    /// The longest one that covers `prefix` and is as it is wanted.
    pub(super) fn covering_that(
        &self,
        prefix: &EidPrefix,
        is_wanted: impl Fn(&Subscription) -> bool,
    ) -> Option<EidPrefix> {
        if self.entries.is_empty() {
            return None;
        }
        let shorter = (0..=prefix.net.prefix_len()).rev();
        let mut candidates = shorter.filter_map(|len| EidPrefix::new(prefix.iid, prefix.net.addr(), len));
        candidates.find(|candidate| self.entries.get(candidate).is_some_and(&is_wanted))
    }

    /// The one that is to be looked at first, if its time has come.
    pub(super) fn due(&self, now: Instant) -> Option<EidPrefix> {
        self.schedule.first().filter(|(at, _)| *at <= now).map(|(_, prefix)| *prefix)
    }

    /// When the first is to be looked at.
    pub(super) fn next(&self) -> Option<Instant> {
        self.schedule.first().map(|(at, _)| *at)
    }
}
