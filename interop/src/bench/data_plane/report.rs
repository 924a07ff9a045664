// SPDX-License-Identifier: GPL-2.0-or-later
//! What the bench says: rates side by side, what is lost, what is added, what is wrong, and whether the promises were kept.

use serde::Serialize;

use super::convergence::Convergence;
use super::design::{Design, Skipped, Test, Underlay};
use super::{Options, promises};
use crate::bench::Line;
use crate::bench::disturbed::Disturbed;
use crate::probe::load::Senders;
use crate::sites::Family;

/// A turn of a test whose figure is a rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) design: Design,
    pub(super) underlay: Underlay,
    pub(super) test: Test,
    pub(super) rate: f64,
    pub(super) retransmissions: u64,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) turns: Vec<Turn>,
    pub(super) losses: Vec<Loss>,
    pub(super) round_trips: Vec<RoundTrip>,
    pub(super) idle: Vec<Idle>,
    pub(super) checksum_errors: Vec<ChecksumErrors>,
    pub(super) convergence: Vec<Convergence>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) disturbed: Disturbed,
}

/// A design at a test, on an underlay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// What packets of tunnels crossed.
    pub underlay: Underlay,
    /// What was between the sites.
    pub design: Design,
    /// What was sent.
    pub test: Test,
    /// What the figures count.
    pub unit: &'static str,
    /// One for each round.
    pub runs: Vec<f64>,
    /// The median of them.
    pub median: f64,
    /// The least and the most of them.
    pub spread: [f64; 2],
    /// Of plain routing in the same round: the median of all rounds; none without it.
    pub ratio_to_plain: Option<f64>,
    /// The least and the most of that.
    pub ratio_to_plain_spread: Option<[f64; 2]>,
    /// Of the kernel's VXLAN in the same round.
    pub ratio_to_vxlan: Option<f64>,
    /// Of the least that any program can do, in the same round.
    pub ratio_to_bare: Option<f64>,
    /// Of OpenOverlayRouter in the same round.
    pub ratio_to_oor: Option<f64>,
    /// Segments that TCP of the sender sent again: the median of all rounds.
    pub retransmissions: f64,
}

/// What was lost of datagrams at a pace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Loss {
    /// What they crossed.
    pub underlay: Underlay,
    /// By what.
    pub design: Design,
    /// How many were sent, in all rounds.
    pub sent: u64,
    /// How many of them did not arrive.
    pub lost: u64,
    /// How many were sent a second; less than the pace where the sender had too little of the processors. The least of all rounds.
    pub offered_pps: f64,
}

/// Times to the answer of pings, in one round or, as medians, in all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoundTrip {
    /// What they crossed.
    pub underlay: Underlay,
    /// By what.
    pub design: Design,
    /// Half of them took no longer.
    pub p50_us: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99_us: Option<f64>,
    /// Pings without an answer.
    pub lost: usize,
}

/// What a design adds to a round-trip time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Added {
    /// The times.
    #[serde(flatten)]
    pub times: RoundTrip,
    /// Median above that of plain routing in the same round: the median of all rounds.
    pub added_us: Option<f64>,
}

/// What a router takes of a core while nothing crosses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Idle {
    /// Of which design.
    pub design: Design,
    /// Where it runs.
    pub node: &'static str,
    /// Percent of a core.
    pub percent: f64,
}

/// Packets whose checksum was wrong, in the whole run (InCsumErrors of all protocols).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "each is the name of a node")]
pub struct ChecksumErrors {
    /// By which design they came.
    pub design: Design,
    pub host_a: u64,
    pub xtr_a: u64,
    pub xtr_b: u64,
    pub host_b: u64,
}

impl ChecksumErrors {
    /// Of all nodes.
    pub(super) fn sum(&self) -> u64 {
        self.host_a + self.xtr_a + self.xtr_b + self.host_b
    }
}

/// The outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// This machine.
    pub machine: String,
    /// Family of what the hosts sent.
    pub inner: Family,
    /// Family of the tunnels.
    pub outer: Family,
    /// What sent and took TCP.
    pub senders: Senders,
    /// Turns of each design at each test.
    pub rounds: usize,
    /// Measured seconds of each.
    pub seconds: f64,
    /// The rates.
    pub results: Vec<Figures>,
    /// What was lost at a pace.
    pub loss: Vec<Loss>,
    /// Round-trip times.
    pub rtt: Vec<Added>,
    /// Idle routers.
    pub idle: Vec<Idle>,
    /// Wrong checksums.
    pub checksum_errors: Vec<ChecksumErrors>,
    /// How long nothing crossed while something changed.
    pub convergence: Vec<Convergence>,
    /// Designs that were left out.
    pub skipped: Vec<Skipped>,
    /// Turns in which others had the processors.
    pub disturbed: Disturbed,
    /// What was promised, and what was measured.
    pub promises: Vec<Line>,
    /// Whether every promise was kept.
    pub ok: bool,
}

impl Report {
    pub(super) fn new(machine: String, options: &Options, seen: Seen) -> Self {
        let results = figures(&seen.turns);
        let (loss, rtt) = (losses(&seen.losses), added(&seen.round_trips));
        let mut report = Self {
            machine,
            inner: options.inner,
            outer: options.outer,
            senders: options.senders,
            rounds: options.rounds,
            seconds: options.turn.as_secs_f64(),
            results,
            loss,
            rtt,
            idle: seen.idle,
            checksum_errors: seen.checksum_errors,
            convergence: seen.convergence,
            skipped: seen.skipped,
            disturbed: seen.disturbed,
            promises: Vec::new(),
            ok: true,
        };
        report.promises = promises::judge(&report);
        report.ok = report.promises.iter().all(|line| line.ok);
        report
    }

    /// The figures of a design at a test.
    pub(super) fn figures(&self, underlay: Underlay, design: Design, test: Test) -> Option<&Figures> {
        self.results.iter().find(|it| (it.underlay, it.design, it.test) == (underlay, design, test))
    }

    /// The figures side by side.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.results.is_empty() {
            lines.push(format!(
                "{:<13} {:<6} {:<7} {:>9} {:>20} {:<9} {:>18} {:>8} {:>7} {:>7} {:>7}",
                "underlay",
                "test",
                "design",
                "median",
                "(min-max)",
                "",
                "of plain (min-max)",
                "of vxlan",
                "of bare",
                "of oor",
                "again"
            ));
        }
        lines.extend(self.results.iter().map(rate_line));
        lines.extend(self.rtt.iter().map(rtt_line));
        lines.extend(self.loss.iter().map(|it| {
            format!(
                "{:<13} {:<7} {} of {} datagrams lost, {:.0} were sent a second",
                it.underlay, it.design, it.lost, it.sent, it.offered_pps
            )
        }));
        let idle =
            |it: &Idle| format!("{} {}: {:.2} % of a core while nothing crosses", it.design, it.node, it.percent);
        lines.extend(self.idle.iter().map(idle));
        lines.extend(self.checksum_errors.iter().filter(|it| it.sum() > 0).map(|it| {
            format!(
                "{}: packets with wrong checksums: host-a {}, xtr-a {}, xtr-b {}, host-b {}",
                it.design, it.host_a, it.xtr_a, it.xtr_b, it.host_b
            )
        }));
        lines.extend(self.convergence.iter().map(convergence_line));
        lines.extend(self.skipped.iter().map(|it| format!("{} was left out: {}", it.design, it.why)));
        lines.extend(self.disturbed.line("turns"));
        lines.push(format!("{}, {}", self.conditions(), self.machine));
        lines
    }

    /// How all of it was measured.
    pub(super) fn conditions(&self) -> String {
        let senders = match self.senders {
            Senders::Thread => "a thread at each host",
            Senders::Threads => "a thread at each end of a flow",
            Senders::Iperf3 => "iperf3",
        };
        format!("{} in {}, TCP of {senders}, {} rounds of {} s", self.inner, self.outer, self.rounds, self.seconds)
    }
}

fn rate_line(it: &Figures) -> String {
    let ratio = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let of_plain = match (it.ratio_to_plain, it.ratio_to_plain_spread) {
        (Some(ratio), Some([least, most])) => format!("{ratio:.2} ({least:.2}-{most:.2})"),
        _ => "-".to_owned(),
    };
    format!(
        "{:<13} {:<6} {:<7} {:>9.0} {:>20} {:<9} {:>18} {:>8} {:>7} {:>7} {:>7.0}",
        it.underlay,
        it.test,
        it.design,
        it.median,
        format!("({:.0}-{:.0})", it.spread[0], it.spread[1]),
        it.unit,
        of_plain,
        ratio(it.ratio_to_vxlan),
        ratio(it.ratio_to_bare),
        ratio(it.ratio_to_oor),
        it.retransmissions
    )
}

fn rtt_line(it: &Added) -> String {
    let us = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0} us"));
    let times = &it.times;
    format!(
        "{:<13} {:<7} round trip p50 {}, p99 {}, added {}, {} lost",
        times.underlay,
        times.design,
        us(times.p50_us),
        us(times.p99_us),
        us(it.added_us),
        times.lost
    )
}

fn convergence_line(it: &Convergence) -> String {
    let [least, most] = it.spread_s;
    format!("{}: none crossed for {:.2} s ({least:.2}-{most:.2})", it.change.words(), it.median_s)
}

/// The median; of nothing there is none.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

/// The least and the most.
pub(super) fn spread(values: &[f64]) -> [f64; 2] {
    values.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[least, most], value| [least.min(*value), most.max(*value)])
}

/// Turns by what they have in common, in the order of tables.
fn figures(turns: &[Turn]) -> Vec<Figures> {
    let runs = |underlay, test, design| -> Vec<&Turn> {
        turns.iter().filter(|it| (it.underlay, it.test, it.design) == (underlay, test, design)).collect()
    };
    let mut figures = Vec::new();
    for underlay in Underlay::ALL {
        for test in Test::RATES {
            for design in Design::ALL {
                let own = runs(underlay, test, design);
                let rates: Vec<f64> = own.iter().map(|it| it.rate).collect();
                let Some(median_rate) = median(rates.clone()) else { continue };
                // Those of one round stand at one place.
                let ratios = |other: Design| -> Vec<f64> {
                    let others = runs(underlay, test, other);
                    let pairs = own.iter().zip(others).filter(|(_, other)| other.rate > 0.0);
                    pairs.map(|(own, other)| own.rate / other.rate).collect()
                };
                let to_plain = ratios(Design::Plain);
                figures.push(Figures {
                    underlay,
                    design,
                    test,
                    unit: test.unit(),
                    median: median_rate,
                    spread: spread(&rates),
                    runs: rates,
                    ratio_to_plain_spread: (!to_plain.is_empty()).then(|| spread(&to_plain)),
                    ratio_to_plain: median(to_plain),
                    ratio_to_vxlan: median(ratios(Design::Vxlan)),
                    ratio_to_bare: median(ratios(Design::Bare)),
                    ratio_to_oor: median(ratios(Design::Oor)),
                    retransmissions: median(own.iter().map(|it| it.retransmissions as f64).collect())
                        .unwrap_or_default(),
                });
            }
        }
    }
    figures
}

/// Sums of all rounds.
fn losses(rounds: &[Loss]) -> Vec<Loss> {
    let mut sums: Vec<Loss> = Vec::new();
    for it in rounds {
        match sums.iter_mut().find(|sum| (sum.underlay, sum.design) == (it.underlay, it.design)) {
            Some(sum) => {
                sum.sent += it.sent;
                sum.lost += it.lost;
                sum.offered_pps = sum.offered_pps.min(it.offered_pps);
            }
            None => sums.push(it.clone()),
        }
    }
    sums.sort_by_key(|it| (it.underlay, it.design));
    sums
}

/// Medians of all rounds.
fn added(rounds: &[RoundTrip]) -> Vec<Added> {
    let of = |underlay, design| -> Vec<&RoundTrip> {
        rounds.iter().filter(|it| (it.underlay, it.design) == (underlay, design)).collect()
    };
    let mut all = Vec::new();
    for underlay in Underlay::ALL {
        let plain = of(underlay, Design::Plain);
        for design in Design::ALL {
            let own = of(underlay, design);
            if own.is_empty() {
                continue;
            }
            let added = own.iter().zip(&plain).filter_map(|(own, plain)| Some(own.p50_us? - plain.p50_us?)).collect();
            let p50_us = median(own.iter().filter_map(|it| it.p50_us).collect());
            let p99_us = median(own.iter().filter_map(|it| it.p99_us).collect());
            let lost = own.iter().map(|it| it.lost).sum();
            all.push(Added { times: RoundTrip { underlay, design, p50_us, p99_us, lost }, added_us: median(added) });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn turn(design: Design, rate: f64) -> Turn {
        Turn { design, underlay: Underlay::WireLike, test: Test::Tcp1, rate, retransmissions: 2 }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_ratios_of_the_rounds() {
        let rounds = [(10.0, 5.0), (20.0, 18.0), (40.0, 10.0)];
        let turns: Vec<Turn> =
            rounds.iter().flat_map(|(plain, tier)| [turn(Design::Plain, *plain), turn(Design::Tier0, *tier)]).collect();
        let figures = figures(&turns);
        assert_eq!(figures.len(), 2);
        let tier = &figures[1];
        assert_eq!((tier.median, tier.spread), (10.0, [5.0, 18.0]));
        assert_eq!((tier.ratio_to_plain, tier.ratio_to_plain_spread), (Some(0.5), Some([0.25, 0.9])));
        assert_eq!((tier.ratio_to_vxlan, tier.retransmissions), (None, 2.0));
        assert_eq!(figures[0].ratio_to_plain, Some(1.0));
    }

    #[test]
    fn what_is_added_is_the_difference_within_a_round() {
        let time = |design, us| RoundTrip { underlay: Underlay::WireLike, design, p50_us: us, p99_us: us, lost: 1 };
        let rounds = [
            time(Design::Plain, Some(5.0)),
            time(Design::Tier0, Some(25.0)),
            time(Design::Plain, Some(50.0)),
            time(Design::Tier0, Some(60.0)),
        ];
        let all = added(&rounds);
        assert_eq!((all[1].added_us, all[1].times.lost, all[1].times.p50_us), (Some(15.0), 2, Some(42.5)));
        assert_eq!(added(&[time(Design::Oor, None)])[0].added_us, None);
    }

    #[test]
    fn losses_add_up_and_the_slowest_sender_is_told() {
        let loss = |lost, offered_pps| Loss {
            underlay: Underlay::WireLike,
            design: Design::Tier0,
            sent: 9,
            lost,
            offered_pps,
        };
        let sums = losses(&[loss(1, 5.0), loss(2, 4.0)]);
        assert_eq!((sums[0].sent, sums[0].lost, sums[0].offered_pps), (18, 3, 4.0));
    }
}
