// SPDX-License-Identifier: GPL-2.0-or-later
//! What survives a restart: last nonces, registrations, last sequences, index pages' versions, writers' first keys and subscriptions,
//! in one redb file. `tables` says which tables it has and `rows` what is in a row; a start changes what an older version has `left`, and
//! goes on with `taking_up`; from then on there is `writing`. By a `moment` the next start knows how old all is.

mod left;
mod moment;
mod rows;
mod tables;
mod taking_up;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use dht::shell::database::{guarded, is_damage};
use redb::Database;
use redb::backends::FileBackend;

use self::moment::Moment;
use self::tables::Tables;
use crate::engine::{Mark, Memory};
use crate::limits::STATE_CACHE;

/// The file.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    /// `None` after a failure: redb takes nothing more then until it is opened anew.
    database: Mutex<Option<Database>>,
    /// When it was opened, and how old the state was then.
    began: (Instant, Duration),
}

impl State {
    /// Opens or makes the file, and reads what the last run left; it is `now` by the clock that is gone by. The log says how much that is,
    /// and warns of what is lost.
    ///
    /// # Errors
    /// When it cannot be had, or is not ours.
    pub fn open(path: &Path, now: SystemTime) -> anyhow::Result<(Self, Memory)> {
        let was_emptied = std::fs::metadata(path).is_ok_and(|file| file.len() == 0);
        let open = || -> Result<(Self, Memory), redb::Error> {
            let file = private(path)?;
            // One that a former version has made may be open to others.
            file.set_permissions(Permissions::from_mode(0o600))?;
            let mut database =
                Database::builder().set_cache_size(STATE_CACHE).create_with_backend(FileBackend::new(file)?)?;
            // Else a page that is not as it was written is only found when it is read, and may be taken for an empty one.
            let was_whole = database.check_integrity()?;
            let transaction = database.begin_write()?;
            left::complete(&transaction, now)?;
            transaction.commit()?;
            let mut unreadable = BTreeMap::new();
            let memory = taking_up::read(&database, Moment::now(), &mut unreadable)?;
            taking_up::say(path, &memory, (was_emptied, was_whole), &unreadable);
            let began = (Instant::now(), memory.age);
            Ok((Self { path: path.to_owned(), database: Mutex::new(Some(database)), began }, memory))
        };
        guarded(open).map_err(|error| {
            let way_out = if is_damage(&error) { WAY_OUT } else { "" };
            anyhow::Error::new(error).context(format!("cannot use the state file {}{way_out}", path.display()))
        })
    }

    /// Writes marks; returns when they are on disk. After a failure the file is opened anew: a disk may have room again.
    ///
    /// # Errors
    /// When they are not.
    pub fn write(&self, marks: &[Mark]) -> anyhow::Result<()> {
        let mut kept = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || -> Result<Database, redb::Error> {
            let database = match kept.take() {
                Some(database) => database,
                None => Database::builder().set_cache_size(STATE_CACHE).open(&self.path)?,
            };
            let transaction = database.begin_write()?;
            let mut tables = Tables::open(&transaction)?;
            let (began, before) = self.began;
            tables.put_moment(before + began.elapsed(), Moment::now())?;
            marks.iter().try_for_each(|mark| tables.put(mark))?;
            drop(tables);
            transaction.commit()?;
            Ok(database)
        };
        *kept = Some(guarded(write).context("cannot write the state file")?);
        Ok(())
    }
}

/// Opens or makes a file that is never open to others than its owner: the keys of subscriptions are in it.
fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// What can be done about a file that is damaged. Who forgets nonces decides that himself.
const WAY_OUT: &str = ", which is damaged or none of ours: bring back a copy, or move it away, and all that was registered is forgotten and \
                       a Map-Register of before is taken once more";
