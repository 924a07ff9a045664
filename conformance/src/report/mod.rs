// SPDX-License-Identifier: GPL-2.0-or-later
//! A run as text, JSON, a page for people, JUnit XML or TAP; and several runs side by side.

mod compared;
mod html;
mod machine;
mod read;
mod side_by_side;
mod text;

use anyhow::bail;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::check::{Check, Verdict};
use crate::lacks::Lacks;
use crate::ledger::{self, Document};
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

    /// Puts to each check the clauses that it proves, and what they ask for where its suite does not say what it expects.
    pub fn rest_on(&mut self, documents: &[Document]) {
        let bases = ledger::bases(documents);
        for check in &mut self.checks {
            check.clauses = bases.get(check.id.as_str()).cloned().unwrap_or_default();
            if check.expected.is_empty() {
                let asked = check.clauses.iter().map(|clause| format!("{}: {}", clause.id, clause.text));
                check.expected = asked.collect::<Vec<_>>().join("\n");
            }
        }
    }

    /// `N passed, N failed, N skipped`: the closing line of every run.
    pub fn closing_line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }

    /// Whether nothing failed.
    ///
    /// # Errors
    /// When nothing was judged, of which nothing can be said: [`Lacks`] if the machine lacks something. An interrupted run says why by itself.
    pub fn holds(&self) -> anyhow::Result<bool> {
        if !self.interrupted && self.passed + self.failed == 0 {
            let told = format!("nothing was judged: {}", self.closing_line());
            if let Some(check) = self.checks.iter().find(|check| check.lacks) {
                return Err(Lacks(format!("{told}; {}: {}", check.id, text::shown(&check.came))).into());
            }
            bail!(told);
        }
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
    use std::collections::BTreeSet;

    use super::*;

    fn report() -> Report {
        let check = |id: &str, result| Check {
            id: id.into(),
            clause: "9301 5.2".into(),
            level: "MUST".into(),
            clauses: Vec::new(),
            suite: "wire".into(),
            result,
            lacks: false,
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
        report.rest_on(&[document()]);
        let expected: Vec<_> = report.checks.iter().map(|check| check.expected.as_str()).collect();
        assert_eq!(expected, ["X-1: said of A and B", "this", ""]);
    }

    /// With one clause, which A and B prove, and whose level is our reading.
    fn document() -> Document {
        let text = "document = \"RFC 1\"\ntitle = \"T\"\n[[clause]]\nid = \"X-1\"\nlevel = \"MUST\"\nsection = \"2\"\n\
                    stated = false\ntext = \"said of A and B\"\ntests = [\"A\", \"B\"]\n";
        ledger::read("rfc1.toml", text, &mut BTreeSet::new()).unwrap()
    }

    #[test]
    fn a_level_that_no_document_states_is_called_our_reading_in_each_format() {
        let mut report = report();
        let plain = [Format::Text, Format::Junit, Format::Tap, Format::Html].map(|form| report.render(form).unwrap());
        assert!(plain.iter().all(|text| !text.contains("our reading")), "{plain:?}");
        report.rest_on(&[document()]);
        let [text, junit, tap, html] =
            [Format::Text, Format::Junit, Format::Tap, Format::Html].map(|form| report.render(form).unwrap());
        let lines: Vec<_> = text.lines().filter(|line| line.contains(" MUST, our reading ")).collect();
        assert!(lines.len() == 2 && lines[1].starts_with("FAIL B RFC 9301 5.2"), "{text}");
        assert_eq!(junit.matches("<property name=\"reading\" value=\"ours\"/>").count(), 2, "{junit}");
        assert_eq!(tap.matches("  reading: \"ours\"\n  clauses: [\"X-1\"]\n").count(), 2, "{tap}");
        assert!(tap.contains("X-1: MUST is our reading, RFC 1 2 has no word of BCP 14 there"), "{tap}");
        assert!(html.contains("<code class=\"clause\">X-1</code>") && html.contains(">our reading<"), "{html}");
        let json: serde_json::Value = serde_json::from_str(&report.render(Format::Json).unwrap()).unwrap();
        let clause = serde_json::json!({"id": "X-1", "document": "RFC 1", "section": "2", "level": "MUST", "stated": false,
                                        "text": "said of A and B"});
        assert_eq!(json["checks"][1]["clauses"], serde_json::json!([clause]));
        assert_eq!(json["checks"][2].get("clauses"), None);
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
        report.checks[0].lacks = true;
        report.checks[0].came = "root is needed".into();
        let lacks = report.holds().unwrap_err();
        assert_eq!(crate::lacks::status(&lacks), 3);
        assert!(lacks.to_string().ends_with("1 skipped; C: root is needed"), "{lacks}");
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
