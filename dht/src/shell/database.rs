// SPDX-License-Identifier: GPL-2.0-or-later
//! The file under the store: bundles by key, and the high-water marks that outlive them.
//!
//! A thread of its own writes, so that a slow disk does not hold up the node; what it is given while it writes goes into the
//! next transaction.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use crate::store::Change;

/// Octets that redb may cache: the store is in memory already.
const CACHE: usize = 2 * 1024 * 1024;
/// Pause after a transaction that failed, before the same changes are tried again.
const RETRY: Duration = Duration::from_secs(5);

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const MARKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("marks");

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Another process has it.
    #[error("{path}: in use by another process; each node needs a --state-dir of its own")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a database, but reading it fails.
    #[error("{path}: {reason}; move it away to start with an empty store")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What redb said.
        reason: String,
    },
}

/// Changes that may wait for the writer; what comes beyond stays with who brought it.
const WAITING: usize = 4;

/// The open file. Dropping it writes what is waiting.
#[derive(Debug)]
pub struct Database {
    changes: Option<SyncSender<Vec<Change>>>,
    writer: Option<JoinHandle<()>>,
}

impl Database {
    /// Opens or makes the file, and reads all that it holds. One that is no database is moved aside, with a warning, to `<name>.damaged`.
    ///
    /// # Errors
    /// When the file is in use, cannot be reached, or is a database that cannot be read.
    pub fn open(path: &Path) -> Result<(Self, Vec<Change>), DatabaseError> {
        let database = match create(path) {
            Err(redb::DatabaseError::Storage(redb::StorageError::Corrupted(reason))) => move_aside(path, &reason)?,
            Err(redb::DatabaseError::Storage(redb::StorageError::Io(error)))
                if error.kind() == io::ErrorKind::InvalidData =>
            {
                move_aside(path, &error.to_string())?
            }
            opened => opened.map_err(|error| explain(path, error))?,
        };
        let unreadable =
            |error: redb::Error| DatabaseError::Unreadable { path: path.to_owned(), reason: error.to_string() };
        let loaded = load(&database).map_err(unreadable)?;
        let (changes, waiting) = mpsc::sync_channel(WAITING);
        let name = path.to_owned();
        let writer = std::thread::Builder::new()
            .name("dht-disk".to_owned())
            .spawn(move || write_all(&database, &waiting, &name))
            .map_err(|source| DatabaseError::Io { path: path.to_owned(), source })?;
        Ok((Self { changes: Some(changes), writer: Some(writer) }, loaded))
    }

    /// Hands changes to the writer; they are on disk some milliseconds later, all or none. Returns them when it is busy.
    #[must_use]
    pub fn write(&self, changes: Vec<Change>) -> Vec<Change> {
        match self.changes.as_ref().map(|sender| sender.try_send(changes)) {
            Some(Err(TrySendError::Full(changes))) => changes,
            Some(Err(TrySendError::Disconnected(_))) => {
                tracing::error!("the thread that writes the record database has ended");
                Vec::new()
            }
            Some(Ok(())) | None => Vec::new(),
        }
    }

    /// [`Database::write`] that waits until the writer takes them, for the end.
    pub fn write_last(&self, changes: Vec<Change>) {
        if let Some(sender) = &self.changes
            && sender.send(changes).is_err()
        {
            tracing::error!("the thread that writes the record database has ended");
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.changes = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes the record database has panicked");
        }
    }
}

fn create(path: &Path) -> Result<redb::Database, redb::DatabaseError> {
    redb::Database::builder().set_cache_size(CACHE).create(path)
}

fn explain(path: &Path, error: redb::DatabaseError) -> DatabaseError {
    let path = path.to_owned();
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => DatabaseError::InUse { path },
        redb::DatabaseError::Storage(redb::StorageError::Io(source)) => DatabaseError::Io { path, source },
        other => DatabaseError::Unreadable { path, reason: other.to_string() },
    }
}

/// Starts anew, keeping the damaged file for whoever wants to look into it.
fn move_aside(path: &Path, reason: &str) -> Result<redb::Database, DatabaseError> {
    let aside = path.with_extension("damaged");
    tracing::warn!(file = %path.display(), kept_as = %aside.display(), reason, "not a record database: starting with an empty one");
    std::fs::rename(path, &aside).map_err(|source| DatabaseError::Io { path: path.to_owned(), source })?;
    create(path).map_err(|error| explain(path, error))
}

fn load(database: &redb::Database) -> Result<Vec<Change>, redb::Error> {
    // The tables are made here, so that reading an empty file finds them.
    let transaction = database.begin_write()?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(MARKS)?;
    transaction.commit()?;
    let transaction = database.begin_read()?;
    let mut loaded: BTreeMap<Vec<u8>, Change> = BTreeMap::new();
    for entry in transaction.open_table(MARKS)?.iter()? {
        let (key, marks) = entry?;
        at(&mut loaded, key.value()).marks = Some(marks.value().to_vec());
    }
    for entry in transaction.open_table(RECORDS)?.iter()? {
        let (key, record) = entry?;
        at(&mut loaded, key.value()).record = Some(record.value().to_vec());
    }
    Ok(loaded.into_values().collect())
}

fn at<'a>(loaded: &'a mut BTreeMap<Vec<u8>, Change>, key: &[u8]) -> &'a mut Change {
    loaded.entry(key.to_vec()).or_insert_with(|| Change { key: key.to_vec(), record: None, marks: None })
}

/// The writer: one transaction for all that is waiting. Changes that could not be written are tried again with the next ones.
fn write_all(database: &redb::Database, waiting: &Receiver<Vec<Change>>, path: &Path) {
    let mut pending: BTreeMap<Vec<u8>, Change> = BTreeMap::new();
    let mut failing = false;
    let mut open = true;
    while open {
        let first = if pending.is_empty() {
            waiting.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            waiting.recv_timeout(RETRY)
        };
        match first {
            Ok(changes) => {
                let all = std::iter::once(changes).chain(waiting.try_iter()).flatten();
                pending.extend(all.map(|change| (change.key.clone(), change)));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => open = false,
        }
        match commit(database, &pending) {
            Ok(()) => {
                pending.clear();
                failing = false;
            }
            Err(error) if failing => tracing::debug!(%error, "record database still not written"),
            Err(error) => {
                failing = true;
                tracing::warn!(file = %path.display(), %error, "record database not written; trying again");
            }
        }
    }
}

fn commit(database: &redb::Database, pending: &BTreeMap<Vec<u8>, Change>) -> Result<(), redb::Error> {
    if pending.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    for (definition, value) in [(RECORDS, record as fn(&Change) -> Option<&[u8]>), (MARKS, marks)] {
        let mut table = transaction.open_table(definition)?;
        for (key, change) in pending {
            match value(change) {
                Some(value) => table.insert(key.as_slice(), value)?,
                None => table.remove(key.as_slice())?,
            };
        }
    }
    transaction.commit()?;
    Ok(())
}

fn record(change: &Change) -> Option<&[u8]> {
    change.record.as_deref()
}

fn marks(change: &Change) -> Option<&[u8]> {
    change.marks.as_deref()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn change(key: &[u8], record: Option<&[u8]>, marks: Option<&[u8]>) -> Change {
        Change { key: key.to_vec(), record: record.map(<[u8]>::to_vec), marks: marks.map(<[u8]>::to_vec) }
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.redb");
        let (database, loaded) = Database::open(&path).unwrap();
        assert_eq!(loaded, []);
        database.write_last(vec![change(b"a", Some(b"1"), Some(b"m")), change(b"b", Some(b"2"), Some(b"n"))]);
        database.write_last(vec![change(b"b", None, Some(b"o")), change(b"c", Some(b"3"), None)]);
        database.write_last(vec![change(b"c", None, None)]);
        drop(database);
        let (_database, loaded) = Database::open(&path).unwrap();
        assert_eq!(loaded, [change(b"a", Some(b"1"), Some(b"m")), change(b"b", None, Some(b"o"))]);
    }

    #[test]
    fn a_file_that_is_no_database_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.redb");
        for garbage in [vec![0x55_u8; 8192], vec![1, 2, 3]] {
            std::fs::write(&path, &garbage).unwrap();
            let (database, loaded) = Database::open(&path).unwrap();
            assert_eq!(loaded, []);
            assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), garbage);
            drop(database);
        }
    }

    #[test]
    fn two_processes_cannot_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.redb");
        let _first = Database::open(&path).unwrap();
        assert!(matches!(Database::open(&path), Err(DatabaseError::InUse { .. })));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Database::open(Path::new("/nonexistent/records.redb")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/records.redb"), "{error}");
    }
}
