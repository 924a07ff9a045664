// SPDX-License-Identifier: GPL-2.0-or-later
//! One good client while all others flood with questions about random EIDs.
//!
//! Client, flood and map system share the processors of one machine here, which they do not elsewhere. So two times are told:
//! until the answer had reached the client's socket, by the kernel's word, and until the client had its turn to read it. And a flood
//! comes out of a network, where it costs who is flooded what its kernel does for each datagram, and no more: the thread that makes
//! it here has a processor only while nobody else wants it (`SCHED_IDLE`), so that neither map system nor client waits for the
//! sender's half. What of the flood's harm is none of the map system's shows a control: the same flood, from the same thread, to a
//! socket beside the map system that nobody reads.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::ops::Sub;
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;

use super::load::{FLOOD_THREAD, Flood, FloodEnd, Measured, Pace, ask};
use super::questions::Questions;
use super::stage::{SERVER, Stage};
use super::{Options, batch, micros, micros_of, middle, server};
use crate::bench::Line;

/// Good questions outstanding, and the pause between two.
const GOOD: (usize, Duration) = (1, Duration::from_micros(500));
/// The flood in good loads.
const FLOOD: u32 = 10;
/// Where nobody reads what comes, beside the map system.
const SINK_PORT: u16 = 4344;
/// What of it must have been sent for a verdict: with less nothing was withstood.
const SENT: f64 = 0.95;
/// How much longer a good client may wait for its answers.
const LONGER: f64 = 2.0;
/// The good client's thread; its name is how it is known.
const CLIENT_THREAD: &str = "good-client";

/// Good clients while others flood.
#[derive(Debug, Clone, Serialize)]
pub struct Flooded {
    /// Questions a second that others sent about random EIDs.
    pub flood_per_s: f64,
    /// How many they should have sent: ten times the good load.
    pub wanted_per_s: f64,
    /// Right answers a second for the good client.
    pub replies_per_s: f64,
    /// Its 99th percentile without the flood.
    pub quiet_p99_us: f64,
    /// With it.
    pub p99_us: f64,
    /// How much longer it takes: median, least and most of all rounds.
    pub ratio: [f64; 3],
    /// Whether the kernel told of every answer when it reached the client's socket; the three figures that follow say nothing otherwise.
    pub stamped: bool,
    /// The 99th percentile until an answer has reached the client's socket, without the flood.
    pub quiet_arrival_p99_us: f64,
    /// With it.
    pub arrival_p99_us: f64,
    /// How much longer that takes: median, least and most of all rounds.
    pub arrival_ratio: [f64; 3],
    /// Both with the same flood to a socket beside the map system that nobody reads: until it has read the answer, ...
    pub sink_ratio: [f64; 3],
    /// ... and until it has reached the client's socket.
    pub sink_arrival_ratio: [f64; 3],
    /// Good questions without an answer.
    pub lost: usize,
    /// Whether the flood had a processor only while nobody else wanted it, as one that comes out of a network; if not, map system and
    /// client waited for its sender too.
    pub from_idle: bool,
    /// Whether the good client had its turns of the processor as soon as it wanted them; if not, it waited for those of the flood too.
    pub short_turns: bool,
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
///
/// In a thread of its own: what is asked for it of the scheduler ends with it, and no other case is measured with that.
pub(super) fn measure(
    stage: &Stage,
    socket: &UdpSocket,
    good: &mut Questions,
    crowd: &[Ipv4Addr],
    options: &Options,
) -> anyhow::Result<Flooded> {
    let client = std::thread::Builder::new().name(CLIENT_THREAD.into());
    std::thread::scope(|scope| {
        let client = client.spawn_scoped(scope, || measure_here(stage, socket, good, crowd, options))?;
        client.join().unwrap_or_else(|_| Err(anyhow!("the good client panicked")))
    })
}

fn measure_here(
    stage: &Stage,
    socket: &UdpSocket,
    good: &mut Questions,
    crowd: &[Ipv4Addr],
    options: &Options,
) -> anyhow::Result<Flooded> {
    let pace = Pace { outstanding: GOOD.0, pause: GOOD.1, time: options.turn };
    let sink = SocketAddrV4::new(SERVER, SINK_PORT);
    // It is there, so that no ICMP goes back; what it has no room for is dropped.
    let _unread = stage.lab.namespace("server")?.run(move || UdpSocket::bind(sink))??;
    let (mut quiet, mut beside, mut under) = (Vec::new(), Vec::new(), Vec::new());
    let mut total = Sent::default();
    let mut shares = [Spent::default(); 4];
    batch::tell_when(socket, true)?;
    // A client elsewhere has processors of its own: here it gets at least its turns as soon as it wants them. The flood, which is in
    // a thread of its own, does not.
    let short_turns = program::turns::ask_for(program::turns::SHORT).is_ok();
    for _ in 0..options.rounds {
        let calm = ask(socket, server(), good, pace)?;
        let rate = calm.rate() * f64::from(FLOOD);
        let flood = Flood::start(stage.socket()?, sink, crowd, rate)?;
        beside.push(ask(socket, server(), good, pace)?);
        flood.end()?;
        let flood = Flood::start(stage.socket()?, server(), crowd, rate)?;
        let before = spent(stage)?;
        under.push(ask(socket, server(), good, pace)?);
        for (share, (before, after)) in shares.iter_mut().zip(before.into_iter().zip(spent(stage)?)) {
            share.cores += (after - before).cores;
            share.waiting += (after - before).waiting;
        }
        total.add(&flood.end()?, rate);
        quiet.push(calm);
    }
    batch::tell_when(socket, false)?;
    let turns = Turns { quiet, beside, under };
    Ok(turns.judge(&total, shares, short_turns))
}

/// What was sent of the flood at the map system, in all rounds.
#[derive(Debug)]
struct Sent {
    count: f64,
    wanted: f64,
    seconds: f64,
    from_idle: bool,
}

impl Default for Sent {
    fn default() -> Self {
        Self { count: 0.0, wanted: 0.0, seconds: 0.0, from_idle: true }
    }
}

impl Sent {
    fn add(&mut self, flood: &FloodEnd, rate: f64) {
        self.count += flood.sent as f64;
        self.wanted += rate * flood.time.as_secs_f64();
        self.seconds += flood.time.as_secs_f64();
        self.from_idle &= flood.from_idle;
    }
}

/// The good client's turns: alone, with a flood beside the map system, and with one at it.
struct Turns {
    quiet: Vec<Measured>,
    beside: Vec<Measured>,
    under: Vec<Measured>,
}

impl Turns {
    fn judge(&self, sent: &Sent, shares: [Spent; 4], short_turns: bool) -> Flooded {
        let Self { quiet, beside, under } = self;
        let p99 = |turns: &[Measured]| middle(turns.iter().map(|it| micros(it, 0.99)).collect())[0];
        let mut all = quiet.iter().chain(beside).chain(under);
        let stamped = all.all(|it: &Measured| !it.times.is_empty() && it.arrivals.len() == it.times.len());
        let arrival = |it: &Measured| if stamped { micros_of(&it.arrivals, 0.99) } else { f64::NAN };
        let arrivals = |turns: &[Measured]| middle(turns.iter().map(arrival).collect())[0];
        let ratio = |turns: &[Measured], of: &dyn Fn(&Measured) -> f64| {
            middle(quiet.iter().zip(turns).map(|(calm, it)| of(it) / of(calm)).collect())
        };
        let read = |it: &Measured| micros(it, 0.99);
        let time = under.iter().map(|it| it.spent).sum::<Duration>().as_secs_f64().max(f64::MIN_POSITIVE);
        let [answering, others, flood, client] =
            shares.map(|it| Share { cores: it.cores.as_secs_f64() / time, waiting: it.waiting.as_secs_f64() / time });
        Flooded {
            flood_per_s: sent.count / sent.seconds.max(f64::MIN_POSITIVE),
            wanted_per_s: sent.wanted / sent.seconds.max(f64::MIN_POSITIVE),
            replies_per_s: middle(under.iter().map(Measured::rate).collect())[0],
            quiet_p99_us: p99(quiet),
            p99_us: p99(under),
            ratio: ratio(under, &read),
            stamped,
            quiet_arrival_p99_us: arrivals(quiet),
            arrival_p99_us: arrivals(under),
            arrival_ratio: ratio(under, &arrival),
            sink_ratio: ratio(beside, &read),
            sink_arrival_ratio: ratio(beside, &arrival),
            lost: under.iter().map(|it| it.lost).sum(),
            from_idle: sent.from_idle,
            short_turns,
            shares: Shares { answering, others, flood, client },
        }
    }
}

impl Flooded {
    /// In words.
    pub(super) fn lines(&self) -> Vec<String> {
        let span = |[mid, least, most]: [f64; 3]| format!("{mid:.2} ({least:.2}-{most:.2})");
        let Shares { answering, others, flood, client } = self.shares;
        let share = |it: Share| format!("{:.2} cores, ready and waiting {:.1} %", it.cores, it.waiting * 100.0);
        let arrived = if self.stamped {
            format!(
                "until the answer reached the client's socket: p99 {:.0} us instead of {:.0}: {} x",
                self.arrival_p99_us,
                self.quiet_arrival_p99_us,
                span(self.arrival_ratio)
            )
        } else {
            "when answers reached the client's socket is not known: the kernel did not tell of all".into()
        };
        let mut lines = vec![
            format!(
                "random EIDs: {:.0}/s of {:.0} beside {:.0} good replies/s, p99 {:.0} us instead of {:.0}: {} x, {} lost",
                self.flood_per_s,
                self.wanted_per_s,
                self.replies_per_s,
                self.p99_us,
                self.quiet_p99_us,
                span(self.ratio),
                self.lost
            ),
            arrived,
            format!(
                "the same flood to a socket beside it that nobody reads: {} x, at the client's socket {} x",
                span(self.sink_ratio),
                span(self.sink_arrival_ratio)
            ),
            format!("on the same processors: who answers {}; its DHT node {};", share(answering), share(others)),
            format!("the flood {}; the client {}", share(flood), share(client)),
        ];
        if !self.from_idle {
            lines.push(
                "this system keeps no thread for idle processors: all wait for the sender of the flood too".into(),
            );
        }
        if !self.short_turns {
            lines.push(
                "this system refuses short turns of the processor: the client waits for those of the flood".into(),
            );
        }
        lines
    }

    /// What is promised of it: up to where the map system's part ends, and until the client, which has to share its processors with
    /// the flood here, has read the answer.
    pub(super) fn promises(&self) -> [Line; 2] {
        [
            Line {
                name: "random-eids",
                ok: self.is_judged(true).is_ok() && self.arrival_ratio[0] < LONGER && self.lost == 0,
                measured: self.told(self.is_judged(true)),
                promised: "p99 at a good client's socket below 2 x under 10 x its load",
            },
            Line {
                name: "random-eids-read",
                ok: self.is_judged(false).is_ok() && self.ratio[0] < LONGER && self.lost == 0,
                measured: self.told(self.is_judged(false)),
                promised: "p99 when it has read it below 2 x under 10 x its load",
            },
        ]
    }

    /// Or why there is no verdict.
    fn is_judged(&self, at_socket: bool) -> Result<(), String> {
        if self.flood_per_s < SENT * self.wanted_per_s {
            let part = self.flood_per_s / self.wanted_per_s * 100.0;
            return Err(format!("{part:.0} % of the flood was sent"));
        }
        if at_socket && !self.stamped {
            return Err("no time stamps".into());
        }
        Ok(())
    }

    fn told(&self, judged: Result<(), String>) -> String {
        let socket = if self.stamped { format!("{:.2} x", self.arrival_ratio[0]) } else { "unknown".into() };
        let figures = format!("p99 at its socket {socket}, when read {:.2} x, {} lost", self.ratio[0], self.lost);
        judged.map_or_else(|why| format!("not judged, {why}; {figures}"), |()| figures.clone())
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

/// The answering thread, the others of the map system, the flood, and the good client.
fn spent(stage: &Stage) -> anyhow::Result<[Spent; 4]> {
    let (mut all, server) = ([Spent::default(); 4], stage.server.id());
    for process in [server, std::process::id()] {
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let folder = thread?.path();
            // A thread may end meanwhile.
            let read = |name: &str| std::fs::read_to_string(folder.join(name));
            let (Ok(name), Ok(line)) = (read("comm"), read("schedstat")) else { continue };
            let mut nanoseconds = line.split_whitespace().map(|field| field.parse().map(Duration::from_nanos));
            let (Some(Ok(cores)), Some(Ok(waiting))) = (nanoseconds.next(), nanoseconds.next()) else { continue };
            // The first thread of a process has its number.
            let is_first = folder.file_name().is_some_and(|name| name.to_str() == Some(&process.to_string()));
            let group = match name.trim() {
                _ if process == server => usize::from(!is_first),
                FLOOD_THREAD => 2,
                CLIENT_THREAD => 3,
                _ => continue,
            };
            let at = &mut all[group];
            (at.cores, at.waiting) = (at.cores + cores, at.waiting + waiting);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flood that was sent whole, and cost a good client little.
    fn withstood() -> Flooded {
        let none = Share::default();
        Flooded {
            flood_per_s: 9_600.0,
            wanted_per_s: 10_000.0,
            replies_per_s: 1_000.0,
            quiet_p99_us: 100.0,
            p99_us: 150.0,
            ratio: [1.5; 3],
            stamped: true,
            quiet_arrival_p99_us: 100.0,
            arrival_p99_us: 120.0,
            arrival_ratio: [1.2; 3],
            sink_ratio: [1.1; 3],
            sink_arrival_ratio: [1.1; 3],
            lost: 0,
            from_idle: true,
            short_turns: true,
            shares: Shares { answering: none, others: none, flood: none, client: none },
        }
    }

    fn verdicts(flooded: &Flooded) -> [bool; 2] {
        flooded.promises().map(|line| line.ok)
    }

    #[test]
    fn a_good_client_is_judged_at_its_socket_and_when_it_has_read_the_answer() {
        assert_eq!(verdicts(&withstood()), [true, true]);
        assert_eq!(verdicts(&Flooded { ratio: [2.0; 3], ..withstood() }), [true, false]);
        assert_eq!(verdicts(&Flooded { arrival_ratio: [2.0; 3], ..withstood() }), [false, true]);
        assert_eq!(verdicts(&Flooded { lost: 1, ..withstood() }), [false, false]);
    }

    #[test]
    fn what_was_no_flood_or_has_no_time_stamps_is_not_judged() {
        let no_flood = Flooded { flood_per_s: 9_400.0, ..withstood() };
        assert_eq!(verdicts(&no_flood), [false, false]);
        assert!(no_flood.promises().iter().all(|line| line.measured.starts_with("not judged, 94 % of the flood")));
        let no_stamps = Flooded { stamped: false, arrival_ratio: [1.0; 3], ..withstood() };
        assert_eq!(verdicts(&no_stamps), [false, true]);
        assert!(no_stamps.promises()[0].measured.starts_with("not judged, no time stamps"));
    }
}
