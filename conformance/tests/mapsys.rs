// SPDX-License-Identifier: GPL-2.0-or-later
//! Suites `lisp`, `facade` and `pubsub`, and what they say of programs that are none.
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
        let status = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--package", "mapsys", "--bin", "lisp-mapsys", "--profile", profile])
            .arg("--target-dir")
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

/// All checks of a suite pass.
fn holds(suite: &str, least: usize) {
    let listed: serde_json::Value = serde_json::from_slice(&conformance(&["list", "--json"], &[]).stdout).unwrap();
    let count = listed.as_array().unwrap().iter().filter(|check| check["suite"] == suite).count();
    assert!(count >= least, "{suite}: {count}");
    let output = conformance(&["run", "--suite", suite], &[]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), format!("{count} passed, 0 failed, 0 skipped"), "{}", text(&output.stdout));
}

#[test]
fn the_messages_hold() {
    holds("lisp", 55);
}

#[test]
fn the_facade_holds() {
    holds("facade", 30);
}

#[test]
fn subscriptions_hold() {
    holds("pubsub", 30);
}

#[test]
fn a_program_that_says_nothing_fails() {
    for id in ["LI-098.1", "FC-064.1", "PS-01.01"] {
        let output = conformance(&["run", "--id", id], &[("CONFORMANCE_LISP_MAPSYS", "true")]);
        let came = (output.status.code(), closing_line(&output));
        assert_eq!(came, (Some(1), "0 passed, 1 failed, 0 skipped".to_owned()));
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let nowhere = [("CONFORMANCE_LISP_MAPSYS", "/nonexistent"), ("CI", "false")];
    let output = conformance(&["run", "--id", "LI-098.1"], &nowhere);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_the_section_and_what_is_given() {
    let explained = |id: &str| text(&conformance(&["explain", id], &[]).stdout);
    assert!(explained("LI-095").contains("9301 5.6") && explained("LI-095").contains("LI-095.3"));
    assert!(explained("PS-04.01").contains("AFI 0") && explained("PS-03").contains("PS-03.06"));
    assert!(explained("FC-90.1").contains("two records"));
}
