// SPDX-License-Identifier: GPL-2.0-or-later
//! What was found of deployed LISP programs by hand: which checks see it, and whether the target of a run shows it.
//!
//! It is data (`findings.toml`), part of the binary and read strictly: each finding has either the checks that see it or the reason why none
//! does, and either the tests of what our programs do where they meet it or the reason why there is none.

mod read;
mod table;

use serde::{Deserialize, Serialize};

use crate::check::{Check, Verdict};
use crate::report::Report;
use crate::suite::NOT_ASKED;
pub use read::read;
pub use table::Table;

/// The file, by its name.
pub const FILE: (&str, &str) = ("findings.toml", include_str!("../../findings.toml"));

/// A deployed program of which something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// The control plane of OpenLISP.
    #[serde(rename = "OpenLISP")]
    OpenLisp,
    /// OpenOverlayRouter 1.3.0.
    OpenOverlayRouter,
    /// lispers.net 0.608.
    #[serde(rename = "lispers.net")]
    LispersNet,
}

impl Program {
    /// As it calls itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenLisp => "OpenLISP",
            Self::OpenOverlayRouter => "OpenOverlayRouter",
            Self::LispersNet => "lispers.net",
        }
    }
}

/// What sees a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Each of these checks fails where it is so.
    By {
        /// Their identifiers; at least one.
        checks: Vec<String>,
        /// What the evidence of such a failure says, if they fail for other reasons too.
        told: Option<String>,
    },
    /// No check does, for this reason.
    Not(String),
}

/// What shows that our programs can live with a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// These tests, each as `path/file.rs::name`; at least one.
    By(Vec<String>),
    /// None, for this reason.
    Not(String),
}

/// Something that a deployed program does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name, unique among all.
    pub id: String,
    /// What is done, in a sentence.
    pub text: String,
    /// The programs that were found to do it; at least one.
    pub programs: Vec<Program>,
    /// Whether it was read in their source, and not seen while they ran.
    pub is_from_source: bool,
    /// What sees it.
    pub seen: Seen,
    /// What shows that our programs can live with it.
    pub kept: Kept,
}

/// Whether the target of a run shows a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shown {
    /// A check that sees it failed as that finding lets it fail.
    Yes,
    /// A check that sees it failed, and its evidence says something else.
    Otherwise,
    /// Those that were judged passed.
    No,
    /// None was judged: skipped, not run, or there is none.
    Unjudged,
}

impl Shown {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Yes, Self::Otherwise, Self::No, Self::Unjudged];

    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Otherwise => "other",
            Self::No => "no",
            Self::Unjudged => "-",
        }
    }

    /// What JSON calls it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Yes => "shown",
            Self::Otherwise => "fails_otherwise",
            Self::No => "not_shown",
            Self::Unjudged => "not_judged",
        }
    }
}

impl Finding {
    /// The checks that see it.
    pub fn checks(&self) -> &[String] {
        match &self.seen {
            Seen::By { checks, .. } => checks,
            Seen::Not(_) => &[],
        }
    }

    /// Whether the target of a run shows it.
    pub fn shown(&self, report: &Report) -> Shown {
        let Seen::By { checks, told } = &self.seen else { return Shown::Unjudged };
        // A suite that could not go on fails its checks without having asked anything.
        let judged = |check: &&Check| checks.contains(&check.id) && check.asks != NOT_ASKED;
        let is_it = |check: &Check| told.as_ref().is_none_or(|told| check.evidence.contains(told));
        let each = report.checks.iter().filter(judged).map(|check| match check.result {
            Verdict::Fail if is_it(check) => Shown::Yes,
            Verdict::Fail => Shown::Otherwise,
            Verdict::Pass => Shown::No,
            Verdict::Skip => Shown::Unjudged,
        });
        each.min().unwrap_or(Shown::Unjudged)
    }
}

/// The findings of the file.
///
/// # Errors
/// The line of the file, and what is wrong there; a test rules it out.
pub fn all() -> anyhow::Result<Vec<Finding>> {
    let (file, text) = FILE;
    Ok(read(file, text)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::check::Asked;
    use crate::exchange::Recording;
    use crate::suite::{ENDED, SUITES};

    fn report(checks: &[(&str, Verdict, &str, &str)]) -> Report {
        let check = |(id, result, about, came): &(&str, Verdict, &str, &str)| {
            let asked = Asked { suite: "s", id, clause: "9301 5.2", level: "MUST", about, expected: "" };
            Check::judged(&asked, *result, (*came).into(), Recording::default())
        };
        Report::new("t", checks.iter().map(check).collect())
    }

    fn finding(seen: Seen) -> Finding {
        let (programs, kept) = (vec![Program::OpenLisp], Kept::Not("w".into()));
        Finding { id: "f".into(), text: "t".into(), programs, is_from_source: false, seen, kept }
    }

    #[test]
    fn each_check_that_is_named_is_in_the_list() {
        let listed: BTreeSet<_> =
            SUITES.iter().flat_map(|suite| (suite.list)().unwrap()).map(|check| check.id).collect();
        let findings = all().unwrap();
        assert!(findings.len() > 40, "{}", findings.len());
        for finding in &findings {
            for check in finding.checks() {
                assert!(listed.contains(check), "{}: {check} is no check", finding.id);
            }
            // Those are other texts of the suites, or the one that they share.
            if let Seen::By { told: Some(told), .. } = &finding.seen {
                assert!(told == ENDED || !told.contains("ended"), "{}: {told}", finding.id);
            }
        }
    }

    #[test]
    fn a_target_shows_it_if_a_check_failed_and_says_so() {
        use Verdict::{Fail, Pass, Skip};
        let by = |told: Option<&str>| {
            finding(Seen::By { checks: vec!["A".into(), "B".into()], told: told.map(str::to_owned) })
        };
        let (any, ended) = (by(None), by(Some("it ended")));
        for (checks, of_any, of_ended) in [
            (&[("A", Pass, "a", ""), ("B", Fail, "b", "it ended")][..], Shown::Yes, Shown::Yes),
            (&[("A", Fail, "a", "it answered"), ("B", Pass, "b", "")], Shown::Yes, Shown::Otherwise),
            (&[("A", Pass, "a", "it ended"), ("B", Skip, "b", ""), ("C", Fail, "c", "it ended")], Shown::No, Shown::No),
            (&[("A", Skip, "a", "it ended")], Shown::Unjudged, Shown::Unjudged),
            (&[("A", Fail, NOT_ASKED, "it ended")], Shown::Unjudged, Shown::Unjudged),
            (&[], Shown::Unjudged, Shown::Unjudged),
        ] {
            let report = report(checks);
            assert_eq!((any.shown(&report), ended.shown(&report)), (of_any, of_ended), "{checks:?}");
            assert_eq!(finding(Seen::Not("why".into())).shown(&report), Shown::Unjudged);
        }
    }
}
