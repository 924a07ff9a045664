// SPDX-License-Identifier: GPL-2.0-or-later
//! Nonces of subscriptions: they rise over restarts (RFC 9437, section 5), and are not guessed.
//!
//! ```text
//! 2^62 + ( number << 20 | 20 random bits )
//! ```
//!
//! The number rises by three with each Map-Request, so that what a Map-Server counts up to for one is below the next, and is kept on
//! disk with that of Map-Registers, which count in the same unit but are far below 2^62: no Map-Notify about the one is taken for an
//! answer to the other. A Map-Server adds one with each change.

use wire::control::Nonce;

/// Where the nonces of subscriptions begin.
const SPACE: u64 = 1 << 62;
/// Random bits: room for a million changes before the next number.
const RANDOM_BITS: u32 = 20;
/// Between two numbers: whatever the random bits are, nonces are more than twice [`Nonce::SUBSCRIPTION`] apart. A change may be so much
/// above what its subscription has heard last.
const STEP: u64 = 3;
/// Numbers reserved on disk at once.
const BLOCK: u64 = 256;

/// Gives out nonces.
#[derive(Debug)]
pub(super) struct Nonces {
    last: u64,
    reserved: u64,
}

impl Nonces {
    /// All numbers will be above `floor`.
    pub(super) fn above(floor: Nonce) -> Self {
        Self { last: floor.0, reserved: floor.0 }
    }

    /// Whether it may be one of a subscription.
    pub(super) fn is_ours(nonce: Nonce) -> bool {
        nonce.0 >= SPACE
    }

    /// Whether a subscription that was asked for may have had it before.
    pub(super) fn may_be_old(&self, nonce: Nonce) -> bool {
        Self::is_ours(nonce) && nonce.0.saturating_sub(SPACE) >> RANDOM_BITS <= self.last
    }

    /// A nonce above all that were used or seen, and the bound to be persisted before it is used.
    pub(super) fn fresh(&mut self, random: u64) -> (u64, Option<Nonce>) {
        let bound = self.raise(self.last.saturating_add(STEP));
        let random = random & ((1 << RANDOM_BITS) - 1);
        (SPACE.saturating_add(self.last.saturating_mul(1 << RANDOM_BITS)).saturating_add(random), bound)
    }

    /// Notes that a nonce was used; gives the bound to be persisted, if it is beyond what is.
    pub(super) fn note(&mut self, nonce: u64) -> Option<Nonce> {
        let number = nonce.saturating_sub(SPACE) >> RANDOM_BITS;
        if number > self.last { self.raise(number) } else { None }
    }

    fn raise(&mut self, number: u64) -> Option<Nonce> {
        self.last = number;
        if number <= self.reserved {
            return None;
        }
        self.reserved = number.saturating_add(BLOCK);
        Some(Nonce(self.reserved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_rise_also_over_a_restart_and_after_many_changes() {
        // The clock in milliseconds, as the state file has it.
        let mut first = Nonces::above(Nonce(1_800_000_000_000));
        let (one, bound) = first.fresh(u64::MAX);
        let (two, nothing) = first.fresh(0);
        assert!(two - one >= 2 * Nonce::SUBSCRIPTION, "what is told under the one is nothing under the other");
        assert!(Nonces::is_ours(Nonce(one)) && nothing.is_none());
        let changed = two + (700 << RANDOM_BITS);
        let raised = first.note(changed);
        assert!(raised > bound, "what a Map-Server has counted up is on disk too");
        assert!(first.fresh(0).0 > changed);
        let floor = raised.unwrap_or_default();
        assert!(Nonces::above(floor).fresh(0).0 > changed);
        assert!(!Nonces::is_ours(Nonce(1_800_000_000_000)), "a Map-Register's");
    }
}
