// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht crawl`: who is in the network, by role, and how reliable.

use std::cmp::Reverse;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::flags::CrawlFlags;
use super::settings::Settings;
use super::{Failure, Outcome, output, query};
use crate::record::Roles;
use crate::shell::crawl::{self, Crawl, Found, Plan, Published, limits};
use crate::shell::node::PeerId;

pub(super) const ABOUT: &str = "\
Examples:
  lisp-dht crawl --bootstrap 192.0.2.9:43420
  lisp-dht crawl --bootstrap 192.0.2.9:43420 --rounds 20 --for 3600 --rate 20 --json=crawl.json

Each node is asked for the nodes nearest to it, and for some farther away as long as that names nodes that were not known. Those \
that answer present themselves: CN and epoch are those of their certificates, the roles those of the SERVICE that they have \
published, and counted only if its signature holds. A node that was only named by others, and never answered, is listed too.

The JSON of a crawl is what `lisp-dht map FILE` draws.";

/// Crawls and shows who was found.
pub(super) async fn run(settings: Settings, flags: &CrawlFlags) -> Result<Outcome, Failure> {
    let network = settings.network()?;
    let plan = Plan {
        rounds: flags.rounds,
        duration: Duration::from_secs(flags.seconds),
        nodes: limits::NODES,
        rate: flags.rate,
    };
    let crawl = crawl::crawl(settings.client()?, network, plan).await?;
    output::show(&flags.file.json, &json(&crawl), &lines(&crawl))?;
    let has_answered = crawl.nodes.values().any(|found| found.answered > 0);
    Ok(if has_answered { Outcome::Held } else { Outcome::DidNot })
}

fn json(crawl: &Crawl) -> Value {
    let nodes: Vec<Value> =
        sorted(crawl).into_iter().map(|(peer, found, published)| node(peer, found, published)).collect();
    json!({
        "nodes": nodes,
        "at": crawl.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        "seconds": crawl.took.as_secs_f64(),
        "requests": crawl.requests,
        "complete": crawl.is_complete,
    })
}

fn node(peer: &PeerId, found: &Found, published: Option<&Published>) -> Value {
    let roles = published.map_or(Roles::default(), |published| published.roles);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    json!({
        "peer": peer.to_string(),
        "cn": found.member.as_ref().map(|member| member.cn.to_string()),
        "epoch": found.member.as_ref().map(|member| member.epoch),
        "refused": found.refused,
        "refuses": found.refuses,
        "addresses": found.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "block": found.block().map(|block| block.to_string()),
        "roles": roles.names().collect::<Vec<_>>(),
        "asked": found.asked,
        "answered": found.answered,
        "rtt_us": found.median().map(micros),
        "agent": found.agent,
        "record": published.and_then(|published| published.bundle.encode().ok()).map(|octets| hex(&octets)),
    })
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// By role, those that do nothing for others last; among them the most reliable first, then the quickest.
fn sorted(crawl: &Crawl) -> Vec<(&PeerId, &Found, Option<&Published>)> {
    let published = |found: &Found| crawl.records.get(&found.member.as_ref()?.cn);
    let mut nodes: Vec<_> = crawl.nodes.iter().map(|(peer, found)| (peer, found, published(found))).collect();
    nodes.sort_by_key(|(_, found, published)| {
        let roles = published.map_or(Roles::default(), |published| published.roles);
        let first = Roles::NAMES.iter().position(|(_, role)| roles.has(*role)).unwrap_or(usize::MAX);
        (first, Reverse(share(found)), found.median().unwrap_or(Duration::MAX))
    });
    nodes
}

/// Answers in a thousand questions.
fn share(found: &Found) -> u32 {
    (u64::from(found.answered) * 1000)
        .checked_div(found.asked.into())
        .and_then(|share| share.try_into().ok())
        .unwrap_or(0)
}

fn lines(crawl: &Crawl) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<16} {:>8} {:>11} {:>9}  {:<24} {:>7}  {:<20} {}",
        "ROLES", "ANSWERED", "QUESTIONS", "RTT ms", "CN", "EPOCH", "BLOCK", "ADDRESS"
    )];
    lines.extend(sorted(crawl).into_iter().map(|(_, found, published)| line(found, published)));
    let answering = crawl.nodes.values().filter(|found| found.answered > 0).count();
    let end = if crawl.is_complete { "" } else { "; not all was seen in that time: give it more with --for" };
    lines.push(format!(
        "{} nodes, {answering} of them answer; {} requests in {:.1} s{end}",
        crawl.nodes.len(),
        crawl.requests,
        crawl.took.as_secs_f64()
    ));
    if crawl.nodes.is_empty() {
        lines.push(query::NOBODY.to_owned());
    }
    lines
}

fn line(found: &Found, published: Option<&Published>) -> String {
    let roles: Vec<&str> = published.map_or(Roles::default(), |published| published.roles).names().collect();
    let roles = if roles.is_empty() { "-".to_owned() } else { roles.join(",") };
    let member = found.member.as_ref();
    let whose = member.map(|member| member.cn.to_string()).or_else(|| found.refused.map(str::to_owned));
    format!(
        "{roles:<16} {:>7.1}% {:>11} {:>9}  {:<24} {:>7}  {:<20} {}",
        f64::from(share(found)) / 10.0,
        format!("{}/{}", found.answered, found.asked),
        found.median().map_or_else(|| "-".to_owned(), |rtt| format!("{:.1}", rtt.as_secs_f64() * 1000.0)),
        whose.unwrap_or_else(|| "-".to_owned()),
        member.map_or_else(|| "-".to_owned(), |member| member.epoch.to_string()),
        found.block().map_or_else(|| "-".to_owned(), |block| block.to_string()),
        found.at.as_ref().or(found.addresses.first()).map(ToString::to_string).unwrap_or_default(),
    )
}
