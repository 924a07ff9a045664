// SPDX-License-Identifier: GPL-2.0-or-later
//! How often a key may change.

use std::time::SystemTime;

use crate::limits;

/// A bucket that refills by one every [`limits::QUOTA_PERIOD`], kept as the time at which it is full again.
///
/// Only accepted changes take from it: were a forged PUT to count, anybody could keep an owner from renewing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quota {
    full_at: Option<SystemTime>,
}

impl Quota {
    /// Whether one more change is allowed.
    pub(super) fn allows(&self, now: SystemTime) -> bool {
        let spent = self.full_at.and_then(|full_at| full_at.duration_since(now).ok()).unwrap_or_default();
        let whole = limits::QUOTA_PERIOD * limits::QUOTA_BURST;
        // More than a whole bucket is missing only when the clock went back: that must not lock the key.
        spent + limits::QUOTA_PERIOD <= whole || spent > whole
    }

    /// Counts a change.
    pub(super) fn take(&mut self, now: SystemTime) {
        let whole = limits::QUOTA_PERIOD * limits::QUOTA_BURST;
        let from = self.full_at.filter(|&full_at| full_at > now && full_at <= now + whole).unwrap_or(now);
        // What is taken without asking must not look like a clock that went back.
        self.full_at = Some((from + limits::QUOTA_PERIOD).min(now + whole));
    }
}
