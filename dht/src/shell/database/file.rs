// SPDX-License-Identifier: GPL-2.0-or-later
//! What is done with redb: opening, reading all, one transaction. A damaged file is told from one that cannot be had.

use std::cmp::Ordering as Order;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

use super::guarded::guarded;
use super::{DatabaseError, Stored};
use crate::store::Change;

/// Octets that redb may cache: the store is in memory already.
const CACHE: usize = 2 * 1024 * 1024;

/// Octets that are written anew in one transaction.
const REPACKED: usize = 1024 * 1024;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const MARKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("marks");

pub(super) fn create(path: &Path) -> Result<redb::Database, redb::DatabaseError> {
    redb::Database::builder().set_cache_size(CACHE).create(path)
}

/// Whether there is a file that is empty. redb takes it for new, and nobody would hear that records are lost.
pub(super) fn is_emptied(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() == 0)
}

/// [`create`], where a file that makes redb panic is a damaged one.
pub(super) fn opened(path: &Path) -> Result<redb::Database, redb::Error> {
    guarded(|| create(path).map_err(redb::Error::from))
}

/// Whether it is the file that is at fault, and no use trying again.
#[must_use]
pub fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_) => true,
        redb::Error::Io(error) => matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof),
        _ => false,
    }
}

pub(super) fn explain(path: &Path, error: redb::Error) -> DatabaseError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => DatabaseError::InUse { path },
        redb::Error::Io(source) => DatabaseError::Io { path, source },
        other => DatabaseError::Unreadable { path, reason: other.to_string() },
    }
}

/// Starts anew, keeping the damaged file for whoever wants to look into it.
pub(super) fn move_aside(path: &Path, reason: &str) -> Result<redb::Database, DatabaseError> {
    let aside = free_name(path);
    tracing::warn!(file = %path.display(), kept_as = %aside.display(), reason, "record database damaged: starting with a new one");
    std::fs::rename(path, &aside).map_err(|source| DatabaseError::Io { path: path.to_owned(), source })?;
    create(path).map_err(|error| explain(path, error.into()))
}

/// Where a damaged file is kept; of many, the last one gives way.
fn free_name(path: &Path) -> PathBuf {
    let names = ["damaged", "damaged.1", "damaged.2", "damaged.3"].map(|name| path.with_extension(name));
    let [.., last] = &names;
    names.iter().find(|name| !name.exists()).unwrap_or(last).clone()
}

/// Hands on all that is there, in the order of the keys; the octets of the records.
pub(super) fn load(database: &redb::Database, each: &mut impl FnMut(Stored<'_>)) -> Result<u64, redb::Error> {
    guarded(|| {
        let transaction = database.begin_read()?;
        let (records, marks) = match (transaction.open_table(RECORDS), transaction.open_table(MARKS)) {
            // A file that was made and never written: a disk may be full by now, so nothing is made here.
            (Err(redb::TableError::TableDoesNotExist(_)), _) | (_, Err(redb::TableError::TableDoesNotExist(_))) => {
                return Ok(0);
            }
            (records, marks) => (records?, marks?),
        };
        let (mut records, mut marks) = (records.range::<&[u8]>(..)?, marks.range::<&[u8]>(..)?);
        let (mut record, mut mark) = (records.next().transpose()?, marks.next().transpose()?);
        let mut octets = 0;
        loop {
            let order = match (&record, &mark) {
                (None, None) => return Ok(octets),
                (Some(_), None) => Order::Less,
                (None, Some(_)) => Order::Greater,
                (Some((key, _)), Some((marked, _))) => key.value().cmp(marked.value()),
            };
            let taken = if order == Order::Greater { None } else { record.take() };
            let taken_mark = if order == Order::Less { None } else { mark.take() };
            octets += value(&taken).map_or(0, |record| record.len() as u64);
            hand_on(&taken, &taken_mark, each);
            if taken.is_some() {
                record = records.next().transpose()?;
            }
            if taken_mark.is_some() {
                mark = marks.next().transpose()?;
            }
        }
    })
}

fn value(entry: &Option<Entry>) -> Option<&[u8]> {
    entry.as_ref().map(|(_, value)| value.value())
}

/// A key and its value in the file.
type Entry = (redb::AccessGuard<'static, &'static [u8]>, redb::AccessGuard<'static, &'static [u8]>);

fn hand_on(record: &Option<Entry>, mark: &Option<Entry>, each: &mut impl FnMut(Stored<'_>)) {
    if let Some((key, _)) = record.as_ref().or(mark.as_ref()) {
        each((key.value(), value(record), value(mark)));
    }
}

/// What a transaction wrote, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Written {
    /// Records.
    pub(super) added: u64,
    /// Records that were there before.
    pub(super) gone: u64,
    /// Records and marks, with their keys, that came or went.
    pub(super) turned_over: u64,
}

/// Writes all, or nothing.
pub(super) fn commit<'a>(
    database: &redb::Database,
    changes: impl Iterator<Item = (&'a Vec<u8>, &'a Change)> + Clone,
) -> Result<Written, redb::Error> {
    let transaction = begin(database)?;
    let mut written = Written::default();
    for (definition, value) in [(RECORDS, record as fn(&Change) -> Option<&[u8]>), (MARKS, marks)] {
        let mut table = transaction.open_table(definition)?;
        let (mut added, mut gone) = (0, 0);
        for (key, change) in changes.clone() {
            let old = match value(change) {
                Some(value) => {
                    added += value.len() as u64;
                    table.insert(key.as_slice(), value)?
                }
                None => table.remove(key.as_slice())?,
            };
            gone += old.map_or(0, |old| old.value().len() as u64);
            written.turned_over += key.len() as u64;
        }
        written.turned_over += added + gone;
        if definition.name() == RECORDS.name() {
            (written.added, written.gone) = (added, gone);
        }
    }
    transaction.commit()?;
    Ok(written)
}

fn begin(database: &redb::Database) -> Result<redb::WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    // Otherwise a file that was not closed is read and checked as a whole before it is used again.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Writes every leaf anew, as full as it goes. redb splits a leaf of two or three records into halves and never joins them
/// again: they are a third empty, and half where records came in the order of their keys.
pub(super) fn repack(database: &redb::Database) -> Result<(), redb::Error> {
    for definition in [RECORDS, MARKS] {
        let mut done = Bound::Unbounded;
        loop {
            let transaction = begin(database)?;
            let last = repack_next(&mut transaction.open_table(definition)?, &done)?;
            transaction.commit()?;
            let Some(last) = last else { break };
            done = Bound::Excluded(last);
        }
    }
    Ok(())
}

/// The records beyond a key that fit into one transaction; the last of their keys.
fn repack_next(
    table: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    done: &Bound<Vec<u8>>,
) -> Result<Option<Vec<u8>>, redb::Error> {
    let (mut moved, mut octets) = (Vec::new(), 0);
    for entry in table.range::<&[u8]>((done.as_ref().map(Vec::as_slice), Bound::Unbounded))? {
        let (key, value) = entry?;
        octets += key.value().len() + value.value().len();
        moved.push((key.value().to_vec(), value.value().to_vec()));
        if octets >= REPACKED {
            break;
        }
    }
    let (Some((first, _)), Some((last, _))) = (moved.first(), moved.last()) else { return Ok(None) };
    table.retain_in::<&[u8], _>(first.as_slice()..=last.as_slice(), |_, _| false)?;
    let mut cursor = table.lower_bound_mut(Bound::Included(first.as_slice()))?;
    for (key, value) in &moved {
        cursor.insert_before(key.as_slice(), value.as_slice())?;
    }
    cursor.close()?;
    Ok(Some(last.clone()))
}

/// Octets that a file takes on disk, which are fewer than its length where nothing was written.
pub(super) fn on_disk(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.blocks() * 512)
}

fn record(change: &Change) -> Option<&[u8]> {
    change.record.as_deref()
}

fn marks(change: &Change) -> Option<&[u8]> {
    change.marks.as_deref()
}
