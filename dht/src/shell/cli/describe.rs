// SPDX-License-Identifier: GPL-2.0-or-later
//! Records and outcomes as JSON and as lines.

use serde_json::{Map, Value, json};

use super::describe_node::{node_lines, service_json, topology_json};
use crate::record::{Body, Bundle, Class, Mapping, Section, Subject, Target};
use crate::resolve::{Outcome, Visit};
use crate::shell::lookup::Cost;

/// What a lookup came to.
#[derive(Debug)]
pub(super) struct Answer {
    /// `mapping`, `hole`, `not-found`, `revoked` or `conflict`.
    pub(super) result: &'static str,
    /// The bundle that says so.
    pub(super) record: Option<Bundle>,
    /// Whether signatures were checked and hold.
    pub(super) verified: bool,
    /// What else there is to say, by name.
    pub(super) more: Vec<(&'static str, Value)>,
}

impl Answer {
    /// Nothing was found, and why.
    pub(super) fn not_found(why: impl ToString) -> Self {
        Self { result: "not-found", record: None, verified: false, more: vec![("why", why.to_string().into())] }
    }

    /// The outcome of a resolution. What it proves by signed pages counts as verified.
    pub(super) fn of(outcome: &Outcome) -> Self {
        let bare = |result, verified| Self { result, record: None, verified, more: Vec::new() };
        match outcome {
            Outcome::Mapping(found) => Self {
                result: "mapping",
                record: Bundle::decode(&found.record).ok(),
                verified: true,
                more: vec![
                    ("prefix", found.prefix.to_string().into()),
                    ("covered", found.covered.to_string().into()),
                    ("writer", found.writer.to_string().into()),
                    ("alternates", found.alternates.iter().map(ToString::to_string).collect()),
                    ("mapping", mapping_json(&found.mapping)),
                ],
            },
            Outcome::Hole { prefix } => {
                Self { more: vec![("prefix", prefix.to_string().into())], ..bare("hole", true) }
            }
            Outcome::Unanchored { prefix } => Self {
                more: vec![("prefix", prefix.to_string().into()), ("why", "no trust anchor covers it".into())],
                ..bare("not-found", false)
            },
            Outcome::Unregistered { prefix } => Self {
                more: vec![("prefix", prefix.to_string().into()), ("why", "its site has registered nothing".into())],
                ..bare("not-found", true)
            },
            Outcome::NotFound => Self::not_found("no record"),
            Outcome::Revoked => bare("revoked", true),
            Outcome::Conflict => bare("conflict", true),
            Outcome::Failed(failure) => Self::not_found(failure),
        }
    }

    /// The JSON of INTERFACES, with what else there is to say.
    pub(super) fn json(&self, eid: &str, cost: Cost, elapsed: std::time::Duration) -> Value {
        let mut object = Map::new();
        object.insert("eid".to_owned(), eid.into());
        object.insert("result".to_owned(), self.result.into());
        object.insert("record".to_owned(), self.record.as_ref().map_or(Value::Null, bundle));
        object.insert("verified".to_owned(), self.verified.into());
        object.insert("lookups".to_owned(), cost.lookups.into());
        object.insert("rounds".to_owned(), cost.rounds.into());
        object.insert("requests".to_owned(), cost.requests.into());
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        object.insert("first_us".to_owned(), micros(cost.first).into());
        object.insert("elapsed_us".to_owned(), micros(elapsed).into());
        for (name, value) in &self.more {
            object.insert((*name).to_owned(), value.clone());
        }
        Value::Object(object)
    }
}

/// The lines for people of an answer in JSON, which may have come from a daemon.
pub(super) fn lines(answer: &Value) -> Vec<String> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut lines = vec![format!("{}: {}", text("eid"), text("result"))];
    for name in ["prefix", "covered", "writer", "why"] {
        if !text(name).is_empty() {
            lines.push(format!("  {name:<10} {}", text(name)));
        }
    }
    let verified = answer.get("verified").and_then(Value::as_bool).unwrap_or_default();
    for page in answer.get("pages").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| page.get(name).and_then(Value::as_str).unwrap_or_default();
        lines.push(format!("  page       {} of {}", text("prefix"), text("writer")));
    }
    lines.push(format!("  verified   {}", if verified { "yes" } else { "no" }));
    let sections = answer.pointer("/record/sections").and_then(Value::as_array);
    let reasons = sections.into_iter().flatten().filter_map(|section| section.pointer("/body/reason")?.as_str());
    lines.extend(reasons.map(|reason| format!("  reason     {reason}")));
    let bodies = || sections.into_iter().flatten().filter_map(|section| section.get("body"));
    // Of a resolution all locators, of a record those in it.
    let whole = answer.pointer("/mapping/locators").and_then(Value::as_array);
    let own = || bodies().filter_map(|body| body.get("locators")?.as_array()).flatten();
    let locators: Vec<&Value> = whole.map_or_else(|| own().collect(), |locators| locators.iter().collect());
    for locator in locators {
        let address = locator.get("address").and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| locator.get(name).and_then(Value::as_u64).unwrap_or_default();
        lines.push(format!("  locator    {address} priority {} weight {}", number("priority"), number("weight")));
    }
    lines.extend(bodies().flat_map(node_lines));
    let micros = answer.get("elapsed_us").and_then(Value::as_u64).unwrap_or_default();
    let lookups = answer.get("lookups").and_then(Value::as_u64).unwrap_or_default();
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (rounds, requests) = (number("rounds"), number("requests"));
    lines.push(format!("  {lookups} lookup(s), {rounds} round(s), {requests} request(s), in {micros} us"));
    lines
}

/// A bundle.
fn bundle(bundle: &Bundle) -> Value {
    json!({ "sections": bundle.sections().iter().map(section).collect::<Vec<_>>() })
}

fn section(section: &Section) -> Value {
    let seconds =
        |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({
        "class": format!("{:?}", section.class()).to_lowercase(),
        "cn": section.cn.to_string(),
        "epoch": section.version.epoch,
        "sequence": section.version.sequence,
        // A REVOCATION is kept from PUT to PUT.
        "expires": (section.class() != Class::Revocation).then(|| seconds(section.expires_at())),
        "withdrawn": section.flags.withdrawn,
        "signed_by": if section.flags.by_identity { "identity" } else { "operational" },
        "body": body(&section.body),
    })
}

fn body(body: &Body) -> Value {
    match body {
        Body::Identity(identity) => json!({
            "certificate_bytes": identity.certificate.len(),
            "operational_certificates": identity.operational.len(),
        }),
        Body::Mapping(mapping) => mapping_json(mapping),
        Body::Prefix(prefix) => {
            let mut value = mapping_json(&prefix.mapping);
            value["prefix"] = prefix.prefix.to_string().into();
            value["proxy"] = prefix.site.proxy.into();
            value["map_servers"] = prefix.map_servers.iter().map(ToString::to_string).collect();
            value
        }
        Body::Index(index) => json!({
            "prefix": index.covering().to_string(),
            "entries": index.entries().iter().map(|entry| target(entry.prefix.to_string(), &entry.target)).collect::<Vec<_>>(),
        }),
        Body::Revocation(revocation) => json!({
            "reason": revocation.reason.to_string(),
            "certificate_bytes": revocation.certificate.len(),
        }),
        Body::Topology(topology) => topology_json(topology),
        Body::Service(service) => service_json(service),
    }
}

fn mapping_json(mapping: &Mapping) -> Value {
    let locators: Vec<Value> = mapping
        .locators
        .iter()
        .map(|locator| {
            json!({
                "address": locator.address.to_string(),
                "port": locator.port,
                "priority": locator.priority,
                "weight": locator.weight,
                "reachable": locator.flags.reachable,
            })
        })
        .collect();
    json!({ "locators": locators, "ttl_minutes": mapping.ttl.0 })
}

/// An index page on the way to an answer.
pub(super) fn visit(visit: &Visit) -> Value {
    let prefix = match visit.key.subject {
        Subject::Index(prefix) => prefix.to_string(),
        // Cannot be: only index pages are visited.
        Subject::Node | Subject::Prefix(_) => String::new(),
    };
    json!({
        "prefix": prefix,
        "writer": visit.key.writer.to_string(),
        "epoch": visit.version.epoch,
        "sequence": visit.version.sequence,
        "cached": visit.cached,
    })
}

/// An entry of an index page.
pub(super) fn target(prefix: String, target: &Target) -> Value {
    match target {
        Target::Site { registrars, max_plen } => json!({
            "prefix": prefix,
            "registrars": registrars.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "max_plen": max_plen,
        }),
        Target::Delegation { child, lowest } => {
            json!({ "prefix": prefix, "child": child.to_string(), "lowest": lowest })
        }
        Target::Page { lowest } => json!({ "prefix": prefix, "page": true, "lowest": lowest }),
    }
}
