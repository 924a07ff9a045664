// SPDX-License-Identifier: GPL-2.0-or-later
//! A disk of a few megabytes for the state of a map system: a file system in memory, in a mount namespace that nobody else sees
//! and that outlives the map system. Needs `unshare` and `nsenter` (package util-linux), and as another user than root, user
//! namespaces.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::suite::probe::{Fault, missing};

/// Its size: room for an empty state, the DHT's records and keys, and some hundred transactions.
const SIZE: &str = "size=12m";
/// Octets that are written at once to fill it.
const PIECE: usize = 4096;

/// A disk; it is gone when this is dropped.
pub(in crate::suite) struct Disk {
    /// Reads in the namespace, which lives as long, what nobody writes: it ends with this process too, however that ends.
    holder: Child,
    folder: PathBuf,
    is_root: bool,
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Disk {
    pub(super) fn new(folder: PathBuf) -> Result<Self, Fault> {
        let is_root = std::fs::metadata("/proc/self").map_err(missing)?.uid() == 0;
        let mut command = Command::new("unshare");
        command.arg("--mount").args((!is_root).then_some("--map-root-user"));
        let script = format!("mount -t tmpfs -o {SIZE} none \"$0\" && echo there && exec cat");
        command.args(["sh", "-c", &script]).arg(&folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().map_err(|error| missing(format!("unshare (package util-linux): {error}")))?;
        let output = holder.stdout.take();
        let disk = Self { holder, folder, is_root };
        let mut told = String::new();
        let output = output.ok_or_else(|| missing("a pipe"))?;
        BufReader::new(output).read_line(&mut told).map_err(missing)?;
        if told.trim() == "there" { Ok(disk) } else { Err(missing("a mount namespace with a tmpfs")) }
    }

    /// The folder for the state.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// A program that sees the disk.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount"]);
        command.args((!self.is_root).then_some(["--user", "--preserve-credentials"]).into_iter().flatten());
        command.arg(program);
        command
    }

    /// What fills it, as this process sees it.
    fn filler(&self) -> PathBuf {
        let inside = self.folder.strip_prefix("/").unwrap_or(&self.folder).join("filler");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside)
    }

    /// Leaves no room; how many octets that took.
    pub(in crate::suite) fn fill(&self) -> Result<usize, Fault> {
        let mut file = std::fs::File::create(self.filler()).map_err(missing)?;
        let mut written = 0;
        loop {
            match file.write(&[1; PIECE]) {
                Ok(length) => written += length,
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(written),
                Err(error) => return Err(missing(error)),
            }
        }
    }

    /// Makes room again.
    pub(in crate::suite) fn clear(&self) -> Result<(), Fault> {
        std::fs::remove_file(self.filler()).map_err(missing)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_disk_ends_with_who_made_it_also_when_that_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = match Disk::new(folder.path().to_owned()) {
            Ok(disk) => disk,
            Err(why) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{why:?}");
                println!("SKIP: {why:?}");
                return;
            }
        };
        assert!(disk.holder.try_wait().unwrap().is_none(), "it is there as long as it is held");
        // All that is left of a process that was killed: its end of the pipe is closed.
        drop(disk.holder.stdin.take());
        let begun = Instant::now();
        while disk.holder.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it stays");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
