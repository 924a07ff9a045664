// SPDX-License-Identifier: GPL-2.0-or-later
//! Where a verb puts what it made: files that replace no others unless told to, or standard output.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::Failure;
use super::args::JsonTo;

/// Only the owner.
pub(super) const PRIVATE: u32 = 0o600;
/// Everybody may read.
pub(super) const PUBLIC: u32 = 0o644;

/// What may be done about a file that stands where another is to go: the verb has a flag `--force`, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// It stays; the verb never replaces one.
    Stays,
    /// It stays, for `--force` was not given.
    StaysUnforced,
    /// It is replaced in one step, as `--force` says.
    Replaced,
}

impl Existing {
    /// What the flag `--force` says.
    pub(super) fn forced(force: bool) -> Existing {
        if force { Existing::Replaced } else { Existing::StaysUnforced }
    }
}

/// A text for a terminal: what would move its cursor or colour it, or turn the direction of the text, is written as an
/// escape sequence of Rust. Names of files, and what certificates say, may hold anything.
pub(super) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        match character {
            '\n' => out.push(character),
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(character.escape_unicode());
            }
            _ if character.is_control() => out.extend(character.escape_default()),
            _ => out.push(character),
        }
        out
    })
}

/// [`printable`], for what stands within a line.
pub(super) fn printable_line(text: &str) -> String {
    printable(text).replace('\n', "\\n")
}

/// Says something beside the result, in a line on standard error.
pub(super) fn say(message: &str) {
    eprintln!("cgeid: {}", printable_line(message));
}

/// For verbs that have nothing to report.
pub(super) fn no_report(json: &Option<JsonTo>) -> Result<(), Failure> {
    if json.is_some() {
        return Err(Failure::usage(anyhow!("this verb has no report (--json)")));
    }
    Ok(())
}

/// Writes to standard output, which shows no binary data if it is a terminal. It may be a full disk, or a pipe that
/// nobody reads any more.
pub(super) fn to_stdout(bytes: &[u8], binary: bool) -> Result<(), Failure> {
    let mut out = io::stdout();
    if binary && out.is_terminal() {
        return Err(Failure::usage(anyhow!("this is binary and not for a terminal: give -o FILE, or a pipe")));
    }
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| Failure::machine(anyhow!("cannot write to standard output: {error}")))
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

/// Writes all files or none, for their owner only; a file that exists is left alone and refused.
pub(super) fn secrets(files: &[(PathBuf, Vec<u8>)]) -> Result<(), Failure> {
    for (index, (path, bytes)) in files.iter().enumerate() {
        if let Err(error) = to_file(path, bytes, PRIVATE, Existing::Stays) {
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
pub(super) fn refuse_existing(path: &Path, existing: Existing) -> Result<(), Failure> {
    match existing {
        Existing::Replaced => Ok(()),
        Existing::Stays | Existing::StaysUnforced if path.symlink_metadata().is_ok() => Err(exists(path, existing)),
        Existing::Stays | Existing::StaysUnforced => Ok(()),
    }
}

/// Writes a file whole or not at all.
pub(super) fn to_file(path: &Path, bytes: &[u8], mode: u32, existing: Existing) -> Result<(), Failure> {
    let written = match existing {
        Existing::Stays | Existing::StaysUnforced => create(path, bytes, mode),
        Existing::Replaced => replace(path, bytes, mode),
    };
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists if existing != Existing::Replaced => exists(path, existing),
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Failure::usage(anyhow!("cannot write {}: {error}", path.display()))
        }
        _ => Failure::machine(anyhow!("cannot write {}: {error}", path.display())),
    })
}

/// Refuses a place for a report at which something else stands: only an earlier report, or an empty file, gives way.
pub(super) fn refuse_report(path: &Path) -> Result<(), Failure> {
    earlier_report(path).map(|_| ())
}

/// Writes a report whole, in place of an earlier one.
pub(super) fn to_report(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let (mode, existing) = match earlier_report(path)? {
        Some(mode) => (mode, Existing::Replaced),
        None => (PUBLIC, Existing::Stays),
    };
    to_file(path, bytes, mode, existing)
}

/// Who may do what with the report that stands there, if anything does.
fn earlier_report(path: &Path) -> Result<Option<u32>, Failure> {
    let failed = |error: io::Error| Failure::machine(anyhow!("cannot read {} (--json): {error}", path.display()));
    let found = match path.symlink_metadata() {
        // Where there is not even a folder, writing says so.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        found => found.map_err(failed)?,
    };
    // Nothing is read from a pipe or device, and a link may lead to any file.
    let first = if found.is_file() {
        let mut first = Vec::new();
        fs::File::open(path).and_then(|file| file.take(1).read_to_end(&mut first)).map_err(failed)?;
        Some(first)
    } else {
        None
    };
    match first.as_deref() {
        Some([] | [b'{']) => Ok(Some(found.permissions().mode() & 0o777)),
        _ => Err(Failure::refused(anyhow!(
            "{} (--json) exists, is no earlier report, and is not overwritten; choose another file",
            path.display()
        ))),
    }
}

fn exists(path: &Path, existing: Existing) -> Failure {
    let remedy = match existing {
        Existing::Stays => "; choose another place (--out) or move it away",
        Existing::StaysUnforced | Existing::Replaced => " without --force",
    };
    Failure::refused(anyhow!("{} exists and is not overwritten{remedy}", path.display()))
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| {
        // It is ours, made a moment ago, and useless.
        let _ = fs::remove_file(path);
    })
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = beside(path);
    create(&draft, bytes, mode)?;
    fs::rename(&draft, path).inspect_err(|_| {
        let _ = fs::remove_file(&draft);
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
    use super::*;

    #[test]
    fn nothing_printed_controls_the_terminal() {
        assert_eq!(printable("a\x1b[31m\r\u{9b}\n\u{202e}é"), "a\\u{1b}[31m\\r\\u{9b}\n\\u{202e}é");
        assert_eq!(printable_line("one\ntwo"), "one\\ntwo");
    }

    #[test]
    fn nothing_is_overwritten_and_no_half_set_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        fs::write(&second, "precious").unwrap();
        let failure = secrets(&[(first.clone(), b"new".to_vec()), (second.clone(), b"new".to_vec())]);
        assert_eq!(failure.err().map(|failure| failure.code), Some(1));
        assert_eq!(fs::read_to_string(&second).unwrap(), "precious");
        assert!(!first.exists());
    }

    #[test]
    fn a_file_is_replaced_only_by_force_and_then_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let unforced = Existing::forced(false);
        assert!(to_file(&path, b"first", PUBLIC, unforced).is_ok());
        assert_eq!(to_file(&path, b"second", PRIVATE, unforced).err().map(|failure| failure.code), Some(1));
        assert_eq!(refuse_existing(&path, unforced).err().map(|failure| failure.code), Some(1));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert!(to_file(&path, b"second", PRIVATE, Existing::forced(true)).is_ok());
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(to_file(&path.join("x"), b"", PRIVATE, unforced).err().map(|failure| failure.code), Some(2));
    }

    #[test]
    fn a_report_replaces_nothing_but_a_report() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        assert!(to_report(&place("new"), b"{}\n").is_ok());
        fs::write(place("empty"), "").unwrap();
        fs::write(place("earlier"), "{\"ok\": true}").unwrap();
        fs::set_permissions(place("earlier"), fs::Permissions::from_mode(0o600)).unwrap();
        for name in ["new", "empty", "earlier"] {
            assert!(to_report(&place(name), b"{1}").is_ok(), "{name}");
            assert_eq!(fs::read(place(name)).unwrap(), b"{1}");
        }
        assert_eq!(fs::metadata(place("earlier")).unwrap().permissions().mode() & 0o777, 0o600);

        fs::write(place("key.p12"), "precious").unwrap();
        std::os::unix::fs::symlink(place("earlier"), place("link")).unwrap();
        std::os::unix::fs::symlink(place("nothing"), place("dangling")).unwrap();
        fs::create_dir(place("folder")).unwrap();
        for name in ["key.p12", "link", "dangling", "folder"] {
            assert_eq!(to_report(&place(name), b"{2}").err().map(|failure| failure.code), Some(1), "{name}");
        }
        assert_eq!(fs::read(place("key.p12")).unwrap(), b"precious");
        assert_eq!(fs::read(place("earlier")).unwrap(), b"{1}");
        assert!(!place("nothing").exists());
        assert_eq!(to_report(&place("nowhere/report"), b"{}").err().map(|failure| failure.code), Some(2));
    }
}
