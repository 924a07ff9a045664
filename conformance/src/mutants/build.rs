// SPDX-License-Identifier: GPL-2.0-or-later
//! Builds the programs of the copy, all mutants at once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::limits;
use super::mutant::{FOLDER, Mutant};
use super::tree;
use crate::lacks::Lacks;

/// The programs that suites judge, and the variables that name them.
pub(super) const PROGRAMS: [(&str, &str); 4] = [
    ("cgeid", "CONFORMANCE_CGEID"),
    ("lisp-dht", "CONFORMANCE_LISP_DHT"),
    ("lisp-mapsys", "CONFORMANCE_LISP_MAPSYS"),
    ("lisp-xtr", "CONFORMANCE_LISP_XTR"),
];

/// The folder of the programs that were built.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) folder: PathBuf,
    /// This program, which another build may replace meanwhile: its path is asked for once.
    pub(super) own: PathBuf,
    /// Nobody else changes the copy meanwhile.
    _alone: File,
}

/// The tree that a folder is in.
pub(super) fn tree_of(folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
    let top = folder.ancestors().find(|above| above.join(FOLDER).is_dir());
    top.map(Path::to_path_buf).with_context(|| format!("no {FOLDER} in {} or above it", folder.display()))
}

/// Copies the tree with all its mutants and builds it.
pub(super) fn build(tree: &Path, mutants: &[Mutant]) -> anyhow::Result<Built> {
    let own = std::env::current_exe().context("the folder of this program")?;
    let beside = own.parent().filter(|folder| folder.ends_with("debug") || folder.ends_with("release"));
    let profile = if beside.is_some_and(|folder| folder.ends_with("release")) { "release" } else { "dev" };
    let shared = match (beside.and_then(Path::parent), std::env::var_os("CARGO_TARGET_DIR")) {
        (Some(target), _) => target.to_path_buf(),
        (None, Some(named)) => tree.join(named),
        (None, None) => tree.join("target"),
    };
    let target = shared.join("mutants");
    let copy = target.join("tree");
    fs::create_dir_all(&copy).with_context(|| copy.display().to_string())?;
    let alone = File::create(target.join("lock")).context("the lock of the copy")?;
    alone.lock().context("the lock of the copy")?;
    tree::copy(tree, &copy, mutants)?;
    let mut command = interop::demo::cargo();
    command.current_dir(&copy).args(["build", "--quiet", "--locked", "--workspace", "--profile", profile]);
    command.args(["--bin", "conformance", "--test", tree::EMPTY_TEST]);
    command.args(PROGRAMS.iter().flat_map(|(name, _)| ["--bin", name]));
    // What is built goes where all else does, the programs into a folder of their own.
    command.env("CARGO_BUILD_BUILD_DIR", &shared).env("CARGO_TARGET_DIR", &target);
    command.env("CARGO_PROFILE_DEV_DEBUG", "false");
    let output = command.output().map_err(|error| Lacks(format!("cargo, which builds the mutants: {error}")))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the mutants do not build:\n{}", errors(&told));
    let folder = target.join(if profile == "release" { "release" } else { "debug" });
    Ok(Built { folder, own, _alone: alone })
}

/// What a compiler says without its warnings.
fn errors(told: &str) -> String {
    let blocks = told.split("\n\n").filter(|block| block.trim_start().starts_with("error"));
    blocks.take(limits::ERRORS).collect::<Vec<_>>().join("\n\n")
}
