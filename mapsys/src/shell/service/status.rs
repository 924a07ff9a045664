// SPDX-License-Identifier: GPL-2.0-or-later
//! What `show` shows, as JSON; long lists in parts, between which the engine does its work.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use dht::shell::node::{Node, NodeStats};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use wire::address::EidPrefix;
use wire::record::LocatorRecord;

use crate::engine::Engine;
use crate::refusal::Served;
use crate::register::label::{AnyEid, Kind, Label};
use crate::register::refused::Refused;
use crate::register::registration::Registration;
use crate::register::site::LispSec;
use crate::shell::identity::{KeyState, Remaining};
use crate::subscribe::subscription::{Mode, Subscription, SubscriptionKey};

/// Rows of a part: half a millisecond of the thread that answers Map-Requests.
const ROWS: usize = 128;

/// A question to the running engine, and where its answer goes.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) what: String,
    pub(super) from: Cursor,
    /// What the DHT node says: whoever asks has asked it before, so that the engine does not wait for it.
    pub(super) stats: Option<NodeStats>,
    pub(super) answer: oneshot::Sender<Option<Part>>,
}

/// Where a part of a list begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cursor {
    /// At the beginning.
    Start,
    /// After this registration.
    After(EidPrefix),
    /// After this name, MAC address or pair; these come behind the prefixes.
    AfterLabel(Label),
    /// At the site of this number.
    Site(usize),
    /// After this subscription.
    AfterSubscription(SubscriptionKey),
}

/// A part of an answer.
#[derive(Debug)]
pub(super) struct Part {
    value: Value,
    next: Option<Cursor>,
}

impl Part {
    /// All of it.
    pub(super) fn whole(value: Value) -> Self {
        Self { value, next: None }
    }
}

/// Asks the running map system what it is doing.
#[derive(Debug, Clone)]
pub struct Status {
    questions: mpsc::Sender<Question>,
    node: Node,
}

impl Status {
    pub(super) fn new(questions: mpsc::Sender<Question>, node: Node) -> Self {
        Self { questions, node }
    }

    /// Whether the engine takes its turns.
    pub async fn is_alive(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let question = Question { what: String::new(), from: Cursor::Start, stats: None, answer };
        self.questions.send(question).await.is_ok() && answered.await.is_ok()
    }

    /// `sites`, `registrations`, `subscriptions`, `identities`, `counters` or `peers`; `None` for anything else, or when the service has ended.
    pub async fn show(&self, what: &str) -> Option<Value> {
        let mut parts = self.parts(what);
        let mut whole = parts.next().await?;
        while let Some(more) = parts.next().await {
            if let (Value::Array(rows), Value::Array(more)) = (&mut whole, more) {
                rows.extend(more);
            }
        }
        Some(whole)
    }

    /// The same in parts: of a list some rows each. A list that changes meanwhile is shown as it is when its turn comes.
    pub fn parts(&self, what: &str) -> Parts {
        Parts { status: self.clone(), what: what.to_owned(), next: Some(Cursor::Start) }
    }

    async fn ask(&self, what: &str, from: Cursor) -> Option<Part> {
        let stats = match what {
            "counters" | "peers" => self.node.stats().await.ok(),
            _ => None,
        };
        let (answer, answered) = oneshot::channel();
        self.questions.send(Question { what: what.to_owned(), from, stats, answer }).await.ok()?;
        answered.await.ok()?
    }
}

/// What is left of an answer.
#[derive(Debug)]
pub struct Parts {
    status: Status,
    what: String,
    next: Option<Cursor>,
}

impl Parts {
    /// The next part; `None` after the last, and when the service has ended.
    pub async fn next(&mut self) -> Option<Value> {
        let Part { value, next } = self.status.ask(&self.what, self.next.take()?).await?;
        self.next = next;
        Some(value)
    }

    /// Whether there is more.
    pub fn goes_on(&self) -> bool {
        self.next.is_some()
    }
}

/// The sites: `[{"site", "prefixes", "names", "macs", "multicast", "source_dest", "legacy", "registered", "lisp_sec", "last_refused"}]`;
/// `lisp_sec` is `optional` or `required`, `last_refused` what [`refused`] says.
pub(super) fn sites(engine: &Engine, now: Instant, from: Cursor) -> Part {
    let server = engine.server();
    let first = if let Cursor::Site(number) = from { number } else { 0 };
    let sites = server.sites().iter().skip(first).take(ROWS).map(|(id, site)| {
        let registered = server.registrations().of_site(id) + server.labels().of_site(id);
        let prefixes: Vec<String> = site.prefixes.iter().map(|p| p.prefix.to_string()).collect();
        let labels = |kind| -> Vec<String> {
            site.labels.iter().filter(|rule| rule.label.kind() == kind).map(ToString::to_string).collect()
        };
        let lisp_sec = match site.lisp_sec {
            LispSec::Optional => "optional",
            LispSec::Required => "required",
        };
        json!({
            "site": site.name,
            "prefixes": prefixes,
            "names": labels(Kind::Name),
            "macs": labels(Kind::Mac),
            "multicast": labels(Kind::Multicast),
            "source_dest": labels(Kind::SourceDest),
            "legacy": site.legacy,
            "registered": registered,
            "lisp_sec": lisp_sec,
            "last_refused": server.last_refused(id).map(|last| refused(last, now)),
        })
    });
    let sites: Vec<Value> = sites.collect();
    let next = (sites.len() == ROWS).then_some(Cursor::Site(first + ROWS));
    Part { value: Value::Array(sites), next }
}

/// The last Map-Register that was refused: `{"reason", "eid", "from", "relayed_for", "ago_s"}`; `reason` is the name of its counter,
/// `relayed_for` the xTR behind a NAT if an RTR sent it. Null if there was none.
fn refused(last: &Refused, now: Instant) -> Value {
    json!({
        "reason": last.refusal.name(),
        "eid": last.eid.map(|eid| eid.to_string()),
        "from": last.from.to_string(),
        "relayed_for": last.relayed_for,
        "ago_s": now.saturating_duration_since(last.at).as_secs(),
    })
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

/// The registrations: `[{"prefix", "kind", "site", "proxy", "ttl_minutes", "expires_s", "published", "locators",
/// "lisp_sec"}]`; `kind` is `prefix`, `name`, `mac`, `multicast` or `source-dest`, and the last says whether all its xTRs do LISP-SEC.
pub(super) fn registrations(engine: &Engine, now: Instant, from: Cursor) -> Part {
    let server = engine.server();
    let mut shown: Vec<(AnyEid, &Registration)> = Vec::new();
    if !matches!(from, Cursor::AfterLabel(_)) {
        let after = if let Cursor::After(prefix) = &from { Some(prefix) } else { None };
        let prefixes = server.registrations().after(after).take(ROWS);
        shown.extend(prefixes.map(|(prefix, registration)| (prefix.into(), registration)));
    }
    let after = if let Cursor::AfterLabel(label) = &from { Some(label) } else { None };
    let labels = server.labels().after(after).take(ROWS - shown.len());
    shown.extend(labels.map(|(label, registration)| (label.into(), registration)));
    let next = shown.last().filter(|_| shown.len() == ROWS).map(|(eid, _)| match eid {
        AnyEid::Prefix(prefix) => Cursor::After(*prefix),
        AnyEid::Label(label) => Cursor::AfterLabel(*label),
    });
    let rows = shown.into_iter().map(|(eid, registration)| row(engine, now, eid, registration));
    Part { value: Value::Array(rows.collect()), next }
}

fn row(engine: &Engine, now: Instant, eid: AnyEid, registration: &Registration) -> Value {
    let merged = registration.merged();
    let sources: Vec<String> = registration
        .parts()
        .map(|part| part.source.map_or_else(|| "pipe".to_owned(), |source| SocketAddr::from(source).to_string()))
        .collect();
    let (kind, is_published) = match eid {
        AnyEid::Prefix(prefix) => ("prefix", engine.is_published(&prefix)),
        AnyEid::Label(label) => (label.kind().name(), false),
    };
    json!({
        "prefix": eid.to_string(),
        "kind": kind,
        "site": engine.server().sites().get(registration.site).name,
        "proxy": merged.proxy,
        "ttl_minutes": merged.ttl.0,
        "expires_s": registration.remaining(now).as_secs(),
        "published": is_published,
        "from": sources,
        "locators": merged.locators.iter().map(locator).collect::<Vec<_>>(),
        "lisp_sec": registration.parts().all(|part| part.security),
    })
}

fn locator(record: &LocatorRecord) -> Value {
    json!({
        "address": record.rloc.to_string(),
        "priority": record.priority,
        "weight": record.weight,
        "reachable": record.reachable,
    })
}

/// The subscriptions: `[{"prefix", "subscriber", "xtr_id", "site_id", "state", "proven", "nonce", "temporary_s", "from", "silent",
/// "configured", "itr_rlocs"}]`. `state` is `publish` or `mute`; `proven` whether the xTR has acknowledged it; `temporary_s` the rest of its life
/// where nothing is registered, else null; `from` is `site` or `dht`; `configured` whether the operator has made it.
pub(super) fn subscriptions(engine: &Engine, now: Instant, from: Cursor) -> Part {
    let subscriptions = engine.subscriptions();
    let after = if let Cursor::AfterSubscription(key) = from { Some(key) } else { None };
    // Of those that are gone the nonce is remembered: they are looked at, so they count, and are not shown.
    let seen: Vec<_> = subscriptions.after(after).take(ROWS).collect();
    let next = seen.last().filter(|_| seen.len() == ROWS).map(|(key, _)| Cursor::AfterSubscription(*key));
    let live = seen.into_iter().filter(|(_, subscription)| subscription.mode() != Mode::Gone);
    let one = |(key, subscription): (SubscriptionKey, &Subscription)| {
        let ways = subscription.agreement().map(|agreement| agreement.ways.as_slice()).unwrap_or_default();
        json!({
            "prefix": key.prefix.to_string(),
            "subscriber": subscriptions.subscriber(&key.xtr).map(|subscriber| subscriber.name.as_str()),
            "xtr_id": key.xtr.xtr_id.iter().map(|octet| format!("{octet:02x}")).collect::<String>(),
            "site_id": key.xtr.site_id,
            "state": subscription.mode(),
            "proven": subscription.asked.is_none(),
            "nonce": subscription.last_nonce(),
            "temporary_s": subscription.until.map(|until| until.saturating_duration_since(now).as_secs()),
            "from": if subscription.is_foreign { "dht" } else { "site" },
            "silent": subscription.silent_since.is_some(),
            "configured": subscription.is_configured,
            "itr_rlocs": ways.iter().map(|way| way.remote.to_string()).collect::<Vec<_>>(),
        })
    };
    Part { value: Value::Array(live.map(one).collect()), next }
}

/// Of [`counters`], what is there now; all else was counted since the start.
pub const SIZES: &[&str] = &[
    "registrations",
    "registered_names_and_macs",
    "registered_pairs",
    "cached_answers",
    "subscriptions",
    "publications_queued",
    "publications_unacknowledged",
    "ddt_searches",
    "ddt_referrals_cached",
    "ddt_keys_revoked",
    "disk_failing",
];

/// The counters: refusals by name, what was done, and the sizes of the tables.
pub(super) fn counters(engine: &Engine, dropped: u64, dht: Option<Value>) -> Value {
    let refusals: serde_json::Map<String, Value> =
        engine.tally().iter().map(|(refusal, count)| (refusal.name().to_owned(), json!(count))).collect();
    let labels = engine.server().labels();
    let mut all = json!({
        "refusals": refusals,
        "dropped_busy": dropped,
        "registrations": engine.server().registrations().len(),
        "registered_names_and_macs": labels.len() - labels.pairs(),
        "registered_pairs": labels.pairs(),
        "cached_answers": engine.cached(),
        "subscriptions": engine.subscriptions().len(),
        "publications": engine.subscriptions().published(),
        "publications_queued": engine.subscriptions().waiting().0,
        "publications_unacknowledged": engine.subscriptions().waiting().1,
        "ddt_searches": engine.ddt().searches,
        "ddt_referrals_cached": engine.ddt().cached,
        "ddt_keys_revoked": engine.ddt().revoked,
        "ddt_requests_sent": engine.ddt().requests,
        "ddt_referrals_sent": engine.ddt().referrals,
        "foreign_forwarded": engine.ddt().forwarded,
        "dht": dht,
    });
    for served in Served::ALL {
        all[served.name()] = engine.tally().served(served).into();
    }
    all
}
