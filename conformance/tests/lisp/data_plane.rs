// SPDX-License-Identifier: GPL-2.0-or-later
//! Suites `data-plane` and `mobility`, what they say of programs that are none, and of the routers of target files. They need root and `/dev/net/tun`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::alone;
use crate::common::{Program, closing_line, text};

static PROGRAM: Program = Program::new("lisp-xtr", &["xtr", "mapsys", "dht", "cgeid", "wire", "program"]);

#[test]
fn the_data_plane_holds() {
    let _alone = alone();
    PROGRAM.holds("data-plane", 125);
}

#[test]
fn mobility_holds() {
    let _alone = alone();
    PROGRAM.holds("mobility", 46);
}

/// Whether a suite can run here at all; where all tests must run, it has to.
fn can_run() -> bool {
    let output = PROGRAM.conformance(&["run", "--id", "DP-003.1"], &[("CI", "false")]);
    let is_skipped = closing_line(&output).ends_with("1 skipped");
    assert!(!is_skipped || std::env::var("CI").as_deref() != Ok("true"), "{}", text(&output.stdout));
    if is_skipped {
        eprintln!("SKIP: {}", text(&output.stdout));
    }
    !is_skipped
}

#[test]
fn a_program_that_does_nothing_fails() {
    if !can_run() {
        return;
    }
    for id in ["DP-021.1", "CP-028.1"] {
        let output = PROGRAM.conformance(&["run", "--id", id], &[("CONFORMANCE_LISP_XTR", "true")]);
        let came = (output.status.code(), closing_line(&output));
        assert_eq!(came, (Some(1), "0 passed, 1 failed, 0 skipped".to_owned()), "{}", text(&output.stdout));
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    if !can_run() {
        return;
    }
    let nowhere = [("CONFORMANCE_LISP_XTR", "/nonexistent"), ("CI", "false")];
    let output = PROGRAM.conformance(&["run", "--id", "DP-021.1"], &nowhere);
    assert!(text(&output.stdout).contains("/nonexistent"), "{}", text(&output.stdout));
    assert_eq!(closing_line(&output), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn explain_shows_the_section_and_what_is_given() {
    let explained = |id: &str| text(&PROGRAM.conformance(&["explain", id], &[]).stdout);
    assert!(explained("DP-046.04").contains("6040 4.2") && explained("DP-046").contains("ECT(0) in ECT(1): ECT(1)"));
    assert!(explained("CP-141.1").contains("within 4 s") && explained("DP-083").contains("DP-083.1"));
}

/// Ended, and reaped, when this is dropped.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processes whose parent is this one.
fn children(parent: u32) -> Vec<u32> {
    let of = |process: std::fs::DirEntry| {
        let id = process.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
        // The name, which may have blanks and parentheses, ends with the last one; then come state and parent.
        let found: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        (found == parent).then_some(id)
    };
    std::fs::read_dir("/proc").unwrap().filter_map(|process| of(process.unwrap())).collect()
}

#[test]
fn a_run_that_is_killed_leaves_no_program_behind() {
    if !can_run() {
        return;
    }
    let command = ["run", "--id", "CP-141.1"];
    let run = Command::new(env!("CARGO_BIN_EXE_conformance")).args(command).stdout(Stdio::null()).spawn();
    let run = Run(run.unwrap());
    let begun = Instant::now();
    let mut programs = Vec::new();
    while programs.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(80), "it starts nothing");
        std::thread::sleep(Duration::from_millis(10));
        programs = children(run.0.id());
    }
    drop(run);
    let begun = Instant::now();
    while programs.iter().any(|id| Path::new("/proc").join(id.to_string()).join("exe").read_link().is_ok()) {
        assert!(begun.elapsed() < Duration::from_secs(80), "{programs:?} run on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Our own program, told by files of its own as anybody's would be, which registers with the Map-Server of the rig.
const EXAMPLE: &str = include_str!("../../targets/example.toml");

/// What comes of a check, its text and its closing line; none where suites cannot run at all.
fn judge(target: &str, id: &str, variables: &[(&str, &str)]) -> Option<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("target.toml");
    std::fs::write(&file, target).unwrap();
    let arguments = ["run", "--target", file.to_str().unwrap(), "--id", id];
    let output = PROGRAM.conformance(&arguments, &[&[("CI", "false")], variables].concat());
    let (came, closing) = (text(&output.stdout), closing_line(&output));
    if ["root is needed", "/dev/net/tun"].iter().any(|want| came.contains(want)) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{came}");
        eprintln!("SKIP: {came}");
        return None;
    }
    Some((came, closing))
}

#[test]
fn a_router_is_started_by_its_file_and_judged_by_what_it_claims() {
    let _alone = alone();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_conformance")).with_file_name("lisp-xtr");
    let router = [("CONFORMANCE_LISP_XTR", program.to_str().unwrap())];
    for id in ["DP-002.1", "DP-002.2", "CP-135.1"] {
        let Some((came, closing)) = judge(EXAMPLE, id, &router) else { return };
        assert_eq!(closing, "1 passed, 0 failed, 0 skipped", "{came}");
    }
    for (id, why) in [
        ("DP-140.1", "does not claim lisp-gpe"),
        ("DP-061.1", "does not claim mtu-stateless"),
        ("CP-138.1", "three routers"),
        ("DP-097.2", "lisp-xtr says"),
        ("DP-029.1", "our own promise"),
        ("CP-022.1", "our own promise"),
    ] {
        let Some((came, closing)) = judge(EXAMPLE, id, &router) else { return };
        assert!(closing == "0 passed, 0 failed, 1 skipped" && came.contains(why), "{came}");
    }
}

#[test]
fn a_router_that_ends_is_named_and_one_that_is_not_there_too() {
    let _alone = alone();
    let mortal =
        EXAMPLE.replace("[\"{program:CONFORMANCE_LISP_XTR}\", ", "[\"sh\", \"-c\", \"echo in vain; exit 3\", ");
    let begun = Instant::now();
    let Some((came, closing)) = judge(&mortal, "DP-002.1", &[]) else { return };
    assert_eq!(closing, "0 passed, 1 failed, 0 skipped", "{came}");
    assert!(
        came.contains("the router is gone") && came.contains("exit status: 3") && came.contains("in vain"),
        "{came}"
    );
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    let Some((came, closing)) = judge(EXAMPLE, "DP-002.1", &[("CONFORMANCE_LISP_XTR", "")]) else { return };
    assert!(closing == "0 passed, 0 failed, 1 skipped" && came.contains("CONFORMANCE_LISP_XTR is not set"), "{came}");
}
