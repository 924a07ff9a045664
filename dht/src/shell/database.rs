// SPDX-License-Identifier: GPL-2.0-or-later
//! The file under the store: bundles by key, and the high-water marks that outlive them.
//!
//! A thread of its own writes, so that a slow disk does not hold up the node; what it is given while it writes goes into the
//! next transaction. A record is acknowledged before it is on disk: a crash may lose the last second, which the other nodes
//! that hold the record have, and its owner publishes again. Our own sequences are not kept here, see [`super::sequence`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    failing: Arc<AtomicBool>,
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
        let name = path.to_owned();
        let database = Self::start(path, database, move || create(&name))?;
        Ok((database, loaded))
    }

    /// Starts the writer. `reopen` is how it gets the database back after a failure.
    fn start(
        path: &Path,
        database: redb::Database,
        reopen: impl Fn() -> Result<redb::Database, redb::DatabaseError> + Send + 'static,
    ) -> Result<Self, DatabaseError> {
        let (changes, waiting) = mpsc::sync_channel(WAITING);
        let failing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            path: path.to_owned(),
            database: Some(database),
            reopen,
            pending: BTreeMap::new(),
            failing: Arc::clone(&failing),
        };
        let writer = std::thread::Builder::new()
            .name("dht-disk".to_owned())
            .spawn(move || writer.run(&waiting))
            .map_err(|source| DatabaseError::Io { path: path.to_owned(), source })?;
        Ok(Self { changes: Some(changes), failing, writer: Some(writer) })
    }

    /// Whether the last transaction failed: changes are better kept where they come from until it has been repeated.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
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
struct Writer<R> {
    path: PathBuf,
    /// `None` after a failure: redb does nothing more with a file that has failed, until it is opened anew.
    database: Option<redb::Database>,
    reopen: R,
    pending: BTreeMap<Vec<u8>, Change>,
    failing: Arc<AtomicBool>,
}

impl<R: Fn() -> Result<redb::Database, redb::DatabaseError>> Writer<R> {
    fn run(mut self, waiting: &Receiver<Vec<Change>>) {
        let mut open = true;
        while open {
            let first = if self.pending.is_empty() {
                waiting.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                waiting.recv_timeout(RETRY)
            };
            match first {
                Ok(changes) => {
                    let all = std::iter::once(changes).chain(waiting.try_iter()).flatten();
                    self.pending.extend(all.map(|change| (change.key.clone(), change)));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => open = false,
            }
            let outcome = self.write();
            self.report(outcome);
        }
        if !self.pending.is_empty() {
            tracing::error!(file = %self.path.display(), records = self.pending.len(), "records not written at the end");
        }
    }

    /// All that is pending, or nothing of it.
    fn write(&mut self) -> Result<(), redb::Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let database = match self.database.take() {
            Some(database) => database,
            None => (self.reopen)()?,
        };
        commit(&database, &self.pending)?;
        self.database = Some(database);
        self.pending.clear();
        Ok(())
    }

    fn report(&self, outcome: Result<(), redb::Error>) {
        let failed_before = self.failing.swap(outcome.is_err(), Ordering::Relaxed);
        match outcome {
            Ok(()) if failed_before => tracing::info!(file = %self.path.display(), "record database written again"),
            Ok(()) => {}
            Err(error) if failed_before => tracing::debug!(%error, "record database still not written"),
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "record database not written; trying again");
            }
        }
    }
}

fn commit(database: &redb::Database, pending: &BTreeMap<Vec<u8>, Change>) -> Result<(), redb::Error> {
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
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;

    /// A disk in memory that may be full, and outlives the database on it.
    #[derive(Debug, Clone, Default)]
    struct Disk {
        octets: Arc<Mutex<Vec<u8>>>,
        full: Arc<AtomicBool>,
    }

    impl Disk {
        fn open(&self) -> Result<redb::Database, redb::DatabaseError> {
            redb::Database::builder().create_with_backend(self.clone())
        }

        fn room(&self) -> io::Result<()> {
            if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl redb::StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.octets.lock().unwrap().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let begin = usize::try_from(offset).unwrap();
            out.copy_from_slice(&self.octets.lock().unwrap()[begin..begin + out.len()]);
            Ok(())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.room()?;
            self.octets.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            self.room()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.room()?;
            let begin = usize::try_from(offset).unwrap();
            self.octets.lock().unwrap()[begin..begin + data.len()].copy_from_slice(data);
            Ok(())
        }
    }

    fn wait_until(what: &str, limit: Duration, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < limit, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn what_a_full_disk_refused_is_written_when_there_is_room_again() {
        let disk = Disk::default();
        let again = disk.clone();
        let database = Database::start(Path::new("disk"), disk.open().unwrap(), move || again.open()).unwrap();
        database.write_last(vec![change(b"a", Some(b"1"), Some(b"m"))]);
        disk.full.store(true, Ordering::Relaxed);
        database.write_last(vec![change(b"b", Some(b"2"), Some(b"n"))]);
        wait_until("the failure is not seen", Duration::from_secs(5), || database.is_failing());
        database.write_last(vec![change(b"c", Some(b"3"), Some(b"o"))]);
        disk.full.store(false, Ordering::Relaxed);
        wait_until("nothing is written any more", RETRY * 2, || !database.is_failing());
        drop(database);
        let kept = load(&disk.open().unwrap()).unwrap();
        assert_eq!(kept.iter().map(|change| change.key.as_slice()).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    }

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
