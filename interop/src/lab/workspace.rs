// SPDX-License-Identifier: GPL-2.0-or-later
//! The folder of a lab: state and keys of its nodes, and their logs. It goes when we go, even if we are killed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use crate::limits::{POLL, SWEEP_TIME};

/// The hidden verb of the sweeper.
pub const SWEEP: &str = "sweep-when-orphaned";

/// A folder of our own that is removed when this is dropped; should we be killed, a child of ours does it.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    logs: PathBuf,
    sweeper: Child,
    /// Held open while we live: its end is what the sweeper waits for.
    lifeline: Option<ChildStdin>,
}

impl Workspace {
    /// Makes the folder in the system's folder for temporary files. Logs go to `logs` if given.
    ///
    /// # Errors
    /// When a folder cannot be made, or the sweeper not be started.
    pub fn create(logs: Option<&Path>) -> io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let folder = tempfile::Builder::new().prefix("ipv6mesh-lab-").tempdir()?;
        let logs = logs.map_or_else(|| folder.path().join("logs"), Path::to_path_buf);
        std::fs::create_dir_all(&logs)?;
        let mut sweeper = Command::new("/proc/self/exe")
            .arg(SWEEP)
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not to be reached by the ctrl-C that ends us.
            .process_group(0)
            .spawn()?;
        let lifeline = sweeper.stdin.take();
        Ok(Self { path: folder.keep(), logs, sweeper, lifeline })
    }

    /// A folder in it, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Where the log of `name` goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Moves the logs out, so that they outlive the folder; returns where they are.
    ///
    /// # Errors
    /// When they cannot be moved.
    pub fn keep_logs(&mut self) -> io::Result<PathBuf> {
        if self.logs.starts_with(&self.path) {
            let kept = PathBuf::from(format!("{}-logs", self.path.display()));
            std::fs::rename(&self.logs, &kept)?;
            self.logs = kept;
        }
        Ok(self.logs.clone())
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // The sweeper ends when the folder is gone, or when it gives up; there is nobody to tell.
        let _ = self.sweeper.wait();
    }
}

/// What the sweeper does: waits until nobody holds its standard input any more, then removes the folder.
///
/// # Errors
/// When the folder is still there in the end.
pub fn sweep(folder: &Path) -> io::Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink())?;
    let deadline = Instant::now() + SWEEP_TIME;
    loop {
        match std::fs::remove_dir_all(folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A process that is being killed may still have written a file.
            Err(cause) if Instant::now() > deadline => return Err(cause),
            Err(_) => std::thread::sleep(POLL),
            Ok(()) => return Ok(()),
        }
    }
}
