// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `pubsub`, and what it says of programs that are none.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Once;

/// Runs `conformance`; the program `lisp-mapsys` is built first, which is nothing where it is there already.
fn conformance(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    static BUILT: Once = Once::new();
    let own = Path::new(env!("CARGO_BIN_EXE_conformance"));
    BUILT.call_once(|| {
        let beside = own.parent().unwrap();
        let profile = if beside.ends_with("release") { "release" } else { "dev" };
        let build =
            ["build", "--locked", "--package", "mapsys", "--bin", "lisp-mapsys", "--profile", profile, "--target-dir"];
        let status = Command::new(env!("CARGO"))
            .args(build)
            .arg(beside.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(status.unwrap().success(), "lisp-mapsys does not build");
    });
    Command::new(own).args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

fn closing_line(output: &Output) -> String {
    text(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn subscriptions_hold() {
    let listed: serde_json::Value = serde_json::from_slice(&conformance(&["list", "--json"], &[]).stdout).unwrap();
    let count = listed.as_array().unwrap().iter().filter(|check| check["suite"] == "pubsub").count();
    assert!(count >= 30, "{count}");
    let output = conformance(&["run", "--suite", "pubsub"], &[]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    if closing_line(&output) != format!("{count} passed, 0 failed, 0 skipped") {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{}", text(&output.stdout));
        eprintln!("SKIP: {}", closing_line(&output));
    }
}

#[test]
fn a_program_that_serves_nothing_fails() {
    let output = conformance(&["run", "--id", "PS-01.01"], &[("CONFORMANCE_LISP_MAPSYS", "true")]);
    assert_eq!((output.status.code(), closing_line(&output)), (Some(1), "0 passed, 1 failed, 0 skipped".to_owned()));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let nowhere = [("CONFORMANCE_LISP_MAPSYS", "/nonexistent"), ("CI", "false")];
    let output = conformance(&["run", "--id", "PS-01.01"], &nowhere);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_the_clause_and_what_is_given() {
    let explained = |id: &str| text(&conformance(&["explain", id], &[]).stdout);
    assert!(explained("PS-04.01").contains("AFI 0") && explained("PS-03").contains("PS-03.06"));
}
