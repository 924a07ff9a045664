// SPDX-License-Identifier: GPL-2.0-or-later
//! What is promised of our routers, and whether it was kept. Of what was not measured nothing is said.

use super::PACE;
use super::convergence::Change;
use super::design::{Design, Test, Underlay};
use super::report::{Figures, Report};
use crate::bench::Line;

/// The least that a design reaches of another at a test.
#[derive(Debug)]
pub(super) struct Floor {
    pub(super) underlay: Underlay,
    pub(super) design: Design,
    pub(super) test: Test,
    /// Of whom.
    of: fn(&Figures) -> Option<f64>,
    /// Whether it is plain routing.
    pub(super) is_of_plain: bool,
    pub(super) least: f64,
    name: &'static str,
    promised: &'static str,
}

const fn of_plain(
    (underlay, design, test): (Underlay, Design, Test),
    least: f64,
    name: &'static str,
    promised: &'static str,
) -> Floor {
    Floor { underlay, design, test, of: |it| it.ratio_to_plain, is_of_plain: true, least, name, promised }
}

use Design::{Oor, Tier0, Tier1};
use Test::{Tcp1, Tcp4, Udp64};
use Underlay::{SuperPackets, WireLike};

/// All of them.
pub(super) const FLOORS: [Floor; 11] = [
    of_plain((WireLike, Tier1, Tcp1), 0.80, "tier1-tcp1", "0.80 of plain routing, wire-like"),
    of_plain((WireLike, Tier1, Tcp4), 0.70, "tier1-tcp4", "0.70 of plain routing, wire-like"),
    of_plain((WireLike, Tier1, Udp64), 1.0, "tier1-udp64", "1.00 of plain routing, wire-like"),
    of_plain((SuperPackets, Tier1, Tcp1), 0.55, "tier1-tcp1-super", "0.55 of plain routing, super-packets"),
    of_plain((SuperPackets, Tier1, Tcp4), 0.50, "tier1-tcp4-super", "0.50 of plain routing, super-packets"),
    of_plain((SuperPackets, Tier1, Udp64), 1.5, "tier1-udp64-super", "1.50 of plain routing, super-packets"),
    of_plain((WireLike, Tier0, Tcp1), 0.35, "tier0-tcp1", "0.35 of plain routing, wire-like"),
    of_plain((WireLike, Tier0, Tcp4), 0.30, "tier0-tcp4", "0.30 of plain routing, wire-like"),
    of_plain((WireLike, Tier0, Udp64), 0.75, "tier0-udp64", "0.75 of plain routing, wire-like"),
    Floor {
        underlay: WireLike,
        design: Tier1,
        test: Tcp1,
        of: |it| it.ratio_to_vxlan,
        is_of_plain: false,
        least: 0.95,
        name: "tier1-vxlan",
        promised: "0.95 of the kernel's VXLAN, wire-like, one TCP flow",
    },
    Floor {
        underlay: WireLike,
        design: Tier1,
        test: Tcp1,
        of: |it| it.ratio_to_oor,
        is_of_plain: false,
        least: 7.0,
        name: "tier1-oor",
        promised: "7 x OpenOverlayRouter, wire-like, one TCP flow",
    },
];

/// Microseconds that both routers may add to a round trip.
const ADDED_US: f64 = 50.0;
/// What of the pace must have been sent, for that nothing is lost to say something.
const OFFERED: f64 = 0.95;
/// Percent of a core that an idle router stays below.
const IDLE_PERCENT: f64 = 0.5;

/// Judges all that was measured.
pub(super) fn judge(report: &Report) -> Vec<Line> {
    let floor = |floor: &Floor| {
        let ratio = (floor.of)(report.figures(floor.underlay, floor.design, floor.test)?)?;
        let (name, promised, measured) = (floor.name, floor.promised, format!("{ratio:.2}"));
        Some(Line { name, ok: ratio >= floor.least, measured, promised })
    };
    let mut lines: Vec<Line> = FLOORS.iter().filter_map(floor).collect();
    lines.extend(loss(report));
    lines.extend(round_trip(report));
    lines.extend(idle(report));
    lines.extend(checksums(report));
    lines.extend(failover(report));
    lines.extend(moved(report));
    lines
}

fn loss(report: &Report) -> Option<Line> {
    let mut paced = report.loss.iter().filter(|it| it.design == Tier1).peekable();
    paced.peek()?;
    let (mut lost, mut slowest) = (0, f64::INFINITY);
    paced.for_each(|it| (lost, slowest) = (lost + it.lost, slowest.min(it.offered_pps)));
    Some(Line {
        name: "loss-100k",
        ok: lost == 0 && slowest >= OFFERED * f64::from(PACE),
        measured: format!("{lost} lost at {slowest:.0} packets/s"),
        promised: "tier 1 loses nothing at 100,000 packets/s",
    })
}

fn round_trip(report: &Report) -> Option<Line> {
    let added =
        |design| report.rtt.iter().find(|it| (it.times.underlay, it.times.design) == (WireLike, design))?.added_us;
    let (ours, theirs) = (added(Tier1)?, added(Oor));
    let beside = theirs.map(|theirs| format!(", OpenOverlayRouter {theirs:.0} us")).unwrap_or_default();
    Some(Line {
        name: "added-rtt",
        ok: ours <= ADDED_US && theirs.is_none_or(|theirs| ours <= theirs),
        measured: format!("{ours:.0} us{beside}"),
        promised: "tier 1 adds at most 50 us, and no more than OpenOverlayRouter",
    })
}

fn idle(report: &Report) -> Option<Line> {
    let ours = report.idle.iter().filter(|it| [Tier0, Tier1].contains(&it.design));
    let most = ours.map(|it| it.percent).max_by(f64::total_cmp)?;
    Some(Line {
        name: "idle",
        ok: most < IDLE_PERCENT,
        measured: format!("{most:.2} % of a core at most"),
        promised: "an idle router of ours takes below 0.5 % of a core",
    })
}

fn checksums(report: &Report) -> Option<Line> {
    let ours: Vec<u64> =
        report.checksum_errors.iter().filter(|it| [Tier0, Tier1].contains(&it.design)).map(|it| it.sum()).collect();
    let sum: u64 = ours.iter().sum();
    (!ours.is_empty()).then(|| Line {
        name: "checksums",
        ok: sum == 0,
        measured: format!("{sum} wrong"),
        promised: "no wrong checksum at hosts and routers (InCsumErrors)",
    })
}

fn failover(report: &Report) -> Option<Line> {
    let (ok, measured) = converged(report, &[Change::ProviderSilent, Change::LinkDown])?;
    let promised = "a locator fails and another is alive: in no round 4 s without a packet";
    Some(Line { name: "failover", ok, measured, promised })
}

fn moved(report: &Report) -> Option<Line> {
    let (ok, measured) = converged(report, &[Change::EidMoved])?;
    Some(Line { name: "moved", ok, measured, promised: "an EID-prefix moves: in no round 2 s without a packet" })
}

/// Whether all gaps of these changes were as short as promised, and the longest; nothing of what was not measured.
fn converged(report: &Report, changes: &[Change]) -> Option<(bool, String)> {
    let seen: Vec<_> = report.convergence.iter().filter(|it| changes.contains(&it.change)).collect();
    let ok = seen.iter().all(|it| it.spread_s[1] < it.change.promised().into());
    let most = seen.iter().map(|it| it.spread_s[1]).max_by(f64::total_cmp)?;
    Some((ok, format!("{most:.2} s at most")))
}
