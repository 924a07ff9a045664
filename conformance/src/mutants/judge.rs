// SPDX-License-Identifier: GPL-2.0-or-later
//! Runs suites against the mutants.
//!
//! The programs that are judged are mutants; what judges them is not, or a fault in both would hide itself. Where a suite
//! judges the codec that `conformance` links, the mutated `conformance` judges itself against vectors and records, which are
//! data.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use interop::interrupt;
use interop::lab::process::end_with_us;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;

use super::build::{Built, PROGRAMS};
use super::limits;
use super::mutant::Mutant;
use crate::progress;
use crate::suite::NOT_ASKED;

/// Names the mutant that a process is.
const VARIABLE: &str = "CONFORMANCE_MUTANT";

/// What became of a run of checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// None failed.
    Passed,
    /// None could be judged, for want of something.
    Lacking(String),
    /// This one failed first.
    Failed {
        /// The check.
        id: String,
        /// What it found.
        evidence: String,
    },
    /// It could not be run at all.
    Broken(String),
    /// It did not end in time.
    Hung(Duration),
}

#[derive(Deserialize)]
struct Told {
    checks: Vec<ToldCheck>,
}

#[derive(Deserialize)]
struct ToldCheck {
    id: String,
    result: String,
    evidence: String,
}

/// Suites and mutants, and a folder for what is told.
pub(super) struct Judge<'a> {
    built: &'a Built,
    folder: tempfile::TempDir,
}

impl<'a> Judge<'a> {
    pub(super) fn new(built: &'a Built) -> anyhow::Result<Self> {
        Ok(Self { built, folder: tempfile::tempdir().context("a folder for what the suites say")? })
    }

    /// The suite of a mutant, or the one check that caught it before.
    pub(super) fn mutant(&self, mutant: &Mutant) -> anyhow::Result<Outcome> {
        if let Some(first) = &mutant.first {
            let outcome = self.run(Some(mutant), mutant.linked, ["--id", first], limits::CHECK_PATIENCE)?;
            if outcome != Outcome::Passed {
                return Ok(outcome);
            }
        }
        self.run(Some(mutant), mutant.linked, ["--suite", &mutant.suite], limits::SUITE_PATIENCE)
    }

    /// The same without a mutant.
    pub(super) fn sound(&self, linked: bool, what: [&str; 2]) -> anyhow::Result<Outcome> {
        self.run(None, linked, what, limits::SUITE_PATIENCE)
    }

    fn run(&self, is: Option<&Mutant>, linked: bool, what: [&str; 2], time: Duration) -> anyhow::Result<Outcome> {
        let judge = if linked { self.built.folder.join("conformance") } else { self.built.own.clone() };
        let mut command = Command::new(judge);
        command.args(["run", "--stop-at-first-failure", "--format", "json"]).args(what);
        for (program, variable) in PROGRAMS {
            command.env(variable, self.built.folder.join(program));
        }
        match is {
            // What a check lacks to judge is no fault of the mutant.
            Some(mutant) => command.env(VARIABLE, &mutant.id).env("CI", "false"),
            None => command.env_remove(VARIABLE),
        };
        let name = format!("{}-{}", is.map_or("sound", |mutant| &mutant.id), what[1]);
        let (out, told) =
            (self.folder.path().join(format!("{name}.out")), self.folder.path().join(format!("{name}.err")));
        command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&told)?);
        match ended(command, time)? {
            Some(status) => outcome(status, &out, &told),
            None => Ok(Outcome::Hung(time)),
        }
    }
}

/// How a process ended; none if it did not in time, and was killed with all that it started.
fn ended(mut command: Command, time: Duration) -> anyhow::Result<Option<Option<i32>>> {
    interrupt::check()?;
    // A suite that is asked to end does so in order, with what it has started.
    end_with_us(&mut command, Signal::SIGTERM);
    let mut child = command.spawn().context("conformance")?;
    let group = Pid::from_raw(child.id().try_into()?);
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            interrupt::check()?;
            return Ok(Some(status.code()));
        }
        if let Err(interrupted) = interrupt::check() {
            end(&mut child, group)?;
            return Err(interrupted.into());
        }
        if begun.elapsed() > time {
            killpg(group, Signal::SIGKILL)?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(limits::LOOK);
    }
}

/// Asks a suite to end, and waits as long as it may take for that.
fn end(child: &mut Child, group: Pid) -> anyhow::Result<()> {
    killpg(group, Signal::SIGTERM)?;
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > progress::GRACE + limits::ENDING {
            killpg(group, Signal::SIGKILL)?;
            child.wait()?;
            break;
        }
        std::thread::sleep(limits::LOOK);
    }
    Ok(())
}

fn outcome(status: Option<i32>, out: &Path, told: &Path) -> anyhow::Result<Outcome> {
    let report = || serde_json::from_slice::<Told>(&fs::read(out)?).context("the report of a suite");
    match status {
        Some(0) => Ok(Outcome::Passed),
        Some(1) => {
            let told = report()?;
            let failed = told.checks.into_iter().filter(|check| check.result == "fail");
            // What fails unasked, as the suite could not be run, shows nothing of the mutant.
            let (unasked, judged): (Vec<_>, Vec<_>) = failed.partition(|check| check.evidence.starts_with(NOT_ASKED));
            if let Some(ToldCheck { id, evidence, .. }) = judged.into_iter().next() {
                return Ok(Outcome::Failed { id, evidence });
            }
            let unasked = unasked.into_iter().next().context("a suite failed and no check of it")?;
            Ok(Outcome::Broken(unasked.evidence))
        }
        // A run in which nothing was judged says so; it has a report all the same.
        Some(2 | 3) => match report().ok().and_then(|told| told.checks.into_iter().next()) {
            Some(ToldCheck { evidence, .. }) => Ok(Outcome::Lacking(evidence)),
            None => Ok(Outcome::Broken(fs::read_to_string(told)?.trim().to_owned())),
        },
        other => bail!("a suite ended with {other:?}: {}", fs::read_to_string(told)?),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn who_hangs_is_ended_with_what_it_started() {
        let begun = Instant::now();
        assert_eq!(ended(shell("sleep 60 & sleep 60"), Duration::from_millis(200)).unwrap(), None);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(ended(shell("exit 3"), Duration::from_secs(10)).unwrap(), Some(Some(3)));
    }

    #[test]
    fn the_first_check_that_failed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (out, told) = (folder.path().join("out"), folder.path().join("told"));
        let check = |id: &str, result: &str| serde_json::json!({"id": id, "result": result, "evidence": "e"});
        let report = serde_json::json!({"checks": [check("A", "pass"), check("B", "fail"), check("C", "fail")]});
        fs::write(&out, report.to_string()).unwrap();
        fs::write(&told, "conformance: no\n").unwrap();
        let failed = Outcome::Failed { id: "B".into(), evidence: "e".into() };
        assert_eq!(outcome(Some(1), &out, &told).unwrap(), failed);
        assert!(outcome(None, &out, &told).is_err());
        let lacking = "not asked: suite s could not go on: e";
        let unasked = |id: &str| serde_json::json!({"id": id, "result": "fail", "evidence": lacking});
        fs::write(&out, serde_json::json!({"checks": [check("A", "pass"), unasked("B")]}).to_string()).unwrap();
        assert_eq!(outcome(Some(1), &out, &told).unwrap(), Outcome::Broken(lacking.into()));
        fs::write(&out, serde_json::json!({"checks": [unasked("A"), check("B", "fail")]}).to_string()).unwrap();
        assert_eq!(outcome(Some(1), &out, &told).unwrap(), failed);
        let skipped = |other: &str| serde_json::json!({"checks": [check("A", "skip"), check("B", other)]}).to_string();
        fs::write(&out, skipped("skip")).unwrap();
        assert_eq!(outcome(Some(2), &out, &told).unwrap(), Outcome::Lacking("e".into()));
        assert_eq!(outcome(Some(3), &out, &told).unwrap(), Outcome::Lacking("e".into()));
        fs::write(&out, "").unwrap();
        assert_eq!(outcome(Some(2), &out, &told).unwrap(), Outcome::Broken("conformance: no".into()));
        fs::write(&out, skipped("pass")).unwrap();
        assert_eq!(outcome(Some(0), &out, &told).unwrap(), Outcome::Passed);
    }
}
