// SPDX-License-Identifier: GPL-2.0-or-later
//! A run as text, JSON, a page for people, JUnit XML or TAP; and several runs side by side.

mod compared;
mod html;
mod machine;
mod read;
mod side_by_side;
mod text;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::check::{Check, Verdict};
pub use compared::{Change, Compared, Row};
pub use read::read;
pub use side_by_side::Shape;

/// How a run is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line a check, then the count.
    Text,
    /// One JSON object.
    Json,
    /// A page with the evidence behind each check, for a browser.
    Html,
    /// JUnit XML, which build servers read.
    Junit,
    /// Test Anything Protocol, version 14.
    Tap,
}

/// A whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What was judged.
    pub target: String,
    /// Checks that passed.
    pub passed: usize,
    /// Checks that failed.
    pub failed: usize,
    /// Checks that could not be judged.
    pub skipped: usize,
    /// Whether somebody ended the run before all checks were judged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// The checks, in the order in which they ran.
    pub checks: Vec<Check>,
}

impl Report {
    /// Counts the checks of a run.
    pub fn new(target: impl Into<String>, checks: Vec<Check>) -> Self {
        let count = |verdict| checks.iter().filter(|check| check.result == verdict).count();
        Self {
            target: target.into(),
            passed: count(Verdict::Pass),
            failed: count(Verdict::Fail),
            skipped: count(Verdict::Skip),
            interrupted: false,
            checks,
        }
    }

    /// Puts what a clause asks for, by the identifier of the check, where a suite does not say what it expects.
    pub fn expect(&mut self, clause: impl Fn(&str) -> Option<String>) {
        for check in self.checks.iter_mut().filter(|check| check.expected.is_empty()) {
            check.expected = clause(&check.id).unwrap_or_default();
        }
    }

    /// `N passed, N failed, N skipped`: the closing line of every run.
    pub fn closing_line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }

    /// The run in one of the formats.
    ///
    /// # Errors
    /// When a value has no JSON form, which these have.
    pub fn render(&self, format: Format) -> Result<String, serde_json::Error> {
        Ok(match format {
            Format::Text => text::report(self),
            Format::Json => serde_json::to_string_pretty(self)? + "\n",
            Format::Html => html::page(&Compared::one(self)),
            Format::Junit => machine::junit(self),
            Format::Tap => machine::tap(self),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn report() -> Report {
        let check = |id: &str, result| Check {
            id: id.into(),
            clause: "9301 5.2".into(),
            level: "MUST".into(),
            suite: "wire".into(),
            result,
            evidence: "a < b & \"c\" # d".into(),
            asks: "a < b".into(),
            expected: String::new(),
            came: String::new(),
            sure: None,
            took_ms: 0,
            exchange: Vec::new(),
        };
        Report::new("self", vec![check("A", Verdict::Pass), check("B", Verdict::Fail), check("C", Verdict::Skip)])
    }

    #[test]
    fn where_a_suite_says_nothing_the_clause_says_what_is_expected() {
        let mut report = report();
        report.checks[1].expected = "this".into();
        report.expect(|id| (id != "C").then(|| format!("the clause of {id}")));
        let expected: Vec<_> = report.checks.iter().map(|check| check.expected.as_str()).collect();
        assert_eq!(expected, ["the clause of A", "this", ""]);
    }

    #[test]
    fn the_closing_line_counts_each_verdict() {
        assert!(report().render(Format::Text).unwrap().ends_with("\n1 passed, 1 failed, 1 skipped\n"));
    }

    #[test]
    fn evidence_is_escaped_in_xml_and_in_tap() {
        let report = report();
        let junit = report.render(Format::Junit).unwrap();
        assert!(junit.contains("<failure message=\"a &lt; b &amp; &quot;c&quot; # d\">"));
        let tap = report.render(Format::Tap).unwrap();
        assert!(
            tap.contains("not ok 2 - B a < b & \"c\" \\# d\n") && tap.contains("ok 3 - C") && tap.contains(" # SKIP\n")
        );
    }

    #[test]
    fn json_has_the_keys_that_others_script_against() {
        let json: serde_json::Value = serde_json::from_str(&report().render(Format::Json).unwrap()).unwrap();
        assert_eq!(json["passed"], 1);
        assert_eq!(json["checks"][1]["result"], "fail");
        for key in ["id", "clause", "level", "suite", "result", "evidence"] {
            assert!(json["checks"][0].get(key).is_some(), "{key}");
        }
    }
}
