// SPDX-License-Identifier: GPL-2.0-or-later
//! What is held under one key, and how what is offered compares with it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::SystemTime;

use sha2::{Digest, Sha512};

use super::charge::Charge;
use super::marks::Marks;
use super::proof::Proof;
use super::quota::Quota;
use crate::limits;
use crate::record::{Bundle, Class, RecordKey, Section, Version};

/// What is held under one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub(super) sections: BTreeMap<Class, Held>,
    pub(super) marks: Marks,
    pub(super) quota: Quota,
    pub(super) charge: Charge,
    pub(super) proof: Proof,
    /// From disk, and from the future by the clock of that moment: nothing of it counts before this.
    pub(super) ripe_at: Option<SystemTime>,
}

/// A section as a store keeps it: its octets, because as a value it takes many times their memory (an index page of
/// 5 kB some 200 kB), and what is asked of it all the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) octets: Box<[u8]>,
    pub(super) version: Version,
    pub(super) expires_at: SystemTime,
}

impl Held {
    pub(super) fn new(section: &Section, octets: &[u8]) -> Self {
        Self { octets: octets.into(), version: section.version, expires_at: section.expires_at() }
    }

    /// From when on clocks may be believed that it was signed in the past.
    pub(super) fn ripe_at(&self) -> SystemTime {
        ripe_at(self.version)
    }

    /// Of two statements of one version, all stores keep the same one: that with the smaller hash.
    pub(super) fn prevails(&self, over: &Self) -> bool {
        Sha512::digest(&self.octets) < Sha512::digest(&over.octets)
    }
}

/// A section that is offered.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    pub(super) section: &'a Section,
    pub(super) held: Held,
    pub(super) comparison: Comparison,
}

impl Offer<'_> {
    /// Whether it says something that is not held: only then are its signature and its place in the merge of interest.
    pub(super) fn is_news(&self) -> bool {
        matches!(self.comparison, Comparison::Newer | Comparison::Rival)
    }
}

/// How an offered section compares with what was seen under the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Later than anything seen, or as late as something that is not held any more.
    Newer,
    /// Held already.
    Same,
    /// As late as what is held, and different.
    Rival,
    /// Earlier than what was seen.
    Older,
}

impl Entry {
    pub(super) fn compare<'a>(&self, section: &'a Section, octets: &[u8]) -> Offer<'a> {
        let (class, held) = (section.class(), Held::new(section, octets));
        let known = self.marks.0.get(&class).map(|mark| (held.version.cmp(&mark.version), self.sections.get(&class)));
        let comparison = match known {
            None | Some((Ordering::Greater, _) | (Ordering::Equal, None)) => Comparison::Newer,
            Some((Ordering::Less, _)) => Comparison::Older,
            Some((Ordering::Equal, Some(same))) if *same == held => Comparison::Same,
            Some((Ordering::Equal, Some(_))) => Comparison::Rival,
        };
        Offer { section, held, comparison }
    }

    /// The value as readers get it: without what has expired; `None` if nothing of use under this key is left.
    pub(super) fn value(&self, key: &RecordKey, now: SystemTime) -> Option<Vec<u8>> {
        let live = |class: Class| self.sections.get(&class).is_some_and(|held| held.expires_at > now);
        is_of_use(key, live).then(|| {
            self.sections.values().filter(|held| held.expires_at > now).flat_map(|held| &held.octets).copied().collect()
        })
    }

    /// All that is held, as values.
    pub(super) fn bundle(&self) -> Option<Bundle> {
        let sections: Result<Vec<Section>, _> =
            self.sections.values().map(|held| Section::decode(&held.octets)).collect();
        Bundle::new(sections.ok()?).ok()
    }

    /// Whether there is something for [`Entry::expire`] to do.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        self.sections.values().any(|held| held.expires_at <= now)
            || self.marks.0.values().any(|mark| mark.forget_at <= now)
    }

    /// Drops sections that have expired, and with them what is of no use alone, and marks old enough to be forgotten; how
    /// many sections.
    pub(super) fn expire(&mut self, key: &RecordKey, now: SystemTime) -> usize {
        let before = self.sections.len();
        self.sections.retain(|_, held| held.expires_at > now);
        if !is_of_use(key, |class| self.sections.contains_key(&class)) {
            self.sections.clear();
        }
        self.marks.0.retain(|_, mark| mark.forget_at > now);
        before - self.sections.len()
    }

    /// Whether some of it is from the future.
    pub(super) fn is_ahead(&self, now: SystemTime) -> bool {
        self.ripe_at.is_some_and(|at| at > now)
    }

    /// Gives up what is from the future.
    pub(super) fn drop_ahead(&mut self, key: &RecordKey, now: SystemTime) {
        self.ripe_at = None;
        self.sections.retain(|class, held| *class == Class::Revocation || held.ripe_at() <= now);
        if !is_of_use(key, |class| self.sections.contains_key(&class)) {
            self.sections.clear();
        }
    }

    /// All that is held, as one value, expired or not.
    pub(super) fn octets(&self) -> Vec<u8> {
        self.sections.values().flat_map(|held| &held.octets).copied().collect()
    }

    /// Octets of the sections.
    pub(super) fn size(&self) -> usize {
        self.sections.values().map(|held| held.octets.len()).sum()
    }
}

/// From when on a statement of this version is not from the future.
pub(super) fn ripe_at(version: Version) -> SystemTime {
    version.signed_at().checked_sub(limits::CLOCK_SKEW).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Whether the classes that are there are of use: a REVOCATION is by itself.
pub(super) fn is_of_use(key: &RecordKey, is_there: impl Fn(Class) -> bool) -> bool {
    is_there(Class::Revocation) || needed(key).all(is_there)
}

/// The classes without which nothing else under a key is of use.
pub(super) fn needed(key: &RecordKey) -> impl Iterator<Item = Class> {
    [Some(Class::Identity), key.statement()].into_iter().flatten()
}
