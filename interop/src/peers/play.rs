// SPDX-License-Identifier: GPL-2.0-or-later
//! One case from its network to its verdict.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum as _;

use super::afterwards;
use super::cases::{Case, Player};
use super::network::{self, CAPTURED, SITES, UNDERLAY};
use super::oor;
use super::report::{CaseResult, Report};
use super::stage::Stage;
use super::witness;
use super::{Peer, kernel};
use crate::demo::binaries::Binaries;
use crate::interrupt::{self, Interrupted};
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, LabError, process};
use crate::limits::{PING_WAIT, WHOLE_WAIT};
use crate::probe::capture::Capture;
use crate::probe::ping::{Ping, PingReport, ping};

/// What is at hand.
#[derive(Debug, Default)]
pub(super) struct Programs {
    pub(super) ours: Option<Binaries>,
    pub(super) peers: HashMap<Peer, PathBuf>,
}

/// Where a case may leave its files.
pub(super) struct Place<'a> {
    /// Number of the case in this run.
    pub(super) number: usize,
    pub(super) captures: &'a Path,
    pub(super) workspace: &'a Workspace,
}

impl Programs {
    /// The program of a peer.
    pub(super) fn of(&self, peer: Peer) -> anyhow::Result<&Path> {
        let path = self.peers.get(&peer).map(PathBuf::as_path);
        path.with_context(|| format!("the program of {peer} is not named"))
    }

    /// A peer of the case whose program is not at hand, its own first.
    pub(super) fn lacking(&self, case: &Case) -> Option<Peer> {
        let is_lacking = |peer: &Peer| case.needs(*peer) && peer.variable().is_some() && !self.peers.contains_key(peer);
        std::iter::once(case.peer).chain(Peer::value_variants().iter().copied()).find(is_lacking)
    }
}

/// Pings of a series, cold ones first.
const PINGS: u16 = 8;
/// Time between two: what an ITR without miss queue loses, it loses in that time.
const PING_INTERVAL: Duration = Duration::from_millis(200);

/// By then an xTR of others has probed the locators that it uses, and repeated what had no answer.
const PROBED_BY_NOW: Duration = Duration::from_secs(oor::PROBE_INTERVAL + 4);

/// Plays a case on a fresh network, and adds its line to the report.
///
/// # Errors
/// When the machine refuses something, or we are interrupted; whatever else happens is the case's failure.
pub(super) fn play(case: &Case, place: &Place<'_>, programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    let lab = Lab::build(&network::describe())?;
    network::await_running(&lab)?;
    let captures = start_captures(case, place, &lab)?;
    let files: Vec<_> = captures.iter().map(|capture| capture.path().to_owned()).collect();
    let mut stage = Stage { case, lab: &lab, place, programs, running: vec![], introductions: vec![] };
    let outcome = scenes(&mut stage);
    let last_words: Vec<_> =
        stage.running.iter().map(|process| (process.name().to_owned(), process.log_tail())).collect();
    // The xTRs take their registrations back, and that wants an answer.
    let xtrs = stage.running.split_off(stage.running.len().min(1));
    process::end_all(xtrs);
    process::end_all(stage.running);
    for capture in captures {
        capture.stop().context("capture")?;
    }
    let outcome = outcome.and_then(|mut seen| {
        seen.push(witness::judge(&files)?);
        if case.needs(Peer::Kernel) {
            seen.push(kernel::judge(&files)?);
        }
        Ok(seen)
    });
    match outcome {
        Ok(seen) => report.add(case.peer, case.name, CaseResult::Pass, seen.join("; ")),
        Err(error) if is_not_the_case(&error) => return Err(error),
        Err(error) if error.is::<kernel::Lacking>() && std::env::var_os("CI").is_none() => {
            report.skip(case.peer, case.name, format!("{error:#}"));
        }
        Err(error) => {
            report.add(case.peer, case.name, CaseResult::Fail, format!("{error:#}"));
            for (name, lines) in last_words {
                report.say(&format!("      the last lines of {name}:"));
                lines.iter().for_each(|line| report.say(&format!("        {line}")));
            }
        }
    }
    Ok(())
}

fn is_not_the_case(error: &anyhow::Error) -> bool {
    error.is::<Interrupted>() || matches!(error.downcast_ref(), Some(LabError::Refused { .. }))
}

fn start_captures(case: &Case, place: &Place<'_>, lab: &Lab) -> anyhow::Result<Vec<Capture>> {
    let start = |node: &str| {
        let file = place.captures.join(format!("{}-{}-{node}.pcap", case.peer, case.name));
        Ok(Capture::start(lab.namespace(node)?, UNDERLAY, &file)?)
    };
    CAPTURED.into_iter().map(start).collect()
}

/// The map-server first, then the xTRs; hosts send when both sites are known, since a "no" asked for earlier would be
/// remembered for a minute.
fn scenes(stage: &mut Stage<'_>) -> anyhow::Result<Vec<String>> {
    stage.start_map_server()?;
    for (site, player) in SITES.iter().zip(stage.case.xtrs) {
        stage.start_xtr(site, player)?;
    }
    let mut acknowledged = vec![];
    for (site, player) in SITES.iter().zip(stage.case.xtrs) {
        if player == Player::Ours {
            stage.await_acknowledged(site)?;
            acknowledged.push(site.xtr);
        }
        site.eids.iter().try_for_each(|eids| stage.await_published(eids))?;
        site.eids.iter().try_for_each(|eids| stage.await_mapped(site, eids))?;
    }
    let mut seen = vec![match acknowledged.as_slice() {
        [] => "both registered".to_owned(),
        some => format!("registration of {} acknowledged", some.join(" and ")),
    }];
    if stage.case.xtrs.iter().any(|player| !player.forwards()) {
        seen.push(led(stage)?);
        // Ours probes the locator, whether that answers or not.
        interrupt::sleep(PROBED_BY_NOW)?;
        return Ok(seen);
    }
    // Both sides begin once, with a family that no cache knows yet.
    for (from, to, family) in [(0, 1, 0), (1, 0, 0), (1, 0, 1), (0, 1, 1)] {
        seen.push(series(stage, from, to, family)?);
    }
    if stage.case.xtrs.iter().any(|player| player.probes()) {
        // A locator whose probes had no answer would be down by now.
        interrupt::sleep(PROBED_BY_NOW)?;
        seen.push(format!("after probes of locators, {}", series(stage, 1, 0, 0)?));
    }
    if stage.case.map_server == Player::Theirs(Peer::Openlisp) && stage.case.xtrs == [Player::Ours; 2] {
        seen.push(afterwards::nobodys_of_ours(stage)?);
    }
    if stage.case.moves {
        let site = if stage.case.xtrs[0] == Player::Ours { 1 } else { 0 };
        seen.push(afterwards::nobodys(stage)?);
        seen.push(afterwards::moving(stage)?);
        seen.push(series(stage, 1 - site, site, 0)?);
    }
    Ok(seen)
}

/// Where no packet crosses the other xTR: ours asks it, and knows the way.
fn led(stage: &mut Stage<'_>) -> anyhow::Result<String> {
    let players = stage.case.xtrs;
    let side = |forwards: bool| SITES.iter().zip(players).find(|(_, player)| player.forwards() == forwards);
    let (Some((near, _)), Some((far, _))) = (side(true), side(false)) else { bail!("one xTR of two has a data plane") };
    far.eids.iter().try_for_each(|eids| stage.await_led(near, far, eids))?;
    Ok(format!("{} has asked {} for both its EID-prefixes, and would send there", near.xtr, far.xtr))
}

/// A series of pings; each direction of the path is judged by what the ITR at its beginning may lose.
fn series(stage: &mut Stage<'_>, from: usize, to: usize, family: usize) -> anyhow::Result<String> {
    stage.check()?;
    let (near, far) = (&SITES[from], &SITES[to]);
    let (source, destination): (IpAddr, IpAddr) = (near.eids[family].host.parse()?, far.eids[family].host.parse()?);
    let allowed = [from, to].map(|site| stage.case.xtrs[site].lost_at_first());
    let wait = if allowed == [0, 0] { WHOLE_WAIT } else { PING_WAIT };
    let pings = Ping { source, destination, count: PINGS, interval: PING_INTERVAL, wait };
    let report = ping(stage.lab.namespace(near.host)?, stage.lab.namespace(far.host)?, pings)?;
    let (version, lost) = (if source.is_ipv4() { "IPv4" } else { "IPv6" }, Lost::count(&report));
    let first = report.first_delivered().map(|time| format!(", first there after {time:.1?}")).unwrap_or_default();
    let (received, lost_where) = (report.received(), lost.say(near.xtr, far.xtr));
    let text = format!("{version} {} to {} {received}/{PINGS}{lost_where}{first}", near.host, far.host);
    ensure!(lost.there <= allowed[0] && lost.back <= allowed[1], "{text}");
    let excuse = if lost == Lost::default() { "" } else { " (allowed there: it has no queue for what it looks up)" };
    Ok(text + excuse)
}

/// Lost pings, by the direction in which they were lost.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lost {
    there: usize,
    back: usize,
}

impl Lost {
    fn count(report: &PingReport) -> Self {
        let there = report.pings.iter().filter(|ping| ping.delivered.is_none()).count();
        Self { there, back: report.pings.len() - there - report.received() }
    }

    fn say(&self, near: &str, far: &str) -> String {
        let each = [(self.there, near), (self.back, far)];
        let say = |(count, xtr): &(usize, &str)| format!(", {count} lost at {xtr}");
        each.iter().filter(|(count, _)| *count > 0).map(say).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::ping::Fate;

    #[test]
    fn a_loss_is_laid_at_the_direction_where_it_happened() {
        let time = Some(Duration::from_millis(1));
        let pings = vec![
            Fate { delivered: None, answered: None },
            Fate { delivered: time, answered: None },
            Fate { delivered: time, answered: time },
        ];
        let lost = Lost::count(&PingReport { pings });
        assert_eq!(lost, Lost { there: 1, back: 1 });
        assert_eq!(lost.say("xA", "xB"), ", 1 lost at xA, 1 lost at xB");
    }
}
