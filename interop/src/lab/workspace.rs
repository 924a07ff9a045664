// SPDX-License-Identifier: GPL-2.0-or-later
//! The folder of a lab: state and keys of its nodes, and their logs. It goes when we go, even if we are killed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// What the sweeper does: waits until nobody holds its standard input any more, then removes the folder. For five seconds, since a
/// process that is being killed may still have written a file. A shell, since whoever has a lab may be any program, a test too.
const SWEEP: &str =
    r#"cat >/dev/null; left=50; until rm -rf -- "$1" || [ $left = 0 ]; do left=$((left - 1)); sleep 0.1; done"#;

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
        let mut sweeper = Command::new("sh")
            .args(["-c", SWEEP, "sweeper"])
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_whoever_made_it_and_the_logs_that_are_kept_do_not() {
        let mut workspace = Workspace::create(None).unwrap();
        let path = workspace.path.clone();
        let node = workspace.folder("node").unwrap();
        std::fs::write(node.join("state"), "x").unwrap();
        std::fs::write(workspace.log("node"), "said").unwrap();
        let kept = workspace.keep_logs().unwrap();
        drop(workspace);
        assert!(!path.exists());
        assert_eq!(std::fs::read_to_string(kept.join("node.log")).unwrap(), "said");
        std::fs::remove_dir_all(kept).unwrap();
    }

    #[test]
    fn the_folder_goes_when_its_maker_is_gone_without_a_word() {
        let mut workspace = Workspace::create(None).unwrap();
        let path = workspace.path.clone();
        // What the kernel does of one that is killed.
        drop(workspace.lifeline.take());
        assert!(workspace.sweeper.wait().unwrap().success());
        assert!(!path.exists());
    }
}
