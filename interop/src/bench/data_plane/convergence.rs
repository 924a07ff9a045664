// SPDX-License-Identifier: GPL-2.0-or-later
//! How long nothing crosses when a locator fails while another one is alive, and when an EID-prefix moves to another xTR.
//!
//! Each change has a lab of its own in each round, with lisp-xtr as it is without flags, and tunnels in IPv4. Small packets cross it at a
//! steady pace, and are sent back, before the change and behind it. Labs of a round are there side by side, as they wait, mostly.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use serde::Serialize;

use super::report::{median, spread};
use crate::bench::Teller;
use crate::demo::binaries::Binaries;
use crate::hold::Keep;
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, LabError};
use crate::probe::crossing::{ECHO, Echo, SOON, Ways, crossing, rerouted};
use crate::sites::{CORE, Family, Place, SITES, moving, two_providers};

/// Rounds, of however many the other tests have.
const MOST_ROUNDS: usize = 3;
/// What a round takes, about.
const ROUND: Duration = Duration::from_secs(16);
/// By then packets cross a network that was just built.
const CROSSING_TIME: Duration = Duration::from_secs(30);
/// How long packets are watched before a change, and when none of them came back in a row.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
/// How long at most it is waited for the first packet behind a change; a gap of this length has had no end.
const LONGEST: Duration = Duration::from_secs(10);

/// What changes while packets cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The provider of the preferred locator drops all, of which nobody is told.
    ProviderSilent,
    /// The link of the preferred locator goes down.
    LinkDown,
    /// An EID-prefix becomes another xTR's, and the host is there.
    EidMoved,
}

impl Change {
    const ALL: [Self; 3] = [Self::ProviderSilent, Self::LinkDown, Self::EidMoved];

    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::ProviderSilent => "a provider falls silent",
            Self::LinkDown => "a link goes down",
            Self::EidMoved => "an EID-prefix moves",
        }
    }

    /// How long a gap must stay below that, seconds: packets are sent so long behind a change.
    pub(super) const fn promised(self) -> u8 {
        match self {
            Self::ProviderSilent | Self::LinkDown => 4,
            Self::EidMoved => 2,
        }
    }

    fn lab(self) -> anyhow::Result<Lab> {
        if self == Self::EidMoved { moving::lab() } else { two_providers::lab() }
    }

    fn stand(self, place: &Place<'_>, inner: Family, keep: Keep<'_>) -> anyhow::Result<()> {
        if self == Self::EidMoved { moving::stand(place, inner, keep) } else { two_providers::stand(place, keep) }
    }

    /// The ports of the core by which packets leave it before and behind the change.
    fn ports(self) -> [&'static str; 2] {
        if self == Self::EidMoved { moving::PORTS } else { two_providers::PORTS }
    }

    /// Lets it come about. A host that has moved sends back what it gets there, as long as what is given is kept.
    fn happen(self, place: &Place<'_>, inner: Family) -> anyhow::Result<Option<Echo>> {
        match self {
            Self::ProviderSilent => two_providers::fall_silent(place.lab).map(|()| None),
            Self::LinkDown => two_providers::link_down(place.lab).map(|()| None),
            Self::EidMoved => Echo::start(moving::move_prefix(place, inner)?, SITES[1].address(inner)?).map(Some),
        }
    }
}

/// The longest times in which no packet came back from the other host while something changed, seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Convergence {
    /// What changed.
    pub change: Change,
    /// One for each round; 10 if none came back any more.
    pub runs_s: Vec<f64>,
    /// The median of them.
    pub median_s: f64,
    /// The least and the most of them.
    pub spread_s: [f64; 2],
}

impl Convergence {
    /// Nothing of no rounds.
    fn new(change: Change, runs_s: Vec<f64>) -> Option<Self> {
        Some(Self { change, median_s: median(runs_s.clone())?, spread_s: spread(&runs_s), runs_s })
    }
}

/// The rounds that are measured when the other tests have so many.
fn rounds(asked: usize) -> usize {
    asked.min(MOST_ROUNDS)
}

/// How long all of it takes, about.
pub(super) fn estimate(asked: usize) -> Duration {
    ROUND * u32::try_from(rounds(asked)).unwrap_or(u32::MAX)
}

/// Measures all changes in each round; `inner` is the family of what the hosts send.
///
/// # Errors
/// When a lab cannot be had, nothing crosses it before the change, or packets go the same way behind it.
pub(super) fn measure(
    (asked, inner): (usize, Family),
    binaries: &Binaries,
    workspace: &Workspace,
    teller: &Teller,
) -> anyhow::Result<Vec<Convergence>> {
    let mut runs = Change::ALL.map(|change| (change, Vec::new()));
    let rounds = rounds(asked);
    for round in 1..=rounds {
        let one = |change: Change| {
            let lab = change.lab()?;
            let name = format!("{change:?}-{round}");
            let place = Place { lab: &lab, binaries, workspace, name: &name };
            gap(change, &place, inner)
        };
        let seen = std::thread::scope(|scope| {
            let one = &one;
            Change::ALL.map(|change| scope.spawn(move || one(change))).map(ScopedJoinHandle::join)
        });
        for ((change, gaps), seen) in runs.iter_mut().zip(seen) {
            let seen = seen.unwrap_or_else(|_| Err(anyhow!("a thread has panicked")));
            gaps.push(seen.with_context(|| change.words())?.min(LONGEST).as_secs_f64());
        }
        teller.say(&format!("convergence: round {round} of {rounds}"));
    }
    Ok(runs.into_iter().filter_map(|(change, gaps)| Convergence::new(change, gaps)).collect())
}

/// The longest time in which none came back, in a lab that stands for that.
fn gap(change: Change, place: &Place<'_>, inner: Family) -> anyhow::Result<Duration> {
    let gap = Cell::new(Duration::ZERO);
    change.stand(place, inner, &|lab, _, check| {
        let [from, to] = &SITES;
        let (source, host) = (from.address(inner)?, to.address(inner)?);
        let echo = Echo::start(lab.namespace(to.host)?, host)?;
        let socket = lab.namespace(from.host)?.run(move || UdpSocket::bind((source, 0)))??;
        let to = SocketAddr::new(host, ECHO);
        await_crossing(&socket, to, check)?;
        let times = (Duration::from_secs(change.promised().into()), LONGEST);
        let ways = Ways { node: lab.namespace(CORE)?, ports: change.ports() };
        let (changed, _, longest) = rerouted(&socket, to, times, ways, || change.happen(place, inner))?;
        drop((echo, changed?));
        gap.set(longest);
        Ok(check()?)
    })?;
    Ok(gap.get())
}

/// Waits until packets come back at a steady pace.
fn await_crossing(
    socket: &UdpSocket,
    to: SocketAddr,
    check: &mut dyn FnMut() -> Result<(), LabError>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + CROSSING_TIME;
    loop {
        check()?;
        let ((), count, gap) = crossing(socket, to, LOOK, || ())?;
        if count > 0 && gap < SOON {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no packet comes back after {CROSSING_TIME:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_have_a_median_and_are_few() {
        let seen = Convergence::new(Change::EidMoved, vec![0.5, 3.0, 0.25]);
        assert_eq!(seen.map(|it| (it.median_s, it.spread_s)), Some((0.5, [0.25, 3.0])));
        assert_eq!(Convergence::new(Change::EidMoved, Vec::new()), None);
        assert_eq!((rounds(1), rounds(7)), (1, MOST_ROUNDS));
    }
}
