// SPDX-License-Identifier: GPL-2.0-or-later
//! Our programs that are run: built by cargo in the profile of this one, or found where the caller says.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::UsageError;
use super::story::Seen;

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    folder: PathBuf,
}

/// The programs, and the packages that they come from.
const PROGRAMS: [(&str, &str); 5] =
    [("cgeid", "cgeid"), ("lisp-dht", "dht"), ("lisp-mapsys", "mapsys"), ("lig", "mapsys"), ("lisp-xtr", "xtr")];

impl Binaries {
    /// As a step of the demo: looks into `folder`, or builds.
    pub(super) fn provide(folder: Option<&Path>) -> anyhow::Result<Seen<Self>> {
        let found = Self::find_or_build(folder)?;
        let note = format!("from {}", found.folder.display());
        Ok(Seen::new(found, vec![note]))
    }

    /// Looks into `folder`, or builds.
    pub(crate) fn find_or_build(folder: Option<&Path>) -> anyhow::Result<Self> {
        let folder = match folder {
            Some(folder) => {
                folder.canonicalize().map_err(|error| UsageError(format!("--bin-dir {}: {error}", folder.display())))?
            }
            None => build()?,
        };
        let missing: Vec<_> =
            PROGRAMS.iter().map(|(name, _)| *name).filter(|name| !folder.join(name).is_file()).collect();
        let wrong = || UsageError(format!("--bin-dir {}: not there: {}", folder.display(), missing.join(", ")));
        ensure!(missing.is_empty(), wrong());
        Ok(Self { folder })
    }

    /// Where they are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command line that begins with one of the programs.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        // What the caller's shell happens to set is not part of the demo.
        command.env_clear().env("RUST_BACKTRACE", "1").env("NO_COLOR", "1");
        command
    }
}

/// Builds our programs into the target folder that this one is in, and says where they are; cargo shows its progress on standard error.
///
/// # Errors
/// Where this program is in no target folder, its sources are gone, or cargo fails.
pub fn build() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where is this program?")?;
    // Test programs are one folder deeper.
    let folder =
        own.parent().map(|folder| if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder });
    let (Some(folder), Some(workspace)) = (folder, Path::new(env!("CARGO_MANIFEST_DIR")).parent()) else {
        bail!("no folder above {}", own.display());
    };
    let (Some(target), Some(profile)) = (folder.parent(), folder.file_name().and_then(|name| name.to_str())) else {
        bail!("{} is in no target folder", own.display());
    };
    ensure!(
        workspace.join("Cargo.toml").is_file(),
        "the sources are not in {} any more: say with --bin-dir where the programs are",
        workspace.display()
    );
    eprintln!("building with cargo (the first time takes minutes) ...");
    let mut cargo = cargo();
    // The folder of the profile "dev" is called debug.
    let profile = if profile == "debug" { "dev" } else { profile };
    cargo.current_dir(workspace).args(["build", "--bins", "--profile", profile, "--target-dir"]).arg(target);
    let mut packages: Vec<_> = PROGRAMS.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    for package in packages {
        cargo.args(["-p", package]);
    }
    let status = cargo.status().context("cannot run cargo (or say with --bin-dir where the programs are)")?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(folder.to_path_buf())
}

/// Cargo, as from a shell: without what `cargo run` or `cargo test` tells a program of its own package. Build scripts look at that, so with it
/// a third of all crates would be built anew, and once more by who is next.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars().filter(|(name, _)| of_package(name)) {
        cargo.env_remove(name);
    }
    cargo
}

#[cfg(test)]
mod tests {
    use super::cargo;

    #[test]
    fn cargo_is_not_told_of_the_package_that_calls_it() {
        let told = |name: &str| cargo().get_envs().all(|(other, value)| other != name || value.is_some());
        for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR", "CARGO_MANIFEST_DIR"] {
            assert!(std::env::var_os(name).is_some(), "cargo tells this test {name}");
            assert!(!told(name), "{name}");
        }
    }
}
