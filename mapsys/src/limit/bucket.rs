// SPDX-License-Identifier: GPL-2.0-or-later
//! A token bucket.

use std::time::Instant;

/// A token bucket in thousandths of a token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    at: Instant,
    milli: u64,
}

impl Bucket {
    /// With `burst` tokens.
    pub(crate) fn full(now: Instant, burst: u32) -> Self {
        Self { at: now, milli: u64::from(burst) * 1000 }
    }

    /// Takes a token, if there is one; `rate` come a second, up to `burst`.
    pub(crate) fn spend(&mut self, now: Instant, burst: u32, rate: u32) -> Option<()> {
        self.spend_some(now, 1, burst, rate)
    }

    /// Takes so many tokens, or none.
    pub(crate) fn spend_some(&mut self, now: Instant, tokens: usize, burst: u32, rate: u32) -> Option<()> {
        let elapsed = u64::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        // What is less than a thousandth of a token is left for the next time.
        if elapsed > 0 {
            let full = u64::from(burst) * 1000;
            self.milli = self.milli.saturating_add(elapsed.saturating_mul(rate.into())).min(full);
            self.at = now;
        }
        self.milli = self.milli.checked_sub((tokens as u64).saturating_mul(1000))?;
        Some(())
    }
}
