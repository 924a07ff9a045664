// SPDX-License-Identifier: GPL-2.0-or-later
//! What an authority has published, in a file: nobody else may use it at the same time.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use cgeid::{Cn, OperationalKey};
use wire::address::EidPrefix;

use super::super::settings::Settings;
use super::super::{Failure, make_state_folder};
use crate::index::Ledger;
use crate::shell::files::replace;

/// The file of one authority and one prefix, locked.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    writer: Cn,
    _lock: File,
}

impl State {
    /// Locks and reads the file; one that is not there yet means that nothing was published.
    ///
    /// # Errors
    /// When another process has it, or it cannot be read.
    pub(super) fn open(
        settings: &Settings,
        key: &OperationalKey,
        covering: &EidPrefix,
    ) -> Result<(Self, Ledger), Failure> {
        let path = path(settings, key.cn(), covering)?;
        let lock = lock(&path).map_err(Failure::Lacking)?;
        let ledger = read(&path, key.cn()).with_context(|| path.display().to_string()).map_err(Failure::Lacking)?;
        Ok((Self { path, writer: key.cn(), _lock: lock }, ledger))
    }

    /// Writes what is published now.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn save(&self, ledger: &Ledger) -> Result<(), Failure> {
        let saved = replace(&self.path, ledger.encode(self.writer).as_bytes());
        saved.with_context(|| format!("{}: give a writable --state-dir", self.path.display())).map_err(Failure::Lacking)
    }
}

/// In the state folder, or beside the key.
fn path(settings: &Settings, writer: Cn, covering: &EidPrefix) -> Result<PathBuf, Failure> {
    let net = covering.net.to_string().replace(':', "-").replace('/', "_");
    let name = format!("{writer}.index.{}.{net}", covering.iid);
    if let Some(folder) = &settings.state_dir {
        make_state_folder(folder)?;
        return Ok(folder.join(name));
    }
    Ok(settings.identity.as_deref().unwrap_or(Path::new("")).with_file_name(name))
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let path = PathBuf::from(format!("{}.lock", path.display()));
    let file = File::create(&path).with_context(|| format!("{}: give a writable --state-dir", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(anyhow!("{}: another `lisp-dht index` is at these pages", path.display())),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn read(path: &Path, writer: Cn) -> anyhow::Result<Ledger> {
    match fs::read_to_string(path) {
        Ok(text) => Ledger::decode(&text, writer).context("remove the file to publish all pages anew"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ledger::default()),
        Err(error) => Err(error.into()),
    }
}
