// SPDX-License-Identifier: GPL-2.0-or-later
//! The findings as people and programs read them, beside runs if there are any.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Finding, Program, Seen, Shown};
use crate::report::{Report, shown};
use crate::suite::Suite;

/// Findings, and for each whether the targets of some runs show it.
pub struct Table<'a> {
    findings: &'a [Finding],
    runs: &'a [(String, &'a Report)],
    /// The suite of each check.
    suites: BTreeMap<String, &'static str>,
}

impl<'a> Table<'a> {
    /// Findings beside runs with their names.
    ///
    /// # Errors
    /// When the checks of a suite cannot be named.
    pub fn of(findings: &'a [Finding], runs: &'a [(String, &'a Report)], suites: &[Suite]) -> anyhow::Result<Self> {
        let mut of_checks = BTreeMap::new();
        for suite in suites {
            of_checks.extend((suite.list)()?.into_iter().map(|check| (check.id, suite.name)));
        }
        Ok(Self { findings, runs, suites: of_checks })
    }

    /// Whether no target shows any of them.
    pub fn holds(&self) -> bool {
        self.runs.iter().all(|(_, report)| self.count(report, Shown::Yes) == 0)
    }

    /// Two lines a finding, then the count.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (column, (name, report)) in (1..).zip(self.runs) {
            let _ = writeln!(out, "({column}) {}: {}", shown(name), report.closing_line());
        }
        let width = self.findings.iter().map(|finding| finding.id.len()).max().unwrap_or(0);
        if !self.runs.is_empty() {
            let heads: String = (1..=self.runs.len()).map(|column| format!("({column})   ")).collect();
            let _ = writeln!(out, "\n{:<width$} {}", "", heads.trim_end());
        }
        for finding in self.findings {
            let each: String = self.each(finding).map(|shown| format!("{:<6}", shown.name())).collect();
            let _ = writeln!(out, "{:<width$} {each}{}", finding.id, self.seen(finding));
            let programs = finding.programs.iter().map(|program| program.name()).collect::<Vec<_>>().join(", ");
            let source = if finding.is_from_source { ", in the source" } else { "" };
            let _ = writeln!(out, "    {} ({programs}{source})", finding.text);
        }
        for (column, (_, report)) in (1..).zip(self.runs) {
            let counts = Shown::ALL.map(|shown| format!("{} {}", self.count(report, shown), shown.name()));
            let _ = writeln!(out, "({column}) {}", counts.join(", "));
        }
        let unseen = self.findings.iter().filter(|finding| finding.checks().is_empty()).count();
        let _ = writeln!(out, "{} findings, {unseen} of them seen by no check", self.findings.len());
        out
    }

    /// `runs` with their counts, and `findings` with a result for each run.
    pub fn json(&self) -> Value {
        let run = |(name, report): &(String, &Report)| {
            let mut run = json!({"name": name, "target": report.target});
            for shown in Shown::ALL {
                run[shown.key()] = self.count(report, shown).into();
            }
            run
        };
        let finding = |finding: &Finding| {
            let checks: Vec<_> =
                finding.checks().iter().map(|id| json!({"suite": self.suites.get(id), "id": id})).collect();
            let (told, unseen) = match &finding.seen {
                Seen::By { told, .. } => (told.as_deref(), None),
                Seen::Not(why) => (None, Some(why.as_str())),
            };
            let results: Vec<_> = self.each(finding).map(Shown::key).collect();
            let programs: &[Program] = &finding.programs;
            json!({"id": finding.id, "text": finding.text, "programs": programs, "from_source": finding.is_from_source,
                   "checks": checks, "told": told, "unseen": unseen, "results": results})
        };
        json!({"runs": self.runs.iter().map(run).collect::<Vec<_>>(),
               "findings": self.findings.iter().map(finding).collect::<Vec<_>>()})
    }

    fn each(&self, finding: &'a Finding) -> impl Iterator<Item = Shown> {
        self.runs.iter().map(|(_, report)| finding.shown(report))
    }

    fn count(&self, report: &Report, shown: Shown) -> usize {
        self.findings.iter().filter(|finding| finding.shown(report) == shown).count()
    }

    fn seen(&self, finding: &Finding) -> String {
        match &finding.seen {
            Seen::By { checks, .. } => {
                let named = |id: &String| format!("{id} ({})", self.suites.get(id).copied().unwrap_or("no suite"));
                checks.iter().map(named).collect::<Vec<_>>().join(", ")
            }
            Seen::Not(why) => format!("no check: {why}"),
        }
    }
}
