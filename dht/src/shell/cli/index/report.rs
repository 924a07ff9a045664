// SPDX-License-Identifier: GPL-2.0-or-later
//! What an authority's pages are and what became of them, as JSON and as lines.

use std::time::Duration;

use serde_json::{Value, json};
use wire::address::EidPrefix;

use super::super::describe::target;
use super::super::query::NOBODY;
use super::put::Puts;
use crate::index::{Plan, PlannedPage, Round, Status};
use crate::shell::node::PutReport;

/// The pages of a plan, with what they list.
pub(super) fn plan(covering: &EidPrefix, plan: &Plan) -> (Value, Vec<String>) {
    // From the top down, as readers go.
    let pages: Vec<Value> = plan.pages().iter().rev().map(page_with_entries).collect();
    let mut lines = vec![format!("{covering}: {} page(s) in {} level(s)", plan.pages().len(), plan.levels())];
    for page in plan.pages().iter().rev() {
        let PlannedPage { covering, depth, octets, entries } = page;
        lines.push(format!("page {covering}  depth {depth}, {} entries, {octets} octets", entries.len()));
        for entry in entries {
            lines.push(format!("  {}", entry_line(&target(entry.prefix.to_string(), &entry.target))));
        }
    }
    let value = json!({
        "eid": covering.to_string(),
        "result": "dry-run",
        "levels": plan.levels(),
        "pages": pages,
    });
    (value, lines)
}

fn page_with_entries(page: &PlannedPage) -> Value {
    let entries: Vec<Value> =
        page.entries.iter().map(|entry| target(entry.prefix.to_string(), &entry.target)).collect();
    json!({
        "prefix": page.covering.to_string(),
        "depth": page.depth,
        "octets": page.octets,
        "entries": entries,
    })
}

fn entry_line(entry: &Value) -> String {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let registrars = entry.get("registrars").and_then(Value::as_array).into_iter().flatten();
    let registrars: Vec<&str> = registrars.filter_map(Value::as_str).collect();
    match (registrars.is_empty(), text("child")) {
        (false, _) => format!("site  {} {} max-plen {}", text("prefix"), registrars.join("+"), entry["max_plen"]),
        (true, "") => format!("page  {}", text("prefix")),
        (true, child) => format!("child {} {child}", text("prefix")),
    }
}

/// What became of a round.
pub(super) fn round(round: &Round, puts: &Puts, is_reached: bool, elapsed: Duration) -> (Value, Vec<String>) {
    let plan = round.plan();
    let top = plan.pages().last().map(|page| page.covering);
    let count = |wanted: Status| plan.pages().iter().filter(|page| round.status(&page.covering) == wanted).count();
    let worst = puts.pages.values().min_by_key(|report| report.stored).copied().unwrap_or_default();
    let result = match round.is_complete() {
        true if puts.pages.is_empty() => "unchanged",
        true => "stored",
        false if puts.pages.values().any(|report| !report.is_stored() && report.refused > 0) => "refused",
        false => "unreachable",
    };
    let sequence = top.and_then(|top| round.ledger().get(&top)).map_or(0, |page| page.version.sequence);
    let eid = top.map(|top| top.to_string()).unwrap_or_default();
    let pages: Vec<Value> = plan.pages().iter().rev().map(|one| page(round, puts, one)).collect();
    let mut value = json!({
        "eid": eid,
        "result": result,
        "stored": worst.stored,
        "refused": worst.refused,
        "unreachable": worst.unreachable,
        "sequence": sequence,
        "elapsed_us": u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        "levels": plan.levels(),
        "pages": pages,
        "withdrawn": puts.withdrawn.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    let mut lines = vec![
        format!("{eid}: {result}"),
        format!(
            "  {} page(s) in {} level(s): {} stored, {} unchanged, {} failed, {} held back; {} withdrawn",
            plan.pages().len(),
            plan.levels(),
            count(Status::Stored),
            count(Status::Unchanged),
            count(Status::Failed),
            count(Status::HeldBack),
            puts.withdrawn.len(),
        ),
        format!("  {} stored, {} refused, {} unreachable", worst.stored, worst.refused, worst.unreachable),
        format!("  sequence {sequence}, {} us", elapsed.as_micros()),
    ];
    if let Some(why) = why(round, puts, is_reached) {
        lines.push(format!("  {why}"));
        value["why"] = why.into();
    }
    (value, lines)
}

fn page(round: &Round, puts: &Puts, page: &PlannedPage) -> Value {
    let report = puts.pages.get(&page.covering).copied().unwrap_or_default();
    let result = match round.status(&page.covering) {
        Status::Stored => "stored",
        Status::Unchanged => "unchanged",
        Status::HeldBack => "held-back",
        Status::Failed if report.refused > 0 => "refused",
        Status::Failed => "unreachable",
        Status::Pending | Status::Given => "not-put",
    };
    let known = round.ledger().get(&page.covering);
    let PutReport { stored, refused, unreachable, .. } = report;
    json!({
        "prefix": page.covering.to_string(),
        "depth": page.depth,
        "octets": page.octets,
        "entries": page.entries.len(),
        "result": result,
        "stored": stored,
        "refused": refused,
        "unreachable": unreachable,
        "sequence": known.map(|page| page.version.sequence),
    })
}

/// What stopped a round that is not complete.
fn why(round: &Round, puts: &Puts, is_reached: bool) -> Option<String> {
    if round.is_complete() {
        return None;
    }
    if !is_reached {
        return Some(NOBODY.to_owned());
    }
    let (prefix, report) = puts.pages.iter().find(|(_, report)| !report.is_stored())?;
    let (refused, unreachable) = (report.refused, report.unreachable);
    let first = format!("nobody took the page of {prefix} ({refused} refused it, {unreachable} did not answer)");
    let held = round.plan().pages().iter().any(|page| round.status(&page.covering) == Status::HeldBack);
    Some(if held { format!("{first}; those that point to it are held back") } else { first })
}
