// SPDX-License-Identifier: GPL-2.0-or-later
//! One good client while all others flood with questions about random EIDs.
//!
//! Client, flood and map system share the processors of one machine here, which they do not elsewhere. So two times are told:
//! until the answer had reached the client's socket, by the kernel's word, and until the client had its turn to read it.

use std::net::{Ipv4Addr, UdpSocket};
use std::ops::Sub;
use std::time::Duration;

use serde::Serialize;

use super::load::{Flood, Measured, Pace, ask};
use super::questions::Questions;
use super::stage::Stage;
use super::{Options, batch, micros, micros_of, middle, server};
use crate::bench::Line;

/// Good questions outstanding, and the pause between two.
const GOOD: (usize, Duration) = (1, Duration::from_micros(500));
/// The flood in good loads.
const FLOOD: u32 = 10;

/// Good clients while others flood.
#[derive(Debug, Clone, Serialize)]
pub struct Flooded {
    /// Questions a second that others sent about random EIDs.
    pub flood_per_s: f64,
    /// Right answers a second for the good client.
    pub replies_per_s: f64,
    /// Its 99th percentile without the flood.
    pub quiet_p99_us: f64,
    /// With it.
    pub p99_us: f64,
    /// How much longer it takes: median, least and most of all rounds.
    pub ratio: [f64; 3],
    /// The 99th percentile until an answer has reached the client's socket, without the flood.
    pub quiet_arrival_p99_us: f64,
    /// With it.
    pub arrival_p99_us: f64,
    /// How much longer that takes: median, least and most of all rounds.
    pub arrival_ratio: [f64; 3],
    /// Good questions without an answer.
    pub lost: usize,
    /// Who had which part of the processors during the flood.
    pub shares: Shares,
}

/// What threads had of a processor, in cores, and how long those who were ready waited for one, in parts of the time.
#[derive(Debug, Clone, Serialize)]
pub struct Shares {
    /// The thread of the map system that answers.
    pub answering: Share,
    /// Its DHT node and its disk.
    pub others: Share,
    /// The flood.
    pub flood: Share,
    /// The good client.
    pub client: Share,
}

/// Of some threads.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Share {
    /// Cores.
    pub cores: f64,
    /// Ready, and waiting for a core.
    pub waiting: f64,
}

/// Turns of one good client without and with a flood of random EIDs from everybody else.
pub(super) fn measure(
    stage: &Stage,
    socket: &UdpSocket,
    good: &mut Questions,
    crowd: &[Ipv4Addr],
    options: &Options,
) -> anyhow::Result<Flooded> {
    let pace = Pace { outstanding: GOOD.0, pause: GOOD.1, time: options.turn };
    let (mut quiet, mut under, mut sent) = (Vec::new(), Vec::new(), 0.0);
    let mut shares = [Spent::default(); 4];
    batch::tell_when(socket, true)?;
    // A client elsewhere has processors of its own: here it gets at least its turns as soon as it wants them. The flood, which is in
    // a thread of its own, does not.
    program::turns::ask_for(program::turns::SHORT)?;
    for _ in 0..options.rounds {
        let calm = ask(socket, server(), good, pace)?;
        let flood = Flood::start(stage.socket()?, server(), crowd, calm.rate() * f64::from(FLOOD))?;
        let before = spent(stage)?;
        under.push(ask(socket, server(), good, pace)?);
        for (share, (before, after)) in shares.iter_mut().zip(before.into_iter().zip(spent(stage)?)) {
            share.cores += (after - before).cores;
            share.waiting += (after - before).waiting;
        }
        sent += flood.end()? as f64;
        quiet.push(calm);
    }
    batch::tell_when(socket, false)?;
    let p99 = |turns: &[Measured]| middle(turns.iter().map(|it| micros(it, 0.99)).collect())[0];
    let arrival = |it: &Measured| micros_of(&it.arrivals, 0.99);
    let arrivals = |turns: &[Measured]| middle(turns.iter().map(arrival).collect())[0];
    let time = under.iter().map(|it| it.spent).sum::<Duration>().as_secs_f64().max(f64::MIN_POSITIVE);
    let both = || quiet.iter().zip(&under);
    let [answering, others, flood, client] =
        shares.map(|it| Share { cores: it.cores.as_secs_f64() / time, waiting: it.waiting.as_secs_f64() / time });
    Ok(Flooded {
        flood_per_s: sent / time,
        replies_per_s: middle(under.iter().map(Measured::rate).collect())[0],
        quiet_p99_us: p99(&quiet),
        p99_us: p99(&under),
        ratio: middle(both().map(|(calm, it)| micros(it, 0.99) / micros(calm, 0.99)).collect()),
        quiet_arrival_p99_us: arrivals(&quiet),
        arrival_p99_us: arrivals(&under),
        arrival_ratio: middle(both().map(|(calm, it)| arrival(it) / arrival(calm)).collect()),
        lost: under.iter().map(|it| it.lost).sum(),
        shares: Shares { answering, others, flood, client },
    })
}

impl Flooded {
    /// In words.
    pub(super) fn lines(&self) -> Vec<String> {
        let span = |[mid, least, most]: [f64; 3]| format!("{mid:.2} ({least:.2}-{most:.2})");
        let Shares { answering, others, flood, client } = self.shares;
        let share = |it: Share| format!("{:.2} cores, ready and waiting {:.1} %", it.cores, it.waiting * 100.0);
        vec![
            format!(
                "random EIDs: {:.0}/s beside {:.0} good replies/s, p99 {:.0} us instead of {:.0}: {} x, {} lost",
                self.flood_per_s,
                self.replies_per_s,
                self.p99_us,
                self.quiet_p99_us,
                span(self.ratio),
                self.lost
            ),
            format!(
                "until the answer reached the client's socket: p99 {:.0} us instead of {:.0}: {} x",
                self.arrival_p99_us,
                self.quiet_arrival_p99_us,
                span(self.arrival_ratio)
            ),
            format!("on the same processors: who answers {}; its DHT node {};", share(answering), share(others)),
            format!("the flood {}; the client {}", share(flood), share(client)),
        ]
    }

    /// What is promised of it.
    pub(super) fn promise(&self) -> Line {
        Line {
            name: "random-eids",
            // Up to where the map system's part ends: that a client has to share its processors with the flood is the bench's doing.
            ok: self.arrival_ratio[0] < 2.0 && self.lost == 0,
            measured: format!(
                "p99 at its socket {:.2} x, when it has read it {:.2} x, {} lost",
                self.arrival_ratio[0], self.ratio[0], self.lost
            ),
            promised: "p99 at a good client's socket below 2 x under 10 x its load",
        }
    }
}

/// What threads have had until now.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    cores: Duration,
    waiting: Duration,
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        let cores = self.cores.saturating_sub(before.cores);
        Self { cores, waiting: self.waiting.saturating_sub(before.waiting) }
    }
}

/// The answering thread, the others of the map system, the flood, and this thread.
fn spent(stage: &Stage) -> anyhow::Result<[Spent; 4]> {
    let (mut all, own) = ([Spent::default(); 4], std::process::id());
    for (process, group) in [(stage.server.id(), [0, 1]), (own, [3, 2])] {
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let folder = thread?.path();
            // A thread may end meanwhile.
            let Ok(line) = std::fs::read_to_string(folder.join("schedstat")) else { continue };
            let mut nanoseconds = line.split_whitespace().map(|field| field.parse().map(Duration::from_nanos));
            let (Some(Ok(cores)), Some(Ok(waiting))) = (nanoseconds.next(), nanoseconds.next()) else { continue };
            // The first thread of a process has its number.
            let is_first = folder.file_name().is_some_and(|name| name.to_str() == Some(&process.to_string()));
            let at = &mut all[group[usize::from(!is_first)]];
            (at.cores, at.waiting) = (at.cores + cores, at.waiting + waiting);
        }
    }
    Ok(all)
}
