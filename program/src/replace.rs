// SPDX-License-Identifier: GPL-2.0-or-later
//! Files that are written beside their place and moved there: whole or not at all, and never through a link that stands there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Drafts that killed processes may have left behind.
const DRAFTS: u32 = 100;

/// Puts a file into its place. One that was there keeps its permissions; where there was none the system's usual ones hold.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let (draft, mut file) = draft(path)?;
    let kept = path.symlink_metadata().ok().filter(fs::Metadata::is_file);
    let moved = kept
        .map_or(Ok(()), |kept| file.set_permissions(kept.permissions()))
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path));
    if moved.is_err() {
        // The first error is the one that counts.
        let _ = fs::remove_file(&draft);
    }
    moved
}

/// A new file beside a path. What stands there already is of somebody else, or of a process that was killed.
fn draft(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut number = 0;
    loop {
        let mut beside = name.to_owned();
        beside.push(format!(".{}.{number}.new", std::process::id()));
        let draft = path.with_file_name(beside);
        match OpenOptions::new().write(true).create_new(true).open(&draft) {
            Ok(file) => return Ok((draft, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < DRAFTS => number += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_replaced_keeps_its_permissions_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        replace(&file, b"one").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&file, b"two").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        symlink(&file, &link).unwrap();
        replace(&link, b"three").unwrap();
        assert_eq!((fs::read(&file).unwrap(), fs::read(&link).unwrap()), (b"two".to_vec(), b"three".to_vec()));
        assert!(replace(folder.path(), b"four").is_err());
        // A process of the same number was killed once.
        let left = folder.path().join(format!("file.{}.0.new", std::process::id()));
        fs::write(&left, b"").unwrap();
        replace(&file, b"five").unwrap();
        fs::remove_file(left).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no draft is left");
    }
}
