// SPDX-License-Identifier: GPL-2.0-or-later
//! What a check asks for is what a clause does that it proves.

use std::collections::{BTreeMap, BTreeSet};

use conformance::suite::SUITES;

use super::{clauses, documents};

/// Checks of another level than their clauses, and why.
const OTHERS: &[(&[&str], &str)] = &[
    (
        &["DT-05.4", "NAT-02.4", "NAT-02.5", "NAT-05.3"],
        "three times what came is our own bound: of other implementations no document asks it",
    ),
    (&["L09", "L10"], "who has the types at all, which he may, has no choice of octets"),
];

/// MUST of MUST NOT, and so on: a check does not say which.
fn kind(level: &str) -> &str {
    level.split_once(' ').map_or(level, |(kind, _)| kind)
}

#[test]
fn the_level_of_a_check_is_that_of_a_clause_that_it_proves() {
    let documents = documents();
    let mut asked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for clause in clauses(&documents) {
        for check in clause.checks() {
            asked.entry(check).or_default().insert(kind(clause.level.name()));
        }
    }
    let listed: Vec<_> = SUITES.iter().flat_map(|suite| (suite.list)().unwrap()).collect();
    let differs = listed
        .iter()
        .filter(|check| asked.get(check.id.as_str()).is_some_and(|levels| !levels.contains(kind(&check.level))));
    let differ: BTreeSet<_> = differs.map(|check| check.id.as_str()).collect();
    let excepted: BTreeSet<_> = OTHERS.iter().flat_map(|(checks, _)| checks.iter().copied()).collect();
    assert_eq!(differ, excepted);
    assert!(OTHERS.iter().all(|(_, why)| !why.is_empty()));
}
