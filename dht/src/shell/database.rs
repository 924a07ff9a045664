// SPDX-License-Identifier: GPL-2.0-or-later
//! The file under the store: bundles by key, and the high-water marks that outlive them.
//!
//! A thread of its own writes, so that a slow disk does not hold up the node; what it is given while it writes goes into the
//! next transaction. A record is acknowledged before it is on disk: a crash may lose the last second, which the other nodes
//! that hold the record have, and its owner publishes again. Our own sequences are not kept here, see [`super::sequence`].

use std::cmp::Ordering as Order;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{ReadableDatabase, TableDefinition, TableHandle};

use crate::store::Change;

/// Octets that redb may cache: the store is in memory already.
const CACHE: usize = 2 * 1024 * 1024;
/// Pause after a transaction that failed, before the same changes are tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The file may take so many times the octets of its records ...
const ROOM: u64 = 2;
/// ... or this, in octets, before it is made smaller ...
const SMALL: u64 = 4 * 1024 * 1024;
/// ... which is not tried again for this long: it reads and writes all of it.
const COMPACTION: Duration = Duration::from_secs(3600);

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

/// What the file holds under one key: key, record, marks.
pub type Stored<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

/// How much of the file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// All of it.
    Whole,
    /// What is not damaged; the file is a new one.
    Damaged,
}

/// The open file. Dropping it writes what is waiting.
#[derive(Debug)]
pub struct Database {
    changes: Option<SyncSender<Vec<Change>>>,
    failing: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Database {
    /// Opens or makes the file, and hands on all that it holds: key, record, marks. What is no database, or a damaged one, is moved
    /// aside, with a warning, to `<name>.damaged`; what could be read of it was handed on, and is for the caller to write again.
    ///
    /// # Errors
    /// When the file is in use or cannot be reached.
    pub fn open(path: &Path, mut each: impl FnMut(Stored<'_>)) -> Result<(Self, Loaded), DatabaseError> {
        let (database, octets, loaded) = match opened(path).and_then(|database| {
            let octets = load(&database, &mut each)?;
            Ok((database, octets))
        }) {
            Ok((database, octets)) => (database, octets, Loaded::Whole),
            Err(error) if is_damage(&error) => (move_aside(path, &error.to_string())?, 0, Loaded::Damaged),
            Err(error) => return Err(explain(path, error)),
        };
        let name = path.to_owned();
        Ok((Self::start(path, database, octets, move || create(&name))?, loaded))
    }

    /// Starts the writer. `reopen` is how it gets the database back after a failure.
    fn start(
        path: &Path,
        database: redb::Database,
        octets: u64,
        reopen: impl Fn() -> Result<redb::Database, redb::DatabaseError> + Send + 'static,
    ) -> Result<Self, DatabaseError> {
        let (changes, waiting) = mpsc::sync_channel(WAITING);
        let failing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            path: path.to_owned(),
            database: Some(database),
            reopen,
            pending: BTreeMap::new(),
            octets,
            compact_at: Instant::now(),
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

/// [`create`], where a file that makes redb panic is a damaged one, and so is one that is empty: redb would take it for new, and
/// nobody would hear that records are lost.
fn opened(path: &Path) -> Result<redb::Database, redb::Error> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        return Err(redb::Error::Corrupted("it is empty".to_owned()));
    }
    guarded(|| create(path).map_err(redb::Error::from))
}

/// redb trusts some of what it reads: a page that is not as it wrote it may end in an assertion of its own.
fn guarded<T>(read: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    outcome.unwrap_or_else(|_| Err(redb::Error::Corrupted("it cannot be read".to_owned())))
}

fn is_damage(error: &redb::Error) -> bool {
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

fn explain(path: &Path, error: redb::Error) -> DatabaseError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => DatabaseError::InUse { path },
        redb::Error::Io(source) => DatabaseError::Io { path, source },
        other => DatabaseError::Unreadable { path, reason: other.to_string() },
    }
}

/// Starts anew, keeping the damaged file for whoever wants to look into it.
fn move_aside(path: &Path, reason: &str) -> Result<redb::Database, DatabaseError> {
    let aside = path.with_extension("damaged");
    tracing::warn!(file = %path.display(), kept_as = %aside.display(), reason, "record database damaged: starting with a new one");
    std::fs::rename(path, &aside).map_err(|source| DatabaseError::Io { path: path.to_owned(), source })?;
    create(path).map_err(|error| explain(path, error.into()))
}

/// Hands on all that is there, in the order of the keys; the octets of the records.
fn load(database: &redb::Database, each: &mut impl FnMut(Stored<'_>)) -> Result<u64, redb::Error> {
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
            let value = |entry: &Option<Entry>| entry.as_ref().map(|(_, value)| value.value().len() as u64);
            octets += value(&taken).unwrap_or_default();
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

/// A key and its value in the file.
type Entry = (redb::AccessGuard<'static, &'static [u8]>, redb::AccessGuard<'static, &'static [u8]>);

fn hand_on(record: &Option<Entry>, mark: &Option<Entry>, each: &mut impl FnMut(Stored<'_>)) {
    let Some((key, _)) = record.as_ref().or(mark.as_ref()) else { return };
    let value = |entry: &Option<Entry>| entry.as_ref().map(|(_, value)| value.value().to_vec());
    each((key.value(), value(record).as_deref(), value(mark).as_deref()));
}

/// The writer: one transaction for all that is waiting. Changes that could not be written are tried again with the next ones.
struct Writer<R> {
    path: PathBuf,
    /// `None` after a failure: redb does nothing more with a file that has failed, until it is opened anew.
    database: Option<redb::Database>,
    reopen: R,
    pending: BTreeMap<Vec<u8>, Change>,
    /// Octets of the records in the file.
    octets: u64,
    /// Not before this the file is made smaller.
    compact_at: Instant,
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
        self.octets = commit(&database, &self.pending, self.octets)?;
        self.pending.clear();
        self.database = Some(self.compacted(database)?);
        Ok(())
    }

    /// Gives back what a store that has shrunk does not need any more. Records keep coming meanwhile, and wait.
    fn compacted(&mut self, mut database: redb::Database) -> Result<redb::Database, redb::Error> {
        let now = Instant::now();
        if now < self.compact_at || on_disk(&self.path) <= (self.octets * ROOM).max(SMALL) {
            return Ok(database);
        }
        self.compact_at = now + COMPACTION;
        let before = on_disk(&self.path);
        database.compact()?;
        tracing::debug!(before, after = on_disk(&self.path), took = ?now.elapsed(), "record database made smaller");
        Ok(database)
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

/// Writes all, or nothing; the octets of the records then.
fn commit(database: &redb::Database, pending: &BTreeMap<Vec<u8>, Change>, octets: u64) -> Result<u64, redb::Error> {
    let mut transaction = database.begin_write()?;
    // Otherwise a file that was not closed is read and checked as a whole before it is used again.
    transaction.set_quick_repair(true);
    let (mut added, mut gone) = (0, 0);
    for (definition, value) in [(RECORDS, record as fn(&Change) -> Option<&[u8]>), (MARKS, marks)] {
        let mut table = transaction.open_table(definition)?;
        let mut count = (0, 0);
        for (key, change) in pending {
            let old = match value(change) {
                Some(value) => {
                    count.0 += value.len() as u64;
                    table.insert(key.as_slice(), value)?
                }
                None => table.remove(key.as_slice())?,
            };
            count.1 += old.map_or(0, |old| old.value().len() as u64);
        }
        if definition.name() == RECORDS.name() {
            (added, gone) = count;
        }
    }
    transaction.commit()?;
    Ok((octets + added).saturating_sub(gone))
}

/// Octets that a file takes on disk, which are fewer than its length where nothing was written.
fn on_disk(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.blocks() * 512)
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
        let database = Database::start(Path::new("disk"), disk.open().unwrap(), 0, move || again.open()).unwrap();
        database.write_last(vec![change(b"a", Some(b"1"), Some(b"m"))]);
        disk.full.store(true, Ordering::Relaxed);
        database.write_last(vec![change(b"b", Some(b"2"), Some(b"n"))]);
        wait_until("the failure is not seen", Duration::from_secs(5), || database.is_failing());
        database.write_last(vec![change(b"c", Some(b"3"), Some(b"o"))]);
        disk.full.store(false, Ordering::Relaxed);
        wait_until("nothing is written any more", RETRY * 2, || !database.is_failing());
        drop(database);
        let mut kept = Vec::new();
        load(&disk.open().unwrap(), &mut |stored| kept.push(owned(stored))).unwrap();
        assert_eq!(kept.iter().map(|change| change.key.as_slice()).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    }

    fn change(key: &[u8], record: Option<&[u8]>, marks: Option<&[u8]>) -> Change {
        Change { key: key.to_vec(), record: record.map(<[u8]>::to_vec), marks: marks.map(<[u8]>::to_vec) }
    }

    fn owned((key, record, marks): Stored<'_>) -> Change {
        change(key, record, marks)
    }

    fn open(path: &Path) -> Result<(Database, Vec<Change>, Loaded), DatabaseError> {
        let mut kept = Vec::new();
        let (database, loaded) = Database::open(path, |stored| kept.push(owned(stored)))?;
        Ok((database, kept, loaded))
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.redb");
        let (database, loaded, _) = open(&path).unwrap();
        assert_eq!(loaded, []);
        database.write_last(vec![change(b"a", Some(b"1"), Some(b"m")), change(b"b", Some(b"2"), Some(b"n"))]);
        database.write_last(vec![change(b"b", None, Some(b"o")), change(b"c", Some(b"3"), None)]);
        database.write_last(vec![change(b"c", None, None)]);
        drop(database);
        let (_database, loaded, _) = open(&path).unwrap();
        assert_eq!(loaded, [change(b"a", Some(b"1"), Some(b"m")), change(b"b", None, Some(b"o"))]);
    }

    #[test]
    fn a_file_that_is_no_database_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.redb");
        for garbage in [vec![0x55_u8; 8192], vec![1, 2, 3]] {
            std::fs::write(&path, &garbage).unwrap();
            let (database, loaded, _) = open(&path).unwrap();
            assert_eq!(loaded, []);
            assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), garbage);
            drop(database);
        }
    }

    #[test]
    fn a_torn_file_is_moved_aside_or_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.redb");
        let (database, _, _) = open(&path).unwrap();
        let changes = (0..200u8).map(|number| change(&[number], Some(&[number; 900]), Some(b"m"))).collect();
        database.write_last(changes);
        drop(database);
        let whole = std::fs::read(&path).unwrap();
        for part in 1..20 {
            // What a disk may lose: the end, or a stretch in the middle.
            let at = whole.len() * part / 20;
            let mut holed = whole.clone();
            holed[at..(at + 4096).min(whole.len())].fill(0);
            for torn in [&whole[..at], &holed] {
                std::fs::write(&path, torn).unwrap();
                let (database, kept, loaded) = open(&path).unwrap();
                assert!(kept.len() == 200 || loaded == Loaded::Damaged || torn.len() == whole.len());
                database.write_last(vec![change(b"new", Some(b"1"), None)]);
                drop(database);
                assert!(open(&path).unwrap().1.contains(&change(b"new", Some(b"1"), None)), "it is written to again");
            }
        }
    }

    #[test]
    fn two_processes_cannot_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.redb");
        let _first = open(&path).unwrap();
        assert!(matches!(open(&path), Err(DatabaseError::InUse { .. })));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = open(Path::new("/nonexistent/records.redb")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/records.redb"), "{error}");
    }
}
