// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads reports of runs and what `cargo test` printed, so that the ledger can be held against them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use program::files;
use serde::Deserialize;

use super::log::Log;
use crate::report::LONGEST;
use crate::target::OUR_NAME;

/// Reports of a folder that are read: several times the number of suites.
const REPORTS: usize = 100;
/// Octets of what `cargo test` printed that are read: a hundred times what the workspace prints.
const LOG_OCTETS: usize = 32 << 20;

/// What ran.
#[derive(Debug, Default)]
pub struct Ran {
    /// How each check came out: `pass`, `fail` or `skip`.
    pub checks: BTreeMap<String, String>,
    /// The Rust tests, if it was told of them.
    pub tests: Option<Log>,
}

/// What is needed of a report.
#[derive(Deserialize)]
struct Report {
    target: String,
    checks: Vec<Check>,
}

/// One check of it.
#[derive(Deserialize)]
struct Check {
    id: String,
    result: String,
}

/// What these reports, those of folders, and a log of `cargo test` (a file `*.log`) say; a check that did not pass once did not pass.
///
/// # Errors
/// When one cannot be read or is none, is about another implementation, there is no report, or more than one log.
pub fn results(paths: &[PathBuf]) -> anyhow::Result<Ran> {
    let mut ran = Ran::default();
    let mut read = 0;
    for path in paths {
        if path.extension().is_some_and(|extension| extension == "log") {
            ensure!(ran.tests.is_none(), "--ran: more than one log");
            let text = files::read(path, LOG_OCTETS).with_context(|| path.display().to_string())?;
            ran.tests = Some(Log::read(&String::from_utf8_lossy(&text)).with_context(|| path.display().to_string())?);
            continue;
        }
        for file in reports(path)? {
            let report = report(&file).with_context(|| file.display().to_string())?;
            read += 1;
            for check in report.checks {
                let result = ran.checks.entry(check.id).or_insert_with(|| check.result.clone());
                if check.result != "pass" {
                    *result = check.result;
                }
            }
        }
    }
    if read == 0 {
        bail!("--ran: there is no report");
    }
    Ok(ran)
}

/// A file as it is; of a folder the files whose names end with `.json`.
fn reports(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir().with_context(|| path.display().to_string())? {
        let file = entry.with_context(|| path.display().to_string())?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            files.push(file);
        }
        if files.len() > REPORTS {
            bail!("{}: more than {REPORTS} reports", path.display());
        }
    }
    Ok(files)
}

fn report(path: &Path) -> anyhow::Result<Report> {
    let text = files::read(path, LONGEST)?;
    let report: Report = serde_json::from_slice(&text)?;
    ensure!(report.target == OUR_NAME, "it is about {}, and the ledger is about {OUR_NAME}", report.target);
    Ok(report)
}
