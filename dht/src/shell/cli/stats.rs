// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht stats`: the figures of a running node.

use std::path::Path;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::flags::StatsFlags;
use super::settings::Settings;
use super::{Failure, Outcome, output};
use crate::shell::control::{self, Refused};
use crate::shell::node::Node;
use crate::shell::process;

/// Asks the daemon and shows what it says.
pub(super) async fn run(settings: Settings, flags: &StatsFlags) -> Result<Outcome, Failure> {
    let path =
        settings.control().ok_or_else(|| anyhow!("--state-dir (or --control) of the running node is missing"))?;
    let stats =
        control::ask(&path, &json!({ "show": "stats" })).map_err(|error| Failure::NoAnswer(explain(error, &path)))?;
    if stats.get("peer").is_none() || stats.get("counters").is_none() {
        return Err(Failure::NoAnswer(explain(Refused("other figures".to_owned()).into(), &path)));
    }
    output::show(&flags.file.json, &stats, &lines(&stats))?;
    Ok(Outcome::Held)
}

/// Who answers and does not know the question is another program of ours, with a state folder of its own.
fn explain(error: anyhow::Error, path: &Path) -> anyhow::Error {
    match error.downcast_ref::<Refused>() {
        Some(answer) => {
            let path = path.display();
            anyhow!("no lisp-dht node runs with this --state-dir: the program at {path} answers {:?}", answer.0)
        }
        None => error,
    }
}

/// The figures as JSON.
pub(super) async fn collect(node: &Node) -> anyhow::Result<Value> {
    let stats = node.stats().await?;
    let addresses = |list: &[crate::shell::node::Multiaddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let peers: Vec<Value> = stats
        .peers
        .iter()
        .map(|peer| json!({ "peer": peer.id.to_string(), "addresses": addresses(&peer.addresses), "connected": peer.connected }))
        .collect();
    Ok(json!({
        "peer": node.id().to_string(),
        "addresses": addresses(&node.listen_addrs()),
        "peers": peers,
        "connections": stats.connections,
        "reachable": stats.reachable,
        "records": stats.held.records,
        "records_waiting": stats.held.waiting,
        "record_bytes": stats.held.bytes,
        "refused": stats.held.refused,
        "conflicts": stats.held.conflicts,
        "store": stats.held.store,
        "region_bits": stats.held.region_bits,
        "heaviest": stats.held.heaviest.map(|(block, records)| json!({ "block": block.to_string(), "records": records })),
        "disk": if stats.held.is_failing { "failing" } else { "right" },
        "counters": stats.counters,
        "admission": stats.admission,
        "rss_bytes": process::resident(),
    }))
}

fn lines(stats: &Value) -> Vec<String> {
    let text = |name: &str| stats.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| stats.get(name).and_then(Value::as_u64).unwrap_or_default();
    let peers = stats.get("peers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut lines = vec![
        text("peer").to_owned(),
        format!("  peers        {}", peers.len()),
        format!("  connections  {}", number("connections")),
        format!("  reachable    {}", if stats.get("reachable") == Some(&Value::Bool(false)) { "no" } else { "yes" }),
        format!("  records      {} ({} bytes)", number("records"), number("record_bytes")),
        format!("  disk         {}", text("disk")),
        format!("  resident     {} bytes", number("rss_bytes")),
    ];
    lines.push(match stats.get("region_bits").and_then(Value::as_u64) {
        Some(bits) => format!("  region       keys that share {bits} bits with this node"),
        None => "  region       all keys".to_owned(),
    });
    if let Some(heaviest) = stats.get("heaviest").filter(|heaviest| heaviest.is_object()) {
        let (block, records) = (heaviest["block"].as_str().unwrap_or_default(), heaviest["records"].as_u64());
        lines.push(format!(
            "  share        {} records from {block}, the most of one block",
            records.unwrap_or_default()
        ));
    }
    lines.extend(admission(stats.get("admission").unwrap_or(&Value::Null)));
    for group in ["counters", "store", "refused"] {
        let counters = stats.get(group).and_then(Value::as_object).into_iter().flatten();
        let numbers = counters.filter(|(_, value)| value.is_number());
        lines.extend(numbers.map(|(name, value)| format!("  {group:<12} {name} {value}")));
    }
    for key in stats.get("conflicts").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("  conflict     {}", key.as_str().unwrap_or_default()));
    }
    for peer in peers {
        let connected = peer.get("connected").and_then(Value::as_bool).unwrap_or_default();
        let id = peer.get("peer").and_then(Value::as_str).unwrap_or_default();
        lines.push(format!("  peer         {id} {}", if connected { "connected" } else { "known" }));
    }
    lines
}

/// How the node stands with its peers, and who was turned away.
fn admission(admission: &Value) -> Vec<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let clock = admission.get("clock");
    let behind = clock.and_then(|clock| clock.get("behind_ms")).and_then(Value::as_i64);
    let behind = behind.map_or_else(String::new, |ms| format!(" (behind its peers by {ms} ms)"));
    let mut lines = vec![
        format!("  role         {}", text(admission.get("role"))),
        format!("  clock        {}{behind}", text(clock.and_then(|clock| clock.get("state")))),
    ];
    for (name, value) in admission.as_object().into_iter().flatten() {
        let counts =
            value.as_object().into_iter().flatten().filter_map(|(reason, count)| Some((reason, count.as_u64()?)));
        lines.extend(counts.map(|(reason, count)| format!("  admission    {name} {reason} {count}")));
        lines.extend(value.as_u64().map(|count| format!("  admission    {name} {count}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_node_has_a_line() {
        let stats = json!({
            "peer": "12D3", "peers": [{ "peer": "12D4", "connected": true }], "connections": 1, "reachable": false,
            "records": 3, "record_bytes": 700, "rss_bytes": 1, "disk": "failing", "region_bits": 4,
            "heaviest": { "block": "192.0.2.0/24", "records": 2 },
            "conflicts": ["C.00"],
            "refused": { "signature": 2 },
            "store": { "stored": 5, "evicted": 6, "refused": { "signature": 2 } },
            "counters": { "handed_over": 8, "block_refused": 9 },
            "admission": { "role": "server", "servers": 4, "refused": { "puzzle": 3 }, "clock": { "state": "wrong", "behind_ms": 7 } },
        });
        let text = lines(&stats).join("\n");
        for line in [
            "  reachable    no",
            "  disk         failing",
            "  region       keys that share 4 bits with this node",
            "  share        2 records from 192.0.2.0/24, the most of one block",
            "  role         server",
            "  clock        wrong (behind its peers by 7 ms)",
            "  admission    refused puzzle 3",
            "  admission    servers 4",
            "  counters     handed_over 8",
            "  counters     block_refused 9",
            "  store        evicted 6",
            "  refused      signature 2",
            "  conflict     C.00",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}: {text}");
        }
    }
}
