// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `nat`, and what it says of a program that is none.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Program, closing_line};

static PROGRAM: Program = Program::new("lisp-mapsys", &["mapsys", "dht", "cgeid", "wire", "program"]);

#[test]
fn nat_traversal_holds() {
    PROGRAM.holds("nat", 17);
}

#[test]
fn a_program_that_does_nothing_fails() {
    let output = PROGRAM.conformance(&["run", "--id", "NAT-01.1"], &[("CONFORMANCE_LISP_MAPSYS", "true")]);
    assert_eq!((output.status.code(), closing_line(&output)), (Some(1), "0 passed, 1 failed, 0 skipped".to_owned()));
}
