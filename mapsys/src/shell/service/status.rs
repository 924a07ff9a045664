// SPDX-License-Identifier: GPL-2.0-or-later
//! What `show` shows, as JSON.

use std::time::{Instant, SystemTime};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use wire::record::LocatorRecord;

use crate::engine::Engine;
use crate::register::registration::Registration;
use crate::register::site::LispSec;
use crate::shell::identity::{KeyState, Remaining};

/// A question to the running engine, and where its answer goes.
pub(super) type Question = (String, oneshot::Sender<Option<Value>>);

/// Asks the running map system what it is doing.
#[derive(Debug, Clone)]
pub struct Status {
    questions: mpsc::Sender<Question>,
}

impl Status {
    pub(super) fn new(questions: mpsc::Sender<Question>) -> Self {
        Self { questions }
    }

    /// `sites`, `registrations`, `identities`, `counters` or `peers`; `None` for anything else, or when the service has ended.
    pub async fn show(&self, what: &str) -> Option<Value> {
        let (answer, answered) = oneshot::channel();
        self.questions.send((what.to_owned(), answer)).await.ok()?;
        answered.await.ok()?
    }
}

/// The sites: `[{"site", "prefixes", "legacy", "registered", "lisp_sec"}]`; the last is `optional` or `required`.
pub(super) fn sites(engine: &Engine) -> Value {
    let server = engine.server();
    let sites = server.sites().iter().map(|(id, site)| {
        let registered = server.registrations().iter().filter(|(_, registration)| registration.site == id).count();
        let prefixes: Vec<String> = site.prefixes.iter().map(|p| p.prefix.to_string()).collect();
        let lisp_sec = match site.lisp_sec {
            LispSec::Optional => "optional",
            LispSec::Required => "required",
        };
        json!({
            "site": site.name,
            "prefixes": prefixes,
            "legacy": site.legacy,
            "registered": registered,
            "lisp_sec": lisp_sec,
        })
    });
    Value::Array(sites.collect())
}

/// The identities: `[{"cn", "address", "epoch", "ends_s", "registrar", "last_key_ends_s", "keys"}]`. `ends_s` is the rest of
/// the operational key's life; `last_key_ends_s` that of the last key signed ahead, null where there are no such files;
/// `keys` says `ok`, `ends-soon` (within a week) or `ended`.
pub(super) fn identities(engine: &Engine, states: &[KeyState], now: SystemTime) -> Value {
    let one = |(index, key): (usize, &cgeid::OperationalKey)| {
        let left = |end: SystemTime| end.duration_since(now).unwrap_or_default().as_secs();
        let end = key.certificate().not_after();
        let state = states.iter().find(|state| state.cn == key.cn());
        let alone = if end <= now { Remaining::Ended } else { Remaining::Enough };
        json!({
            "cn": key.cn().to_string(),
            "address": key.address(),
            "epoch": key.epoch(),
            "ends_s": left(end),
            "registrar": index == 0,
            "last_key_ends_s": state.and_then(|state| state.covered).map(left),
            "keys": state.map_or(alone, |state| state.remaining(now)).name(),
        })
    };
    Value::Array(engine.identities().enumerate().map(one).collect())
}

/// The registrations: `[{"prefix", "site", "proxy", "ttl_minutes", "expires_s", "published", "locators",
/// "lisp_sec"}]`; the last says whether all its xTRs do LISP-SEC.
pub(super) fn registrations(engine: &Engine, now: Instant) -> Value {
    let server = engine.server();
    let one = |(prefix, registration): (wire::address::EidPrefix, &Registration)| {
        let merged = registration.merged();
        let sources: Vec<String> = registration
            .parts()
            .map(|part| part.source.map_or_else(|| "pipe".to_owned(), |source| source.to_string()))
            .collect();
        json!({
            "prefix": prefix.to_string(),
            "site": server.sites().get(registration.site).name,
            "proxy": merged.proxy,
            "ttl_minutes": merged.ttl.0,
            "expires_s": registration.remaining(now).as_secs(),
            "published": engine.is_published(&prefix),
            "from": sources,
            "locators": merged.locators.iter().map(locator).collect::<Vec<_>>(),
            "lisp_sec": registration.parts().all(|part| part.security),
        })
    };
    Value::Array(server.registrations().iter().map(one).collect())
}

fn locator(record: &LocatorRecord) -> Value {
    json!({
        "address": record.rloc.ip().map(|ip| ip.to_string()),
        "priority": record.priority,
        "weight": record.weight,
        "reachable": record.reachable,
    })
}

/// The counters: refusals by name, and the sizes of the tables.
pub(super) fn counters(engine: &Engine, dropped: u64, dht: Option<Value>) -> Value {
    let refusals: serde_json::Map<String, Value> =
        engine.tally().iter().map(|(refusal, count)| (refusal.name().to_owned(), json!(count))).collect();
    json!({
        "refusals": refusals,
        "dropped_busy": dropped,
        "registrations": engine.server().registrations().len(),
        "cached_answers": engine.cached(),
        "dht": dht,
    })
}
