// SPDX-License-Identifier: GPL-2.0-or-later
//! What is held under one key, and how what is offered compares with it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::SystemTime;

use sha2::{Digest, Sha512};

use super::marks::Marks;
use super::quota::Quota;
use crate::record::{Bundle, Class, RecordKey, Section};

/// What is held under one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub(super) sections: BTreeMap<Class, Section>,
    pub(super) marks: Marks,
    pub(super) quota: Quota,
    /// Octets of the sections.
    pub(super) size: usize,
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
    pub(super) fn compare(&self, section: &Section) -> Comparison {
        let Some(mark) = self.marks.0.get(&section.class()) else { return Comparison::Newer };
        match (section.version.cmp(&mark.version), self.sections.get(&section.class())) {
            (Ordering::Greater, _) | (Ordering::Equal, None) => Comparison::Newer,
            (Ordering::Less, _) => Comparison::Older,
            (Ordering::Equal, Some(held)) if held == section => Comparison::Same,
            (Ordering::Equal, Some(_)) => Comparison::Rival,
        }
    }

    /// The bundle as readers get it: without what has expired; `None` if nothing of use under this key is left.
    pub(super) fn bundle(&self, key: &RecordKey, now: SystemTime) -> Option<Bundle> {
        let live: Vec<Section> = self.sections.values().filter(|section| section.expires_at() > now).cloned().collect();
        Bundle::new(live).ok().filter(|bundle| key.statement().is_none_or(|class| bundle.section(class).is_some()))
    }

    /// Whether there is something for [`Entry::expire`] to do.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        self.sections.values().any(|section| section.expires_at() <= now)
            || self.marks.0.values().any(|mark| mark.forget_at <= now)
    }

    /// Drops sections that have expired, and with them what is of no use alone, and marks old enough to be forgotten; how
    /// many sections.
    pub(super) fn expire(&mut self, key: &RecordKey, now: SystemTime) -> usize {
        let before = self.sections.len();
        self.sections.retain(|_, section| section.expires_at() > now);
        let needed = [Some(Class::Identity), key.statement()];
        if !needed.iter().flatten().all(|class| self.sections.contains_key(class)) {
            self.sections.clear();
        }
        self.marks.0.retain(|_, mark| mark.forget_at > now);
        self.measure();
        before - self.sections.len()
    }

    pub(super) fn measure(&mut self) {
        self.size = self.sections.values().filter_map(|section| section.encode().ok()).map(|bytes| bytes.len()).sum();
    }
}

/// Of two statements of one version, all stores keep the same one: that with the smaller hash.
pub(super) fn prevails(section: &Section, over: &Section) -> bool {
    let hash = |section: &Section| Sha512::digest(section.encode().unwrap_or_default());
    hash(section) < hash(over)
}
