// SPDX-License-Identifier: GPL-2.0-or-later
//! Results: a table for people, JSON for programs.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

/// Prints `lines`, unless JSON is wanted on standard output; writes JSON where it is wanted.
pub(super) fn show(json: Option<&Path>, value: &Value, lines: &[String]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match json {
        Some(path) if path == Path::new("-") => {
            writeln!(out, "{value}")?;
            return Ok(out.flush()?);
        }
        Some(path) => {
            std::fs::write(path, format!("{value}\n")).with_context(|| format!("--json={}", path.display()))?;
        }
        None => {}
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}
