// SPDX-License-Identifier: GPL-2.0-or-later
//! What `lisp-mapsys` says about itself.

use crate::documents::Program;

const PROGRAM: Program<'_> = Program { name: "lisp-mapsys", file: env!("CARGO_BIN_EXE_lisp-mapsys") };

#[test]
fn every_verb_has_a_page_that_renders() {
    PROGRAM.has_pages_that_render();
}

#[test]
fn completions_know_the_verbs() {
    PROGRAM.has_completions();
}
