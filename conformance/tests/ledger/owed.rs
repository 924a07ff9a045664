// SPDX-License-Identifier: GPL-2.0-or-later
//! What is owed: the clauses without a test, and the point of the roadmap that names them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use conformance::ledger::{Level, Proof};

use super::{clauses, documents};

#[test]
fn the_roadmap_names_each_must_and_should_that_has_no_test_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ROADMAP.md");
    let roadmap = fs::read_to_string(path).unwrap();
    let point = &roadmap[roadmap.find("\n5. ").unwrap()..roadmap.find("\n6. ").unwrap()];
    let words: BTreeSet<_> = point.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
    let documents = documents();
    let named: BTreeSet<_> =
        clauses(&documents).map(|clause| clause.id.as_str()).filter(|id| words.contains(id)).collect();
    let is_owed = |level: Level, proof: &Proof| level != Level::May && matches!(proof, Proof::Untested(_));
    let owed = clauses(&documents).filter(|clause| is_owed(clause.level, &clause.proof));
    assert_eq!(named, owed.map(|clause| clause.id.as_str()).collect(), "ROADMAP.md, point 5");
}
