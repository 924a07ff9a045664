// SPDX-License-Identifier: GPL-2.0-or-later
//! The drafts and their ledgers say the same: each requirement has one identifier, one level, one section, and its tests exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::draft_text::{Required, requirements, source};
use serde::Deserialize;

/// Each draft, and the ledger of its clauses.
const DRAFTS: [(&str, &str); 2] = [
    ("draft-ipv6mesh-lisp-cgeid-00", "draft-cgeid.toml"),
    ("draft-ipv6mesh-lisp-signed-dht-00", "draft-signed-dht.toml"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    document: String,
    #[allow(dead_code, reason = "for people")]
    title: String,
    clause: Vec<Clause>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clause {
    id: String,
    level: String,
    section: String,
    text: String,
    #[allow(dead_code, reason = "for people")]
    why: Option<String>,
    tests: Option<Vec<String>>,
    untested: Option<String>,
    not_ours: Option<String>,
}

fn ledger(file: &str) -> Ledger {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements").join(file);
    toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_draft_and_its_ledger_have_the_same_requirements() {
    for (name, file) in DRAFTS {
        let ledger = ledger(file);
        assert_eq!(ledger.document, name);
        let required = requirements(&source(&format!("{name}.md")));
        let said: BTreeSet<_> = required.iter().map(|one| (&one.id, &one.level, &one.section)).collect();
        let kept: BTreeSet<_> = ledger.clause.iter().map(|one| (&one.id, &one.level, &one.section)).collect();
        assert_eq!(
            said.difference(&kept).collect::<Vec<_>>(),
            [] as [&(&String, &String, &String); 0],
            "only in {name}"
        );
        assert_eq!(
            kept.difference(&said).collect::<Vec<_>>(),
            [] as [&(&String, &String, &String); 0],
            "only in {file}"
        );
        let ids: BTreeSet<_> = required.iter().map(|one| &one.id).collect();
        assert_eq!(ids.len(), required.len(), "{name} has an identifier twice");
        assert_eq!(ledger.clause.len(), ids.len(), "{file} has an identifier twice");
    }
}

/// Whether a file of the workspace has a test of this name.
fn has_test(path: &str, name: &str) -> bool {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(file).is_ok_and(|text| ["(", "<"].iter().any(|next| text.contains(&format!("fn {name}{next}"))))
}

#[test]
fn each_clause_has_tests_that_exist_or_a_reason() {
    let output = Command::new(env!("CARGO_BIN_EXE_conformance")).arg("list").output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let checks: BTreeSet<_> = list.split_whitespace().collect();
    for (_, file) in DRAFTS {
        for clause in ledger(file).clause {
            let said = [clause.tests.is_some(), clause.untested.is_some(), clause.not_ours.is_some()];
            assert_eq!(said.iter().filter(|is| **is).count(), 1, "{}: tests or one reason", clause.id);
            assert!(
                !clause.text.is_empty() && clause.tests.as_ref().is_none_or(|tests| !tests.is_empty()),
                "{}",
                clause.id
            );
            for test in clause.tests.unwrap_or_default() {
                let exists = test.split_once("::").map_or(checks.contains(&*test), |(path, name)| has_test(path, name));
                assert!(exists, "{}: there is no {test}", clause.id);
            }
        }
    }
}

#[test]
fn a_requirement_is_found_with_its_section_and_level() {
    let text = "--- middle\n# One\n## Two\nNone here.  A node\nMUST NOT do it\n(AB-001).  It may.\n\n* One SHOULD (AB-002).\n\
        ~~~~\nMUST\n~~~~\n# Three\nIt MAY be (AB-003):\n\n--- back\nMay";
    let found: Vec<_> = requirements(text);
    let short: Vec<_> = found.iter().map(|one| (&*one.id, &*one.level, &*one.section)).collect();
    assert_eq!(short, [("AB-001", "MUST NOT", "1.1"), ("AB-002", "SHOULD", "1.1"), ("AB-003", "MAY", "2")]);
    let Required { sentence, .. } = &found[0];
    assert_eq!(sentence, "A node MUST NOT do it (AB-001)");
    for bad in [
        "A node MUST.",
        "A node (AB-001).",
        "It MUST and MAY (AB-001).",
        "It MUST (AB-001) (AB-002).",
        "| MUST |",
        "   SHALL",
    ] {
        let text = format!("--- middle\n# One\n{bad}\n--- back");
        assert!(std::panic::catch_unwind(|| requirements(&text)).is_err(), "{bad}");
    }
}
