// SPDX-License-Identifier: GPL-2.0-or-later
//! What is known of a lab that stands: who holds it, and where its namespaces are found.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::LabName;
use crate::lab::Lab;

/// A lab that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub lab: String,
    /// The process that holds it.
    pub pid: u32,
    /// When that process began, in ticks since the machine did: tells it from a later one of the same number.
    pub started: u64,
    /// Whether it is in a user namespace.
    pub user_namespace: bool,
    /// Its nodes, and where their namespaces are found.
    pub nodes: BTreeMap<String, PathBuf>,
    /// The control sockets of those nodes that are border nodes.
    #[serde(default)]
    pub controls: BTreeMap<String, PathBuf>,
}

impl Record {
    /// Describes a lab that this process holds.
    ///
    /// # Errors
    /// When /proc does not tell when this process began.
    pub fn of(
        name: LabName,
        user_namespace: bool,
        lab: &Lab,
        controls: BTreeMap<String, PathBuf>,
    ) -> anyhow::Result<Self> {
        let pid = std::process::id();
        let started = started(pid).context("/proc/self/stat")?;
        let nodes = lab.namespaces().map(|one| (one.name().to_owned(), one.path().to_path_buf())).collect();
        Ok(Self { lab: name.name().into(), pid, started, user_namespace, nodes, controls })
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When that fails.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_string(self)?)
            .and_then(|()| std::fs::rename(&new, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads one; none if there is none.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Those of all labs that stand. What killed holders left is removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let mut all = vec![];
        for entry in std::fs::read_dir(folder()?)? {
            let path = entry?.path();
            match Self::read(&path) {
                Some(record) if record.is_alive() => all.push(record),
                Some(_) => std::fs::remove_file(&path)?,
                None => {}
            }
        }
        all.sort_by(|one, other| one.lab.cmp(&other.lab));
        Ok(all)
    }

    /// Its name and its nodes, for people.
    pub fn line(&self) -> String {
        let nodes: Vec<_> = self.nodes.keys().map(String::as_str).collect();
        format!("{} (process {}): {}", self.lab, self.pid, nodes.join(" "))
    }

    /// Whether its holder still lives.
    pub fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// Where the record of a lab is kept.
pub(super) fn path(lab: LabName) -> anyhow::Result<PathBuf> {
    Ok(folder()?.join(lab.name()).with_extension("json"))
}

/// Where its holder writes.
pub(super) fn log_path(lab: LabName) -> anyhow::Result<PathBuf> {
    Ok(path(lab)?.with_extension("log"))
}

/// A folder that only we can write: what is in it is believed.
fn folder() -> anyhow::Result<PathBuf> {
    let user = geteuid();
    let folder = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) => Path::new(&folder).join("ipv6mesh"),
        None => std::env::temp_dir().join(format!("ipv6mesh-{user}")),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            return Err(cause).with_context(|| format!("cannot make {}", folder.display()));
        }
        _ => {}
    }
    let found = folder.symlink_metadata()?;
    let ours = found.is_dir() && found.uid() == user.as_raw() && found.permissions().mode() & 0o022 == 0;
    ensure!(ours, "{} is not a folder that only this user can write", folder.display());
    Ok(folder)
}

/// When a process began; none if it is gone, or dead and only not yet reaped.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; the fields after it are numbered from 3 (proc(5)): 3 is the state.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(fields.first()?, &"Z" | &"X") { None } else { fields.get(22 - 3)?.parse().ok() }
}
