// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `ddt`, and what it says of programs that are no map system.

use crate::common::{Program, closing_line, text};

static PROGRAM: Program = Program::new("lisp-mapsys", &["mapsys", "dht", "cgeid", "wire", "program"]);

#[test]
fn the_tree_holds() {
    PROGRAM.holds("ddt", 47);
}

/// As a target file spells it, in each role by itself.
#[test]
fn the_tree_holds_as_one_of_others() {
    PROGRAM.holds_from_afar(&["ddt"], &["lisp-mapsys promises", "key material"], 10);
}

#[test]
fn the_node_of_the_example_of_a_target_file_holds() {
    let Some(printed) = PROGRAM.passes_from_afar("targets/example.toml", "DT-01,DT-02") else { return };
    assert!(printed.lines().last().is_some_and(|line| line.ends_with(" passed, 0 failed, 0 skipped")), "{printed}");
}

#[test]
fn a_program_that_is_no_map_system_fails_and_one_that_is_not_there_is_named() {
    let output = PROGRAM.conformance(&["run", "--id", "DT-01.1"], &[("CONFORMANCE_LISP_MAPSYS", "true")]);
    assert_eq!((output.status.code(), closing_line(&output)), (Some(1), "0 passed, 1 failed, 0 skipped".to_owned()));
    let nowhere = [("CONFORMANCE_LISP_MAPSYS", "/nonexistent"), ("CI", "false")];
    let output = PROGRAM.conformance(&["run", "--id", "DT-10.1"], &nowhere);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_the_section_and_what_is_given() {
    let explained = text(&PROGRAM.conformance(&["explain", "DT-02"], &[]).stdout);
    assert!(explained.contains("DT-02.3") && explained.contains("8111 7.1.2"), "{explained}");
}
