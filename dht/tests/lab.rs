// SPDX-License-Identifier: GPL-2.0-or-later
//! The bench: real nodes in one process.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dht::shell::lab::{Eclipse, LabConfig, Report, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

async fn bench(config: LabConfig) -> (Report, Value) {
    let report = run(&config, &|text| println!("{text}")).await.unwrap();
    println!("{}", report.lines().join("\n"));
    let json = report.json();
    (report, json)
}

#[tokio::test]
async fn over_quic_every_lookup_is_right() {
    let (report, json) = bench(LabConfig { lookups: 30, ..LabConfig::new(6) }).await;
    assert!(report.is_right());
    assert_eq!(
        (json["nodes"].as_u64(), json["correct"].as_u64(), json["transport"].as_str()),
        (Some(6), Some(30), Some("quic"))
    );
    // How long it takes a machine that others use says nothing.
    assert!(json["cold_start_us"].as_u64().is_some_and(|took| (1..10_000_000).contains(&took)), "{json}");
    // By how much it grew says nothing here, where other tests give memory back meanwhile.
    assert!(json["connections"].as_u64().unwrap() >= 6 && json["rss_bytes"].as_u64().unwrap() > 0, "{json}");
}

#[tokio::test]
async fn half_of_the_nodes_die_at_once_and_every_record_is_found() {
    let settle = Duration::from_secs(1);
    let config = LabConfig { memory: true, kill: 0.5, settle, lookups: 40, ..LabConfig::new(30) };
    let (report, json) = bench(config).await;
    assert!(report.is_right());
    assert_eq!((json["killed"].as_u64(), json["lookups"].as_u64()), (Some(15), Some(40)));
}

#[tokio::test]
async fn a_delay_of_the_connections_is_seen_in_the_lookups() {
    let delay = Duration::from_millis(20);
    let (report, json) = bench(LabConfig { memory: true, delay, lookups: 20, ..LabConfig::new(8) }).await;
    assert!(report.is_right());
    // A client asks somebody else: there and back.
    assert!(json["p99_us"].as_u64().unwrap() >= 40_000, "{json}");
}

#[tokio::test]
async fn hostile_nodes_are_asked_and_most_lookups_are_right() {
    let config = LabConfig { memory: true, hostile: 0.2, lookups: 40, ..LabConfig::new(20) };
    let (report, json) = bench(config).await;
    assert_eq!(json["hostile"].as_u64(), Some(4));
    // Fifteen honest ones besides; on a machine that does much else one may not have been met yet.
    assert!(json["peers"].as_u64().unwrap() >= 12, "{json}");
    assert!(json["hostile_asked"].as_u64().unwrap() > 0, "{json}");
    assert!(report.correct() >= 36, "{json}");
}

#[tokio::test]
async fn a_flood_of_puts_by_strangers_leaves_the_records_where_they_are() {
    let (report, json) = bench(LabConfig { memory: true, hostile_puts: 300, lookups: 20, ..LabConfig::new(8) }).await;
    assert!(report.is_right());
    // Those under way when the last is counted are counted too: as many as the machine makes until they are told to end.
    assert!(json["hostile_puts"].as_u64().unwrap() >= 300, "{json}");
}

#[tokio::test]
async fn ids_aimed_at_one_record_are_asked_for_it() {
    let eclipse = Some(Eclipse { ids: 6, networks: 2 });
    let (_, json) = bench(LabConfig { memory: true, eclipse, lookups: 20, ..LabConfig::new(10) }).await;
    assert_eq!(json["hostile"].as_u64(), Some(6));
    assert!(json["hostile_asked"].as_u64().unwrap() > 20, "{json}");
}

/// The program, with a folder of its own for temporary files.
fn program(folder: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-dht"));
    command.arg("lab").args(arguments).env("TMPDIR", folder.path()).stderr(Stdio::null());
    command
}

fn is_empty(folder: &tempfile::TempDir) -> bool {
    std::fs::read_dir(folder.path()).unwrap().next().is_none()
}

#[test]
fn the_program_prints_what_it_measured_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = program(&folder, &["--nodes", "3", "--lookups", "6", "--json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), json["correct"].as_u64()), (Some(0), Some(6)), "{json}");
    for name in ["nodes", "killed", "lookups", "p50_us", "p99_us", "rss_bytes_per_node", "seed"] {
        assert!(json[name].is_u64(), "{name}: {json}");
    }
    assert!(is_empty(&folder));
}

#[test]
fn a_bench_that_is_interrupted_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = program(&folder, &["--nodes", "4", "--idle", "60"]).stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while is_empty(&folder) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no database");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(60) && is_empty(&folder));
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in [["--nodes", "1"], ["--kill", "1"], ["--hostile", "-0.1"], ["--delay", "5"], ["--nodes", "100000"]] {
        assert_eq!(program(&folder, &wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
}
