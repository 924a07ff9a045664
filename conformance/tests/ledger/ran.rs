// SPDX-License-Identifier: GPL-2.0-or-later
//! The ledger held against what ran.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use conformance::ledger::{Clause, Test};
use tempfile::TempDir;

use super::{checks, clauses, conformance, documents, text};

/// A folder with a report in which all checks passed but one, whose result is given.
fn run(target: &str, check: &str, result: &str) -> TempDir {
    let of = |(_, id): (&str, String)| {
        let result = if id == check { result } else { "pass" };
        serde_json::json!({"id": id, "result": result})
    };
    let report = serde_json::json!({"target": target, "checks": checks().into_iter().map(of).collect::<Vec<_>>()});
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run.json"), report.to_string()).unwrap();
    folder
}

/// Exit status and what is printed.
fn held(paths: &[&Path]) -> (Option<i32>, String) {
    let ran = paths.iter().flat_map(|path| ["--ran", path.to_str().unwrap()]);
    let output = conformance(&[&["ledger"], ran.collect::<Vec<_>>().as_slice()].concat());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn what_a_run_left_out_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(held(&[folder.path()]).0, Some(2), "a folder without reports");
    let folder = run("ipv6mesh", "LI-085.1", "pass");
    let none = "0 checks of the ledger did not pass; what `cargo test` printed was not given\n";
    assert_eq!(held(&[folder.path()]), (Some(0), none.into()));
    let (status, told) = held(&[run("ipv6mesh", "LI-085.1", "skip").path()]);
    assert!(status == Some(1) && told.starts_with("LI-085.1   skip    CP-085, "), "{told}");
    let documents = documents();
    let named: BTreeSet<_> = clauses(&documents).flat_map(Clause::checks).collect();
    let extra = checks().into_iter().map(|(_, id)| id).find(|id| !named.contains(id.as_str())).unwrap();
    let (status, told) = held(&[run("ipv6mesh", &extra, "fail").path()]);
    assert!(status == Some(1) && told.starts_with(&format!("{extra:<10} fail    extra\n")), "{told}");
    let path = folder.path().join("run.json");
    fs::write(&path, r#"{"target": "ipv6mesh", "checks": []}"#).unwrap();
    assert!(held(&[folder.path()]).1.contains(" absent "));
    fs::write(&path, "[]").unwrap();
    assert_eq!(held(&[folder.path()]).0, Some(2));
}

#[test]
fn a_report_about_another_implementation_is_refused() {
    let (status, told) = held(&[run("openlisp", "", "").path()]);
    assert!(status == Some(2) && told.contains("it is about openlisp"), "{told}");
}

/// What cargo prints when all Rust tests of the ledger run and hold but some.
fn log(left_out: &str) -> String {
    let documents = documents();
    let mut packages: BTreeMap<&str, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for test in clauses(&documents).flat_map(Clause::tests) {
        let Test::Function { path, name } = test else { continue };
        let (package, file) = path.split_once('/').unwrap();
        let programs = packages.entry(package).or_default();
        let (root, modules) = match file.strip_prefix("src/") {
            Some(module) => ("src/lib.rs".to_owned(), module),
            None => {
                let module = file.strip_prefix("tests/").unwrap();
                module
                    .split_once('/')
                    .map_or((file.to_owned(), ""), |(program, rest)| (format!("tests/{program}/main.rs"), rest))
            }
        };
        let modules = modules.trim_end_matches(".rs").trim_end_matches("mod").replace('/', "::");
        let modules = if ["", "main", "lib"].contains(&modules.as_str()) {
            String::new()
        } else {
            format!("{}::", modules.trim_end_matches(':'))
        };
        let nested = if root == "src/lib.rs" { "tests::" } else { "" };
        let line = format!("test {modules}{nested}{name} ... ok");
        programs.entry(root).or_default().insert(line);
    }
    let mut out = String::new();
    for (package, mut programs) in packages {
        programs.entry("src/lib.rs".into()).or_default();
        for (root, tests) in programs {
            let unittests = if root == "src/lib.rs" { "unittests " } else { "" };
            writeln!(out, "     Running {unittests}{root} (target/debug/deps/{package}-0123456789abcdef)").unwrap();
            tests.iter().filter(|line| !line.contains(left_out)).for_each(|line| writeln!(out, "{line}").unwrap());
            writeln!(
                out,
                "\ntest result: ok. {} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
                tests.len()
            )
            .unwrap();
        }
    }
    out
}

#[test]
fn a_rust_test_that_did_not_run_is_named() {
    let folder = run("ipv6mesh", "", "");
    let path = folder.path().join("tests.log");
    let held = |log: &str| {
        fs::write(&path, log).unwrap();
        held(&[folder.path(), &path])
    };
    assert_eq!(held(&log("no such")), (Some(0), "0 checks and tests of the ledger did not pass\n".into()));
    let (status, told) = held(&log("::reserved_bits_are_ignored "));
    assert!(
        status == Some(1) && told.starts_with("wire/tests/codec/rules.rs::reserved_bits_are_ignored absent  "),
        "{told}"
    );
    assert_eq!(held("running 3 tests\n...\n").0, Some(2), "with -q no test is named");
}
