// SPDX-License-Identifier: GPL-2.0-or-later
//! The file under the store: bundles by key, and the high-water marks that outlive them.
//!
//! A thread of its own writes, so that a slow disk does not hold up the node; what it is given while it writes goes into the
//! next transaction. A record is acknowledged before it is on disk: a crash may lose the last second, which the other nodes
//! that hold the record have, and its owner publishes again. Our own sequences are not kept here, see [`super::sequence`].

mod file;
mod guarded;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::JoinHandle;

pub use self::file::is_damage;
use self::file::{create, explain, load, move_aside, opened};
pub use self::guarded::guarded;
use self::writer::Writer;
use crate::store::Change;

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
        let was_emptied = file::is_emptied(path);
        let (database, octets, loaded) = match opened(path).and_then(|database| {
            let octets = load(&database, &mut each)?;
            Ok((database, octets))
        }) {
            Ok((database, octets)) if was_emptied => {
                tracing::warn!(file = %path.display(), "record database damaged: it was empty");
                (database, octets, Loaded::Damaged)
            }
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
            // A file that grew large in the last run is made smaller at once.
            turned_over: octets,
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

    /// Hands changes to the writer; they are on disk some milliseconds later, what there is
    /// of one key all or not at all. Returns them when it is busy, or has ended, which counts as failing for good.
    #[must_use]
    pub fn write(&self, changes: Vec<Change>) -> Vec<Change> {
        match self.changes.as_ref().map(|sender| sender.try_send(changes)) {
            Some(Err(TrySendError::Full(changes))) => changes,
            Some(Err(TrySendError::Disconnected(changes))) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!("the thread that writes the record database has ended");
                }
                changes
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
