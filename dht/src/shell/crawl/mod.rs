// SPDX-License-Identifier: GPL-2.0-or-later
//! Who is in the network: a walk through the whole key space by a client, which asks each node several times, and fetches what it
//! has published of itself.

pub mod limits;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Cn, Network};
use futures::StreamExt as _;
use libp2p::PeerId;
use rand::rngs::StdRng;

pub use self::survey::{Found, Plan};

use self::survey::Survey;
use super::node::NodeConfig;
use super::node::caller::{Caller, Heard};
use super::shelf::{StartError, start_node};
use super::{limits as shell_limits, lookup};
use crate::record::{Bundle, CertificateCache, Class, RecordKey, Roles};
use crate::resolve::{Selection, newest};

/// What a crawl has seen.
#[derive(Debug)]
pub struct Crawl {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Requests sent, those for bundles too.
    pub requests: u64,
    /// Whether every node that was named was asked for all that it knows.
    pub is_complete: bool,
    /// The nodes.
    pub nodes: BTreeMap<PeerId, Found>,
    /// What they have published of themselves, and their signatures hold.
    pub records: BTreeMap<Cn, Published>,
}

/// What a node has published of itself.
#[derive(Debug, Clone)]
pub struct Published {
    /// The newest bundle, with its TOPOLOGY if there is one.
    pub bundle: Bundle,
    /// What it does for others.
    pub roles: Roles,
}

/// Crawls from the bootstrap nodes of `config`, a client's.
///
/// # Errors
/// When the network stack cannot be had.
pub async fn crawl(config: NodeConfig, network: Network, plan: Plan) -> Result<Crawl, StartError> {
    let begun = Instant::now();
    let mut survey = Survey::new(plan, begun, rand::make_rng::<StdRng>());
    let mut caller = Caller::new(&config)?;
    let met_until = begun + shell_limits::FIRST_PEER_OF_CLIENT;
    let (mut has_met, mut meet_at) = (false, begun);
    loop {
        let now = Instant::now();
        if !has_met && now >= meet_at {
            // Once more when the first handshakes have failed.
            meet_at = now + shell_limits::QUIC_HANDSHAKE;
            config.bootstrap.iter().chain(&config.anycast).for_each(|address| caller.meet(address.clone()));
        }
        while let Some(ask) = survey.poll(now) {
            caller.ask(ask.question, ask.peer, &ask.addresses, ask.key);
        }
        if if has_met { survey.is_over(now) } else { now >= met_until } {
            break;
        }
        let deadline = if has_met { survey.next_deadline() } else { met_until.min(meet_at) };
        // Otherwise it is the deadline, which is looked at above.
        if let Ok(heard) = tokio::time::timeout_at(deadline.into(), caller.next()).await {
            has_met |= matches!(heard, Heard::Met { .. });
            take(&mut survey, heard);
        }
    }
    drop(caller);
    let (is_complete, mut requests) = (has_met && survey.is_complete(), survey.requests());
    let nodes = survey.into_nodes();
    let cns: BTreeSet<Cn> = nodes.values().filter_map(|found| Some(found.member.as_ref()?.cn)).collect();
    let mut records = BTreeMap::new();
    if !cns.is_empty() {
        requests +=
            fetch(NodeConfig { seed: NodeConfig::ephemeral().seed, ..config }, network, cns, &mut records).await?;
    }
    Ok(Crawl { at: SystemTime::now(), took: begun.elapsed(), requests, is_complete, nodes, records })
}

fn take(survey: &mut Survey, heard: Heard) {
    match heard {
        Heard::Met { peer, address } => survey.met(peer, &address, Instant::now()),
        Heard::Answered { question, nearer, took } => survey.answered(question, &nearer, took),
        Heard::Silent { question } => survey.silent(question),
        Heard::Described { peer, agent, addresses } => survey.described(peer, agent, &addresses),
        Heard::Refuses { peer, why } => survey.refuses(peer, why),
        Heard::Presented { peer, verdict } => survey.presented(peer, verdict.map_err(|refused| refused.name())),
    }
}

/// Fetches the bundles of some identities by lookups as anybody's; returns the requests that took.
async fn fetch(
    config: NodeConfig,
    network: Network,
    cns: BTreeSet<Cn>,
    records: &mut BTreeMap<Cn, Published>,
) -> Result<u64, StartError> {
    let node = start_node(config, network, None)?;
    let get = |(index, cn): (usize, Cn)| {
        let node = node.clone();
        async move {
            tokio::time::sleep(limits::GET_PAUSE * u32::from(index > 0)).await;
            (cn, lookup::get(&node, network, &RecordKey::node(network, cn)).await)
        }
    };
    let mut gets = futures::stream::iter(cns.into_iter().enumerate().map(get)).buffer_unordered(limits::GETS);
    let mut requests = 0;
    while let Some((cn, report)) = gets.next().await {
        let report = report?;
        requests += u64::try_from(report.requests).unwrap_or(u64::MAX);
        records.extend(published(network, cn, &report.values).map(|published| (cn, published)));
    }
    drop(gets);
    node.shutdown().await;
    Ok(requests)
}

/// The newest of what was found that holds.
fn published(network: Network, cn: Cn, values: &[Vec<u8>]) -> Option<Published> {
    let key = RecordKey::node(network, cn);
    let (now, mut cache) = (SystemTime::now(), CertificateCache::new());
    let mut newest_of = |class| match newest(network, &key, class, values, now, &mut cache) {
        Selection::Newest(verified) => Some(verified.bundle),
        _ => None,
    };
    let service = newest_of(Class::Service);
    let addresses = service.as_ref().and_then(Bundle::service).map(|service| service.addresses.clone());
    let roles = addresses.unwrap_or_default().into_values().fold(Roles::default(), Roles::with);
    let rest = || [Class::Mapping, Class::Identity].into_iter();
    let bundle = newest_of(Class::Topology).or(service).or_else(|| rest().find_map(&mut newest_of))?;
    Some(Published { bundle, roles })
}
