// SPDX-License-Identifier: GPL-2.0-or-later
//! What of NATs is set up at the start, and shown by a running node.

use std::time::Instant;

use serde_json::{Value, json};
use wire::control::XtrIdentity;

use super::clock;
use super::show::columns;
use super::{Failure, state};
use crate::config::{Config, Mapping, NatSetting, ServerAddress};
use crate::engine::Control;
use crate::nat::natted::{self, Mode, Standing};
use crate::nat::rtr;

/// What Map-Servers elsewhere are told of this xTR: one behind a NAT must name itself (draft-ermagan-lisp-nat-traversal, section
/// 5.1.1).
pub(super) fn identity(config: &Config, identity: impl Fn(u64) -> XtrIdentity) -> Option<XtrIdentity> {
    let needed = (config.nat.behind != NatSetting::Off).then_some(0);
    config.site_id.or(needed).map(identity)
}

/// The control half of a node that is an RTR, or may be behind a NAT.
pub(super) fn with_nat(control: Control, config: &Config) -> Result<Control, Failure> {
    let Mapping::Elsewhere { servers, .. } = &config.mapping else { return Ok(control) };
    let mode = match config.nat.behind {
        _ if config.nat.rtr => {
            let server = |one: &ServerAddress| rtr::Server { address: one.address, key: one.key.clone() };
            return Ok(control.as_rtr(rtr::Config { servers: servers.iter().map(server).collect(), iid: config.iid }));
        }
        NatSetting::Off => return Ok(control),
        NatSetting::Auto => Mode::Auto,
        NatSetting::On => Mode::On,
    };
    let Some(eid) = config.eid_prefixes.first().copied() else { return Ok(control) };
    let server = |one: &ServerAddress| natted::Server { address: one.address, key: one.key.clone(), tag: one.tag };
    let servers = servers.iter().map(server).collect();
    let natted = natted::Config { mode, rtrs: config.nat.rtrs.clone(), servers, eid };
    Ok(control.behind_nat(clock::now(), natted, config.iid, state::random()?))
}

/// Adds to `show locators` how this node is seen, and what it relays.
pub(super) fn add(shown: &mut Value, control: &Control, now: Instant) {
    if let Some(natted) = control.natted() {
        let (standing, rtrs) = match natted.standing() {
            Standing::Unknown => ("unknown", Vec::new()),
            Standing::Direct => ("direct", Vec::new()),
            Standing::Behind(ways) => ("behind", ways.iter().map(|way| way.rtr).collect()),
        };
        let seen = natted
            .seen()
            .map(|(by, seen, from)| json!({ "by": by, "address": seen.ip(), "port": seen.port(), "from": from }));
        shown["nat"] = json!({ "state": standing, "rtrs": rtrs, "seen": seen.collect::<Vec<_>>() });
    }
    if let Some(rtr) = control.rtr() {
        let bound = |bound: &rtr::Bound| {
            json!({
                "prefix": bound.prefix.to_string(),
                "address": bound.at.ip(),
                "port": bound.at.port(),
                "local": bound.local,
                "private": bound.private,
                "expires": bound.expires.saturating_duration_since(now).as_secs(),
            })
        };
        shown["relayed"] = rtr.bound().map(bound).collect();
    }
}

/// The same for people; nothing of a node that has nothing to do with NATs.
pub(super) fn text(shown: &Value) -> String {
    let mut text = String::new();
    if let Some(nat) = shown.get("nat").and_then(Value::as_object) {
        let word = |name: &str| nat.get(name).and_then(Value::as_str).unwrap_or_default();
        let rows = |name: &str| nat.get(name).and_then(Value::as_array);
        let rtrs: Vec<_> = rows("rtrs").into_iter().flatten().filter_map(Value::as_str).collect();
        let rtrs = if rtrs.is_empty() { String::new() } else { format!(", reached through {}", rtrs.join(" ")) };
        let seen = columns(&["by", "address", "port", "from"], rows("seen"));
        text += &format!("NAT: {}{rtrs}; as it is seen\n{seen}\n", word("state"));
    }
    if let Some(relayed) = shown.get("relayed").and_then(Value::as_array) {
        let names = ["prefix", "address", "port", "local", "private", "expires"];
        text += &format!("relayed\n{}\n", columns(&names, Some(relayed)));
    }
    text
}
