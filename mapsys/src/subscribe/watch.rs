// SPDX-License-Identifier: GPL-2.0-or-later
//! When the DHT is read again for what is subscribed to and not registered here: it tells nobody of changes by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wire::address::EidPrefix;

use crate::limits::{REREAD_LONGEST, REREAD_SHORTEST};

/// The times, by EID-prefix. There are no more of them than subscriptions.
#[derive(Debug, Default)]
pub struct Watches {
    at: BTreeMap<EidPrefix, Instant>,
    order: BTreeSet<(Instant, EidPrefix)>,
    /// What is due waits for room until then.
    pause: Option<Instant>,
}

impl Watches {
    /// Looks again at a third of `lifetime`.
    pub fn begin(&mut self, now: Instant, prefix: EidPrefix, lifetime: Duration) {
        self.set(prefix, now + (lifetime / 3).clamp(REREAD_SHORTEST, REREAD_LONGEST));
    }

    /// Looks again at once.
    pub fn hurry(&mut self, now: Instant, prefix: EidPrefix) {
        self.set(prefix, now);
    }

    /// Looks again at `at`.
    pub fn set(&mut self, prefix: EidPrefix, at: Instant) {
        if let Some(older) = self.at.insert(prefix, at) {
            self.order.remove(&(older, prefix));
        }
        self.order.insert((at, prefix));
    }

    /// The next prefix to look at. Unless it is begun again, it is forgotten.
    pub fn pop(&mut self, now: Instant) -> Option<EidPrefix> {
        let (at, prefix) = self.order.first().copied().filter(|(at, _)| *at <= now)?;
        self.order.remove(&(at, prefix));
        self.at.remove(&prefix);
        Some(prefix)
    }

    /// Nobody need come back for what is due before `until`.
    pub fn pause(&mut self, until: Instant) {
        self.pause = Some(until);
    }

    /// When [`Self::pop`] has something and may be asked.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| self.pause.map_or(*at, |pause| pause.max(*at)))
    }
}
