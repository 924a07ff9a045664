// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `ddt`, and what it says of programs that are no map system.
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
            .args([
                "build",
                "--locked",
                "--package",
                "mapsys",
                "--bin",
                "lisp-mapsys",
                "--profile",
                profile,
                "--target-dir",
            ])
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
fn the_tree_holds() {
    let listed: serde_json::Value = serde_json::from_slice(&conformance(&["list", "--json"], &[]).stdout).unwrap();
    let count = listed.as_array().unwrap().iter().filter(|check| check["suite"] == "ddt").count();
    assert!(count >= 37, "{count}");
    let output = conformance(&["run", "--suite", "ddt"], &[]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), format!("{count} passed, 0 failed, 0 skipped"), "{}", text(&output.stdout));
}

#[test]
fn a_program_that_is_no_map_system_fails_and_one_that_is_not_there_is_named() {
    let output = conformance(&["run", "--id", "DT-01.1"], &[("CONFORMANCE_LISP_MAPSYS", "true")]);
    assert_eq!((output.status.code(), closing_line(&output)), (Some(1), "0 passed, 1 failed, 0 skipped".to_owned()));
    let nowhere = [("CONFORMANCE_LISP_MAPSYS", "/nonexistent"), ("CI", "false")];
    let output = conformance(&["run", "--id", "DT-10.1"], &nowhere);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_the_section_and_what_is_given() {
    let explained = text(&conformance(&["explain", "DT-02"], &[]).stdout);
    assert!(explained.contains("DT-02.3") && explained.contains("8111 7.1.2"), "{explained}");
}
