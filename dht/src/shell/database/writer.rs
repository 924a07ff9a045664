// SPDX-License-Identifier: GPL-2.0-or-later
//! The thread that writes, and makes the file smaller when it has become too large.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::file::{commit, on_disk};
use crate::store::Change;

/// Pause after a transaction that failed, before the same changes are tried again.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// The file may take so many times the octets of its records ...
const ROOM: u64 = 2;
/// ... or this, in octets, before it is made smaller ...
const SMALL: u64 = 4 * 1024 * 1024;
/// ... which is not tried again for this long: it reads and writes all of it.
pub(super) const COMPACTION: Duration = Duration::from_secs(3600);

/// The writer: one transaction for all that is waiting. Changes that could not be written are tried again with the next ones.
pub(super) struct Writer<R> {
    pub(super) path: PathBuf,
    /// `None` after a failure: redb does nothing more with a file that has failed, until it is opened anew.
    pub(super) database: Option<redb::Database>,
    pub(super) reopen: R,
    pub(super) pending: BTreeMap<Vec<u8>, Change>,
    /// Octets of the records in the file.
    pub(super) octets: u64,
    /// Not before this the file is made smaller.
    pub(super) compact_at: Instant,
    /// How long it is left alone then.
    pub(super) compaction: Duration,
    pub(super) failing: Arc<AtomicBool>,
}

impl<R: Fn() -> Result<redb::Database, redb::DatabaseError>> Writer<R> {
    pub(super) fn run(mut self, waiting: &Receiver<Vec<Change>>) {
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
        self.compact_at = now + self.compaction;
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
