// SPDX-License-Identifier: GPL-2.0-or-later
//! What `lisp-xtr show` shows: the answers of a running node, and how a terminal sees them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use serde_json::{Value, json};
use wire::address::EidPrefix;
use wire::record::{LocatorRecord, MapVersion};

use super::embedded::Status;
use super::trace::state;
use crate::config::Table;
use crate::counters::LocatorCount;
use crate::engine::Control;
use crate::interwork::Aggregate;
use crate::reach::{EchoState, ProbedLocator};
use crate::register::Refused;
use crate::register::limits::FORGOTTEN;
use crate::resolve::Installed;

/// The answer to `show` of a table that the control half keeps; `data_plane` are the packet half's counters. Of those that may be long
/// ([`Table::is_long`]) the rows come in portions, by themselves.
pub fn answer(table: Table, control: &Control, now: Instant, data_plane: &Value) -> Value {
    match table {
        Table::MapCache | Table::Peers => json!({}),
        Table::Registrations => json!({ "registrations": registrations(control, now) }),
        Table::Locators => locators(control, now),
        Table::Counters => json!({ "counters": { "control": counted(control), "packets": data_plane } }),
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
    let mut sent = by_address(sent);
    for row in remote.iter_mut() {
        let address = row["address"].as_str().and_then(|address| address.parse().ok());
        if let Some(count) = address.and_then(|address: IpAddr| sent.remove(&address)) {
            add_count(row, &count);
        }
    }
    remote.extend(sent.into_values().map(|count| {
        let state = if count.reachable { "unproven" } else { "down" };
        let mut row = json!({ "address": count.address, "state": state });
        add_count(&mut row, &count);
        row
    }));
}

fn add_count(row: &mut Value, count: &LocatorCount) {
    (row["path_mtu"], row["packets"], row["bytes"]) =
        (json!(count.path_mtu), json!(count.packets), json!(count.octets));
    row["ecn"] = json!(ecn_mode(count.ecn_compatible));
}

/// What was sent to each address. An RTR knows one by as many ways as there are xTRs behind its NAT: of these the narrowest counts, and
/// packets may be sent if one may.
pub(super) fn by_address(sent: &[LocatorCount]) -> BTreeMap<IpAddr, LocatorCount> {
    let mut all = BTreeMap::new();
    for count in sent {
        let nothing = LocatorCount { packets: 0, octets: 0, ..*count };
        let whole: &mut LocatorCount = all.entry(count.address).or_insert(nothing);
        whole.packets += count.packets;
        whole.octets += count.octets;
        whole.path_mtu = whole.path_mtu.min(count.path_mtu);
        whole.reachable |= count.reachable;
    }
    all
}

/// A row of the map-cache.
pub(super) fn mapping(control: &Control, now: Instant, (prefix, installed): (&EidPrefix, &Installed)) -> Value {
    let down = control.down_by_status_bits(prefix, installed);
    let petrs = control.petrs_for(prefix);
    let locator = |(address, locator): &(IpAddr, LocatorRecord)| {
        json!({
            "address": address, "priority": locator.priority, "weight": locator.weight,
            "mpriority": locator.mpriority, "mweight": locator.mweight, "reachable": locator.reachable,
            "usable": locator.reachable && control.is_usable(*address) && !down.contains(address),
            "status_bit": !down.contains(address),
        })
    };
    let mut row = json!({
        "prefix": prefix.to_string(),
        "action": petrs.action_of(installed),
        "map_version": version(installed.map_version),
        "expires": installed.expires.saturating_duration_since(now).as_secs(),
        "secured": installed.secured,
        "locators": petrs.locators_of(installed).iter().map(locator).collect::<Vec<_>>(),
    });
    if control.is_subscribing() {
        row["subscription"] = json!(control.subscription(prefix).map_or("polled", crate::subscribe::State::name));
    }
    row
}

pub(super) fn registrations(control: &Control, now: Instant) -> Vec<Value> {
    let registration = |registration: crate::register::Registration| {
        json!({
            "server": registration.server.to_string(),
            "prefixes": registration.prefixes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "confirmed_ago": registration.confirmed_ago.map(|ago| ago.as_secs()),
            "changing": registration.changing,
            "unanswered": registration.unanswered,
            "last_refused": registration.last_refused.map(|last| refused(last, now)),
            "withdrawing": registration.withdrawing,
            "moved": registration.moved,
            "asks_in": registration.asks_in.map(|time| time.as_secs()),
        })
    };
    control.registrations(now).map(registration).collect()
}

/// An answer that confirmed nothing: `{"reason", "eid", "ago_s"}`; `reason` is the name of its counter, `eid` the EID-prefix that it lacks, null of a wrong tag.
fn refused(last: Refused, now: Instant) -> Value {
    json!({
        "reason": last.refusal.name(),
        "eid": last.prefix.map(|prefix| prefix.to_string()),
        "ago_s": now.saturating_duration_since(last.at).as_secs(),
    })
}

/// Ours, and those of others with what probes have shown.
fn locators(control: &Control, now: Instant) -> Value {
    let database = control.database();
    let locator = |own: &crate::database::OwnLocator| {
        let state = if database.is_reachable(own.address) { "up" } else { "down" };
        json!({
            "address": own.address, "priority": own.priority, "weight": own.weight,
            "mpriority": own.mpriority, "mweight": own.mweight, "state": state,
        })
    };
    let remote = |probed: ProbedLocator| {
        json!({
            "address": probed.address,
            "state": state(probed.standing),
            "from": probed.from,
            "since": probed.since.as_secs(),
            "echo": control.echo_state(probed.address).map(echo),
            "rtt_us": probed.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            "probed_ago": probed.probed_ago.map(|ago| ago.as_secs()),
            "answered_ago": probed.answered_ago.map(|ago| ago.as_secs()),
        })
    };
    let mut shown = json!({
        "prefixes": database.prefixes().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "locators": database.locators().iter().map(locator).collect::<Vec<_>>(),
        "map_version": version(database.map_version()),
        "status_bits": control.status_bits(),
        "remote": control.probed_locators(now).map(remote).collect::<Vec<_>>(),
        "pitr_for": control.pitr_for().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "aggregates": control.aggregates().iter().map(|found| aggregate(found, now)).collect::<Vec<_>>(),
    });
    super::nat::add(&mut shown, control, now);
    shown
}

/// An aggregate that a PITR looks for sites in.
fn aggregate(found: &Aggregate, now: Instant) -> Value {
    json!({
        "prefix": found.prefix.to_string(),
        "sites": found.sites.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "looked_ago": found.since.map(|since| now.saturating_duration_since(since).as_secs()),
        "silent": found.silent,
    })
}

/// The mode that packets to a locator go in (RFC 6040, section 4.3).
pub(super) fn ecn_mode(is_compatible: bool) -> &'static str {
    if is_compatible { "compatibility" } else { "normal" }
}

/// The null version is none (RFC 9302, section 6.1).
fn version(version: MapVersion) -> Option<u16> {
    (version != MapVersion(0)).then_some(version.0)
}

fn echo(state: EchoState) -> &'static str {
    match state {
        EchoState::Incapable => "not-capable",
        EchoState::Idle => "idle",
        EchoState::Requesting => "requesting",
        EchoState::Suspended => "suspended",
        EchoState::Unanswered => "unanswered",
    }
}

/// What was refused, and what else was done.
fn counted(control: &Control) -> Value {
    let refused = control.tally();
    let refused = refused.iter().map(|(refusal, count)| (refusal.name(), count));
    let done = control.counts().named().into_iter().chain(control.subscription_counts().named());
    refused.chain(done).map(|(name, count)| (name.to_owned(), Value::from(count))).collect()
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
        Table::MapCache => map_cache_table(rows),
        Table::Registrations => registrations_table(rows),
        Table::Identities => {
            columns(&["cn", "address", "epoch", "registrar", "ends_s", "last_key_ends_s", "keys"], rows)
        }
        Table::Peers => peers_table(rows, answer.get("dht").and_then(Value::as_array)),
        Table::Locators => {
            let rows = |key: &str| answer.get(key).and_then(Value::as_array);
            let own = ["address", "priority", "weight", "mpriority", "mweight", "state"];
            let own = columns(&own, rows("locators"));
            let echoes = |row: &Value| row.get("echo").is_some_and(Value::is_string);
            let mut names = vec![
                "address",
                "state",
                "since",
                "rtt_us",
                "probed_ago",
                "answered_ago",
                "path_mtu",
                "packets",
                "bytes",
                "from",
            ];
            if rows("remote").into_iter().flatten().any(echoes) {
                names.push("echo");
            }
            if rows("remote").into_iter().flatten().any(|row| row["ecn"] == ecn_mode(true)) {
                names.push("ecn");
            }
            let remote = columns(&names, rows("remote"));
            let (said, pitr) = (said_of_ours(answer), pitr_table(answer));
            let nat = super::nat::text(answer);
            let lacking = rows("lacking").into_iter().flatten().filter_map(Value::as_str);
            let lacking: String = lacking.map(|lack| format!("lacking: {lack}\n")).collect();
            let prefixes = cell(answer.get("prefixes"));
            format!("prefixes: {prefixes}{said}\n{own}\n{lacking}{nat}of others\n{remote}{pitr}")
        }
        Table::Counters => counters(answer.get("counters")),
    }
}

/// Versions and subscriptions have a column where there are some.
fn map_cache_table(rows: Option<&Vec<Value>>) -> String {
    let is_said = |row: &Value, key: &str| row.get(key).is_some_and(|value| !value.is_null());
    let mut rows: Vec<Value> = rows.into_iter().flatten().cloned().collect();
    let [versions, subscriptions] =
        ["map_version", "subscription"].map(|key| rows.iter().any(|row| is_said(row, key)).then_some(key));
    for row in rows.iter_mut().filter(|row| !is_said(row, "map_version")) {
        row["map_version"] = json!("none");
    }
    let names =
        ["prefix", "action", "expires", "secured"].into_iter().chain(versions).chain(["locators"]).chain(subscriptions);
    columns(&names.collect::<Vec<_>>(), Some(&rows))
}

/// Answers that confirmed nothing, and the time to the question whether another xTR has what has moved, in seconds, have a column where
/// there are some; of what has moved nothing is to be confirmed here.
fn registrations_table(rows: Option<&Vec<Value>>) -> String {
    let mut rows: Vec<Value> = rows.into_iter().flatten().cloned().collect();
    let mut names = vec!["server", "prefixes", "state", "confirmed_ago", "unanswered"];
    if rows.iter().any(|row| row["last_refused"].is_object()) {
        names.push("last_refused");
    }
    if rows.iter().any(|row| row["asks_in"].is_u64()) {
        names.push("asks_in");
    }
    for row in &mut rows {
        row["state"] = json!(registration_state(row));
        if row["moved"] == true {
            (row["confirmed_ago"], row["unanswered"]) = (json!("-"), json!("-"));
        }
        if !row["asks_in"].is_u64() {
            row["asks_in"] = json!("-");
        }
        let last = &row["last_refused"];
        row["last_refused"] = match (&last["reason"], &last["eid"]) {
            (Value::Null, _) => json!("-"),
            (reason, Value::Null) => json!(cell(Some(reason))),
            (reason, lacks) => json!(format!("{} ({})", cell(Some(reason)), cell(Some(lacks)))),
        };
    }
    columns(&names, Some(&rows))
}

/// All that [`registration_state`] says.
pub(super) const REGISTRATION_STATES: [&str; 5] = ["changing", "moved", "registered", "unconfirmed", "withdrawing"];

/// In one word, of a row of `show registrations`: `moved` is left to another xTR, `withdrawing` is taken back, of `unconfirmed` no answer
/// has come within the life of a registration (RFC 9301, section 8.2), and what is `changing` was confirmed otherwise than it is now, as with
/// other locators.
pub(super) fn registration_state(row: &Value) -> &'static str {
    let is_held = row["confirmed_ago"].as_u64().is_some_and(|ago| ago < FORGOTTEN.as_secs());
    match (&row["moved"], &row["withdrawing"]) {
        (Value::Bool(true), _) => "moved",
        (_, Value::Bool(true)) => "withdrawing",
        _ if is_held && row["changing"] == true => "changing",
        _ if is_held => "registered",
        _ => "unconfirmed",
    }
}

/// What a PITR leads into the tunnel, and where it looks for more.
fn pitr_table(answer: &Value) -> String {
    let rows = |key: &str| answer.get(key).and_then(Value::as_array).filter(|rows| !rows.is_empty());
    if rows("pitr_for").or(rows("aggregates")).is_none() {
        return String::new();
    }
    let aggregates = columns(&["prefix", "looked_ago", "silent", "sites"], rows("aggregates"));
    format!("\nPITR for: {}\nlooked for in\n{aggregates}", cell(answer.get("pitr_for")))
}

/// What trusted peers are told of our mappings, if anything.
fn said_of_ours(answer: &Value) -> String {
    let number = |key: &str| answer.get(key).and_then(Value::as_u64);
    let version = number("map_version").map(|version| format!("; map-version {version}"));
    let bits = number("status_bits").map(|bits| format!("; status bits {bits:b}"));
    [version, bits].into_iter().flatten().collect()
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
            let (priority, weight) = (part("priority"), part("weight"));
            format!(
                "{},priority={priority},weight={weight}{}{usable}",
                cell(locator.get("address")),
                multicast(locator)
            )
        }
        Some(other) => other.to_string(),
    }
}

/// Of a locator that is for multicast.
fn multicast(locator: &serde_json::Map<String, Value>) -> String {
    let number = |name: &str| locator.get(name).and_then(Value::as_u64);
    match (number("mpriority"), number("mweight")) {
        (Some(priority), Some(weight)) if (priority, weight) != (u64::from(LocatorRecord::UNUSABLE), 0) => {
            format!(",mpriority={priority},mweight={weight}")
        }
        _ => String::new(),
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
            { "prefix": "10.0.0.0/8", "action": "encapsulate", "expires": 60, "secured": true,
              "locators": [{ "address": "192.0.2.1", "priority": 1, "weight": 100, "reachable": true, "usable": false }] },
            { "prefix": "::/1", "action": "natively-forward", "expires": 5, "secured": false, "locators": [] },
        ] });
        let lines: Vec<_> = table(Table::MapCache, &answer).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1],
            "10.0.0.0/8  encapsulate       60       true     192.0.2.1,priority=1,weight=100,unusable"
        );
        assert_eq!(lines[2], "::/1        natively-forward  5        false    -");
    }

    #[test]
    fn what_other_xtrs_have_is_shown_with_when_it_is_looked_into() {
        let row = |moved: bool, asks_in: Option<u64>| json!({ "server": "203.0.113.10", "prefixes": ["10.1.0.0/16"], "confirmed_ago": null, "unanswered": 0, "last_refused": null, "moved": moved, "asks_in": asks_in });
        let show = |rows: &[Value]| table(Table::Registrations, &json!({ "registrations": rows }));
        assert!(!show(&[row(false, None), row(true, None)]).contains("asks_in"));
        let text = show(&[row(false, None), row(true, Some(57)), row(true, None)]);
        let ends = ["asks_in", "0           -", "-           57", "-           -"];
        text.lines().zip(ends).for_each(|(line, end)| assert!(line.trim_end().ends_with(end), "{line}"));
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn answers_that_confirmed_nothing_stand_beside_their_registration() {
        let row = |last: Value| json!({ "server": "203.0.113.10", "prefixes": ["10.1.0.0/16"], "confirmed_ago": null, "unanswered": 3, "last_refused": last });
        let show = |rows: &[Value]| table(Table::Registrations, &json!({ "registrations": rows }));
        assert!(!show(&[row(Value::Null)]).contains("last_refused"));
        let lacking = json!({ "reason": "notify-incomplete", "eid": "10.1.0.0/16", "ago_s": 4 });
        let forged = json!({ "reason": "notify-bad-tag", "eid": null, "ago_s": 4 });
        let text = show(&[row(Value::Null), row(lacking), row(forged)]);
        let ends = ["last_refused", "3           -", "notify-incomplete (10.1.0.0/16)", "3           notify-bad-tag"];
        assert!(text.lines().zip(ends).all(|(line, end)| line.ends_with(end)), "{text}");
    }

    #[test]
    fn registrations_say_whether_they_are_held_taken_back_or_left_to_others() {
        let row = |prefix: &str, ago: Value, withdrawing: bool, moved: bool| {
            json!({ "server": "203.0.113.10", "prefixes": [prefix], "confirmed_ago": ago, "unanswered": 0,
                    "last_refused": null, "withdrawing": withdrawing, "moved": moved, "changing": false })
        };
        let changing = |mut row: Value| {
            row["changing"] = json!(true);
            row
        };
        let rows = [
            row("10.1.0.0/16", json!(179), false, false),
            row("10.2.0.0/16", json!(180), false, false),
            row("10.3.0.0/16", Value::Null, false, false),
            row("10.4.0.0/16", json!(3), true, false),
            row("10.5.0.0/16", Value::Null, false, true),
            changing(row("10.6.0.0/16", json!(3), false, false)),
            changing(row("10.7.0.0/16", Value::Null, false, false)),
            changing(row("10.8.0.0/16", json!(3), true, false)),
        ];
        let text = table(Table::Registrations, &json!({ "registrations": rows }));
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().skip(2).collect()).collect();
        assert_eq!(lines[0], ["state", "confirmed_ago", "unanswered"], "{text}");
        assert_eq!(lines[1], ["registered", "179", "0"], "{text}");
        assert_eq!(lines[2], ["unconfirmed", "180", "0"], "a Map-Server has forgotten it: {text}");
        assert_eq!(lines[3], ["unconfirmed", "never", "0"], "{text}");
        assert_eq!(lines[4], ["withdrawing", "3", "0"], "{text}");
        assert_eq!(lines[5], ["moved", "-", "-"], "nobody is asked to confirm it: {text}");
        assert_eq!(lines[6], ["changing", "3", "0"], "something else was confirmed: {text}");
        assert_eq!(lines[7], ["unconfirmed", "never", "0"], "nothing ever was: {text}");
        assert_eq!(lines[8], ["withdrawing", "3", "0"], "{text}");
    }

    #[test]
    fn locators_that_are_for_multicast_say_so() {
        let locator = |mpriority: u8, mweight: u8| json!({ "address": "192.0.2.1", "priority": 1, "weight": 100, "mpriority": mpriority, "mweight": mweight, "state": "up" });
        let shown = |locator: Value| table(Table::MapCache, &json!({ "map-cache": [{ "locators": [locator] }] }));
        assert!(shown(locator(255, 0)).ends_with("192.0.2.1,priority=1,weight=100"));
        assert!(shown(locator(3, 40)).ends_with("192.0.2.1,priority=1,weight=100,mpriority=3,mweight=40"));
        let text = table(Table::Locators, &json!({ "prefixes": [], "locators": [locator(3, 40)], "remote": [] }));
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["address", "priority", "weight", "mpriority", "mweight", "state"]);
        assert_eq!(lines[2], ["192.0.2.1", "1", "100", "3", "40", "up"]);
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
        let sent = [LocatorCount {
            address,
            reachable: false,
            path_mtu: 1400,
            ecn_compatible: false,
            packets: 7,
            octets: 900,
        }];
        add_sent(Table::Counters, &mut answer, &sent);
        assert_eq!(answer, before);
        add_sent(Table::Locators, &mut answer, &sent);
        let text = table(Table::Locators, &answer);
        let last: Vec<&str> = text.lines().last().unwrap_or_default().split_whitespace().collect();
        assert_eq!(last, ["198.51.100.1", "down", "4", "never", "never", "never", "1400", "7", "900", "never"]);
        assert!(!text.contains("ecn"), "normal mode is nothing to be told: {text}");
        add_sent(Table::Locators, &mut answer, &[LocatorCount { ecn_compatible: true, ..sent[0] }]);
        let text = table(Table::Locators, &answer);
        assert!(text.contains("ecn") && text.ends_with("compatibility"), "{text}");
        let ways = [LocatorCount { path_mtu: 1300, reachable: true, ..sent[0] }, sent[0]];
        add_sent(Table::Locators, &mut answer, &ways);
        let row = &answer["remote"][0];
        assert_eq!((&row["packets"], &row["bytes"], &row["path_mtu"]), (&json!(14), &json!(1800), &json!(1300)));
    }

    #[test]
    fn versions_bits_and_echoes_are_shown_where_they_are_used() {
        let row = |prefix: &str, version: Value| json!({ "prefix": prefix, "action": "drop", "expires": 5, "map_version": version, "locators": [] });
        let answer = json!({ "map-cache": [row("10.0.0.0/8", json!(7)), row("::/1", Value::Null)] });
        let text = table(Table::MapCache, &answer);
        let cells = |line: usize| text.lines().nth(line).unwrap_or_default().split_whitespace().nth(4);
        assert_eq!([cells(0), cells(1), cells(2)], [Some("map_version"), Some("7"), Some("none")]);
        let answer = json!({
            "prefixes": ["10.0.0.0/24"], "locators": [], "map_version": 7, "status_bits": 5,
            "remote": [{ "address": "198.51.100.1", "state": "down", "echo": "unanswered" }],
        });
        let text = table(Table::Locators, &answer);
        assert!(text.contains("map-version 7; status bits 101") && text.contains("unanswered"), "{text}");
    }

    #[test]
    fn what_the_machine_lacks_stands_below_our_own_locators() {
        let mut answer = json!({ "prefixes": [], "locators": [], "remote": [], "lacking": [] });
        assert!(!table(Table::Locators, &answer).contains("lacking"));
        answer["lacking"] = json!(["this machine has no interface x."]);
        let text = table(Table::Locators, &answer);
        assert_eq!(text.lines().nth(2), Some("lacking: this machine has no interface x."), "{text}");
    }

    #[test]
    fn only_what_happened_is_listed() {
        let answer = json!({ "counters": { "control": { "malformed": 2, "reply-unasked": 0 }, "packets": {} } });
        let text = table(Table::Counters, &answer);
        assert!(text.contains("malformed") && !text.contains("reply-unasked"));
    }
}
