// SPDX-License-Identifier: GPL-2.0-or-later
//! JUnit XML and TAP: what build servers and harnesses read.

use std::fmt::Write as _;

use serde_json::json;

use super::{Report, text};
use crate::check::{Check, Verdict, cited};
use crate::ledger;

/// Whose reading a level is that no document states.
const OURS: &str = "ours";

pub(super) fn junit(report: &Report) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (total, failed, skipped) = (report.checks.len(), report.failed, report.skipped);
    // A build server counts what is an error; of what it does not know it says nothing.
    let (tests, errors) = if report.interrupted { (total + 1, " errors=\"1\"") } else { (total, "") };
    let counts = format!("tests=\"{tests}\"{errors} failures=\"{failed}\" skipped=\"{skipped}\"");
    let _ = writeln!(out, "<testsuite name=\"{}\" {counts}>", escape(&report.target));
    for check in &report.checks {
        out += &test_case(check);
    }
    if report.interrupted {
        let _ = writeln!(
            out,
            "  <testcase classname=\"conformance\" name=\"interrupted\" time=\"0\">\n    \
             <error message=\"interrupted: there are checks that have not run\"/>\n  </testcase>"
        );
    }
    out + "</testsuite>\n"
}

/// The clause as a property, what came as message, and the exchange as what was printed.
fn test_case(check: &Check) -> String {
    #[allow(clippy::cast_precision_loss, reason = "seconds for people")]
    let seconds = check.took_ms as f64 / 1000.0;
    let (suite, id, evidence) = (escape(&check.suite), escape(&check.id), escape(&check.evidence));
    let mut out = format!("  <testcase classname=\"{suite}\" name=\"{id}\" time=\"{seconds:.3}\">\n");
    let property = |name: &str, value: &str| format!("<property name=\"{name}\" value=\"{}\"/>", escape(value));
    let mut properties = property("clause", &cited(&check.clause)) + &property("level", &check.level);
    if ledger::is_read(&check.level, &check.clauses) {
        properties += &property("reading", OURS);
    }
    properties.extend(check.clauses.iter().map(|clause| property("proves", &clause.id)));
    if let Some(sure) = check.sure {
        properties += &property("sure", sure.name());
    }
    let _ = writeln!(out, "    <properties>{properties}</properties>");
    let _ = match check.result {
        Verdict::Pass => Ok(()),
        Verdict::Fail => {
            writeln!(out, "    <failure message=\"{evidence}\">{}</failure>", escape(&text::evidence(check)))
        }
        Verdict::Skip => writeln!(out, "    <skipped message=\"{evidence}\"/>"),
    };
    if check.result != Verdict::Fail {
        let _ = writeln!(out, "    <system-out>{}</system-out>", escape(&text::evidence(check)));
    }
    out + "  </testcase>\n"
}

pub(super) fn tap(report: &Report) -> String {
    let mut out = format!("TAP version 14\n1..{}\n", report.checks.len());
    for (number, check) in (1..).zip(&report.checks) {
        let (mark, note) = match check.result {
            Verdict::Pass => ("ok", ""),
            Verdict::Fail => ("not ok", ""),
            Verdict::Skip => ("ok", " # SKIP"),
        };
        let said = check.evidence.replace('\n', " ").replace('\\', "\\\\").replace('#', "\\#");
        let said = text::shown(&said);
        let _ = writeln!(out, "{mark} {number} - {} {said}{note}", check.id);
        out += &diagnostic(check);
    }
    if report.interrupted {
        out += "Bail out! interrupted\n";
    }
    out
}

/// A block of YAML, of which JSON strings are a part.
fn diagnostic(check: &Check) -> String {
    let sure = check.sure.map_or("", super::super::exchange::Sure::name);
    let exchange: Vec<_> = text::evidence(check).lines().map(str::to_owned).collect();
    let clause = cited(&check.clause);
    let reading = ledger::is_read(&check.level, &check.clauses).then_some(OURS);
    let clauses: Vec<_> = check.clauses.iter().map(|clause| &clause.id).collect();
    let lines = [
        ("clause", json!(clause)),
        ("level", json!(check.level)),
        ("reading", json!(reading)),
        ("clauses", json!(clauses)),
        ("suite", json!(check.suite)),
        ("sure", json!(sure)),
        ("duration_ms", json!(check.took_ms)),
        ("evidence", json!(exchange)),
    ];
    let is_said = |(_, value): &&(&str, serde_json::Value)| !value.is_null();
    let lines: String = lines.iter().filter(is_said).map(|(name, value)| format!("  {name}: {value}\n")).collect();
    format!("  ---\n{lines}  ...\n")
}

/// For an element or an attribute. XML has no form for control characters, nor for the two that are none.
fn escape(text: &str) -> String {
    let has_form = |each: char| !each.is_control() && !matches!(each, '\u{fffe}' | '\u{ffff}');
    let form = |each: char| if has_form(each) || matches!(each, '\n' | '\t') { each } else { '\u{fffd}' };
    let text: String = text.chars().map(form).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
