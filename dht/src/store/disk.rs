// SPDX-License-Identifier: GPL-2.0-or-later
//! What a store wants written, and takes back after a restart.

use std::time::SystemTime;

use super::Store;
use super::entry::needed;
use super::marks::Marks;
use crate::error::Refusal;
use crate::record::{Bundle, RecordKey, Section, check_form, check_times};

/// What to write to disk for one key, replacing what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// The bundle; `None` = delete it.
    pub record: Option<Vec<u8>>,
    /// The high-water marks; `None` = delete them.
    pub marks: Option<Vec<u8>>,
}

impl Store {
    /// What must be written to disk since the last call.
    pub fn changes(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|key| self.change(&key)).collect()
    }

    /// Takes back what [`Store::changes`] had written for one key. The marks hold in any case.
    ///
    /// # Errors
    /// Why the record is not taken; then the next changes delete it.
    pub fn restore(
        &mut self,
        now: SystemTime,
        key: &[u8],
        record: Option<&[u8]>,
        marks: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let key = RecordKey::decode(key).map_err(Refusal::Key)?;
        if key.network != self.network {
            return Err(Refusal::OtherNetwork);
        }
        let known = marks.map_or(Ok(Marks::default()), Marks::decode);
        if let Ok(Marks(known)) = &known {
            let entry = self.entries.entry(key).or_default();
            known.iter().for_each(|(class, mark)| entry.marks.merge(*class, *mark));
            self.settle(key);
        }
        let outcome = known.map_err(Refusal::from).and_then(|_| match record {
            Some(record) => self.restore_record(now, key, record),
            None => Ok(()),
        });
        let change = self.change(&key);
        if change.record.as_deref() == record && change.marks.as_deref() == marks {
            self.changed.remove(&key);
        } else {
            self.changed.insert(key);
        }
        outcome
    }

    fn change(&self, key: &RecordKey) -> Change {
        let entry = self.entries.get(key).filter(|entry| !entry.sections.is_empty() || !entry.marks.0.is_empty());
        let record = entry.map(|entry| entry.sections.values().flat_map(|held| &held.octets).copied().collect());
        Change {
            key: key.encode(),
            record: record.filter(|octets: &Vec<u8>| !octets.is_empty()),
            marks: entry.map(|entry| entry.marks.encode()),
        }
    }

    fn restore_record(&mut self, now: SystemTime, key: RecordKey, record: &[u8]) -> Result<(), Refusal> {
        let whole = check_form(self.network, &key, record)?;
        if let Some((section, _)) = whole.revocation() {
            let until = self.kept_until(&key, now);
            let outdated = until <= now;
            return if outdated { Ok(()) } else { self.admit_revocation(now, key, &whole, section, until).map(|_| ()) };
        }
        // What expired while the node was down is no reason to lose the rest.
        let live: Vec<Section> =
            whole.into_sections().into_iter().filter(|section| section.expires_at() > now).collect();
        if !needed(&key).all(|class| live.iter().any(|section| section.class() == class)) {
            return Ok(());
        }
        let bundle = Bundle::new(live)?;
        check_times(&bundle, now)?;
        self.admit(now, key, &bundle).map(|_| ())
    }
}
