// SPDX-License-Identifier: GPL-2.0-or-later
//! Suites `lisp`, `facade` and `pubsub`, and what they say of programs that are none.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Program, closing_line, text};

static PROGRAM: Program = Program::new("lisp-mapsys", &["mapsys", "dht", "cgeid", "wire", "program"]);

#[test]
fn the_messages_hold() {
    PROGRAM.holds("lisp", 55);
}

#[test]
fn the_facade_holds() {
    PROGRAM.holds("facade", 30);
}

#[test]
fn subscriptions_hold() {
    PROGRAM.holds("pubsub", 30);
}

/// Checks of suites `lisp` and `facade` that say nothing about a target in one configuration; there are some ninety.
const SKIPPED: usize = 30;

/// What a target file says of our own program is judged as that of any other: in a namespace, by one configuration.
#[test]
fn our_own_program_holds_as_a_target_of_others() {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root || !std::path::Path::new("/dev/net/tun").exists() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI runs as root");
        eprintln!("SKIP: root is needed, for network namespaces");
        return;
    }
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_conformance")).with_file_name("lisp-mapsys");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/mapsys.toml");
    let named = [("CONFORMANCE_LISP_MAPSYS", program.to_str().unwrap())];
    let output = PROGRAM.conformance(&["run", "--target", file, "--suite", "lisp,facade"], &named);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}");
    // What needs configurations of its own, or looks inside, is all that is skipped.
    let skipped: Vec<_> = printed.lines().filter(|line| line.starts_with("skip")).collect();
    let known = ["configuration of its own", "our own promise", "does not claim"];
    assert!(
        skipped.iter().all(|line| known.iter().any(|why| line.contains(why))) && skipped.len() < SKIPPED,
        "{skipped:#?}"
    );
}

#[test]
fn a_program_that_says_nothing_fails() {
    for id in ["LI-098.1", "FC-064.1", "PS-01.01"] {
        let output = PROGRAM.conformance(&["run", "--id", id], &[("CONFORMANCE_LISP_MAPSYS", "true")]);
        let came = (output.status.code(), closing_line(&output));
        assert_eq!(came, (Some(1), "0 passed, 1 failed, 0 skipped".to_owned()));
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let nowhere = [("CONFORMANCE_LISP_MAPSYS", "/nonexistent"), ("CI", "false")];
    let output = PROGRAM.conformance(&["run", "--id", "LI-098.1"], &nowhere);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_the_section_and_what_is_given() {
    let explained = |id: &str| text(&PROGRAM.conformance(&["explain", id], &[]).stdout);
    assert!(explained("LI-095").contains("9301 5.6") && explained("LI-095").contains("LI-095.3"));
    assert!(explained("PS-04.01").contains("AFI 0") && explained("PS-03").contains("PS-03.06"));
    assert!(explained("FC-90.1").contains("two records"));
}
