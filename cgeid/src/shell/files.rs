// SPDX-License-Identifier: GPL-2.0-or-later
//! Reading bounded files, and writing secret ones that never replace another.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::Failure;
use crate::limits::MAX_CONTAINER;

/// Reads a file, but not more of it than a container can have: `/dev/zero` is a file too.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_CONTAINER as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(Failure::usage)?;
    if bytes.len() > MAX_CONTAINER {
        let error = anyhow!("{} is longer than any key container or certificate of ours", path.display());
        return Err(Failure::refused(error));
    }
    Ok(bytes)
}

/// Makes the folder for secrets, open to its owner only, if it is not there.
pub(super) fn make_folder(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the folder {} (--out)", path.display()))
        .map_err(Failure::usage)
}

/// Writes all files or none, each with mode 0600; a file that exists is left alone and refused.
pub(super) fn write_secrets(files: &[(PathBuf, Vec<u8>)]) -> Result<(), Failure> {
    for (index, (path, bytes)) in files.iter().enumerate() {
        if let Err(error) = write_secret(path, bytes) {
            for (written, _) in &files[..index] {
                // Half a set of keys misleads; the first error is the one to report.
                let _ = fs::remove_file(written);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Refuses a file that exists, before there is work in what would be written to it.
pub(super) fn refuse_existing(path: &Path) -> Result<(), Failure> {
    if path.exists() { Err(exists(path)) } else { Ok(()) }
}

fn exists(path: &Path) -> Failure {
    let shown = path.display();
    Failure::refused(anyhow!("{shown} exists and is not overwritten; choose another --out or move it away"))
}

fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists {
            exists(path)
        } else {
            Failure::machine(anyhow!("cannot write {}: {error}", path.display()))
        }
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // It is ours, made a moment ago, and useless.
        let _ = fs::remove_file(path);
        Failure::machine(anyhow!("cannot write {}: {error}", path.display()))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten_and_no_half_set_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        fs::write(&second, "precious").unwrap();
        let failure = write_secrets(&[(first.clone(), b"new".to_vec()), (second.clone(), b"new".to_vec())]);
        assert_eq!(failure.err().map(|failure| failure.code), Some(1));
        assert_eq!(fs::read_to_string(&second).unwrap(), "precious");
        assert!(!first.exists());
    }
}
