// SPDX-License-Identifier: GPL-2.0-or-later
//! A run that is interrupted: what it has started goes, what has run is reported, and the exit status says so.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Program, text};

static PROGRAM: Program = Program::new("lisp-mapsys", &["mapsys", "dht", "cgeid", "wire", "program"]);

/// Processes that have a folder in their arguments.
fn running_in(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(folder)).collect()
}

#[test]
fn what_has_run_is_reported_and_nothing_is_left_behind() {
    // Builds the program where it is not.
    let [first, all] = [&["wire"][..], &["wire", "pubsub"]].map(|suites| PROGRAM.listed(suites).len());
    let folder = tempfile::tempdir().unwrap();
    let (files, report) = (folder.path().join("files"), folder.path().join("report.json"));
    std::fs::create_dir(&files).unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_conformance"))
        .args(["run", "--suite", "wire,pubsub", "--progress", "--format", "json", "-o"])
        .arg(&report)
        .env("TMPDIR", &files)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(run.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("pubsub: ") {
        line.clear();
        assert!(told.read_line(&mut line).unwrap() > 0, "it ends before suite pubsub");
    }
    let begun = Instant::now();
    while running_in(&files).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(90), "it starts no program");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
    let rest: Vec<_> = told.lines().map_while(Result::ok).collect();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains(&format!("of {all} checks have run"))), "{rest:?}");
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    let (checks, passed) = (report["checks"].as_array().unwrap().len(), report["passed"].as_u64().unwrap());
    assert!((first..all).contains(&checks) && report["interrupted"] == true && report["failed"] == 0, "{report:#}");
    assert_eq!(text(&output.stdout), format!("{passed} passed, 0 failed, 0 skipped\n"));
    assert_eq!((running_in(&files), std::fs::read_dir(&files).unwrap().count()), (Vec::new(), 0));
}
