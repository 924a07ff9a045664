// SPDX-License-Identifier: GPL-2.0-or-later
//! Nonces that rise over restarts (RFC 9301, section 5.6).

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::control::Nonce;

use super::limits::{CHANCE_BLOCK, FIRST_CLOCK, NONCE_BLOCK, NONCE_STEP_BITS, UNANSWERED_NONCES};

/// Gives out rising nonces, and says which bound has to be on disk before the next one is used.
///
/// A block is reserved at a time: after a crash the node skips the rest of the block, which costs nothing.
#[derive(Debug)]
pub(super) struct RisingNonce {
    /// All nonces of this run are above it.
    floor: u64,
    last: u64,
    reserved: u64,
    /// By what they rise, if others are not to guess the next one.
    steps: Option<StdRng>,
    /// The newest of those that nobody has answered.
    unanswered: BTreeSet<u64>,
}

impl RisingNonce {
    /// All nonces will be above `floor`.
    pub(super) fn above(floor: Nonce) -> Self {
        Self { floor: floor.0, last: floor.0, reserved: floor.0, steps: None, unanswered: BTreeSet::new() }
    }

    /// From now on they rise by steps of chance: whoever does not see our messages cannot say which comes next.
    pub(super) fn rise_by_chance(&mut self, seed: [u8; 32]) {
        self.steps = Some(StdRng::from_seed(seed));
    }

    /// Whether this run has used a nonce, or one before may have: each begins at the clock in milliseconds, if not above it.
    pub(super) fn has_used(&self, nonce: Nonce) -> bool {
        self.floor.min(FIRST_CLOCK) < nonce.0 && nonce.0 <= self.last
    }

    /// Notes that what this nonce was given to is answered; whether for the first time. Of those given out long ago that is not known any more.
    pub(super) fn answer(&mut self, nonce: Nonce) -> bool {
        self.unanswered.remove(&nonce.0)
    }

    /// The next nonce, and the bound to be persisted first if the reserve is used up.
    pub(super) fn next(&mut self) -> (Nonce, Option<Nonce>) {
        let (step, block) = match &mut self.steps {
            Some(random) => (1 + u64::from(random.next_u32() >> (u32::BITS - NONCE_STEP_BITS)), CHANCE_BLOCK),
            None => (1, NONCE_BLOCK),
        };
        self.last = self.last.wrapping_add(step);
        self.unanswered.insert(self.last);
        if self.unanswered.len() > UNANSWERED_NONCES {
            self.unanswered.pop_first();
        }
        if self.last <= self.reserved {
            return (Nonce(self.last), None);
        }
        self.reserved = self.last.saturating_add(block);
        (Nonce(self.last), Some(Nonce(self.reserved)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_chance_rise_and_stay_within_what_is_reserved() {
        let mut nonces = RisingNonce::above(Nonce(7));
        nonces.rise_by_chance([5; 32]);
        let (mut last, mut bound, mut persisted) = (Nonce(7), Nonce(7), 0);
        for _ in 0..1000 {
            let (nonce, reserved) = nonces.next();
            persisted += u32::from(reserved.is_some());
            bound = reserved.unwrap_or(bound);
            assert!(nonce > last && nonce <= bound && nonce.0 - last.0 <= 1 << NONCE_STEP_BITS);
            last = nonce;
        }
        assert!(last.0 > 1 << 24 && persisted < 60, "{last} {persisted}");
    }

    #[test]
    fn each_is_answered_once_and_the_newest_alone_are_remembered() {
        let mut nonces = RisingNonce::above(Nonce(7));
        let used = (0..=UNANSWERED_NONCES).map(|_| nonces.next()).count();
        assert_eq!(used, UNANSWERED_NONCES + 1);
        assert_eq!([8, 9, 9, 10, 1 << 60].map(|nonce| nonces.answer(Nonce(nonce))), [false, true, false, true, false]);
        assert_eq!(nonces.unanswered.len(), UNANSWERED_NONCES - 2);
    }

    #[test]
    fn a_restart_from_the_persisted_bound_never_repeats_a_nonce() {
        let mut first = RisingNonce::above(Nonce(7));
        let (nonce, bound) = first.next();
        assert_eq!((nonce, bound), (Nonce(8), Some(Nonce(8 + NONCE_BLOCK))));
        let used = (0..NONCE_BLOCK).map(|_| first.next()).inspect(|(_, bound)| assert_eq!(*bound, None)).last();
        let second = RisingNonce::above(Nonce(8 + NONCE_BLOCK)).next().0;
        assert!(used.is_some_and(|(nonce, _)| nonce < second));
    }
}
