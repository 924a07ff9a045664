// SPDX-License-Identifier: GPL-2.0-or-later
//! Nonces that rise over restarts (RFC 9301, section 5.6).

use wire::control::Nonce;

use super::limits::NONCE_BLOCK;

/// Gives out rising nonces, and says which bound has to be on disk before the next one is used.
///
/// A block is reserved at a time: after a crash the node skips the rest of the block, which costs nothing.
#[derive(Debug)]
pub(super) struct RisingNonce {
    /// All nonces of this run are above it.
    floor: u64,
    last: u64,
    reserved: u64,
}

impl RisingNonce {
    /// All nonces will be above `floor`.
    pub(super) fn above(floor: Nonce) -> Self {
        Self { floor: floor.0, last: floor.0, reserved: floor.0 }
    }

    /// Whether this run has used a nonce.
    pub(super) fn has_used(&self, nonce: Nonce) -> bool {
        self.floor < nonce.0 && nonce.0 <= self.last
    }

    /// The next nonce, and the bound to be persisted first if the reserve is used up.
    pub(super) fn next(&mut self) -> (Nonce, Option<Nonce>) {
        self.last = self.last.wrapping_add(1);
        if self.last <= self.reserved {
            return (Nonce(self.last), None);
        }
        self.reserved = self.last.saturating_add(NONCE_BLOCK);
        (Nonce(self.last), Some(Nonce(self.reserved)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
