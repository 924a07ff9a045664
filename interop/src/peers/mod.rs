// SPDX-License-Identifier: GPL-2.0-or-later
//! Our programs together with those of others, on small networks of their own.
//!
//! Nothing of a peer is in this project, nor how to build it: who has one says by an environment variable where the
//! built program is. A case whose peer is not at hand is skipped, and says so. One peer is in every Linux: its `vxlan gpe`
//! device, a data plane that speaks LISP-GPE (RFC 9305).

mod afterwards;
mod cases;
mod kernel;
pub(crate) mod network;
pub(crate) mod oor;
mod openlisp;
mod play;
mod private_tmp;
mod report;
mod stage;
mod witness;

use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;

pub use report::{CaseLine, CaseResult, Report};

use crate::demo::binaries::Binaries;
use crate::demo::{UsageError, check_folders};
use crate::interrupt;
use crate::lab::privilege;
use crate::lab::workspace::Workspace;

/// A program of others that speaks LISP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Peer {
    /// `OpenOverlayRouter`: xTR and map-server
    Oor,
    /// The `OpenLISP` control plane: map-server, map-resolver, and xTR without a data plane
    Openlisp,
    /// The vxlan gpe device of this kernel: a LISP-GPE data plane that needs no program
    Kernel,
}

impl Peer {
    /// Environment variable that holds the path of the built program; none if there is no program.
    pub fn variable(self) -> Option<&'static str> {
        match self {
            Self::Oor => Some("INTEROP_OOR"),
            Self::Openlisp => Some("INTEROP_OPENLISP"),
            Self::Kernel => None,
        }
    }

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oor => "oor",
            Self::Openlisp => "openlisp",
            Self::Kernel => "kernel",
        }
    }

    /// Where its program is; none if the variable is not set.
    pub(crate) fn program(self) -> Result<Option<PathBuf>, UsageError> {
        let Some(variable) = self.variable() else { return Ok(None) };
        let Some(path) = std::env::var_os(variable).filter(|value| !value.is_empty()) else { return Ok(None) };
        let wrong = |what| UsageError(format!("{variable}={}: {what}", path.display()));
        let found = std::fs::canonicalize(&path).map_err(|error| wrong(error.to_string()))?;
        if found.is_file() { Ok(Some(found)) } else { Err(wrong("not a program".into())) }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is asked of a run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Peers to run with; empty = all.
    pub peers: Vec<Peer>,
    /// Where our built programs are; none = build them.
    pub bin_dir: Option<PathBuf>,
    /// Work in a user namespace even as root.
    pub user_namespace: bool,
    /// Where captures go to stay; none = they are judged, and go with the run.
    pub pcap: Option<PathBuf>,
    /// Where logs go to stay; none = they go with the run, unless a case fails.
    pub keep_logs: Option<PathBuf>,
    /// Tell on standard error, because standard output is for JSON.
    pub quiet_stdout: bool,
}

/// Runs the cases. The process must have one thread when this is called, and should end after it.
///
/// # Errors
/// When the machine refuses something ([`crate::lab::LabError::Refused`]), a flag or variable is wrong ([`UsageError`]),
/// or we are interrupted. A case that does not hold is no error but a line of the [`Report`].
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let asked = |peer: &Peer| options.peers.is_empty() || options.peers.contains(peer);
    let cases: Vec<_> = cases::CASES.iter().filter(|case| asked(&case.peer)).collect();
    let mut programs = play::Programs::default();
    for peer in Peer::value_variants().iter().copied().filter(|peer| cases.iter().any(|case| case.needs(*peer))) {
        programs.peers.extend(peer.program()?.map(|path| (peer, path)));
    }
    let mut report = Report::new(options.quiet_stdout);
    if cases.iter().all(|case| programs.lacking(case).is_some()) {
        // Nothing is built and nothing of the machine is needed.
        cases.iter().for_each(|case| skip(case, &programs, &mut report));
        return Ok(report);
    }
    check_folders(options.pcap.as_deref(), options.keep_logs.as_deref())?;
    privilege::check_tun()?;
    programs.ours = Some(Binaries::find_or_build(options.bin_dir.as_deref())?);
    privilege::acquire(options.user_namespace)?;
    interrupt::watch()?;
    let mut workspace = Workspace::create(options.keep_logs.as_deref())?;
    let captures = options.pcap.clone().map_or_else(|| workspace.folder("captures"), Ok)?;
    for (number, case) in cases.into_iter().enumerate() {
        let place = play::Place { number, captures: &captures, workspace: &workspace };
        match programs.lacking(case) {
            None => play::play(case, &place, &programs, &mut report)?,
            Some(_) => skip(case, &programs, &mut report),
        }
    }
    if !report.ok() {
        report.say(&format!("Logs are kept in {}.", workspace.keep_logs()?.display()));
    }
    Ok(report)
}

/// Says which program is not at hand.
fn skip(case: &cases::Case, programs: &play::Programs, report: &mut Report) {
    let variable = programs.lacking(case).and_then(Peer::variable).unwrap_or_default();
    report.skip(case.peer, case.name, format!("{variable} is not set to the path of a built program"));
}
