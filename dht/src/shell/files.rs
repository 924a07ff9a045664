// SPDX-License-Identifier: GPL-2.0-or-later
//! Small files that are replaced as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Replaces a file in one step; when this returns, the new one is on disk.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    fs::write(&new, bytes)?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(&new, path)?;
    // Without this, the old file may be back after a power cut.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
