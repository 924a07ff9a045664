// SPDX-License-Identifier: GPL-2.0-or-later
//! The copy of the tree in which all mutants are.
//!
//! Its packages have another version, so that cargo tells them from those of the tree itself, and shares with these all that
//! is built of others. A file that is as it was keeps its time: a second run builds only what changed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::mutant::{self, Mutant};

/// What the version of our packages ends with in the copy.
const MARK: &str = "+mutants";
/// Marks a folder that holds what can be built anew.
const CACHE: &str = "CACHEDIR.TAG";
/// A test with nothing in it. Only where some test is built does cargo give others the features that tests need, and so
/// finds them built already where `cargo test` did.
pub(super) const EMPTY_TEST: &str = "mutants_nothing";
/// The switch: which mutant a process is.
const SWITCH: &str = "
/// Which mutant this process is.
#[doc(hidden)]
pub mod mutant {
    /// Whether it is that one.
    pub fn is(id: &str) -> bool {
        static ID: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        ID.get_or_init(|| std::env::var(\"CONFORMANCE_MUTANT\").ok()).as_deref() == Some(id)
    }
}
";

/// Brings the copy up to date.
///
/// # Errors
/// When a mutant does not fit, or a file cannot be read or written.
pub(super) fn copy(tree: &Path, copy: &Path, mutants: &[Mutant]) -> anyhow::Result<()> {
    let mut files = Vec::new();
    walk(tree, Path::new(""), &mut files)?;
    let version = version(tree)?;
    let mut kept: BTreeSet<PathBuf> = files.iter().cloned().collect();
    for file in &files {
        let octets = fs::read(tree.join(file)).with_context(|| file.display().to_string())?;
        let changed = changed(file, &octets, &version, mutants)?;
        write(&tree.join(file), &copy.join(file), changed.as_deref().map_or(&octets[..], str::as_bytes))?;
    }
    let empty = Path::new("program/tests").join(EMPTY_TEST).with_extension("rs");
    write(&tree.join("Cargo.toml"), &copy.join(&empty), b"//! Nothing.\n")?;
    kept.insert(empty);
    let mut there = Vec::new();
    walk(copy, Path::new(""), &mut there)?;
    for file in there.iter().filter(|file| !kept.contains(*file)) {
        fs::remove_file(copy.join(file)).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Where cargo builds, at the top of a tree; it marks the folder only if it has made it itself.
const BUILT: &str = "target";

/// The files of a tree: no hidden folders, nothing that was built.
fn walk(top: &Path, inside: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let folder = top.join(inside);
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let path = inside.join(entry.file_name());
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        let kind = entry.file_type()?;
        let is_built = path == Path::new(BUILT) || top.join(&path).join(CACHE).exists();
        if kind.is_dir() && !is_hidden && !is_built {
            walk(top, &path, files)?;
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// The version of our packages.
fn version(tree: &Path) -> anyhow::Result<String> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        workspace: Workspace,
    }
    #[derive(serde::Deserialize)]
    struct Workspace {
        package: Package,
    }
    #[derive(serde::Deserialize)]
    struct Package {
        version: String,
    }
    let text = fs::read_to_string(tree.join("Cargo.toml"))?;
    let manifest: Manifest = toml::from_str(&text).context("Cargo.toml")?;
    Ok(manifest.workspace.package.version)
}

/// What a file is in the copy, if it is something else there.
fn changed(file: &Path, octets: &[u8], version: &str, mutants: &[Mutant]) -> anyhow::Result<Option<String>> {
    let text = || std::str::from_utf8(octets).with_context(|| file.display().to_string());
    let line = format!("version = \"{version}\"\n");
    let marked = format!("version = \"{version}{MARK}\"\n");
    if file == Path::new("Cargo.toml") {
        return Ok(Some(text()?.replacen(&line, &marked, 1)));
    }
    if file == Path::new("Cargo.lock") {
        let of_ours = |package: &&str| package.contains(&line) && !package.contains("\nsource = ");
        let packages = text()?.split_inclusive("\n\n");
        let marked = packages.map(|one| if of_ours(&one) { one.replacen(&line, &marked, 1) } else { one.to_owned() });
        return Ok(Some(marked.collect()));
    }
    let own: Vec<&Mutant> = mutants.iter().filter(|mutant| mutant.file == file).collect();
    let is_root = file.ends_with("src/lib.rs") && mutants.iter().any(|mutant| package(&mutant.file) == package(file));
    if own.is_empty() && !is_root {
        return Ok(None);
    }
    ensure!(
        own.is_empty() || file.components().nth(1).is_some_and(|part| part.as_os_str() == "src"),
        "{}: a mutant is in the library of a package, or nothing switches it",
        file.display()
    );
    let mut text = mutant::apply(text()?, &own)?;
    if is_root {
        text.push_str(SWITCH);
    }
    Ok(Some(text))
}

/// The folder of a package: the first of a path.
fn package(file: &Path) -> Option<std::path::Component<'_>> {
    file.components().next()
}

/// Writes what is not there yet, with the time of what it was made from.
fn write(from: &Path, to: &Path, octets: &[u8]) -> anyhow::Result<()> {
    let at = || to.display().to_string();
    let is_there = fs::metadata(to).is_ok_and(|metadata| metadata.len() == octets.len() as u64)
        && fs::read(to).is_ok_and(|there| there == octets);
    if is_there {
        return Ok(());
    }
    let is_new = !to.exists();
    fs::create_dir_all(to.parent().unwrap_or(to)).with_context(at)?;
    fs::write(to, octets).with_context(at)?;
    if is_new {
        let modified = fs::metadata(from)?.modified()?;
        File::options().write(true).open(to)?.set_modified(modified).with_context(at)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_is_not_copied_whoever_made_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (file, octets) in [
            ("src/lib.rs", ""),
            ("target/debug/program", "built"),
            ("elsewhere/CACHEDIR.TAG", "Signature"),
            ("elsewhere/program", "built"),
            (".git/config", ""),
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, octets).unwrap();
        }
        let mut files = Vec::new();
        walk(folder.path(), Path::new(""), &mut files).unwrap();
        assert_eq!(files, [Path::new("src/lib.rs")]);
    }
}
