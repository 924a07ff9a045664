// SPDX-License-Identifier: GPL-2.0-or-later
//! The draft of the mapping system and its ledger have the same clauses, and what the ledger names as proof is there.
#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code, reason = "each test reads what it needs of a draft")]
mod draft;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use draft::Draft;

/// One clause of the ledger.
#[derive(Default)]
struct Clause {
    level: String,
    section: String,
    tests: Vec<String>,
    reasons: usize,
}

/// The ledger of this draft. Its form is read strictly elsewhere; what is in quotes here has none inside.
fn ledger() -> BTreeMap<String, Clause> {
    let text = include_str!("../requirements/draft-signed-dht.toml");
    let mut clauses: BTreeMap<String, Clause> = BTreeMap::new();
    let mut id = String::new();
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    for line in text.lines().map(str::trim) {
        if line.starts_with("id = ") {
            id = quoted(line);
            assert!(clauses.insert(id.clone(), Clause::default()).is_none(), "{id} twice");
        }
        let Some(clause) = clauses.get_mut(&id) else { continue };
        match line.split(' ').next() {
            Some("level") => clause.level = quoted(line),
            Some("section") => clause.section = quoted(line),
            Some("untested" | "not_ours") => clause.reasons += 1,
            Some(first) if first.starts_with('"') => clause.tests.push(quoted(line)),
            _ => {}
        }
    }
    clauses
}

#[test]
fn the_ledger_has_the_clauses_of_the_text_and_no_others() {
    let said = Draft::signed_dht().clauses("DM");
    let kept: BTreeMap<String, String> = ledger().into_iter().map(|(id, clause)| (id, clause.level)).collect();
    let missing: Vec<_> = said.keys().filter(|id| !kept.contains_key(*id)).collect();
    let unknown: Vec<_> = kept.keys().filter(|id| !said.contains_key(*id)).collect();
    assert_eq!((missing, unknown), (Vec::new(), Vec::new()), "in the text alone, and in the ledger alone");
    for (id, level) in &said {
        assert_eq!(level, &kept[id], "{id}: the level in the text, and in the ledger");
    }
    assert!(said.len() > 200, "{} clauses", said.len());
}

#[test]
fn each_clause_has_a_test_that_there_is_or_a_reason() {
    let checks: BTreeSet<String> =
        conformance::suite::SUITES.iter().flat_map(|suite| (suite.list)().unwrap()).map(|listed| listed.id).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (id, clause) in ledger() {
        assert!(clause.tests.is_empty() == (clause.reasons == 1), "{id}: tests or one reason");
        assert!(!clause.section.is_empty(), "{id}: no section");
        for test in clause.tests {
            let Some((path, function)) = test.split_once("::") else {
                assert!(checks.contains(&test), "{id}: there is no check {test}");
                continue;
            };
            let text = files.entry(path.to_owned()).or_insert_with(|| {
                std::fs::read_to_string(root.join(path)).unwrap_or_else(|_| panic!("{id}: no file {path}"))
            });
            let is_there = ["(", "<"].iter().any(|next| text.contains(&format!("fn {function}{next}")));
            assert!(is_there, "{id}: there is no test {test}");
        }
    }
}
