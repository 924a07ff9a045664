// SPDX-License-Identifier: GPL-2.0-or-later
//! Registrations that ended while nobody was served (RFC 9301, section 8.2): their xTRs could tell nobody that they are there, and do so within
//! a minute of the start.
//!
//! For as long as a registration lives without a word of its xTR nobody knows whether they are gone. Until then who asks for their EIDs is told
//! to ask again, what is published of them stays, and so do their rows on disk, for a start before that. What is not registered anew is then as
//! if it had fallen silent.

use std::cell::Cell;
use std::time::Instant;

use wire::address::EidPrefix;

use super::label::single::Single;
use super::label::table::LabelTable;
use super::label::{AnyEid, Label};
use crate::limits::{EXPIRED_AT_ONCE, REGISTRATION_SILENCE};
use crate::table::PrefixTable;

/// What may be registered anew soon. There are no more of them than were registered.
#[derive(Debug, Default)]
pub struct Lapsed {
    prefixes: PrefixTable<()>,
    labels: LabelTable<()>,
    until: Option<Instant>,
}

impl Lapsed {
    /// Those that a start at `now` finds.
    pub(super) fn found_at(now: Instant) -> Self {
        Self { until: Some(now + REGISTRATION_SILENCE), ..Self::default() }
    }

    /// Takes note of one.
    pub(super) fn note(&mut self, eid: AnyEid) {
        match eid {
            AnyEid::Prefix(prefix) => {
                self.prefixes.insert(prefix, ());
            }
            AnyEid::Label(label) => {
                self.labels.entry(label, || ());
            }
        }
    }

    /// It is registered anew, or taken back; whether it was one of them.
    pub(super) fn forget(&mut self, eid: &AnyEid) -> bool {
        let known = match eid {
            AnyEid::Prefix(prefix) => self.prefixes.remove(prefix),
            AnyEid::Label(label) => self.labels.remove(label),
        };
        known.is_some()
    }

    /// Ends and names those that were not registered anew in time; of very many some, and leaves [`Self::next_deadline`] in the past.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<AnyEid> {
        if self.next_deadline().is_none_or(|until| until > now) {
            return Vec::new();
        }
        let prefixes = self.prefixes.iter().map(|(prefix, ())| AnyEid::Prefix(prefix));
        let labels = self.labels.iter().map(|(label, ())| AnyEid::Label(label));
        let ended: Vec<AnyEid> = prefixes.chain(labels).take(EXPIRED_AT_ONCE).collect();
        for eid in &ended {
            self.forget(eid);
        }
        ended
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.until.filter(|_| self.len() > 0)
    }

    /// Number of them.
    pub fn len(&self) -> usize {
        self.prefixes.len() + self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The longest of them that covers an EID-prefix.
    pub fn longest(&self, eid: &EidPrefix) -> Option<EidPrefix> {
        self.prefixes.longest(eid).map(|(prefix, ())| prefix)
    }

    /// Whether one of them is a more-specific of `prefix`.
    pub fn has_inside(&self, prefix: &EidPrefix) -> bool {
        self.prefixes.inside(prefix).any(|(inner, ())| inner != *prefix)
    }

    /// The part of `within` around `eid` without more-specifics among them; `None` if there is none.
    pub fn hole(&self, within: &EidPrefix, eid: &EidPrefix) -> Option<EidPrefix> {
        self.prefixes.hole(within, eid)
    }

    /// The longest of them inside `within` that covers a label ([`crate::register::label::table::LabelTable::covering_within`]).
    pub fn longest_label(&self, within: &Label, label: &Label, steps: &Cell<u32>) -> Option<Label> {
        self.labels.covering_within(within, label, steps).next().map(|(label, ())| label)
    }

    /// Whether one of them is more specific than a name or a block of MAC addresses.
    pub fn has_labels_inside(&self, single: &Single) -> bool {
        self.labels.inside(single).any(|(inner, ())| inner != Label::Single(*single))
    }

    /// A part of `within` around a label without others of them ([`LabelTable::hole`]); `None` if there is none.
    pub fn label_hole(&self, within: &Label, label: &Label) -> Option<Label> {
        self.labels.hole(within, label)
    }
}
