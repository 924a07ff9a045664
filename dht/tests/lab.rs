// SPDX-License-Identifier: GPL-2.0-or-later
//! The bench: real nodes in one process.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use dht::shell::lab::{Eclipse, LabConfig, Report, run};
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
    assert!(json["cold_start_us"].as_u64().unwrap() < 1_000_000, "{json}");
    assert!(json["connections"].as_u64().unwrap() >= 6 && json["rss_bytes_per_node"].as_u64().unwrap() > 0, "{json}");
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
    assert_eq!((json["hostile"].as_u64(), json["peers"].as_u64()), (Some(4), Some(15)));
    assert!(json["hostile_asked"].as_u64().unwrap() > 0, "{json}");
    assert!(report.correct() >= 36, "{json}");
}

#[tokio::test]
async fn a_flood_of_puts_by_strangers_leaves_the_records_where_they_are() {
    let (report, json) = bench(LabConfig { memory: true, hostile_puts: 300, lookups: 20, ..LabConfig::new(8) }).await;
    assert!(report.is_right());
    assert_eq!(json["hostile_puts"].as_u64(), Some(300));
}

#[tokio::test]
async fn ids_aimed_at_one_record_are_asked_for_it() {
    let eclipse = Some(Eclipse { ids: 6, networks: 2 });
    let (_, json) = bench(LabConfig { memory: true, eclipse, lookups: 20, ..LabConfig::new(10) }).await;
    assert_eq!(json["hostile"].as_u64(), Some(6));
    assert!(json["hostile_asked"].as_u64().unwrap() > 20, "{json}");
}
