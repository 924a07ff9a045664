// SPDX-License-Identifier: GPL-2.0-or-later
//! Several runs as a table, as JSON or as a page.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::text::shown;
use super::{Change, Compared, Row, html};
use crate::check::{Check, cited};

/// How runs side by side are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// A line for each check that did not come out the same, then the count.
    Text,
    /// One JSON object.
    Json,
    /// A page with the evidence behind each check, for a browser.
    Html,
}

impl Compared<'_> {
    /// The runs in one of the shapes.
    pub fn render(&self, shape: Shape) -> String {
        match shape {
            Shape::Text => self.text(),
            Shape::Json => format!("{:#}\n", self.json()),
            Shape::Html => html::page(self),
        }
    }

    /// `N broken, N gone, N fixed, N new, N other, N equal`.
    pub fn closing_line(&self) -> String {
        let counts = Change::ALL.map(|change| format!("{} {}", self.count(change), change.name()));
        counts.join(", ")
    }

    fn differing(&self) -> impl Iterator<Item = &Row<'_>> {
        let of = |change| self.rows.iter().filter(move |row| row.change == change);
        Change::ALL.into_iter().filter(|change| *change != Change::Equal).flat_map(of)
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (column, name) in (1..).zip(&self.names) {
            let report = self.reports[column - 1];
            let _ = writeln!(out, "({column}) {}: {}", shown(name), report.closing_line());
        }
        let widest = |length: fn(&Check) -> usize| self.differing().map(|row| length(row.check)).max().unwrap_or(0);
        let (width, wide) = (widest(|check| check.id.len()), widest(|check| cited(&check.clause).len()));
        let heads: String = (1..=self.names.len()).map(|column| format!("({column})   ")).collect();
        let _ = writeln!(out, "\n{:<7} {:<width$} {:<wide$} {}", "", "", "", heads.trim_end());
        for row in self.differing() {
            let (change, id, clause) = (row.change.name(), &row.check.id, cited(&row.check.clause));
            let each: String = row.each.iter().map(|check| format!("{:<6}", verdict(*check))).collect();
            let _ =
                writeln!(out, "{change:<7} {:<width$} {:<wide$} {each}{}", shown(id), shown(&clause), shown(told(row)));
        }
        let _ = writeln!(out, "{}", self.closing_line());
        out
    }

    fn json(&self) -> Value {
        let runs: Vec<_> = self.names.iter().zip(&self.reports).map(|(name, report)| {
            json!({"name": name, "target": report.target, "passed": report.passed, "failed": report.failed, "skipped": report.skipped})
        }).collect();
        let counts: serde_json::Map<_, _> =
            Change::ALL.iter().map(|change| (change.name().to_owned(), json!(self.count(*change)))).collect();
        let check = |row: &Row<'_>| {
            let results: Vec<_> = row.each.iter().map(|check| check.map(|check| check.result)).collect();
            let evidence: Vec<_> = row.each.iter().map(|check| check.map(|check| &check.evidence)).collect();
            let Check { id, suite, clause, level, clauses, .. } = row.check;
            json!({"id": id, "suite": suite, "clause": clause, "level": level, "clauses": clauses,
                   "change": row.change.name(), "results": results, "evidence": evidence})
        };
        json!({"runs": runs, "counts": counts, "checks": self.differing().map(check).collect::<Vec<_>>()})
    }
}

fn verdict(check: Option<&Check>) -> &'static str {
    check.map_or("-", |check| check.result.name())
}

/// What the last run that differs from the first says, or the only one that has it.
fn told<'a>(row: &Row<'a>) -> &'a str {
    let first = row.each.first().copied().flatten().map(|check| check.result);
    let differs = |check: &&&Check| Some(check.result) != first;
    row.each.iter().flatten().rev().find(differs).map_or(&row.check.evidence, |check| &check.evidence)
}
