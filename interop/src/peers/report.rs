// SPDX-License-Identifier: GPL-2.0-or-later
//! What became of each case, told as it happens and kept for a script.

use std::io::Write as _;

use serde::Serialize;

use super::Peer;

/// What became of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Each case, in the order they ran.
    pub cases: Vec<CaseLine>,
    #[serde(skip)]
    on_stderr: bool,
}

/// What became of a case.
#[derive(Debug, Clone, Serialize)]
pub struct CaseLine {
    /// Whose case it is.
    pub peer: &'static str,
    /// Its name.
    pub case: &'static str,
    /// How it ended.
    pub result: CaseResult,
    /// What was seen, or what was missing.
    pub why: String,
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CaseResult {
    /// Everything held.
    Pass,
    /// Something did not.
    Fail,
    /// The peer is not at hand.
    Skip,
}

impl Report {
    pub(super) fn new(on_stderr: bool) -> Self {
        Self { cases: Vec::new(), on_stderr }
    }

    /// Whether no case failed.
    pub fn ok(&self) -> bool {
        self.cases.iter().all(|case| case.result != CaseResult::Fail)
    }

    pub(super) fn skip(&mut self, peer: Peer, case: &'static str, why: String) {
        self.add(peer, case, CaseResult::Skip, why);
    }

    pub(super) fn add(&mut self, peer: Peer, case: &'static str, result: CaseResult, why: String) {
        let verdict = match result {
            CaseResult::Pass => "pass",
            CaseResult::Fail => "FAIL",
            CaseResult::Skip => "SKIP",
        };
        self.say(&format!("{verdict}  {:<9} {case:<34} {why}", peer.name()));
        self.cases.push(CaseLine { peer: peer.name(), case, result, why });
    }

    pub(super) fn say(&self, line: &str) {
        // Nobody may be listening any more (a closed pipe); the exit status still says how it was.
        let _ =
            if self.on_stderr { writeln!(std::io::stderr(), "{line}") } else { writeln!(std::io::stdout(), "{line}") };
    }
}
