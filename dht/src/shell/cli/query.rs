// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht get` and `lisp-dht resolve`.

use std::time::{Instant, SystemTime};

use anyhow::Context as _;
use cgeid::Network;
use program::Json;
use serde_json::{Value, json};
use wire::address::{EidPrefix, InstanceId};

use super::describe::{Answer, lines, visit};
use super::flags::{GetFlags, ResolveFlags};
use super::settings::Settings;
use super::{Failure, Outcome, make_state_folder, output, values};
use crate::record::{Bundle, CertificateCache, Class, RecordKey, Verified, verify};
use crate::resolve::{Anchors, Resolver, Selection, newest};
use crate::shell::node::Node;
use crate::shell::pins::PinsFile;
use crate::shell::{control, lookup, shelf};

/// Why a command that reached no node found nothing.
pub(super) const NOBODY: &str = "no node of --bootstrap answers";

/// Whether a command's node has met anybody.
pub(super) fn is_reached(node: &Node) -> bool {
    node.peer_set().peers > 0
}

/// Looks up a CGEID's record.
pub(super) async fn get(settings: Settings, flags: &GetFlags) -> Result<Outcome, Failure> {
    let network = settings.network()?;
    let cn = values::cgeid(&flags.cgeid, network)?;
    let key = RecordKey::node(network, cn);
    let node = shelf::start_node(settings.client()?, network, None)?;
    let begun = Instant::now();
    let found = lookup::get(&node, network, &key).await?;
    let elapsed = begun.elapsed();
    let reached = is_reached(&node);
    node.shutdown().await;
    let answer = match (found.values.is_empty() && !reached, flags.verify) {
        (true, _) => Answer::not_found(NOBODY),
        (false, true) => select(network, &key, &found.values),
        (false, false) => first_readable(&found.values),
    };
    let cost = lookup::Cost {
        lookups: 1,
        rounds: found.rounds,
        requests: found.requests,
        first: found.first.unwrap_or(elapsed),
    };
    let json = answer.json(&cn.address(network).to_string(), cost, elapsed);
    finish(&flags.file.json, &json)
}

/// The newest of the values that hold.
fn select(network: Network, key: &RecordKey, found: &[Vec<u8>]) -> Answer {
    let bare = |result| Answer { result, record: None, verified: true, more: Vec::new() };
    match newest(network, key, Class::Mapping, found, SystemTime::now(), &mut CertificateCache::new()) {
        Selection::Newest(verified) => {
            let bundle = verified.bundle;
            let withdrawn = bundle.section(Class::Mapping).is_some_and(|section| section.flags.withdrawn);
            let mut answer = Answer { record: Some(bundle), ..bare(if withdrawn { "not-found" } else { "mapping" }) };
            if withdrawn {
                answer.more.push(("why", "withdrawn by its owner".into()));
            }
            answer
        }
        Selection::Absent => without_mapping(network, key, found),
        Selection::Refused(refusal) => Answer::not_found(format!("what was found does not hold: {refusal}")),
        Selection::Revoked => {
            let mut cache = CertificateCache::new();
            let mut held =
                found.iter().filter_map(|value| verify(network, key, value, SystemTime::now(), &mut cache).ok());
            Answer { record: held.find(Verified::is_revoked).map(|verified| verified.bundle), ..bare("revoked") }
        }
        Selection::Conflict => bare("conflict"),
    }
}

/// The newest of what else a node says of itself.
fn without_mapping(network: Network, key: &RecordKey, found: &[Vec<u8>]) -> Answer {
    let mut cache = CertificateCache::new();
    let mut other = [Class::Topology, Class::Service, Class::Identity].into_iter().filter_map(|class| {
        match newest(network, key, class, found, SystemTime::now(), &mut cache) {
            Selection::Newest(verified) => Some(verified.bundle),
            _ => None,
        }
    });
    match other.next() {
        Some(bundle) => {
            Answer { record: Some(bundle), verified: true, ..Answer::not_found("a record without mapping") }
        }
        None => Answer::not_found("no record"),
    }
}

/// What somebody says, believed by nobody.
fn first_readable(found: &[Vec<u8>]) -> Answer {
    match found.iter().find_map(|value| Bundle::decode(value).ok()) {
        Some(bundle) if bundle.revocation().is_some() => {
            Answer { result: "revoked", record: Some(bundle), verified: false, more: Vec::new() }
        }
        Some(bundle) if bundle.mapping().is_some() => {
            Answer { result: "mapping", record: Some(bundle), verified: false, more: Vec::new() }
        }
        Some(bundle) => Answer { record: Some(bundle), ..Answer::not_found("a record without mapping") },
        None => Answer::not_found("no record"),
    }
}

/// Resolves an EID: with a node of its own, or, when no bootstrap is given, with the daemon's.
pub(super) async fn resolve(settings: Settings, flags: &ResolveFlags) -> Result<Outcome, Failure> {
    let json = match settings.control() {
        Some(path) if settings.bootstrap.is_empty() => {
            let iid = settings.instance()?.0;
            let question = json!({ "resolve": flags.eid.to_string(), "iid": iid });
            control::ask(&path, &question).map_err(Failure::NoAnswer)?
        }
        _ => {
            let network = settings.network()?;
            let client = settings.client()?;
            let (mut resolver, pins) = resolver(&settings, "resolve.pins")?;
            let node = shelf::start_node(client, network, None)?;
            let answer = resolve_with(&node, &mut resolver, &flags.eid.to_string(), settings.instance()?).await;
            let reached = is_reached(&node);
            node.shutdown().await;
            let mut answer = answer?;
            if let Some(file) = pins {
                file.save(&mut resolver.pins).map_err(|error| Failure::Lacking(error.into()))?;
            }
            // Without a trust anchor nobody was asked.
            if !reached && answer["lookups"] != 0 {
                answer["why"] = NOBODY.into();
            }
            answer
        }
    };
    finish(&flags.file.json, &json)
}

/// A resolver, and the file in the state folder that keeps the keys that it has seen.
pub(super) fn resolver(settings: &Settings, file: &str) -> Result<(Resolver, Option<PinsFile>), Failure> {
    let mut resolver = Resolver::new(settings.network()?, Anchors::new(settings.trust_anchors()?));
    let Some(folder) = &settings.state_dir else { return Ok((resolver, None)) };
    make_state_folder(folder)?;
    let path = folder.join(file);
    let opened = PinsFile::open(&path).with_context(|| path.display().to_string());
    let (file, pins) = opened.map_err(Failure::Lacking)?;
    resolver.pins = pins;
    Ok((resolver, Some(file)))
}

/// One resolution through a running node, as JSON; also the daemon's answer at its control socket.
pub(super) async fn resolve_with(
    node: &Node,
    resolver: &mut Resolver,
    eid: &str,
    iid: InstanceId,
) -> anyhow::Result<Value> {
    let address = eid.parse().with_context(|| format!("{eid:?} is not an address"))?;
    let begun = Instant::now();
    let (resolution, cost) = lookup::resolve(node, resolver, EidPrefix::host(iid, address)).await?;
    let answer = resolution.outcome().map_or_else(|| Answer::not_found("no record"), Answer::of);
    let mut json = answer.json(eid, cost, begun.elapsed());
    json["iid"] = iid.0.into();
    json["pages"] = resolution.visited().iter().map(visit).collect();
    Ok(json)
}

fn finish(json: &Json, answer: &Value) -> Result<Outcome, Failure> {
    output::show(json, answer, &lines(answer))?;
    let held = answer.get("result").and_then(Value::as_str) == Some("mapping");
    Ok(if held { Outcome::Held } else { Outcome::DidNot })
}
