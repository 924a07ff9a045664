// SPDX-License-Identifier: GPL-2.0-or-later
//! In which order entries end, and which of them makes room for another.

use std::collections::BTreeSet;

use wire::address::EidPrefix;

use super::clock::Tick;

/// What kind of mapping an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has locators, if only such as cannot be used now.
    Positive,
    /// It has none. Strangers can cause these, as many as they like: they never take the place of positive ones.
    Negative,
}

/// The ends of all entries.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    positive: BTreeSet<(Tick, EidPrefix)>,
    negative: BTreeSet<(Tick, EidPrefix)>,
}

impl Expiries {
    /// Entries of this kind.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.of(kind).len()
    }

    pub(super) fn insert(&mut self, kind: Kind, expires: Tick, prefix: EidPrefix) {
        self.of_mut(kind).insert((expires, prefix));
    }

    pub(super) fn remove(&mut self, kind: Kind, expires: Tick, prefix: EidPrefix) {
        self.of_mut(kind).remove(&(expires, prefix));
    }

    /// What ends first.
    pub(super) fn first(&self) -> Option<(Tick, EidPrefix)> {
        self.positive.first().into_iter().chain(self.negative.first()).min().copied()
    }

    /// What ends first of this kind.
    pub(super) fn first_of(&self, kind: Kind) -> Option<EidPrefix> {
        self.of(kind).first().map(|(_, prefix)| *prefix)
    }

    fn of(&self, kind: Kind) -> &BTreeSet<(Tick, EidPrefix)> {
        match kind {
            Kind::Positive => &self.positive,
            Kind::Negative => &self.negative,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut BTreeSet<(Tick, EidPrefix)> {
        match kind {
            Kind::Positive => &mut self.positive,
            Kind::Negative => &mut self.negative,
        }
    }
}
