// SPDX-License-Identifier: GPL-2.0-or-later
//! Runs side by side: for each check of any of them how it came out in each, and what that means for who goes from the first to another.

use std::collections::HashMap;

use super::Report;
use crate::check::{Check, Verdict};

/// How the other runs differ from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It passed in the first and fails in another.
    Broken,
    /// It is in the first and not in all others.
    Gone,
    /// It failed in the first, and passes in another.
    Fixed,
    /// It is not in the first.
    New,
    /// It differs otherwise: it could be judged in one and not in another.
    Other,
    /// It came out the same in all.
    Equal,
}

impl Change {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 6] = [Self::Broken, Self::Gone, Self::Fixed, Self::New, Self::Other, Self::Equal];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Gone => "gone",
            Self::Fixed => "fixed",
            Self::New => "new",
            Self::Other => "other",
            Self::Equal => "equal",
        }
    }

    fn of(checks: &[Option<&Check>]) -> Self {
        let verdicts: Vec<_> = checks.iter().map(|check| check.map(|check| check.result)).collect();
        let (first, others) = (verdicts.first().copied().flatten(), verdicts.get(1..).unwrap_or_default());
        match first {
            None => Self::New,
            Some(Verdict::Pass) if others.contains(&Some(Verdict::Fail)) => Self::Broken,
            Some(_) if others.contains(&None) => Self::Gone,
            Some(Verdict::Fail) if others.contains(&Some(Verdict::Pass)) => Self::Fixed,
            first if others.iter().all(|other| *other == first) => Self::Equal,
            _ => Self::Other,
        }
    }
}

/// One check in all runs.
#[derive(Debug)]
pub struct Row<'a> {
    /// It, in the first run that has it.
    pub check: &'a Check,
    /// In each run; none where it was not run.
    pub each: Vec<Option<&'a Check>>,
    /// How the runs differ.
    pub change: Change,
}

/// Runs side by side.
#[derive(Debug)]
pub struct Compared<'a> {
    /// What each is called.
    pub names: Vec<String>,
    /// The runs.
    pub reports: Vec<&'a Report>,
    /// Their checks, in the order of the first; those that it does not have come last.
    pub rows: Vec<Row<'a>>,
}

impl<'a> Compared<'a> {
    /// One run, beside nothing.
    pub fn one(report: &'a Report) -> Self {
        Self::of(&[(report.target.clone(), report)])
    }

    /// Runs with their names.
    pub fn of(named: &[(String, &'a Report)]) -> Self {
        let mut rows: Vec<Row<'a>> = Vec::new();
        let mut places = HashMap::new();
        for (column, (_, report)) in named.iter().enumerate() {
            for check in &report.checks {
                let place = *places.entry((&check.suite, &check.id)).or_insert(rows.len());
                if place == rows.len() {
                    rows.push(Row { check, each: vec![None; named.len()], change: Change::Equal });
                }
                rows[place].each[column] = Some(check);
            }
        }
        for row in &mut rows {
            row.change = Change::of(&row.each);
        }
        let names = named.iter().map(|(name, _)| name.clone()).collect();
        Self { names, reports: named.iter().map(|(_, report)| *report).collect(), rows }
    }

    /// How many rows have a change.
    pub fn count(&self, change: Change) -> usize {
        self.rows.iter().filter(|row| row.change == change).count()
    }

    /// Whether nothing that passed in the first fails in another.
    pub fn holds(&self) -> bool {
        self.count(Change::Broken) == 0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::check::Asked;
    use crate::exchange::Recording;

    /// A check of this identifier and outcome.
    pub(in crate::report) fn check(id: &str, result: Verdict) -> Check {
        let asked = Asked { suite: "s", id, clause: "9301 5.2", level: "MUST", about: "given", expected: "" };
        Check::judged(&asked, result, "came".into(), Recording::default())
    }

    #[test]
    fn what_changed_is_told_from_the_first_run() {
        use Verdict::{Fail, Pass, Skip};
        let of =
            |all: &[(&str, Verdict)]| Report::new("t", all.iter().map(|(id, result)| check(id, *result)).collect());
        let one = of(&[("a", Pass), ("b", Pass), ("c", Fail), ("d", Pass), ("e", Skip), ("f", Fail)]);
        let two = of(&[("a", Pass), ("b", Fail), ("c", Pass), ("e", Pass), ("f", Fail), ("g", Fail)]);
        let compared = Compared::of(&[("one".into(), &one), ("two".into(), &two)]);
        let changes: Vec<_> = compared.rows.iter().map(|row| row.change).collect();
        let expected =
            [Change::Equal, Change::Broken, Change::Fixed, Change::Gone, Change::Other, Change::Equal, Change::New];
        assert_eq!(changes, expected);
        assert!(!compared.holds());
        assert!(Compared::of(&[("two".into(), &two), ("two".into(), &two)]).holds());
        assert_eq!(Compared::one(&one).count(Change::Equal), 6);
    }
}
