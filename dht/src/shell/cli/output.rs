// SPDX-License-Identifier: GPL-2.0-or-later
//! Results: a table for people, JSON for programs.

use program::Json;
use serde_json::Value;

use super::Failure;

/// Prints `lines`, unless JSON is wanted on standard output; writes JSON where it is wanted.
pub(super) fn show(json: &Json, value: &Value, lines: &[String]) -> Result<(), Failure> {
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    Ok(json.show(value, text)?)
}
