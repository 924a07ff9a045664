// SPDX-License-Identifier: GPL-2.0-or-later
//! One good client while all others flood with questions about random EIDs.
//!
//! Client, flood and map system are on one machine here, which they are not elsewhere:
//! * the client has a processor to itself, and the map system the others, which on two cores leaves it one. On shared ones a client that
//!   is woken by its answer waits for the turn of the thread which woke it, and goes on with the flood;
//! * a flood comes out of a network, and takes of the processors of who is flooded what the kernel does for each datagram that
//!   arrives. Of three processors the thread that makes it has one, and what the kernel does for each is done there. Of two it is on the
//!   map system's, which receives what it sends, but only while nobody else wants them (`SCHED_IDLE`): nobody waits for the sender's
//!   half, and the flood waits while the map system works. None of it arrives while a good question is being answered, as some of a
//!   real one does: what is measured is what the flood has left to do when a good question comes;
//! * what of the flood's harm is none of the map system's shows a control: the same flood, from the same thread, to a socket beside
//!   it that nobody reads.
//!
//! The flood is held against two turns of the same round, with everybody where he is under it: without a flood, where all processors
//! sleep between two questions, and with the control, where that of the map system does not. The promise is kept if it is beside both.
//!
//! Two times are told: until the answer had reached the client's socket, by the kernel's word, and until the client had read it.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use serde_json::Value;

use super::apart::Apart;
use super::load::{Flood, FloodEnd, Measured, PATIENCE, Pace, Place, ask};
use super::questions::Questions;
use super::shares::{Share, Shares, Spent, spent};
use super::stage::{SERVER, Stage};
use super::{Options, batch, micros, micros_of, middle, server};
use crate::bench::Line;
use crate::bench::disturbed::Undisturbed;

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
pub(super) const CLIENT_THREAD: &str = "good-client";

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
    /// Whether the kernel told of every answer when it reached the client's socket; the figures of arrivals say nothing otherwise.
    pub stamped: bool,
    /// The 99th percentile until an answer has reached the client's socket, without the flood.
    pub quiet_arrival_p99_us: f64,
    /// With it.
    pub arrival_p99_us: f64,
    /// How much longer that takes: median, least and most of all rounds.
    pub arrival_ratio: [f64; 3],
    /// Both ratios with the same flood to a socket beside the map system that nobody reads: until it has read the answer, ...
    pub sink_ratio: [f64; 3],
    /// ... and until it has reached the client's socket.
    pub sink_arrival_ratio: [f64; 3],
    /// How much longer it takes with the flood at the map system than with that: until it has read the answer, ...
    pub beyond_sink_ratio: [f64; 3],
    /// ... and until it has reached the client's socket.
    pub beyond_sink_arrival_ratio: [f64; 3],
    /// Good questions without an answer.
    pub lost: usize,
    /// What the flood had looked up: half of it are CGEIDs that nobody has.
    pub lookups: Lookups,
    /// Whether the sender of the flood took no processor from anybody, as one that comes out of a network; if not, map system and client
    /// waited for it too.
    pub from_idle: bool,
    /// Whether it had a processor of its own; if not, the flood waited while the map system worked.
    pub flood_apart: bool,
    /// Whether the good client had a processor to itself.
    pub apart: bool,
    /// Whether the good client had its turns of the processor as soon as it wanted them; if not, it waited for those of the flood too.
    pub short_turns: bool,
    /// Who had which part of the processors during the flood.
    pub shares: Shares,
}

/// What the measured map system asked of the DHT during the flood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Lookups {
    /// GETs that it sent.
    pub gets: u64,
    /// Questions that would have led to more, and were refused.
    pub refused: u64,
    /// GETs that strangers may cause in that time.
    pub most: f64,
}

/// Lookups that all strangers together may cause at once, and a second beyond that; GETs of a lookup.
const BUDGET: (f64, f64) = (512.0, 128.0);
const GETS: f64 = 3.0;

impl Lookups {
    /// Those until now.
    fn until_now(stage: &Stage) -> anyhow::Result<Self> {
        let counters = stage.counters()?;
        let figure = |pointer: &str| counters.pointer(pointer).and_then(Value::as_u64).context("no such counter");
        Ok(Self { gets: figure("/dht/node/gets")?, refused: figure("/refusals/miss-budget")?, most: 0.0 })
    }

    fn add(&mut self, before: Self, after: Self, time: Duration) {
        self.gets += after.gets.saturating_sub(before.gets);
        self.refused += after.refused.saturating_sub(before.refused);
        self.most += GETS * (BUDGET.0 + BUDGET.1 * time.as_secs_f64());
    }
}

/// Turns of one good client without and with a flood of random EIDs from everybody else.
///
/// In a thread of its own: what is asked for it of the scheduler ends with it, and no other case is measured with that.
pub(super) fn measure(
    stage: &Stage,
    socket: &UdpSocket,
    good: &mut Questions,
    crowd: &[Ipv4Addr],
    (options, undisturbed): (&Options, &mut Undisturbed),
) -> anyhow::Result<Flooded> {
    let client = std::thread::Builder::new().name(CLIENT_THREAD.into());
    std::thread::scope(|scope| {
        let client = client.spawn_scoped(scope, || measure_here(stage, socket, good, crowd, (options, undisturbed)))?;
        client.join().unwrap_or_else(|_| Err(anyhow!("the good client panicked")))
    })
}

fn measure_here(
    stage: &Stage,
    socket: &UdpSocket,
    good: &mut Questions,
    crowd: &[Ipv4Addr],
    (options, undisturbed): (&Options, &mut Undisturbed),
) -> anyhow::Result<Flooded> {
    let sink = SocketAddrV4::new(SERVER, SINK_PORT);
    // It is there, so that no ICMP goes back; what it has no room for is dropped.
    let _unread = stage.lab.namespace("server")?.run(move || UdpSocket::bind(sink))??;
    let (mut quiet, mut beside, mut under) = (Vec::new(), Vec::new(), Vec::new());
    let mut total = Sent::default();
    let mut shares = [Spent::default(); 4];
    let mut lookups = Lookups::default();
    batch::tell_when(socket, true)?;
    // Where it has none to itself it gets at least its turns as soon as it wants them. The flood, which is in a thread of its own, does
    // not.
    let short_turns = program::turns::ask_for(program::turns::SHORT).is_ok();
    let apart = Apart::new(stage.server.id());
    let from = apart
        .as_ref()
        .map_or_else(Place::default, |apart| Place { processors: Some(apart.flood), is_apart: apart.is_flood_apart });
    for _ in 0..options.rounds {
        let round = undisturbed.play(|| Round::play(stage, socket, good, (sink, crowd, from), options.turn))?;
        let [calm, to_sink, flooded] = round.turns;
        quiet.push(calm);
        beside.push(to_sink);
        under.push(flooded);
        for (share, spent) in shares.iter_mut().zip(round.spent) {
            share.cores += spent.cores;
            share.waiting += spent.waiting;
        }
        total.add(&round.sent, round.rate);
        let (before, after, time) = round.lookups;
        lookups.add(before, after, time);
    }
    batch::tell_when(socket, false)?;
    let turns = Turns { quiet, beside, under };
    let flooded = turns.judge(&total, shares, (apart.is_some(), short_turns));
    Ok(Flooded { flood_apart: from.is_apart, lookups, ..flooded })
}

/// One turn without a flood, one with it beside the map system, and one with it there.
struct Round {
    turns: [Measured; 3],
    /// Of the last one: what threads have had, ...
    spent: [Spent; 4],
    /// ... the flood and how many a second it should have been, ...
    sent: FloodEnd,
    rate: f64,
    /// ... and what had been looked up before and after it, and the time between.
    lookups: (Lookups, Lookups, Duration),
}

impl Round {
    fn play(
        stage: &Stage,
        socket: &UdpSocket,
        good: &mut Questions,
        (sink, crowd, from): (SocketAddrV4, &[Ipv4Addr], Place),
        time: Duration,
    ) -> anyhow::Result<Self> {
        let pace = Pace { outstanding: GOOD.0, pause: GOOD.1, time, patience: PATIENCE };
        let calm = ask(socket, server(), good, pace)?;
        let rate = calm.rate() * f64::from(FLOOD);
        let flood = Flood::start(stage.socket()?, sink, crowd, rate, from)?;
        let to_sink = ask(socket, server(), good, pace)?;
        flood.end()?;
        let (looked_up, begun) = (Lookups::until_now(stage)?, Instant::now());
        let flood = Flood::start(stage.socket()?, server(), crowd, rate, from)?;
        let before = spent(stage)?;
        let flooded = ask(socket, server(), good, pace)?;
        let mut spent = spent(stage)?;
        spent.iter_mut().zip(before).for_each(|(after, before)| *after = *after - before);
        let sent = flood.end()?;
        let lookups = (looked_up, Lookups::until_now(stage)?, begun.elapsed());
        Ok(Self { turns: [calm, to_sink, flooded], spent, sent, rate, lookups })
    }
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
        self.from_idle &= flood.took_none;
    }
}

/// The good client's turns: without a flood, with one beside the map system, and with one at it.
struct Turns {
    quiet: Vec<Measured>,
    beside: Vec<Measured>,
    under: Vec<Measured>,
}

impl Turns {
    fn judge(&self, sent: &Sent, shares: [Spent; 4], (apart, short_turns): (bool, bool)) -> Flooded {
        let Self { quiet, beside, under } = self;
        let p99 = |turns: &[Measured]| middle(turns.iter().map(|it| micros(it, 0.99)).collect())[0];
        let mut all = quiet.iter().chain(beside).chain(under);
        let stamped = all.all(|it: &Measured| !it.times.is_empty() && it.arrivals.len() == it.times.len());
        let arrival = |it: &Measured| if stamped { micros_of(&it.arrivals, 0.99) } else { f64::NAN };
        let arrivals = |turns: &[Measured]| middle(turns.iter().map(arrival).collect())[0];
        let ratio = |turns: &[Measured], than: &[Measured], of: &dyn Fn(&Measured) -> f64| {
            middle(turns.iter().zip(than).map(|(it, calm)| of(it) / of(calm)).collect())
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
            ratio: ratio(under, quiet, &read),
            stamped,
            quiet_arrival_p99_us: arrivals(quiet),
            arrival_p99_us: arrivals(under),
            arrival_ratio: ratio(under, quiet, &arrival),
            sink_ratio: ratio(beside, quiet, &read),
            sink_arrival_ratio: ratio(beside, quiet, &arrival),
            beyond_sink_ratio: ratio(under, beside, &read),
            beyond_sink_arrival_ratio: ratio(under, beside, &arrival),
            lost: under.iter().map(|it| it.lost).sum(),
            lookups: Lookups::default(),
            from_idle: sent.from_idle,
            flood_apart: false,
            apart,
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
                "random EIDs: {:.0}/s of {:.0} beside {:.0} good replies/s, p99 {:.0} us instead of {:.0}: {} x; {} lost",
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
                "the same flood to a socket beside it that nobody reads: {} x, at the client's socket {} x; at the map system {} x of that, at \
                 the client's socket {} x",
                span(self.sink_ratio),
                span(self.sink_arrival_ratio),
                span(self.beyond_sink_ratio),
                span(self.beyond_sink_arrival_ratio)
            ),
            format!(
                "half of the flood are CGEIDs that nobody has: {} GETs in the DHT of at most {:.0}, {} questions refused a lookup",
                self.lookups.gets, self.lookups.most, self.lookups.refused
            ),
            format!("who answers {}; its DHT node {};", share(answering), share(others)),
            format!("the flood {}; the client {}", share(flood), share(client)),
        ];
        if !self.from_idle {
            lines.push(
                "this system keeps no thread for idle processors: all wait for the sender of the flood too".into(),
            );
        }
        if self.from_idle && !self.flood_apart {
            lines.push(
                "the flood waits while the map system works: none of it arrives while a good question is being answered"
                    .into(),
            );
        }
        if !self.apart {
            lines.push(
                "client and map system share processors: the client waits for the turns of who answers it".into(),
            );
        }
        if !self.short_turns {
            lines.push(
                "this system refuses short turns of the processor: the client waits for those of the flood".into(),
            );
        }
        lines
    }

    /// What is promised of it: up to where the map system's part ends, and until the client has read the answer. It is kept if it is
    /// beside the quiet turns and the control.
    pub(super) fn promises(&self) -> [Line; 3] {
        [
            Line {
                name: "random-eids",
                ok: self.is_judged(true).is_ok() && self.worst(true) < LONGER && self.lost == 0,
                measured: self.told(self.is_judged(true)),
                promised: "p99 at a good client's socket below 2 x under 10 x its load",
            },
            Line {
                name: "random-eids-read",
                ok: self.is_judged(false).is_ok() && self.worst(false) < LONGER && self.lost == 0,
                measured: self.told(self.is_judged(false)),
                promised: "p99 when it has read it below 2 x under 10 x its load",
            },
            Line {
                name: "random-eids-lookups",
                ok: self.lookups.refused > 0 && self.lookups.gets as f64 <= self.lookups.most,
                measured: format!("{} GETs, {} questions refused one", self.lookups.gets, self.lookups.refused),
                promised: "what nobody has is looked up within the budget of all strangers",
            },
        ]
    }

    /// How much longer it takes than without the flood, or than with one beside it if that is more; at its socket or until it is read.
    fn worst(&self, at_socket: bool) -> f64 {
        let (quiet, sink) = if at_socket {
            (self.arrival_ratio, self.beyond_sink_arrival_ratio)
        } else {
            (self.ratio, self.beyond_sink_ratio)
        };
        quiet[0].max(sink[0])
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
        let socket = if self.stamped { format!("{:.2} x", self.worst(true)) } else { "unknown".into() };
        let read = self.worst(false);
        let figures = format!(
            "p99 at its socket {socket}, when read {read:.2} x of the quiet one or the control's, {} lost",
            self.lost
        );
        judged.map_or_else(|why| format!("not judged, {why}; {figures}"), |()| figures.clone())
    }
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
            sink_ratio: [0.9; 3],
            sink_arrival_ratio: [0.9; 3],
            beyond_sink_ratio: [1.7; 3],
            beyond_sink_arrival_ratio: [1.3; 3],
            lost: 0,
            lookups: Lookups { gets: 2_000, refused: 40_000, most: 2_500.0 },
            from_idle: true,
            flood_apart: false,
            apart: true,
            short_turns: true,
            shares: Shares { answering: none, others: none, flood: none, client: none },
        }
    }

    fn verdicts(flooded: &Flooded) -> [bool; 2] {
        let [at_socket, read, _] = flooded.promises().map(|line| line.ok);
        [at_socket, read]
    }

    #[test]
    fn a_flood_that_walks_the_dht_or_would_start_no_lookup_is_told() {
        let kept = |lookups| Flooded { lookups, ..withstood() }.promises()[2].ok;
        let within = withstood().lookups;
        assert!(kept(within));
        assert!(!kept(Lookups { gets: 2_501, ..within }));
        assert!(!kept(Lookups { refused: 0, ..within }), "nothing was asked for that would be looked up");
    }

    #[test]
    fn a_good_client_is_judged_at_its_socket_and_when_it_has_read_the_answer() {
        assert_eq!(verdicts(&withstood()), [true, true]);
        assert_eq!(verdicts(&Flooded { ratio: [2.0; 3], ..withstood() }), [true, false]);
        assert_eq!(verdicts(&Flooded { arrival_ratio: [2.0; 3], ..withstood() }), [false, true]);
        assert_eq!(verdicts(&Flooded { beyond_sink_ratio: [2.0; 3], ..withstood() }), [true, false], "beside both");
        assert_eq!(verdicts(&Flooded { beyond_sink_arrival_ratio: [2.0; 3], ..withstood() }), [false, true]);
        assert_eq!(verdicts(&Flooded { lost: 1, ..withstood() }), [false, false]);
    }

    #[test]
    fn where_the_flood_waits_for_the_map_system_the_result_says_so() {
        let says = |flooded: &Flooded| flooded.lines().iter().any(|line| line.starts_with("the flood waits"));
        assert!(says(&withstood()));
        assert!(!says(&Flooded { flood_apart: true, ..withstood() }));
        assert!(withstood().lines()[2].contains("at the map system 1.70"), "{:?}", withstood().lines());
    }

    #[test]
    fn what_was_no_flood_or_has_no_time_stamps_is_not_judged() {
        let no_flood = Flooded { flood_per_s: 9_400.0, ..withstood() };
        assert_eq!(verdicts(&no_flood), [false, false]);
        assert!(no_flood.promises()[..2].iter().all(|line| line.measured.starts_with("not judged, 94 % of the flood")));
        let no_stamps = Flooded { stamped: false, arrival_ratio: [1.0; 3], ..withstood() };
        assert_eq!(verdicts(&no_stamps), [false, true]);
        assert!(no_stamps.promises()[0].measured.starts_with("not judged, no time stamps"));
    }
}
