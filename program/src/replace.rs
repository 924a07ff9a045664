// SPDX-License-Identifier: GPL-2.0-or-later
//! Files that are written beside their place and moved there: whole or not at all, and never through a link that stands there.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

/// Drafts that killed processes may have left behind.
const DRAFTS: u32 = 100;

/// Puts a file into its place. One that was there keeps its owner and its permissions; where there was none the system's usual ones
/// hold. A file whose owner this user cannot give to another one, or that is a mount of its own, is written where it is.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let kept = path.symlink_metadata().ok().filter(Metadata::is_file);
    let (draft, mut file) = draft(path)?;
    let moved = keep(&file, kept.as_ref())
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path));
    if moved.is_err() {
        // The first error is the one that counts.
        let _ = fs::remove_file(&draft);
    }
    match (moved, kept) {
        (Err(error), Some(kept)) if is_to_stay(&error) => overwrite(&opened(path, &kept)?, content),
        (moved, _) => moved,
    }
}

/// Whether [`replace`] can be done, as far as can be told without doing it. Nothing is left of the attempt.
pub(crate) fn try_replace(path: &Path) -> io::Result<()> {
    let kept = path.symlink_metadata().ok().filter(Metadata::is_file);
    let (draft, file) = draft(path)?;
    let can_keep = keep(&file, kept.as_ref());
    fs::remove_file(&draft)?;
    match (can_keep, kept) {
        (Err(error), Some(kept)) if is_to_stay(&error) => opened(path, &kept).map(|_| ()),
        (can_keep, _) => can_keep,
    }
}

/// Gives a new file the owner and the permissions of the one in whose place it comes.
fn keep(file: &File, kept: Option<&Metadata>) -> io::Result<()> {
    let Some(kept) = kept else { return Ok(()) };
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (kept.uid(), kept.gid()) {
        fchown(file, Some(kept.uid()), Some(kept.gid()))?;
    }
    file.set_permissions(kept.permissions())
}

/// Whether what stands there cannot be replaced, and may be written where it is.
fn is_to_stay(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ResourceBusy | ErrorKind::CrossesDevices)
}

/// The file that was there, and not one to which a link leads that has come into its place since.
fn opened(path: &Path, kept: &Metadata) -> io::Result<File> {
    let file = OpenOptions::new().write(true).open(path)?;
    let found = file.metadata()?;
    let is_same = (found.dev(), found.ino()) == (kept.dev(), kept.ino());
    if is_same { Ok(file) } else { Err(ErrorKind::ResourceBusy.into()) }
}

fn overwrite(mut file: &File, content: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()
}

/// A new file beside a path. What stands there already is of somebody else, or of a process that was killed.
fn draft(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(ErrorKind::IsADirectory)?;
    let mut number = 0;
    loop {
        let mut beside = name.to_owned();
        beside.push(format!(".{}.{number}.new", std::process::id()));
        let draft = path.with_file_name(beside);
        match OpenOptions::new().write(true).create_new(true).open(&draft) {
            Ok(file) => return Ok((draft, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < DRAFTS => number += 1,
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

    #[test]
    fn what_is_replaced_keeps_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"one").unwrap();
        let own = fs::metadata(&file).unwrap();
        // Only the superuser may give files away; everybody else finds the owner that it had.
        let is_other = std::os::unix::fs::chown(&file, Some(1234), Some(1234)).is_ok();
        try_replace(&file).unwrap();
        replace(&file, b"two").unwrap();
        let found = fs::metadata(&file).unwrap();
        assert_eq!(found.uid(), if is_other { 1234 } else { own.uid() });
        assert_eq!((fs::read(&file).unwrap(), fs::read_dir(folder.path()).unwrap().count()), (b"two".to_vec(), 1));
    }

    #[test]
    fn what_cannot_be_replaced_is_written_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"longer than what comes").unwrap();
        let kept = file.symlink_metadata().unwrap();
        overwrite(&opened(&file, &kept).unwrap(), b"two").unwrap();
        assert_eq!((fs::read(&file).unwrap(), file.metadata().unwrap().ino()), (b"two".to_vec(), kept.ino()));
        for kind in [ErrorKind::PermissionDenied, ErrorKind::ResourceBusy, ErrorKind::CrossesDevices] {
            assert!(is_to_stay(&kind.into()), "{kind}");
        }
        assert!(!is_to_stay(&ErrorKind::StorageFull.into()));
        // A link has come into its place.
        fs::rename(&file, folder.path().join("other")).unwrap();
        fs::write(folder.path().join("precious"), b"precious").unwrap();
        symlink(folder.path().join("precious"), &file).unwrap();
        assert!(opened(&file, &kept).is_err());
    }
}
