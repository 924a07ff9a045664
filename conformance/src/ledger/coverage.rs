// SPDX-License-Identifier: GPL-2.0-or-later
//! How much of the ledger is proven, and what a run left out of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Clause, Document, Level, Proof, Ran, Test};

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

/// Whether as much is proven as is promised, of the documents of others and of ours each.
pub fn promised(shares: &Shares) -> bool {
    let reaches = |share: &Share, percent| share.tested * 100 >= share.ours * percent;
    reaches(&shares.must, MUSTS_PROMISED) && reaches(&shares.should, SHOULDS_PROMISED)
}

/// A check or a Rust test of the ledger that did not pass in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// The check, or file and name of the test.
    pub check: String,
    /// How it came out: `fail`, `skip`, or `absent`.
    pub result: String,
    /// The clauses that it proves; none of a check that is extra.
    pub clauses: Vec<String>,
}

/// What the ledger names, or has as extra checks, and what did not pass of it in a run; Rust tests if the run tells of them.
pub fn missed(documents: &[Document], extra: &[String], ran: &Ran) -> Vec<Missed> {
    let mut proven: BTreeMap<String, Missed> = BTreeMap::new();
    let mut proves = |check: String, result: &str, clause: Option<&Clause>| {
        let entry = proven.entry(check.clone());
        let missed = entry.or_insert_with(|| Missed { check, result: result.to_owned(), clauses: Vec::new() });
        missed.clauses.extend(clause.map(|clause| clause.id.clone()));
    };
    let of_check = |check: &str| ran.checks.get(check).map_or("absent", String::as_str);
    for clause in documents.iter().flat_map(|document| &document.clauses) {
        for test in clause.tests() {
            match (test, &ran.tests) {
                (Test::Check(check), _) => proves(check.clone(), of_check(check), Some(clause)),
                (Test::Function { path, name }, Some(log)) => {
                    proves(test.to_string(), log.result(path, name), Some(clause));
                }
                (Test::Function { .. }, None) => {}
            }
        }
    }
    extra.iter().for_each(|check| proves(check.clone(), of_check(check), None));
    proven.into_values().filter(|missed| missed.result != "pass").collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ledger::{Group, Log};

    fn clause(id: &str, level: Level, proof: Proof) -> Clause {
        Clause { id: id.into(), level, is_stated: true, section: "1".into(), text: "t".into(), why: None, proof }
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

    fn document(clauses: Vec<Clause>) -> Document {
        Document { group: Group::Others, name: "RFC 1".into(), title: "T".into(), clauses }
    }

    #[test]
    fn a_check_that_failed_was_skipped_or_is_absent_did_not_run() {
        let clauses = ["X", "Y", "Z", "W"].map(|id| clause(&format!("of {id}"), Level::Must, check(id)));
        let results = [("X", "pass"), ("Y", "fail"), ("Z", "skip")].map(|(id, result)| (id.into(), result.into()));
        let ran = Ran { checks: results.into(), tests: None };
        let missed = missed(&[document(clauses.into())], &["V".into()], &ran);
        let came: Vec<_> = missed.iter().map(|missed| (missed.check.as_str(), missed.result.as_str())).collect();
        assert_eq!(came, [("V", "absent"), ("W", "absent"), ("Y", "fail"), ("Z", "skip")]);
        assert_eq!((missed[0].clauses.len(), &missed[1].clauses), (0, &vec!["of W".to_owned()]));
    }

    #[test]
    fn a_rust_test_that_did_not_run_is_missed_if_the_run_tells_of_them() {
        let test = |name: &str| Test::Function { path: "a/tests/b.rs".into(), name: name.into() };
        let proof = Proof::Tests(vec![test("one"), test("two")]);
        let documents = [document(vec![clause("A", Level::Must, proof)])];
        let log = "     Running unittests src/lib.rs (deps/a-1)\ntest result: ok. \n     Running tests/b.rs (deps/b-1)\n\
                   test one ... ok\ntest result: ok. 1 passed;\n";
        let mut ran = Ran::default();
        assert!(missed(&documents, &[], &ran).is_empty());
        ran.tests = Some(Log::read(log).unwrap());
        let missed = missed(&documents, &[], &ran);
        assert_eq!(
            (missed.len(), missed[0].check.as_str(), missed[0].result.as_str()),
            (1, "a/tests/b.rs::two", "absent")
        );
    }
}
