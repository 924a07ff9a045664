// SPDX-License-Identifier: GPL-2.0-or-later
//! A run as text, JSON, a page for people, JUnit XML or TAP; and several runs side by side.

mod compared;
mod html;
mod machine;
mod read;
mod side_by_side;
mod text;

use anyhow::ensure;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::check::{Check, Verdict};
pub use compared::{Change, Compared, Row};
pub(crate) use read::LONGEST;
pub use read::read;
pub use side_by_side::Shape;
pub(crate) use text::shown;

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

    /// Whether nothing failed.
    ///
    /// # Errors
    /// When nothing was judged, of which nothing can be said; an interrupted run says why by itself.
    pub fn holds(&self) -> anyhow::Result<bool> {
        ensure!(self.interrupted || self.passed + self.failed > 0, "nothing was judged: {}", self.closing_line());
        Ok(self.failed == 0)
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
    fn a_run_that_was_interrupted_does_not_look_complete() {
        let run = Report { interrupted: true, ..report() };
        let rendered = |format| run.render(format).unwrap();
        assert!(rendered(Format::Text).ends_with("\n1 passed, 1 failed, 1 skipped, interrupted\n"));
        assert!(rendered(Format::Tap).ends_with("\nBail out! interrupted\n"));
        let junit = rendered(Format::Junit);
        assert!(
            junit.contains("tests=\"4\" errors=\"1\"") && junit.contains("<error message=\"interrupted"),
            "{junit}"
        );
        let whole = report().render(Format::Junit).unwrap();
        assert!(whole.contains("tests=\"3\" failures=\"1\"") && !whole.contains("interrupted"), "{whole}");
    }

    #[test]
    fn of_a_run_in_which_nothing_was_judged_nothing_is_said() {
        let mut report = report();
        assert!(!report.holds().unwrap());
        report = Report::new("self", report.checks.split_off(2));
        assert_eq!(report.holds().unwrap_err().to_string(), "nothing was judged: 0 passed, 0 failed, 1 skipped");
        report.interrupted = true;
        assert!(report.holds().unwrap());
    }

    #[test]
    fn what_a_target_says_moves_no_cursor_and_breaks_no_format() {
        let mut report = report();
        let said = "\u{1b}[2J\u{9b}31m\r\u{7}\u{ffff}\n0 passed";
        said.clone_into(&mut report.checks[1].evidence);
        said.clone_into(&mut report.checks[1].came);
        for format in [Format::Text, Format::Tap, Format::Junit] {
            let rendered = report.render(format).unwrap();
            let control = rendered.chars().find(|each| each.is_control() && *each != '\n');
            assert!(control.is_none() && rendered.contains("[2J"), "{rendered:?}");
        }
        assert!(!report.render(Format::Junit).unwrap().contains('\u{ffff}'));
        assert!(report.render(Format::Text).unwrap().contains("\\u{1b}[2J\\u{9b}31m\\r\\u{7}"));
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
