// SPDX-License-Identifier: GPL-2.0-or-later
//! The ledger against the suites and the tests of the workspace: what it names is there and runs, and nothing is left out.
#![allow(clippy::panic, clippy::unwrap_used)]

mod levels;
mod owed;
mod ran;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use conformance::ledger::{self, Clause, Document, Group, Proof, Shares, Test};
use conformance::suite::SUITES;

fn documents() -> Vec<Document> {
    ledger::all().unwrap_or_else(|flaw| panic!("{flaw}"))
}

fn clauses(documents: &[Document]) -> impl Iterator<Item = &Clause> {
    documents.iter().flat_map(|document| &document.clauses)
}

/// All checks: suite and identifier.
fn checks() -> Vec<(&'static str, String)> {
    let of = |suite: &'static conformance::suite::Suite| {
        (suite.list)().unwrap().into_iter().map(|check| (suite.name, check.id))
    };
    SUITES.iter().flat_map(of).collect()
}

#[test]
fn every_file_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements");
    let there: BTreeSet<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let there: BTreeSet<_> =
        there.iter().map(|name| name.to_str().unwrap()).filter(|name| name.ends_with(".toml")).collect();
    let read: BTreeSet<_> = ledger::FILES.iter().chain([&ledger::EXTRA]).map(|(file, _)| *file).collect();
    assert_eq!(there, read, "conformance/src/ledger/mod.rs names the files");
}

#[test]
fn each_finding_about_others_names_tests_of_ours_that_run() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for finding in conformance::findings::all().unwrap() {
        let conformance::findings::Kept::By(tests) = finding.kept else { continue };
        for test in tests {
            let runs = test.split_once("::").map(|(path, name)| source::runs(workspace, path, name));
            assert_eq!(runs, Some(Ok(())), "{}: {test}", finding.id);
        }
    }
}

#[test]
fn every_must_has_a_test_or_a_reason() {
    let documents = documents();
    for clause in clauses(&documents) {
        let stands = match &clause.proof {
            Proof::Tests(tests) => !tests.is_empty(),
            Proof::Untested(reason) | Proof::NotOurs(reason) => reason.len() > 10,
        };
        assert!(stands, "{}", clause.id);
    }
    assert!(documents.len() >= 10 && clauses(&documents).count() > 300);
}

#[test]
fn as_much_is_proven_as_is_promised_of_the_documents_of_others_and_of_ours() {
    let documents = documents();
    for group in Group::ALL {
        let shares = Shares::of(group.clauses(&documents));
        assert!(ledger::promised(&shares), "{shares:?}");
    }
}

#[test]
fn every_check_that_is_named_is_one() {
    let known: BTreeSet<_> = checks().into_iter().map(|(_, id)| id).collect();
    let documents = documents();
    let named = clauses(&documents).flat_map(|clause| clause.checks().map(|check| (clause.id.as_str(), check)));
    let unknown: Vec<_> = named.filter(|(_, check)| !known.contains(*check)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_rust_test_that_is_named_runs() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let documents = documents();
    let mut wrong = Vec::new();
    for clause in clauses(&documents) {
        for test in clause.tests() {
            if let Test::Function { path, name } = test
                && let Err(why) = source::runs(workspace, path, name)
            {
                wrong.push(format!("{} names {test}: {why}", clause.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_check_proves_a_clause_or_is_said_to_be_extra() {
    let documents = documents();
    let named: BTreeSet<_> = clauses(&documents).flat_map(Clause::checks).collect();
    let (file, text) = ledger::EXTRA;
    let extras = ledger::extras(file, text).unwrap_or_else(|flaw| panic!("{flaw}"));
    let extra: BTreeSet<_> = extras.iter().flat_map(|extra| &extra.checks).map(String::as_str).collect();
    let checks = checks();
    let is_extra = |(suite, id): &&(&str, String)| extra.contains(suite) || extra.contains(id.as_str());
    let orphans: Vec<_> =
        checks.iter().filter(|(_, id)| !named.contains(id.as_str())).filter(|check| !is_extra(check)).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
    let known = |name: &&str| checks.iter().any(|(suite, id)| suite == name || id == name);
    let unknown: Vec<_> = extra.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let both: Vec<_> = extra.iter().filter(|name| named.contains(**name)).collect();
    assert!(both.is_empty(), "named by a clause and extra: {both:?}");
}

fn conformance(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).args(arguments).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn explain_tells_clause_reason_and_tests() {
    let clause = text(&conformance(&["explain", "CP-085"]).stdout);
    for part in
        ["CP-085 MUST (RFC 9301 5.6)", "HMAC-SHA-256-128 is implemented", "LI-085.1", "xtr/tests/engine/control/"]
    {
        assert!(clause.contains(part), "{part}: {clause}");
    }
    assert!(text(&conformance(&["explain", "CP-311"]).stdout).contains("why: "));
    let check = text(&conformance(&["explain", "LI-085.1"]).stdout);
    assert!(check.starts_with("proves CP-085 (RFC 9301 5.6, MUST)"), "{check}");
    assert!(text(&conformance(&["explain", "CP-321"]).stdout).contains("not ours: "));
}

#[test]
fn the_ledger_prints_its_clauses_and_their_shares() {
    let printed = text(&conformance(&["ledger"]).stdout);
    let last = printed.lines().last().unwrap();
    assert!(last.starts_with("all ") && last.matches('%').count() == 3, "{last}");
    let listed: serde_json::Value = serde_json::from_slice(&conformance(&["ledger", "--json"]).stdout).unwrap();
    let documents = documents();
    assert_eq!(listed["clauses"].as_array().unwrap().len(), clauses(&documents).count());
    assert_eq!(listed["all"]["must"]["ours"], Shares::of(clauses(&documents)).must.ours);
    for (place, group) in Group::ALL.into_iter().enumerate() {
        let shares = Shares::of(group.clauses(&documents));
        let of_it = printed.lines().find(|line| line.starts_with(group.name())).unwrap();
        assert!(of_it.contains(&format!(
            "{} of {}, {} %",
            shares.must.tested,
            shares.must.ours,
            shares.must.percent()
        )));
        assert_eq!(listed["groups"][place]["shares"]["should"]["tested"], shares.should.tested);
    }
    let one = listed["clauses"].as_array().unwrap().iter().find(|clause| clause["id"] == "CP-085").unwrap();
    assert_eq!((one["level"].as_str(), one["document"].as_str()), (Some("MUST"), Some("RFC 9301")));
    assert_eq!(one["tests"][0], "LI-085.1");
}
