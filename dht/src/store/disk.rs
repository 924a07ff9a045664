// SPDX-License-Identifier: GPL-2.0-or-later
//! What a store wants written, and takes back after a restart.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::Store;
use super::charge::Charge;
use super::entry::{self, Entry, Held, is_of_use};
use super::marks::{Mark, Marks};
use super::proof::Proof;
use crate::error::{Malformed, Refusal};
use crate::record::{Class, Outline, Reader, RecordKey, Subject};

/// What to write to disk for one key, replacing what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// The bundle; `None` = delete it.
    pub record: Option<Vec<u8>>,
    /// The high-water marks, and who put the record; `None` = delete them.
    pub marks: Option<Vec<u8>>,
}

impl Store {
    /// What must be written to disk since the last call.
    pub fn changes(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|key| self.change(&key)).collect()
    }

    /// Takes back what [`Store::changes`] had written for one key. The marks hold in any case; signatures are checked before
    /// the record is first of use, all else now.
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
        let outcome = match read_marks(marks.unwrap_or_default(), now) {
            Ok((charge, Marks(known))) => {
                self.update(key, |entry| known.iter().for_each(|(class, mark)| entry.marks.merge(*class, *mark)));
                record.map_or(Ok(()), |record| self.restore_record(now, key, record, charge))
            }
            Err(malformed) => {
                self.changed.insert(key);
                Err(malformed.into())
            }
        };
        if self.is_as_written(&key, record, marks) {
            self.changed.remove(&key);
        }
        outcome
    }

    /// Wants everything written: the file is another one.
    pub fn rewrite(&mut self) {
        self.changed.extend(self.entries.keys());
    }

    fn change(&self, key: &RecordKey) -> Change {
        let entry = self.entries.get(key);
        let record = entry.map(Entry::octets).filter(|octets| !octets.is_empty());
        Change { key: key.encode(), record, marks: entry.map(encode_marks) }
    }

    fn is_as_written(&self, key: &RecordKey, record: Option<&[u8]>, marks: Option<&[u8]>) -> bool {
        match self.entries.get(key) {
            // Sections of it are cut from it: as long as it is, they are all there.
            Some(entry) => entry.size() == record.map_or(0, <[u8]>::len) && marks == Some(&encode_marks(entry)),
            None => record.is_none() && marks.is_none(),
        }
    }

    fn restore_record(
        &mut self,
        now: SystemTime,
        key: RecordKey,
        record: &[u8],
        charge: Charge,
    ) -> Result<(), Refusal> {
        if self.is_revoked(key.writer) && key.subject != Subject::Node {
            return Err(Refusal::Revoked);
        }
        let outlines = Outline::of(record)?;
        let known = self.entries.get(&key).map(|entry| entry.marks.clone()).unwrap_or_default();
        let (mut sections, mut ripe_at) = (BTreeMap::new(), None);
        for Outline { class, version, .. } in &outlines {
            // What a record says of its age must not count before it is proven: its marks have to know.
            let is_known = |mark: &Mark| *class == Class::Revocation || mark.version == *version;
            if !known.0.get(class).is_some_and(is_known) {
                return Err(Refusal::Unmarked(*class));
            }
        }
        for outline in outlines {
            let expires_at = match outline.class {
                Class::Revocation => self.kept_until(&key, now),
                _ => check_outline(&outline)?,
            };
            if outline.class != Class::Revocation {
                ripe_at = ripe_at.max(Some(entry::ripe_at(outline.version)));
            }
            // What expired while the node was down is no reason to lose the rest.
            if expires_at > now {
                let held = Held { octets: outline.octets.into(), version: outline.version, expires_at };
                sections.insert(outline.class, held);
            }
        }
        if !is_of_use(&key, |class| sections.contains_key(&class)) {
            return Ok(());
        }
        let ripe_at = ripe_at.filter(|at| *at > now);
        if ripe_at.is_none() {
            self.unproven.push(key);
        }
        self.update(key, |entry| {
            (entry.sections, entry.charge, entry.proof) = (sections, charge, Proof::open());
            entry.ripe_at = ripe_at;
        });
        self.make_room(&key);
        Ok(())
    }
}

/// Of the checks of a section's times those that time does not change; when it expires.
fn check_outline(outline: &Outline<'_>) -> Result<SystemTime, Refusal> {
    if outline.lifetime > outline.class.max_lifetime() {
        return Err(Refusal::Lifetime(outline.class, outline.lifetime));
    }
    Ok(outline.expires_at())
}

/// To whom a record is charged, if there is one, then the marks.
fn encode_marks(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    if !entry.sections.is_empty() {
        entry.charge.encode(&mut out);
    }
    out.extend(entry.marks.encode());
    out
}

fn read_marks(octets: &[u8], now: SystemTime) -> Result<(Charge, Marks), Malformed> {
    let mut reader = Reader(octets);
    let charge = Charge::read(&mut reader, now)?;
    Ok((charge, Marks::decode(reader.0)?))
}
