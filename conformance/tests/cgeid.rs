// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `cgeid` against the program that is built beside it, and against programs that are none.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Once;
use std::time::SystemTime;

/// When the newest file under a folder was changed.
fn newest(folder: &Path) -> SystemTime {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let changed = |path: &Path| path.metadata().unwrap().modified().unwrap();
    entries.map(|path| if path.is_dir() { newest(&path) } else { changed(&path) }).max().unwrap()
}

/// Runs `conformance`; the program `cgeid` is built first where nobody did since its source was changed.
fn conformance(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    static BUILT: Once = Once::new();
    let own = Path::new(env!("CARGO_BIN_EXE_conformance"));
    BUILT.call_once(|| {
        let beside = own.parent().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cgeid/src");
        let built = std::fs::metadata(beside.join("cgeid")).and_then(|metadata| metadata.modified());
        if built.is_ok_and(|built| built >= newest(&source)) {
            return;
        }
        let profile = if beside.ends_with("release") { "release" } else { "dev" };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--package", "cgeid", "--bin", "cgeid", "--profile", profile, "--target-dir"])
            .arg(beside.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(status.unwrap().success(), "cgeid does not build");
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
fn the_program_holds() {
    let listed: serde_json::Value = serde_json::from_slice(&conformance(&["list", "--json"], &[]).stdout).unwrap();
    let count = listed.as_array().unwrap().iter().filter(|check| check["suite"] == "cgeid").count();
    assert!(count >= 140, "{count}");
    let output = conformance(&["run", "--suite", "cgeid"], &[]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    if closing_line(&output) != format!("{count} passed, 0 failed, 0 skipped") {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{}", text(&output.stdout));
        eprintln!("SKIP: {}", closing_line(&output));
    }
}

#[test]
fn without_openssl_its_checks_are_skipped_and_fail_where_nothing_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = ("PATH", folder.path().to_str().unwrap());
    let run = |ci: &str| conformance(&["run", "--id", "ID-001.4"], &[nowhere, ("CI", ci)]);
    assert_eq!(closing_line(&run("false")), "0 passed, 0 failed, 1 skipped");
    assert!(text(&run("false").stdout).contains("there is no openssl"));
    assert_eq!(run("true").status.code(), Some(1));
}

#[test]
fn a_program_that_takes_everything_fails() {
    // It refuses nothing and names nobody.
    let lax = [("CONFORMANCE_CGEID", "true")];
    for id in [
        "ID-003.07",
        "ID-004.1",
        "ID-005.1",
        "ID-012.2",
        "ID-014.4",
        "CG-001.2",
        "CG-002.3",
        "CG-003.01",
        "CG-004.6",
        "CG-005.6",
    ] {
        let output = conformance(&["run", "--id", id], &lax);
        assert_eq!(
            (output.status.code(), closing_line(&output)),
            (Some(1), "0 passed, 1 failed, 0 skipped".to_owned())
        );
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let output = conformance(&["run", "--id", "ID-004.1"], &[("CONFORMANCE_CGEID", "/nonexistent"), ("CI", "false")]);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_a_requirement_its_checks_and_who_judges_the_rest() {
    let explained = |id: &str| text(&conformance(&["explain", id], &[]).stdout);
    assert!(explained("ID-003").contains("65537") && explained("ID-003").contains("ID-003.07"));
    assert!(explained("ID-003.07").contains("e = 3") && !explained("ID-003.07").contains("ID-003.06"));
    assert!(explained("CG-004").contains("never guessed") && explained("CG-004.6").contains("two keys"));
    assert!(explained("ID-009").contains("dht/tests/store.rs"));
    assert_eq!(conformance(&["explain", "ID-003.99"], &[]).status.code(), Some(2));
}
