// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `lispsec`, and what it says of programs that are none.

use crate::common::{Program, closing_line, text};

static PROGRAM: Program = Program::new("lisp-mapsys", &["mapsys", "dht", "cgeid", "wire", "program"]);

#[test]
fn lisp_sec_holds() {
    PROGRAM.holds("lispsec", 36);
}

#[test]
fn lisp_sec_holds_as_that_of_others() {
    PROGRAM.holds_from_afar(&["lispsec"], &["counters and configurations of lisp-mapsys"], 2);
}

#[test]
fn a_program_that_does_nothing_fails() {
    let output = PROGRAM.conformance(&["run", "--id", "LS-02.1"], &[("CONFORMANCE_LISP_MAPSYS", "true")]);
    assert_eq!((output.status.code(), closing_line(&output)), (Some(1), "0 passed, 1 failed, 0 skipped".to_owned()));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let nowhere = [("CONFORMANCE_LISP_MAPSYS", "/nonexistent"), ("CI", "false")];
    let output = PROGRAM.conformance(&["run", "--id", "LS-02.1"], &nowhere);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_the_section_and_what_is_given() {
    let explained = text(&PROGRAM.conformance(&["explain", "LS-03"], &[]).stdout);
    assert!(explained.contains("9303 6.7.1") && explained.contains("octet for octet"), "{explained}");
}
