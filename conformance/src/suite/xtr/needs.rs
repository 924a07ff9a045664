// SPDX-License-Identifier: GPL-2.0-or-later
//! What checks need that not every router has or is told how to give: without it they are skipped, and say so.

use std::time::{Duration, Instant};

use super::program::ENDED;
use crate::check::{Check, Verdict};
use crate::progress;
use crate::suite::probe::{self, Probe};
use crate::target::{self, Claim, TunnelRouter};

/// What a check needs.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// The target claims it.
    Claim(Claim),
    /// Three routers whose EID-prefixes and locators are changed while they run.
    Network,
    /// What the router itself knows of its locators and mappings.
    Console,
    /// Times that are our own promise.
    Pace,
    /// Nothing: it is our own promise, where the RFCs leave a choice.
    Ours,
}

/// The clause of a check that no document of others asks for.
const LOCAL: &str = "LOCAL";

/// Of checks, or of all checks of a clause: each needs all that it stands beside.
const NEEDS: &[(Need, &[&str])] = &[
    (
        Need::Claim(Claim::Ipv6Rloc),
        &[
            "DP-024", "DP-028", "DP-030", "DP-060", "DP-063.2", "DP-067", "DP-068", "DP-070.2", "DP-072", "DP-080",
            "DP-082", "DP-083", "DP-084", "DP-085", "DP-086", "DP-144", "DP-066.2", "CP-020", "CP-022", "CP-025",
            "CP-026", "CP-028", "CP-030", "CP-037", "CP-049.2", "CP-135.2", "CP-139.1", "CP-140", "CP-141", "CP-142",
        ],
    ),
    (Need::Claim(Claim::InstanceId), &["DP-009", "DP-093.2", "DP-093.3", "DP-095.2", "DP-095.3", "DP-095.4"]),
    (Need::Claim(Claim::SourceCheck), &["DP-024", "DP-095.1", "DP-095.2", "DP-095.3", "DP-095.4", "DP-095.6"]),
    (
        Need::Claim(Claim::TrustedPeer),
        &["DP-005", "DP-100", "DP-101", "DP-107", "DP-114", "DP-115", "DP-116", "DP-117", "DP-119", "DP-120"],
    ),
    (Need::Claim(Claim::LispGpe), &["DP-140", "DP-141", "DP-143", "DP-144", "DP-145", "DP-146"]),
    (
        Need::Claim(Claim::RlocProbing),
        &[
            "CP-025", "CP-029", "CP-040", "CP-049.1", "CP-139", "CP-141", "CP-142", "DP-066.2", "DP-070", "DP-071",
            "DP-072", "DP-083.2",
        ],
    ),
    (Need::Claim(Claim::Smr), &["CP-135", "CP-136.1", "CP-137", "DP-097.1"]),
    (Need::Network, &["CP-266", "CP-138", "CP-136.2"]),
    (Need::Console, &["CP-040", "CP-049.1", "CP-142", "DP-097.2"]),
    (Need::Ours, &["DP-015.2", "DP-081.2", "CP-022.1"]),
    (Need::Claim(Claim::MtuStateless), &["DP-060", "DP-061", "DP-062", "DP-063"]),
    (Need::Claim(Claim::MtuStateful), &["DP-063.2", "DP-065", "DP-066.1", "DP-067"]),
    (Need::Pace, &["CP-139.2", "CP-139.3", "CP-139.4", "CP-141", "DP-070", "DP-071", "DP-072", "DP-083.2", "DP-066.2"]),
];

/// Checks in which no packet crosses the router: all others are skipped of one that has no data plane.
const WITHOUT_PACKETS: &[&str] = &["CP-028.1", "CP-041.1"];

/// Whether what is judged claims something.
pub(super) fn claims(claim: Claim) -> bool {
    let target = target::judged();
    // Ours can all.
    target.is_ours()
        || target.claims(claim)
        || match &target.tunnel_router {
            Some(TunnelRouter::Started(router)) => router.claims.contains(&claim),
            Some(TunnelRouter::Configured(claims)) => claims.contains(&claim),
            None => false,
        }
}

/// Whether the program `lisp-xtr` is judged, or one that is configured as it is.
pub(in crate::suite) fn is_ours() -> bool {
    !matches!(&target::judged().tunnel_router, Some(TunnelRouter::Started(_)))
}

/// Whether packets cross what is judged.
pub(super) fn has_data_plane() -> bool {
    !matches!(&target::judged().tunnel_router, Some(TunnelRouter::Started(router)) if !router.data_plane)
}

/// Why what is judged cannot be held against a check of this clause.
fn lacking(id: &str, clause: &str) -> Option<String> {
    let target = target::judged();
    if target.is_ours() {
        return None;
    }
    let promise = || Some("our own promise, which no standard asks for".into());
    if clause == LOCAL {
        return promise();
    }
    let is_started = !is_ours();
    if !has_data_plane() && !WITHOUT_PACKETS.contains(&id) {
        return Some(format!("{} has no data plane", target.name));
    }
    let is_it = |listed: &&str| *listed == id || id.split('.').next() == Some(*listed);
    let mut needs = NEEDS.iter().filter(|(_, ids)| ids.iter().any(is_it)).map(|(need, _)| need);
    needs.find_map(|need| match need {
        Need::Claim(claim) => (!claims(*claim)).then(|| format!("{} does not claim {claim}", target.name)),
        Need::Ours => promise(),
        _ if !is_started => None,
        Need::Network => Some("it needs three routers that are told others' EID-prefixes while they run".into()),
        Need::Console => Some("it reads what lisp-xtr says of itself".into()),
        Need::Pace => Some("it measures times that lisp-xtr promises, and no standard does".into()),
    })
}

/// How long checks are made alone: a router that ends in most of them is known by then.
const ALONE: Duration = Duration::from_secs(300);

/// Runs the wanted checks side by side, but for those that what is judged cannot be held against. Those during which a router of a target
/// file has ended are made once more, one at a time, so that it shows which of them ends it.
pub(in crate::suite) fn run_beside<R: Sync>(
    suite: &'static str,
    probes: &[&Probe<R>],
    wanted: &dyn Fn(&str) -> bool,
    rooms: &[(&str, R)],
) -> Vec<Check> {
    let skipped = probes.iter().filter(|probe| wanted(probe.id));
    let skipped: Vec<_> = skipped
        .filter_map(|probe| Some(progress::finished(probe::skipped(suite, probe, &lacking(probe.id, probe.clause)?))))
        .collect();
    let fit: Vec<_> = probes.iter().copied().filter(|probe| lacking(probe.id, probe.clause).is_none()).collect();
    let mut checks = probe::run_beside(suite, &fit, wanted, rooms);
    let begun = Instant::now();
    let has_ended = |check: &Check| check.result == Verdict::Fail && check.evidence.contains(ENDED);
    for check in checks.iter_mut().filter(|check| !is_ours() && has_ended(check)) {
        if begun.elapsed() > ALONE {
            break;
        }
        if let Some(alone) = probe::run_beside(suite, probes, &|id| id == check.id, rooms).pop() {
            *check = alone;
        }
    }
    checks.extend(skipped);
    checks.sort_by(|one, other| one.id.cmp(&other.id));
    checks
}
