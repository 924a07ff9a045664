// SPDX-License-Identifier: GPL-2.0-or-later
//! Suites `record`, `dht`, `adversary` and `faults`, and what they say of programs that are none.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Once;

/// Runs `conformance`; the program `lisp-dht` is built first, which is nothing where it is there already.
fn conformance(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    static BUILT: Once = Once::new();
    let own = Path::new(env!("CARGO_BIN_EXE_conformance"));
    BUILT.call_once(|| {
        let beside = own.parent().unwrap();
        let profile = if beside.ends_with("release") { "release" } else { "dev" };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--package", "dht", "--bin", "lisp-dht", "--profile", profile, "--target-dir"])
            .arg(beside.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(status.unwrap().success(), "lisp-dht does not build");
    });
    Command::new(own).args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

fn closing_line(output: &Output) -> String {
    text(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

/// All checks of a suite pass; elsewhere than in CI some may be skipped for want of a program.
fn holds(suite: &str, least: usize) {
    let listed: serde_json::Value = serde_json::from_slice(&conformance(&["list", "--json"], &[]).stdout).unwrap();
    let count = listed.as_array().unwrap().iter().filter(|check| check["suite"] == suite).count();
    assert!(count >= least, "{suite}: {count}");
    let output = conformance(&["run", "--suite", suite], &[]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    if closing_line(&output) != format!("{count} passed, 0 failed, 0 skipped") {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{}", text(&output.stdout));
        eprintln!("SKIP: {}", closing_line(&output));
    }
}

#[test]
fn records_hold() {
    holds("record", 150);
}

#[test]
fn the_network_holds() {
    holds("dht", 30);
}

#[test]
fn adversaries_are_refused() {
    holds("adversary", 30);
}

#[test]
fn faults_are_survived() {
    holds("faults", 13);
}

#[test]
fn a_program_that_takes_everything_fails() {
    for id in ["DH-01.1", "AD-01.01", "FA-02.4"] {
        let output = conformance(&["run", "--id", id], &[("CONFORMANCE_LISP_DHT", "true")]);
        assert_eq!(
            (output.status.code(), closing_line(&output)),
            (Some(1), "0 passed, 1 failed, 0 skipped".to_owned())
        );
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let nowhere = [("CONFORMANCE_LISP_DHT", "/nonexistent"), ("CI", "false")];
    let output = conformance(&["run", "--id", "DH-01.1"], &nowhere);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_the_section_and_what_is_given() {
    let explained = |id: &str| text(&conformance(&["explain", id], &[]).stdout);
    assert!(explained("RC-16.07").contains("RECORD 3.2 INDEX") && explained("RC-16.07").contains("nothing refers to"));
    assert!(explained("DH-06").contains("DH-06.9") && explained("FA-03.1").contains("full during writes"));
}
