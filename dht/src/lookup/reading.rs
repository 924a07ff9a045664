// SPDX-License-Identifier: GPL-2.0-or-later
//! The copies of one record as they come: the first that verifies is used at once, and a newer one in its place as soon as it
//! is there.

use std::collections::BTreeSet;
use std::time::SystemTime;

use cgeid::Network;

use crate::block::Block;
use crate::limits;
use crate::record::{CertificateCache, RecordKey, Section, Verified, verify};
use crate::store::Origin;

/// What a copy brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing: it does not hold, or it says what is known or was said better.
    Nothing,
    /// It is the first that holds.
    First,
    /// It changes what is known: something newer, a withdrawal, a revocation, a contradiction.
    Newer,
}

/// One GET, as its values come in.
///
/// Three copies of others that hold, from three different blocks, are enough: the own one may be outdated, and whoever hides a newer one must sit in all three. A
/// revocation is the last word by itself. Whatever does not hold counts for nothing, however much of it there is.
#[derive(Debug)]
pub struct Reading {
    network: Network,
    key: RecordKey,
    /// Valid values that differ.
    valid: Vec<(Vec<u8>, Verified)>,
    /// Why there is nothing, if there is nothing.
    refused: Option<Vec<u8>>,
    witnesses: BTreeSet<Witness>,
    revoked: bool,
}

/// Whose copies count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Witness {
    Block(Block),
    Unknown,
}

impl Reading {
    /// Nothing read yet under a key.
    pub fn new(network: Network, key: RecordKey) -> Self {
        let (valid, witnesses) = (Vec::new(), BTreeSet::new());
        Self { network, key, valid, refused: None, witnesses, revoked: false }
    }

    /// Takes a copy.
    pub fn take(&mut self, now: SystemTime, from: Origin, value: Vec<u8>, cache: &mut CertificateCache) -> News {
        let witness = Witness::of(from);
        if self.valid.iter().any(|(known, _)| *known == value) {
            self.witnesses.extend(witness);
            return News::Nothing;
        }
        let Ok(verified) = verify(self.network, &self.key, &value, now, cache) else {
            self.refused.get_or_insert(value);
            return News::Nothing;
        };
        self.witnesses.extend(witness);
        let news = match self.valid.is_empty() {
            true => News::First,
            false if self.changes(&verified) => News::Newer,
            false => return News::Nothing,
        };
        self.revoked |= verified.is_revoked();
        // A writer that has signed more than this of one record in the time of a GET is not worth more of our memory: what is
        // newest comes in last, so the oldest goes.
        if self.valid.len() == limits::VALUES {
            self.valid.remove(0);
        }
        self.valid.push((value, verified));
        news
    }

    /// Whether a copy that holds has come from somebody else.
    pub fn is_witnessed(&self) -> bool {
        !self.witnesses.is_empty()
    }

    /// Whether no further copy is worth waiting for.
    pub fn is_over(&self) -> bool {
        self.revoked || self.witnesses.len() >= limits::WITNESSES
    }

    /// Whether a copy that holds is there.
    pub fn has_valid(&self) -> bool {
        !self.valid.is_empty()
    }

    /// What is worth knowing of all copies seen: valid ones that differ; if there are none, one of the others.
    pub fn values(&self) -> Vec<Vec<u8>> {
        let valid = self.valid.iter().map(|(value, _)| value);
        valid.chain(self.refused.iter().filter(|_| self.valid.is_empty())).cloned().collect()
    }

    /// Whether a copy that holds says something that none before it said, and is not older.
    fn changes(&self, other: &Verified) -> bool {
        let same_writer =
            self.valid.iter().all(|(_, known)| known.identity.fingerprint() == other.identity.fingerprint());
        !same_writer || other.bundle.sections().iter().any(|section| self.is_news(section))
    }

    fn is_news(&self, section: &Section) -> bool {
        let known = self.valid.iter().filter_map(|(_, known)| known.bundle.section(section.class()));
        // Of two statements of one version the second is news as well: their writer contradicts itself.
        known.clone().all(|known| section.version >= known.version) && !known.clone().any(|known| known == section)
    }
}

impl Witness {
    /// Nobody, if the copy is our own.
    fn of(origin: Origin) -> Option<Self> {
        match origin {
            Origin::Own => None,
            Origin::Peer(address) | Origin::Member(address) => Some(Self::Block(Block::of(address))),
            Origin::Unknown => Some(Self::Unknown),
        }
    }
}
