// SPDX-License-Identifier: GPL-2.0-or-later
//! Where a verb puts what it made: a file that replaces no other unless told to, or standard output.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::Failure;
use super::args::JsonTo;

/// Only the owner.
pub(super) const PRIVATE: u32 = 0o600;
/// Everybody may read.
pub(super) const PUBLIC: u32 = 0o644;

/// For verbs that have nothing to report.
pub(super) fn no_report(json: &Option<JsonTo>) -> Result<(), Failure> {
    if json.is_some() {
        return Err(Failure::usage(anyhow!("this verb has no report (--json)")));
    }
    Ok(())
}

/// Writes to standard output, which shows no binary data if it is a terminal.
pub(super) fn to_stdout(bytes: &[u8], binary: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    if binary && out.is_terminal() {
        return Err(Failure::usage(anyhow!("this is binary and not for a terminal: give -o FILE, or a pipe")));
    }
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| Failure::machine(anyhow!("cannot write to standard output: {error}")))
}

/// Writes a file whole or not at all. One that exists is left alone and refused, or with `force` replaced in one step.
pub(super) fn to_file(path: &Path, bytes: &[u8], mode: u32, force: bool) -> Result<(), Failure> {
    let place = if force { beside(path) } else { path.to_owned() };
    let cannot = |error: std::io::Error| Failure::machine(anyhow!("cannot write {}: {error}", path.display()));
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&place);
    let mut file = opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists if !force => {
            Failure::refused(anyhow!("{} exists and is not overwritten without --force", path.display()))
        }
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Failure::usage(anyhow!("cannot write {}: {error}", path.display()))
        }
        _ => cannot(error),
    })?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| if force { fs::rename(&place, path) } else { Ok(()) });
    placed.map_err(|error| {
        // It is ours, made a moment ago, and useless.
        let _ = fs::remove_file(&place);
        cannot(error)
    })
}

/// A name in the same folder, so that renaming is one step.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_only_by_force_and_then_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(to_file(&path, b"first", PUBLIC, false).is_ok());
        assert_eq!(to_file(&path, b"second", PRIVATE, false).err().map(|failure| failure.code), Some(1));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert!(to_file(&path, b"second", PRIVATE, true).is_ok());
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(to_file(&path.join("x"), b"", PRIVATE, false).err().map(|failure| failure.code), Some(2));
    }
}
