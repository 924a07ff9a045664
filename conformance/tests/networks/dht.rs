// SPDX-License-Identifier: GPL-2.0-or-later
//! Suites `record`, `dht`, `adversary` and `faults`, and what they say of programs that are none.

use crate::common::{Program, closing_line, text};
use crate::processors;

static PROGRAM: Program = Program::new("lisp-dht", &["dht", "cgeid", "wire", "program"]);

#[test]
fn records_hold() {
    PROGRAM.holds("record", 150);
}

#[test]
fn the_network_holds() {
    let _alone = processors();
    PROGRAM.holds("dht", 30);
}

#[test]
fn adversaries_are_refused() {
    let _alone = processors();
    PROGRAM.holds("adversary", 30);
}

#[test]
fn faults_are_survived() {
    let _alone = processors();
    PROGRAM.holds("faults", 13);
}

#[test]
fn a_program_that_takes_everything_fails() {
    for id in ["DH-01.1", "AD-01.01", "FA-02.4"] {
        let output = PROGRAM.conformance(&["run", "--id", id], &[("CONFORMANCE_LISP_DHT", "true")]);
        assert_eq!(
            (output.status.code(), closing_line(&output)),
            (Some(1), "0 passed, 1 failed, 0 skipped".to_owned())
        );
    }
}

/// It is waited for once.
#[test]
fn a_program_that_hangs_is_named_and_not_waited_for_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("hangs");
    std::fs::write(&program, "#!/bin/sh\nexec sleep infinity\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let begun = std::time::Instant::now();
    let named = [("CONFORMANCE_LISP_DHT", program.to_str().unwrap())];
    let output = PROGRAM.conformance(&["run", "--id", "AD-01.06,AD-05"], &named);
    assert_eq!((output.status.code(), closing_line(&output)), (Some(1), "0 passed, 4 failed, 0 skipped".to_owned()));
    let told = text(&output.stdout);
    assert!(told.contains("says nothing in") && told.contains("not waited for again"), "{told}");
    // A minute once; four times that, and the two minutes of a network, if it were waited for each time.
    assert!(begun.elapsed() < std::time::Duration::from_secs(240), "{:?}", begun.elapsed());
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let nowhere = [("CONFORMANCE_LISP_DHT", "/nonexistent"), ("CI", "false")];
    let output = PROGRAM.conformance(&["run", "--id", "DH-01.1"], &nowhere);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_the_section_and_what_is_given() {
    let explained = |id: &str| text(&PROGRAM.conformance(&["explain", id], &[]).stdout);
    assert!(
        explained("RC-16.07").contains("lisp-signed-dht 5.7") && explained("RC-16.07").contains("nothing refers to")
    );
    assert!(explained("DH-06").contains("DH-06.9") && explained("FA-03.1").contains("full during writes"));
}
