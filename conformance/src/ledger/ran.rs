// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads reports of runs, so that the ledger can be held against them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use program::files;
use serde::Deserialize;

use crate::report::LONGEST;

/// Reports of a folder that are read: several times the number of suites.
const REPORTS: usize = 100;

/// What is needed of a report.
#[derive(Deserialize)]
struct Report {
    checks: Vec<Ran>,
}

/// One check of it.
#[derive(Deserialize)]
struct Ran {
    id: String,
    result: String,
}

/// How each check came out in these reports, and in those of folders; one that did not pass once did not pass.
///
/// # Errors
/// When one cannot be read or is no report, or there is none.
pub fn results(paths: &[PathBuf]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut results: BTreeMap<String, String> = BTreeMap::new();
    let mut read = 0;
    for path in paths {
        for file in reports(path)? {
            let report = report(&file).with_context(|| file.display().to_string())?;
            read += 1;
            for check in report.checks {
                let result = results.entry(check.id).or_insert_with(|| check.result.clone());
                if check.result != "pass" {
                    *result = check.result;
                }
            }
        }
    }
    if read == 0 {
        bail!("--ran: there is no report");
    }
    Ok(results)
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
    Ok(serde_json::from_slice(&text)?)
}
