// SPDX-License-Identifier: GPL-2.0-or-later
//! A folder for the databases of a bench, which goes with it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// Benches of one process that may run at once.
const TRIES: usize = 100;
/// A node that ends may write the peers that it knows while its folder is being removed: so often that is tried ...
const REMOVALS: u32 = 20;
/// ... with this pause between.
const REMOVAL: Duration = Duration::from_millis(50);

/// The folder; dropping it removes it.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new folder among the system's temporary ones.
    ///
    /// # Errors
    /// When the system does not make it.
    pub(super) fn new() -> io::Result<Self> {
        let mut last = io::ErrorKind::AlreadyExists.into();
        for number in 0..TRIES {
            let path = std::env::temp_dir().join(format!("lisp-dht-lab-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The folder of one node, made if it is not there.
    ///
    /// # Errors
    /// When the system does not make it.
    pub(super) fn of(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Where it is.
    #[cfg(test)]
    fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for left in (0..REMOVALS).rev() {
            match std::fs::remove_dir_all(&self.0) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && left > 0 => {
                    std::thread::sleep(REMOVAL)
                }
                Err(error) => {
                    tracing::warn!(folder = %self.0.display(), %error, "the databases of the bench are left behind");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_benches_have_folders_of_their_own_and_leave_none() {
        let (one, other) = (Folder::new().unwrap(), Folder::new().unwrap());
        assert_ne!(one.path(), other.path());
        let kept = one.of("127.1.1.1").unwrap();
        std::fs::write(kept.join("x"), "x").unwrap();
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists());
        // Somebody who goes on writing for a while.
        let path = other.of("127.1.1.2").unwrap();
        let name = path.clone();
        let writer = std::thread::spawn(move || {
            (0..1000).all(|number| std::fs::write(name.join(format!("{number}")), "x").is_ok())
        });
        drop(other);
        writer.join().unwrap();
        assert!(!path.exists());
    }
}
