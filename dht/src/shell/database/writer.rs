// SPDX-License-Identifier: GPL-2.0-or-later
//! The thread that writes, and makes the file smaller when it has become too large.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::file::{commit, on_disk, repack};
use super::guarded;
use crate::store::Change;

/// Pause after a transaction that failed, before the same changes are tried again.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// Changes of one transaction. redb keeps the pages that it replaces until the next one: a page for each change.
const TRANSACTION: usize = 1000;
/// Percent of the octets of its records that the file may take before it is made smaller, so that it stays below twice of them ...
const ROOM: u64 = 175;
/// ... or this, in octets.
const SMALL: u64 = 4 * 1024 * 1024;

/// The writer: one transaction for all that is waiting. Changes that could not be written are tried again with the next ones.
pub(super) struct Writer<R> {
    pub(super) path: PathBuf,
    /// `None` after a failure: redb does nothing more with a file that has failed, until it is opened anew.
    pub(super) database: Option<redb::Database>,
    pub(super) reopen: R,
    pub(super) pending: BTreeMap<Vec<u8>, Change>,
    /// Octets of the records in the file.
    pub(super) octets: u64,
    /// Octets of all that came and went since the file was made smaller. That reads and writes all of it, so it is not done
    /// again before as much was written as the file holds.
    pub(super) turned_over: u64,
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

    /// All that is pending; of what fails, and what would come after it, nothing.
    pub(super) fn write(&mut self) -> Result<(), redb::Error> {
        while !self.pending.is_empty() {
            let database = match self.database.take() {
                Some(database) => database,
                None => guarded(|| Ok((self.reopen)()?))?,
            };
            let changes = self.pending.iter().take(TRANSACTION);
            let written = match guarded(|| commit(&database, changes)) {
                Ok(written) => written,
                Err(error) => {
                    give_up(database);
                    return Err(error);
                }
            };
            let next = self.pending.keys().nth(TRANSACTION).cloned();
            self.pending = next.map(|key| self.pending.split_off(&key)).unwrap_or_default();
            self.octets = (self.octets + written.added).saturating_sub(written.gone);
            self.turned_over += written.turned_over;
            self.database = self.compacted(database);
        }
        Ok(())
    }

    /// Gives back what the file does not need any more. Records keep coming meanwhile, and wait. What fails here has lost nothing, and
    /// is tried again when as much has been written anew.
    pub(super) fn compacted(&mut self, mut database: redb::Database) -> Option<redb::Database> {
        let before = on_disk(&self.path);
        // The marks of records that are gone keep a file large in which there is little.
        let is_soon = self.turned_over < self.octets.max(before / 4);
        if is_soon || before <= (self.octets * ROOM / 100).max(SMALL) {
            return Some(database);
        }
        self.turned_over = 0;
        let begun = Instant::now();
        if let Err(error) = guarded(|| repack(&database).and_then(|()| Ok(database.compact()?))) {
            tracing::warn!(file = %self.path.display(), %error, "record database not made smaller");
            give_up(database);
            return None;
        }
        tracing::debug!(before, after = on_disk(&self.path), took = ?begun.elapsed(), "record database made smaller");
        Some(database)
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

/// Lets go of a database that has failed. After a panic redb may panic once more when it tidies up.
fn give_up(database: redb::Database) {
    // What fails now has been told as the failure before it.
    let _ = guarded(|| {
        drop(database);
        Ok(())
    });
}
