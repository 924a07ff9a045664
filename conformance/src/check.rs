// SPDX-License-Identifier: GPL-2.0-or-later
//! One judged statement: what it says, where that is written, and how it came out.

use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What the clause asks for was seen.
    Pass,
    /// It was not.
    Fail,
    /// It could not be judged; the evidence says why.
    Skip,
}

/// A clause as people cite it: sections of RFCs are written without that word.
pub fn cited(clause: &str) -> String {
    if clause.starts_with(|first: char| first.is_ascii_digit()) { format!("RFC {clause}") } else { clause.to_owned() }
}

/// A check and its outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Identifier, unique in its suite.
    pub id: String,
    /// The clause: RFC and section, or the requirement of an Internet-Draft of ours.
    pub clause: String,
    /// MUST, SHOULD, ... as the clause has it.
    pub level: String,
    /// The suite it belongs to.
    pub suite: &'static str,
    /// How it came out.
    pub result: Verdict,
    /// What was given, what was expected, what came.
    pub evidence: String,
}
