// SPDX-License-Identifier: GPL-2.0-or-later
//! `conformance` as a user runs it.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "suite `wire` judges no program")]
mod common;

use std::process::{Command, Output};

fn conformance(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).args(arguments).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn the_wire_suite_closes_with_its_count() {
    let report = format!("--json={}", common::report_of("wire").display());
    let output = conformance(&["run", "--suite", "wire", &report]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert_eq!(printed.lines().last(), Some("88 passed, 0 failed, 0 skipped"));
}

#[test]
fn one_check_by_its_name() {
    let output = conformance(&["run", "--id", "M43", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["passed"].as_u64(), report["checks"][0]["id"].as_str()), (Some(1), Some("M43")));
}

#[test]
fn a_report_goes_to_a_file_and_the_count_to_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.xml");
    let output = conformance(&["run", "--suite", "wire", "--format", "junit", "-o", path.to_str().unwrap()]);
    assert_eq!(text(&output.stdout), "88 passed, 0 failed, 0 skipped\n");
    assert!(std::fs::read_to_string(path).unwrap().contains("tests=\"88\" failures=\"0\""));
}

#[test]
fn json_goes_to_standard_output_or_beside_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let beside = conformance(&["run", "--suite", "wire", &format!("--json={}", path.display())]);
    assert!(text(&beside.stdout).ends_with("88 passed, 0 failed, 0 skipped\n"));
    let alone = conformance(&["run", "--suite", "wire", "--json"]);
    assert_eq!(text(&alone.stdout), std::fs::read_to_string(path).unwrap());
    let listed: serde_json::Value = serde_json::from_slice(&conformance(&["list", "--json"]).stdout).unwrap();
    let of_wire = listed.as_array().unwrap().iter().filter(|check| check["suite"] == "wire");
    assert_eq!(of_wire.count(), 88);
}

#[test]
fn explain_shows_the_clause_and_the_bytes() {
    let printed = text(&conformance(&["explain", "R03"]).stdout);
    assert!(
        printed.contains("RFC 9301 5.6") && printed.contains("by the authenticator") && printed.contains("0000  45 00")
    );
}

#[test]
fn decode_prints_an_object_a_message_and_fails_if_one_is_refused() {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/vectors.json");
    let output = conformance(&["decode", vectors]);
    assert_eq!(output.status.code(), Some(1), "the vectors hold malformed ones");
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 88);
    assert!(lines.iter().any(|line| line["ok"] == false && line["error"].is_string()));
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/oor-smr.pcap");
    assert_eq!(conformance(&["decode", capture]).status.code(), Some(0));
}

#[test]
fn wrong_usage_is_told_and_exits_with_2() {
    for (arguments, named) in [
        (&["run", "--suite", "nonsense"][..], "nonsense"),
        (&["run"][..], "--all"),
        (&["run", "--id", "Z99"][..], "Z99"),
        (&["explain", "Z99"][..], "Z99"),
        (&["decode", "/nonexistent"][..], "/nonexistent"),
        (&["frobnicate"][..], "frobnicate"),
    ] {
        let output = conformance(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(named), "{arguments:?}: {}", text(&output.stderr));
    }
}
