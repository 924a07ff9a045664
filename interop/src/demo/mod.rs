// SPDX-License-Identifier: GPL-2.0-or-later
//! The demo: the whole way of packets and of the signed statements they depend on, once, for real.

pub(crate) mod binaries;
pub(crate) mod identities;
mod network;
mod nodes;
mod report;
mod scenario;
mod story;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use binaries::{build as build_programs, cargo};
pub use report::Report;

use crate::lab::privilege::{self, Privilege};
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, LabError};
use binaries::Binaries;
use story::Story;

/// What is asked of the demo.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where built programs are; none = build them.
    pub bin_dir: Option<PathBuf>,
    /// Work in a user namespace even as root.
    pub user_namespace: bool,
    /// Where captures go; none = nothing is captured.
    pub pcap: Option<PathBuf>,
    /// Where logs go to stay; none = they go with the demo, unless it fails.
    pub keep_logs: Option<PathBuf>,
    /// Wait a minute and measure what an idle border node takes.
    pub measure: bool,
    /// Tell the story on standard error, because standard output is for JSON.
    pub quiet_stdout: bool,
}

/// The caller asked for something that cannot be: names the flag.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub(crate) String);

/// Tells the story. The process must have one thread when this is called, and should end after it.
///
/// # Errors
/// When the machine refuses something ([`crate::lab::LabError::Refused`]), a flag is wrong ([`UsageError`]), or we are
/// interrupted. A step that does not
/// hold is no error but a [`Report`] that is not ok.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    // Before cargo works for minutes.
    check_folders(options.pcap.as_deref(), options.keep_logs.as_deref())?;
    privilege::check_tun()?;
    let mut story = Story::new(options.quiet_stdout);
    story.say(network::PICTURE);
    let binaries = match story.step("build", "Programs", || Binaries::provide(options.bin_dir.as_deref())) {
        Ok(binaries) => binaries,
        Err(error) => return story.stop(error, &[]),
    };
    let privilege = privilege::acquire(options.user_namespace)?;
    crate::interrupt::watch()?;
    let workspace = Workspace::create(options.keep_logs.as_deref())?;
    scenario::play(options, story, &binaries, privilege, workspace)
}

/// Makes the folders of `--pcap` and `--keep-logs` if they are not there, and tries whether files can be made in them.
pub(crate) fn check_folders(pcap: Option<&Path>, keep_logs: Option<&Path>) -> Result<(), UsageError> {
    for (flag, folder) in [("--pcap", pcap), ("--keep-logs", keep_logs)] {
        let Some(folder) = folder else { continue };
        // The permission bits do not tell: root passes them, and still cannot write into a read-only file system.
        std::fs::create_dir_all(folder)
            .and_then(|()| tempfile::tempfile_in(folder).map(drop))
            .map_err(|error| UsageError(format!("{flag} {}: {error}", folder.display())))?;
    }
    Ok(())
}

/// The control sockets of border nodes, by the names of these.
pub type Controls = BTreeMap<String, PathBuf>;

/// Looks for the programs in `folder`, or builds them; returns where they are.
///
/// # Errors
/// When some are missing, or cargo fails.
pub fn provide_programs(folder: Option<&Path>) -> anyhow::Result<PathBuf> {
    Ok(Binaries::provide(folder)?.value.folder().to_path_buf())
}

/// Builds the network of the demo, starts its nodes, and leaves the rest to `keep`; then takes it down.
///
/// # Errors
/// What was refused or did not hold.
pub fn hold(
    bin_dir: &Path,
    privilege: Privilege,
    keep: impl FnOnce(&Lab, Controls, &mut dyn FnMut() -> Result<(), LabError>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let binaries = Binaries::provide(Some(bin_dir))?.value;
    let workspace = Workspace::create(None)?;
    scenario::hold(Story::new(false), &binaries, privilege, &workspace, keep)
}
