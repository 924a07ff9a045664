// SPDX-License-Identifier: GPL-2.0-or-later
//! Runs with what others made. Programs are run where their paths are given: `INTEROP_OOR`, `INTEROP_OPENLISP`. They are no part of
//! this project, so that these runs may be skipped everywhere, also where all else must run.
//!
//! The kernel's `vxlan gpe` device needs no path: its run is skipped only where the kernel has no such device, and fails then
//! where all must run (`CI`).

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::{oracle, support};

const VARIABLES: [(&str, &str); 2] = [("oor", "INTEROP_OOR"), ("openlisp", "INTEROP_OPENLISP")];

fn run(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop"));
    command.arg("run").args(arguments);
    prepare(&mut command);
    command.output().unwrap()
}

fn without_peers(command: &mut Command) {
    for (_, variable) in VARIABLES {
        command.env_remove(variable);
    }
}

fn cases(text: &str) -> Vec<Value> {
    let report: Value = serde_json::from_str(text).unwrap();
    let cases = report["cases"].as_array().unwrap().clone();
    for case in &cases {
        for key in ["peer", "case", "result", "why"] {
            assert!(case[key].is_string(), "{key}: {case}");
        }
    }
    cases
}

#[test]
fn without_a_peer_its_cases_are_skipped_and_say_why() {
    // Where everything must run, peers still are the exception.
    for ci in [None, Some("true")] {
        let output = run(&["oor", "openlisp", "--json"], |command| {
            without_peers(command);
            command.env_remove("CI").envs(ci.map(|value| ("CI", value)));
        });
        assert!(output.status.success(), "{output:?}");
        let cases = cases(&String::from_utf8(output.stdout).unwrap());
        for (peer, variable) in VARIABLES {
            let of_peer: Vec<_> = cases.iter().filter(|case| case["peer"] == peer).collect();
            assert!(!of_peer.is_empty(), "{peer}");
            for case in of_peer {
                assert!(case["result"] == "skip" && case["why"].as_str().unwrap().contains(variable), "{case}");
            }
        }
        assert!(String::from_utf8_lossy(&output.stderr).contains("SKIP"), "the lines go to standard error");
    }
}

#[test]
fn only_the_peers_asked_for_are_reported() {
    let output = run(&["openlisp", "--json"], without_peers);
    let cases = cases(&String::from_utf8(output.stdout).unwrap());
    assert!(cases.iter().all(|case| case["peer"] == "openlisp") && !cases.is_empty(), "{cases:?}");
    assert_eq!(run(&["nobody"], without_peers).status.code(), Some(2));
}

#[test]
fn a_path_that_is_wrong_is_named() {
    for path in ["/nonexistent/oor", "/"] {
        let output = run(&["oor"], |command| {
            command.env("INTEROP_OOR", path);
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("INTEROP_OOR") && said.contains(path), "{said}");
    }
}

#[test]
fn a_peer_that_does_nothing_fails_its_cases() {
    if !support::root_or_skip() {
        return;
    }
    let _beside_others = support::beside_others();
    let programs = support::hollow_programs();
    let output = run(&["openlisp", "--json", "--bin-dir", programs.path().to_str().unwrap()], |command| {
        command.env("INTEROP_OPENLISP", "/bin/false").env_remove("INTEROP_OOR").env("TMPDIR", programs.path());
    });
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let cases = cases(&String::from_utf8(output.stdout).unwrap());
    // Some play with a second peer.
    let (skipped, played): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case["result"] == "skip");
    assert!(skipped.iter().all(|case| case["why"].as_str().unwrap().contains("INTEROP_OOR")), "{skipped:?}");
    assert!(!played.is_empty() && played.iter().all(|case| case["result"] == "fail"), "{played:?}");
    assert!(cases.iter().any(|case| case["why"].as_str().unwrap().contains("ended by itself")), "{cases:?}");
}

#[test]
fn the_kernels_vxlan_gpe_device_and_our_xtr_carry_packets_together() {
    if !support::root_or_skip() {
        return;
    }
    let _beside_others = support::beside_others();
    let folder = tempfile::tempdir().unwrap();
    let (captures, file) = (folder.path().join("captures"), folder.path().join("report.json"));
    let json = format!("--json={}", file.display());
    let output = run(&["kernel", &json, "--pcap", captures.to_str().unwrap()], without_peers);
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let cases = cases(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(cases.len(), 3);
    let allowed = if std::env::var_os("CI").is_some() { ["pass", "pass"] } else { ["pass", "skip"] };
    assert!(cases.iter().all(|case| allowed.iter().any(|result| case["result"] == *result)), "{cases:?}");
    if cases.iter().all(|case| case["result"] == "pass") && oracle::tshark_or_skip() {
        judge(&captures);
    }
}

#[test]
fn ours_and_theirs_carry_packets_together() {
    let (given, missing): (Vec<_>, Vec<_>) = VARIABLES
        .into_iter()
        .partition(|(_, variable)| std::env::var_os(variable).is_some_and(|path| !path.is_empty()));
    for (peer, variable) in missing {
        println!("SKIP: {peer}: {variable} is not set to the path of a built program");
    }
    if given.is_empty() || !support::root_or_skip() {
        return;
    }
    let _alone = support::alone();
    let folder = tempfile::tempdir().unwrap();
    let (captures, file) = (folder.path().join("captures"), folder.path().join("report.json"));
    let json = format!("--json={}", file.display());
    let mut arguments = vec![json.as_str(), "--pcap", captures.to_str().unwrap()];
    arguments.extend(given.iter().map(|(peer, _)| *peer));
    let output = run(&arguments, |_| {});
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let cases = cases(&std::fs::read_to_string(&file).unwrap());
    assert!(!cases.is_empty() && cases.iter().all(|case| case["result"] == "pass"), "{cases:?}");
    if oracle::tshark_or_skip() {
        judge(&captures);
    }
}

/// tshark and our codec read the same, also in what others sent.
fn judge(captures: &Path) {
    for file in std::fs::read_dir(captures).unwrap() {
        let path = file.unwrap().path();
        let (control, data) = oracle::judge(&path);
        println!("{}: {control} control messages and {data} data packets, read alike", path.display());
        assert!(control > 0, "{}", path.display());
    }
}
