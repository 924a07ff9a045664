// SPDX-License-Identifier: GPL-2.0-or-later
//! How much of the ledger is proven, and what a run left out of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Clause, Document, Level, Proof};

/// Of the MUSTs and MUST NOTs that concern us, so many percent have a test.
const MUSTS_PROMISED: usize = 95;
/// The same of SHOULDs and SHOULD NOTs.
const SHOULDS_PROMISED: usize = 80;

/// How many clauses have a test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Those that concern us and have one.
    pub tested: usize,
    /// Those that concern us.
    pub ours: usize,
    /// Those that do not.
    pub not_ours: usize,
}

impl Share {
    /// Whole percent of those that concern us, rounded down; 100 if there are none.
    pub fn percent(&self) -> usize {
        (self.tested * 100).checked_div(self.ours).unwrap_or(100)
    }

    fn count(&mut self, proof: &Proof) {
        match proof {
            Proof::Tests(_) => (self.tested, self.ours) = (self.tested + 1, self.ours + 1),
            Proof::Untested(_) => self.ours += 1,
            Proof::NotOurs(_) => self.not_ours += 1,
        }
    }
}

/// The shares by what clauses ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Shares {
    /// MUST and MUST NOT.
    pub must: Share,
    /// SHOULD and SHOULD NOT.
    pub should: Share,
    /// MAY.
    pub may: Share,
}

impl Shares {
    /// Those of some clauses.
    pub fn of<'a>(clauses: impl IntoIterator<Item = &'a Clause>) -> Self {
        let mut shares = Self::default();
        for clause in clauses {
            let share = match clause.level {
                Level::Must | Level::MustNot => &mut shares.must,
                Level::Should | Level::ShouldNot => &mut shares.should,
                Level::May => &mut shares.may,
            };
            share.count(&clause.proof);
        }
        shares
    }
}

/// Whether as much is proven as is promised.
pub fn promised(shares: &Shares) -> bool {
    let reaches = |share: &Share, percent| share.tested * 100 >= share.ours * percent;
    reaches(&shares.must, MUSTS_PROMISED) && reaches(&shares.should, SHOULDS_PROMISED)
}

/// A check that proves a clause and did not pass in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// The check.
    pub check: String,
    /// How it came out: `fail`, `skip`, or `absent`.
    pub result: String,
    /// The clauses that it proves.
    pub clauses: Vec<String>,
}

/// The checks that the ledger names and that did not pass, of the results of a run by identifier.
pub fn missed(documents: &[Document], results: &BTreeMap<String, String>) -> Vec<Missed> {
    let mut proven: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for clause in documents.iter().flat_map(|document| &document.clauses) {
        for check in clause.checks() {
            proven.entry(check).or_default().push(clause.id.clone());
        }
    }
    let result = |check: &str| results.get(check).map_or("absent", String::as_str).to_owned();
    let all =
        proven.into_iter().map(|(check, clauses)| Missed { check: check.to_owned(), result: result(check), clauses });
    all.filter(|missed| missed.result != "pass").collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ledger::Test;

    fn clause(id: &str, level: Level, proof: Proof) -> Clause {
        Clause { id: id.into(), level, section: "1".into(), text: "t".into(), why: None, proof }
    }

    fn check(id: &str) -> Proof {
        Proof::Tests(vec![Test::Check(id.into())])
    }

    #[test]
    fn what_is_not_ours_is_no_part_of_a_share() {
        let clauses = [
            clause("A", Level::Must, check("X")),
            clause("B", Level::MustNot, Proof::Untested("u".into())),
            clause("C", Level::Must, Proof::NotOurs("n".into())),
            clause("D", Level::ShouldNot, check("Y")),
        ];
        let shares = Shares::of(&clauses);
        assert_eq!(shares.must, Share { tested: 1, ours: 2, not_ours: 1 });
        assert_eq!((shares.must.percent(), shares.should.percent(), shares.may.percent()), (50, 100, 100));
        assert!(!promised(&shares) && promised(&Shares::of(&clauses[2..])));
    }

    #[test]
    fn a_check_that_failed_was_skipped_or_is_absent_did_not_run() {
        let clauses = ["X", "Y", "Z", "W"].map(|id| clause(&format!("of {id}"), Level::Must, check(id)));
        let document = Document { name: "RFC 1".into(), title: "T".into(), clauses: clauses.into() };
        let results = [("X", "pass"), ("Y", "fail"), ("Z", "skip")].map(|(id, result)| (id.into(), result.into()));
        let missed = missed(&[document], &results.into());
        let came: Vec<_> = missed.iter().map(|missed| (missed.check.as_str(), missed.result.as_str())).collect();
        assert_eq!(came, [("W", "absent"), ("Y", "fail"), ("Z", "skip")]);
        assert_eq!(missed[0].clauses, ["of W"]);
    }
}
