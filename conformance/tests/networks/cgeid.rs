// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `cgeid` against the program that is built beside it, and against programs that are none.

use crate::common::{Program, closing_line, newest, text};

static PROGRAM: Program = Program::new("cgeid", &["cgeid", "program"]);

#[test]
fn the_program_holds() {
    PROGRAM.holds("cgeid", 140);
}

#[test]
fn without_openssl_its_checks_are_skipped_and_fail_where_nothing_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = ("PATH", folder.path().to_str().unwrap());
    let run = |ci: &str| PROGRAM.conformance(&["run", "--id", "ID-001.4"], &[nowhere, ("CI", ci)]);
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
        let output = PROGRAM.conformance(&["run", "--id", id], &lax);
        assert_eq!(
            (output.status.code(), closing_line(&output)),
            (Some(1), "0 passed, 1 failed, 0 skipped".to_owned())
        );
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let output =
        PROGRAM.conformance(&["run", "--id", "ID-004.1"], &[("CONFORMANCE_CGEID", "/nonexistent"), ("CI", "false")]);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_a_requirement_its_checks_and_who_judges_the_rest() {
    let explained = |id: &str| text(&PROGRAM.conformance(&["explain", id], &[]).stdout);
    assert!(explained("ID-003").contains("65537") && explained("ID-003").contains("ID-003.07"));
    assert!(explained("ID-003.07").contains("e = 3") && !explained("ID-003.07").contains("ID-003.06"));
    assert!(explained("CG-004").contains("never guessed") && explained("CG-004.6").contains("two keys"));
    assert!(explained("ID-009").contains("dht/tests/engine/store.rs"));
    assert_eq!(PROGRAM.conformance(&["explain", "ID-003.99"], &[]).status.code(), Some(2));
}

#[test]
fn a_program_is_built_again_when_a_file_of_its_source_is_changed_or_gone() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let file = inner.join("lib.rs");
    std::fs::write(&file, "").unwrap();
    let past = |path: &std::path::Path, age: u64| {
        let at = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        std::fs::File::open(path).unwrap().set_modified(at).unwrap();
        Some(at)
    };
    past(folder.path(), 300);
    past(&inner, 200);
    let changed = past(&file, 100);
    assert_eq!(newest(folder.path()), changed);
    std::fs::remove_file(&file).unwrap();
    assert!(newest(folder.path()) > changed, "its folder was changed");
    assert_eq!(newest(&file), None);
}
