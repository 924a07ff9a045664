// SPDX-License-Identifier: GPL-2.0-or-later
//! The mutants of our engines fit their files, and the suites catch a dozen of them.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use conformance::mutants::{self, Mutant, limits};

/// Engines that are mutated: the folders of their packages.
const ENGINES: [&str; 5] = ["cgeid", "dht", "mapsys", "wire", "xtr"];
/// How many a short run takes.
const DOZEN: usize = 12;

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn all() -> Vec<Mutant> {
    mutants::read(&tree()).unwrap()
}

fn conformance(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).args(arguments).current_dir(tree()).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

/// Checks by their suite, as `list` names them.
fn checks() -> BTreeMap<String, BTreeSet<String>> {
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&conformance(&["list", "--json"]).stdout).unwrap();
    let mut checks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for check in listed {
        let named = |key: &str| check[key].as_str().unwrap().to_owned();
        checks.entry(named("suite")).or_default().insert(named("id"));
    }
    checks
}

#[test]
fn each_mutant_changes_one_place_of_an_engine() {
    let all = all();
    let files: BTreeSet<&PathBuf> = all.iter().map(|mutant| &mutant.file).collect();
    for file in files {
        let engine = file.components().next().unwrap().as_os_str().to_str().unwrap();
        assert!(ENGINES.contains(&engine) && file.iter().nth(1).unwrap() == "src", "{}", file.display());
        let source = std::fs::read_to_string(tree().join(file)).unwrap();
        let own: Vec<&Mutant> = all.iter().filter(|mutant| mutant.file == *file).collect();
        mutants::apply(&source, &own).unwrap();
        assert!(own.iter().all(|mutant| mutant.original != mutant.replacement && !mutant.wrong.is_empty()));
    }
}

#[test]
fn every_suite_has_its_mutants() {
    let (all, checks) = (all(), checks());
    let (least, least_each) = limits::LEAST;
    assert!(all.len() >= least, "{}", all.len());
    for suite in checks.keys() {
        let count = all.iter().filter(|mutant| mutant.suite == *suite).count();
        assert!(count >= least_each, "{suite}: {count}");
    }
    for mutant in &all {
        let own = checks.get(&mutant.suite).cloned().unwrap_or_default();
        assert!(!own.is_empty(), "{}: no suite {}", mutant.id, mutant.suite);
        assert!(mutant.first.as_ref().is_none_or(|first| own.contains(first)), "{}: {:?}", mutant.id, mutant.first);
    }
}

#[test]
fn what_is_asked_for_wrongly_is_named() {
    for (arguments, named) in [
        (&["mutants", "--id", "ZZ-9"][..], "--id ZZ-9"),
        (&["mutants", "--suite", "nonsense"][..], "--suite nonsense"),
        (&["mutants", "--tree", "/"][..], "no conformance/mutants in /"),
    ] {
        let output = conformance(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(named), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn the_short_list_is_a_dozen() {
    let listed = text(&conformance(&["mutants", "--list", "--ci"]).stdout);
    assert_eq!(listed.lines().count(), DOZEN, "{listed}");
    let suites: BTreeSet<_> = all().into_iter().filter(|mutant| mutant.ci).map(|mutant| mutant.suite).collect();
    assert_eq!(suites.len(), DOZEN, "each of another suite: {suites:?}");
}

#[test]
fn a_run_stops_at_the_first_check_that_fails() {
    let run = |more: &[&str]| {
        let arguments = [&["run", "--suite", "facade", "--format", "json"], more].concat();
        let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
        let output = command.args(arguments).env("CONFORMANCE_LISP_MAPSYS", "true").output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report["checks"].as_array().unwrap().len())
    };
    assert_eq!(run(&["--stop-at-first-failure"]), (Some(1), 1));
}

/// What needs network namespaces is skipped where there are none, and then catches nothing.
#[test]
fn the_suites_catch_a_dozen() {
    let output = conformance(&["mutants", "--ci"]);
    let (told, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}{said}");
    let closing = format!("{DOZEN} of {DOZEN} caught");
    if !told.lines().last().is_some_and(|line| line.starts_with(&closing)) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{told}{said}");
        eprintln!("SKIP: {told}");
    }
}
