// SPDX-License-Identifier: GPL-2.0-or-later
//! What the program says about itself: help, manual pages, completions.

use crate::cli::fails;
use crate::documents::Program;

const PROGRAM: Program<'_> = Program { name: "cgeid", file: env!("CARGO_BIN_EXE_cgeid") };

#[test]
fn every_verb_has_examples_in_its_help() {
    PROGRAM.has_examples();
}

#[test]
fn every_verb_has_a_page_that_renders() {
    PROGRAM.has_pages_that_render();
    let folder = tempfile::tempdir().unwrap();
    fails(folder.path(), "man --json", 2, "no report");
    let page = PROGRAM.run(folder.path(), &["man", "import"]).stdout;
    let page = String::from_utf8(page).unwrap();
    for said in [".SH FILES", ".SH ENVIRONMENT", "CGEID_PASSWORD", ".SH EXAMPLES"] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn completions_know_the_verbs() {
    PROGRAM.has_completions();
    let folder = tempfile::tempdir().unwrap();
    fails(folder.path(), "completions bash --json", 2, "no report");
}
