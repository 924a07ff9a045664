// SPDX-License-Identifier: GPL-2.0-or-later
//! What `lisp-xtr show` shows: the answers of a running node, and how a terminal sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Value, json};

use super::embedded::Status;
use super::trace::state;
use crate::config::Table;
use crate::counters::LocatorCount;
use crate::engine::Control;
use crate::reach::ProbedLocator;
use crate::trace::action_name;

/// The answer to `show` of a table that the control half keeps; `data_plane` are the packet half's counters.
pub fn answer(table: Table, control: &Control, now: Instant, data_plane: &Value) -> Value {
    match table {
        Table::MapCache => json!({ "map-cache": map_cache(control, now) }),
        Table::Registrations => json!({ "registrations": registrations(control, now) }),
        Table::Locators => locators(control, now),
        Table::Counters => json!({ "counters": { "control": counted(control), "packets": data_plane } }),
        Table::Peers => json!({ "peers": peers(control, now) }),
        // Those of the map system in this process; without one there are none.
        Table::Identities => json!({ "identities": [] }),
    }
}

/// Adds what the map system in this process knows: its counters, the peers of its DHT node, and its identities.
pub async fn add_map_system(table: Table, answer: &mut Value, status: &Status) {
    match table {
        Table::Counters => answer["counters"]["map-system"] = status.show("counters").await.unwrap_or_default(),
        Table::Peers => answer["dht"] = status.show("peers").await.unwrap_or_default(),
        Table::Identities => answer["identities"] = status.show("identities").await.unwrap_or_default(),
        Table::MapCache | Table::Registrations | Table::Locators => {}
    }
}

/// Adds what the packet half has sent to the locators of others. One that is not probed, for it speaks no control protocol, comes last.
pub fn add_sent(table: Table, answer: &mut Value, sent: &[LocatorCount]) {
    let Some(remote) = answer.get_mut("remote").and_then(Value::as_array_mut).filter(|_| table == Table::Locators)
    else {
        return;
    };
    for count in sent {
        let address = json!(count.address);
        let known = remote.iter_mut().position(|row| row["address"] == address);
        let at = known.unwrap_or_else(|| {
            remote.push(json!({ "address": address, "state": if count.reachable { "unproven" } else { "down" } }));
            remote.len() - 1
        });
        let row = &mut remote[at];
        (row["path_mtu"], row["packets"], row["bytes"]) =
            (json!(count.path_mtu), json!(count.packets), json!(count.octets));
    }
}

fn map_cache(control: &Control, now: Instant) -> Vec<Value> {
    let entry = |(prefix, installed): (&wire::address::EidPrefix, &crate::resolve::Installed)| {
        let locators: Vec<_> = installed.locators.iter().map(|(address, locator)| {
            json!({
                "address": address, "priority": locator.priority, "weight": locator.weight, "reachable": locator.reachable,
                "usable": locator.reachable && control.is_usable(*address),
            })
        }).collect();
        let action = if locators.is_empty() { action_name(installed.action) } else { "encapsulate" };
        json!({
            "prefix": prefix.to_string(),
            "action": action,
            "expires": installed.expires.saturating_duration_since(now).as_secs(),
            "locators": locators,
        })
    };
    control.map_cache(now).map(entry).collect()
}

fn registrations(control: &Control, now: Instant) -> Vec<Value> {
    let registration = |registration: crate::register::Registration| {
        json!({
            "server": registration.server.to_string(),
            "prefixes": registration.prefixes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "confirmed_ago": registration.confirmed_ago.map(|ago| ago.as_secs()),
            "unanswered": registration.unanswered,
            "withdrawing": registration.withdrawing,
        })
    };
    control.registrations(now).map(registration).collect()
}

/// Ours, and those of others with what probes have shown.
fn locators(control: &Control, now: Instant) -> Value {
    let database = control.database();
    let locator = |own: &crate::database::OwnLocator| {
        let state = if database.is_reachable(own.address) { "up" } else { "down" };
        json!({ "address": own.address, "priority": own.priority, "weight": own.weight, "state": state })
    };
    let remote = |probed: ProbedLocator| {
        json!({
            "address": probed.address,
            "state": state(probed.standing),
            "since": probed.since.as_secs(),
            "rtt_us": probed.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            "probed_ago": probed.probed_ago.map(|ago| ago.as_secs()),
            "answered_ago": probed.answered_ago.map(|ago| ago.as_secs()),
        })
    };
    let mut shown = json!({
        "prefixes": database.prefixes().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "locators": database.locators().iter().map(locator).collect::<Vec<_>>(),
        "remote": control.probed_locators(now).map(remote).collect::<Vec<_>>(),
    });
    super::nat::add(&mut shown, control, now);
    shown
}

/// What was refused, and what else was done.
fn counted(control: &Control) -> Value {
    let refused = control.tally();
    let refused = refused.iter().map(|(refusal, count)| (refusal.name(), count));
    let done = control.counts().named();
    refused.chain(done).map(|(name, count)| (name.to_owned(), Value::from(count))).collect()
}

/// The remote locators of the map-cache, each with the prefixes behind it.
fn peers(control: &Control, now: Instant) -> Vec<Value> {
    let mut peers: BTreeMap<std::net::IpAddr, BTreeSet<String>> = BTreeMap::new();
    for (prefix, installed) in control.map_cache(now) {
        for (address, _) in &installed.locators {
            peers.entry(*address).or_default().insert(prefix.to_string());
        }
    }
    peers.into_iter().map(|(address, prefixes)| json!({ "address": address, "prefixes": prefixes })).collect()
}

/// Remote locators in use, and below them the peers of the DHT node, if there is one in this process.
fn peers_table(locators: Option<&Vec<Value>>, dht: Option<&Vec<Value>>) -> String {
    let mut text = columns(&["address", "prefixes"], locators);
    if let Some(dht) = dht {
        text += "\nDHT\n";
        text += &columns(&["id", "connected", "addresses"], Some(dht));
    }
    text
}

/// A table for people out of an answer.
pub fn table(table: Table, answer: &Value) -> String {
    let rows = answer.get(table.name()).and_then(Value::as_array);
    match table {
        Table::MapCache => columns(&["prefix", "action", "expires", "locators"], rows),
        Table::Registrations => columns(&["server", "prefixes", "confirmed_ago", "unanswered"], rows),
        Table::Identities => {
            columns(&["cn", "address", "epoch", "registrar", "ends_s", "last_key_ends_s", "keys"], rows)
        }
        Table::Peers => peers_table(rows, answer.get("dht").and_then(Value::as_array)),
        Table::Locators => {
            let rows = |key: &str| answer.get(key).and_then(Value::as_array);
            let own = columns(&["address", "priority", "weight", "state"], rows("locators"));
            let names =
                ["address", "state", "since", "rtt_us", "probed_ago", "answered_ago", "path_mtu", "packets", "bytes"];
            let remote = columns(&names, rows("remote"));
            let nat = super::nat::text(answer);
            format!("prefixes: {}\n{own}\n{nat}of others\n{remote}", cell(answer.get("prefixes")))
        }
        Table::Counters => counters(answer.get("counters")),
    }
}

pub(super) fn columns(names: &[&str], rows: Option<&Vec<Value>>) -> String {
    let mut lines = vec![names.iter().map(ToString::to_string).collect::<Vec<_>>()];
    lines.extend(rows.into_iter().flatten().map(|row| names.iter().map(|name| cell(row.get(*name))).collect()));
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..names.len()).map(width).collect();
    let pad = |line: &Vec<String>| {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(pad).collect::<Vec<_>>().join("\n")
}

/// One value on one line; a locator in the words of the configuration.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "never".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => "-".into(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(" "),
        Some(Value::Object(locator)) => {
            let part = |name: &str| locator.get(name).map(ToString::to_string).unwrap_or_default();
            let usable = if locator.get("usable") == Some(&Value::Bool(false)) { ",unusable" } else { "" };
            format!("{},priority={},weight={}{usable}", cell(locator.get("address")), part("priority"), part("weight"))
        }
        Some(other) => other.to_string(),
    }
}

/// Counters that are zero say nothing.
fn counters(counters: Option<&Value>) -> String {
    let mut lines = Vec::new();
    for (part, counts) in counters.and_then(Value::as_object).into_iter().flatten() {
        list_counts(part, "", counts, &mut lines);
    }
    if lines.is_empty() { "nothing counted yet".into() } else { lines.join("\n") }
}

fn list_counts(part: &str, name: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(counts) => counts.iter().for_each(|(name, count)| list_counts(part, name, count, lines)),
        Value::Null => {}
        Value::Number(number) if number.as_u64() == Some(0) => {}
        count => lines.push(format!("{part:<10}  {name:<30}  {count:>12}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_a_line_a_row() {
        let answer = json!({ "map-cache": [
            { "prefix": "10.0.0.0/8", "action": "encapsulate", "expires": 60,
              "locators": [{ "address": "192.0.2.1", "priority": 1, "weight": 100, "reachable": true, "usable": false }] },
            { "prefix": "::/1", "action": "natively-forward", "expires": 5, "locators": [] },
        ] });
        let lines: Vec<_> = table(Table::MapCache, &answer).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1], "10.0.0.0/8  encapsulate       60       192.0.2.1,priority=1,weight=100,unusable");
        assert_eq!(lines[2], "::/1        natively-forward  5        -");
    }

    #[test]
    fn the_peers_of_the_dht_node_stand_below_those_of_the_tunnel() {
        let dht = json!([{ "id": "12D3", "connected": true, "addresses": ["/ip4/192.0.2.7/udp/43420/quic-v1"] }]);
        let text = table(Table::Peers, &json!({ "peers": [], "dht": dht }));
        assert_eq!(text.lines().nth(1), Some("DHT"));
        assert!(text.lines().nth(3).unwrap_or_default().contains("192.0.2.7"), "{text}");
    }

    #[test]
    fn what_was_sent_to_others_stands_below_our_own_locators() {
        let mut answer = json!({
            "prefixes": ["10.0.0.0/24"],
            "locators": [{ "address": "192.0.2.1", "priority": 1, "weight": 100, "state": "up" }],
            "remote": [{ "address": "198.51.100.1", "state": "down", "since": 4 }],
        });
        let before = answer.clone();
        let address = [198, 51, 100, 1].into();
        let sent = [LocatorCount { address, reachable: false, path_mtu: 1400, packets: 7, octets: 900 }];
        add_sent(Table::Counters, &mut answer, &sent);
        assert_eq!(answer, before);
        add_sent(Table::Locators, &mut answer, &sent);
        let text = table(Table::Locators, &answer);
        let last: Vec<&str> = text.lines().last().unwrap_or_default().split_whitespace().collect();
        assert_eq!(last, ["198.51.100.1", "down", "4", "never", "never", "never", "1400", "7", "900"]);
    }

    #[test]
    fn only_what_happened_is_listed() {
        let answer = json!({ "counters": { "control": { "malformed": 2, "reply-unasked": 0 }, "packets": {} } });
        let text = table(Table::Counters, &answer);
        assert!(text.contains("malformed") && !text.contains("reply-unasked"));
    }
}
