// SPDX-License-Identifier: GPL-2.0-or-later
//! The last nonces of what Map-Servers say unasked (RFC 9301, section 5.7; RFC 9437, section 6), over restarts and while it is not known
//! who says it: what was taken once could otherwise be sent again by anybody who has seen it go by.

use std::collections::BTreeMap;

use wire::control::Nonce;

/// The last nonce of each `K`.
#[derive(Debug)]
pub(crate) struct LastNonces<K> {
    last: BTreeMap<K, Nonce>,
    /// How many are kept.
    most: usize,
}

impl<K: Copy + Ord> LastNonces<K> {
    /// None yet; no more than `most` will be kept.
    pub(crate) fn new(most: usize) -> Self {
        Self { last: BTreeMap::new(), most }
    }

    /// What the last run has left.
    pub(crate) fn restore(&mut self, kept: impl IntoIterator<Item = (K, Nonce)>) {
        self.last = kept.into_iter().take(self.most).collect();
    }

    /// The last nonce of this one; 0 = none yet.
    pub(crate) fn last(&self, of: K) -> Nonce {
        self.last.get(&of).copied().unwrap_or_default()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, Nonce)> + '_ {
        self.last.iter().map(|(key, nonce)| (*key, *nonce))
    }

    /// Notes a nonce: all that is to be kept on disk. Of those that are not `in_use` some are forgotten when there are too many.
    pub(crate) fn note(&mut self, of: K, nonce: Nonce, in_use: impl Fn(&K) -> bool) -> Vec<(K, Nonce)> {
        self.last.insert(of, nonce);
        while self.last.len() > self.most {
            let Some(gone) = self.last.keys().copied().find(|known| !in_use(known)) else { break };
            self.last.remove(&gone);
        }
        self.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_in_use_are_never_forgotten_and_of_others_not_all_are_kept() {
        let mut heard = LastNonces::new(64);
        heard.restore([(1, Nonce(5))]);
        for number in 2..500 {
            let kept = heard.note(number, Nonce(number), |known| *known == 1);
            assert!(kept.len() <= 64);
        }
        assert_eq!((heard.last(1), heard.last(499)), (Nonce(5), Nonce(499)));
        assert_eq!(heard.last(2), Nonce(0), "forgotten");
    }
}
