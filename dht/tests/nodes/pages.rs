// SPDX-License-Identifier: GPL-2.0-or-later
//! What `lisp-dht` says about itself.

use crate::documents::Program;

const PROGRAM: Program<'_> = Program { name: "lisp-dht", file: env!("CARGO_BIN_EXE_lisp-dht") };

#[test]
fn every_verb_has_a_page_that_renders() {
    PROGRAM.has_pages_that_render();
}

#[test]
fn every_verb_has_examples_in_its_help() {
    PROGRAM.has_examples();
}

#[test]
fn completions_know_the_verbs() {
    PROGRAM.has_completions();
}
