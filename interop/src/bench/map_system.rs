// SPDX-License-Identifier: GPL-2.0-or-later
//! How quickly a map system answers, beside the least that any answer costs in the same place: the two take turns.

mod apart;
mod batch;
mod flooding;
mod floor;
mod load;
mod million;
mod questions;
mod registering;
mod report;
mod shares;
mod stage;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::disturbed::Undisturbed;
use super::{Teller, quantile};
use crate::demo::binaries::Binaries;
use crate::interrupt;
use crate::lab::privilege;
use anyhow::{Context as _, ensure};
use floor::Floor;
use load::{Measured, Pace, ask};
use questions::{Questions, Sample, Sites, Within};
use stage::{CLIENT, CROWD, SERVER, Stage};

pub use flooding::Flooded;
pub use million::{FirstAnswer, MOST, Weight};
pub use registering::Registering;
pub use report::{Figures, FloodReport, Report};
pub use shares::{Share, Shares};

/// The case in which not everything is answered: where limits hold.
const LIMITED: &str = "limited";
/// Where the floor answers, beside the map system.
const FLOOR_PORT: u16 = 4343;
/// What of the floor's answers a second the map system reaches.
const RATIO: f64 = 0.65;
/// Of how many times the floor's the 99th percentile stays below.
const TAIL: f64 = 4.0;
/// Longest time until the foreign sites can be found.
const PUBLISHED: Duration = Duration::from_secs(90);
/// Different questions of a case, at about 200 octets: many thousand of each of the usual sites, one of every second of a
/// hundred thousand.
const MOST_QUESTIONS: usize = 1 << 18;
/// Turns that are played again since others had the processors, for each round; there are five of them in a round.
const AGAIN: usize = 8;
/// How often very many are registered again for that, the million and those of each minute: each time takes a minute or more.
const REGISTERED_AGAIN: usize = 2;
/// Addresses without privilege; no more than the lab has.
pub const CROWD_SIZE: u32 = 4096;

/// What the bench is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the programs are; otherwise they are built.
    pub bin_dir: Option<PathBuf>,
    /// Work in a user namespace, even as root.
    pub user_namespace: bool,
    /// Turns of each case, and as many of the floor beside each.
    pub rounds: usize,
    /// Length of a turn.
    pub turn: Duration,
    /// Questions outstanding.
    pub outstanding: usize,
    /// Threads in which the measured map system serves.
    pub workers: u8,
    /// Sites that are registered.
    pub sites: u16,
    /// Addresses that the limits hold for, up to [`CROWD_SIZE`].
    pub crowd: u32,
    /// Registrations of the site whose covering prefix alone is published, up to [`MOST`].
    pub registrations: u32,
    /// Sites that register each minute.
    pub registering: u32,
    /// For how long they are watched.
    pub registering_time: Duration,
}

/// Turns of a case and of the floor, and what the map system spent.
struct Turns {
    case: &'static str,
    questions: Questions,
    ours: Vec<Measured>,
    floor: Vec<Measured>,
    cpu: Duration,
}

/// Runs the bench.
///
/// # Errors
/// When the lab cannot be had, or the map system does not serve.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let teller = Teller::new();
    let binaries = Binaries::find_or_build(options.bin_dir.as_deref())?;
    privilege::acquire(options.user_namespace)?;
    let folder = tempfile::tempdir()?;
    let sites = |group| Sites { within: Within::Group(group), count: options.sites.into() };
    let (own, foreign) = (sites(0xdb8), sites(0xdb9));
    let mut stage = Stage::build(&binaries, folder.path(), (own, foreign), options.workers)?;
    teller.say("both map systems serve");
    let socket = stage.socket()?;
    let port = socket.local_addr()?.port();
    let crowd = crowd(options);
    let mut cases = [("registered", own, &[CLIENT][..]), ("dht-cache", foreign, &[CLIENT]), (LIMITED, own, &crowd)]
        .into_iter()
        .map(|(case, sites, clients)| Turns::new(case, sites, clients, port))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for turns in &mut cases[..2] {
        await_answers(&socket, &mut turns.questions)?;
    }
    teller.say("all sites are found");
    let mut undisturbed = Undisturbed::new(AGAIN * options.rounds, options.turn);
    play(&stage, &socket, own, &mut cases, options, (&mut undisturbed, &teller))?;
    let flood = flooding::measure(&stage, &socket, &mut cases[0].questions, &crowd, (options, &mut undisturbed))?;
    teller.say("the flood of random EIDs is over");
    let [mut of_million, mut of_many] = [(); 2].map(|()| Undisturbed::new(REGISTERED_AGAIN, options.registering_time));
    let (mut million, nonce) = of_million.play(|| million::register(&mut stage, options.registrations.min(MOST)))?;
    teller.say(&format!("{} registrations", million.registrations));
    let many = million::sites(million.registrations);
    let mut last = [Turns::new("million", many, &[CLIENT], port)?];
    play(&stage, &socket, own, &mut last, options, (&mut undisturbed, &teller))?;
    let first_answer = million::first_answers(&stage, million.registrations, nonce)?;
    stage.check()?;
    let registering = of_many.play(|| registering::measure(&stage, options.registering, options.registering_time))?;
    let results: Vec<Figures> = cases.iter().chain(&last).map(|it| it.figures(options)).collect();
    million.of_registered = results[3].ratio[0] / results[0].ratio[0];
    let promises = report::promises(&results, &flood, &million, &registering, &first_answer);
    let ok = promises.iter().all(|line| line.ok);
    let machine = machine();
    let Options { outstanding, workers, rounds, .. } = *options;
    Ok(Report {
        machine,
        outstanding,
        workers,
        rounds,
        results,
        flood,
        million,
        registering,
        first_answer,
        disturbed: undisturbed.seen(),
        registering_disturbed: of_million.seen().and(of_many.seen()),
        promises,
        ok,
    })
}

/// Runs the flood of random EIDs alone.
///
/// # Errors
/// When the lab cannot be had, or the map system does not serve.
pub fn run_flood(options: &Options) -> anyhow::Result<FloodReport> {
    let teller = Teller::new();
    let binaries = Binaries::find_or_build(options.bin_dir.as_deref())?;
    privilege::acquire(options.user_namespace)?;
    let folder = tempfile::tempdir()?;
    let own = Sites { within: Within::Group(0xdb8), count: options.sites.into() };
    let foreign = Sites { within: Within::Group(0xdb9), count: 1 };
    let mut stage = Stage::build(&binaries, folder.path(), (own, foreign), options.workers)?;
    let socket = stage.socket()?;
    let mut good = Turns::new("registered", own, &[CLIENT], socket.local_addr()?.port())?.questions;
    await_answers(&socket, &mut good)?;
    teller.say("the map system serves");
    let mut undisturbed = Undisturbed::new(AGAIN * options.rounds, options.turn);
    let flood = flooding::measure(&stage, &socket, &mut good, &crowd(options), (options, &mut undisturbed))?;
    stage.check()?;
    let promises = flood.promises().to_vec();
    let ok = promises.iter().all(|line| line.ok);
    Ok(FloodReport { machine: machine(), rounds: options.rounds, flood, disturbed: undisturbed.seen(), promises, ok })
}

/// The addresses without privilege.
fn crowd(options: &Options) -> Vec<Ipv4Addr> {
    (1..=options.crowd.clamp(1, CROWD_SIZE)).map(|host| Ipv4Addr::from_bits(CROWD.to_bits() + host)).collect()
}

fn machine() -> String {
    format!("{} cores", std::thread::available_parallelism().map_or(1, usize::from))
}

/// All rounds of these cases, beside a floor that is there for them.
fn play(
    stage: &Stage,
    socket: &UdpSocket,
    own: Sites,
    cases: &mut [Turns],
    options: &Options,
    (undisturbed, teller): (&mut Undisturbed, &Teller),
) -> anyhow::Result<()> {
    let sample = Turns::new("sample", own, &[CLIENT], socket.local_addr()?.port())?;
    let floor = start_floor(stage, socket, own, &sample.questions)?;
    for round in 0..options.rounds {
        for turns in &mut *cases {
            interrupt::sleep(Duration::ZERO)?;
            let pair = undisturbed.play(|| turns.play(stage, socket, options))?;
            turns.add(pair);
        }
        teller.say(&format!("round {} of {}", round + 1, options.rounds));
    }
    floor.end()
}

impl Turns {
    fn new(case: &'static str, sites: Sites, clients: &[Ipv4Addr], port: u16) -> anyhow::Result<Self> {
        let count = (clients.len().max(1024) * sites.count as usize).min(MOST_QUESTIONS);
        let questions = Questions::new(sites, clients, port, count)?;
        Ok(Self { case, questions, ours: Vec::new(), floor: Vec::new(), cpu: Duration::ZERO })
    }

    /// A turn of the floor, then one of the map system, and what that spent of the processors.
    fn play(
        &mut self,
        stage: &Stage,
        socket: &UdpSocket,
        options: &Options,
    ) -> anyhow::Result<(Measured, Measured, Duration)> {
        let patience = if self.case == LIMITED { load::LIMITED_PATIENCE } else { load::PATIENCE };
        let pace = Pace { outstanding: options.outstanding, pause: Duration::ZERO, time: options.turn, patience };
        let floor = ask(socket, SocketAddrV4::new(SERVER, FLOOR_PORT), &mut self.questions, pace)?;
        ensure!(!floor.times.is_empty() && floor.wrong == 0, "the floor does not answer");
        let before = cpu(stage.server.id())?;
        let ours = ask(socket, server(), &mut self.questions, pace)?;
        Ok((floor, ours, cpu(stage.server.id())?.saturating_sub(before)))
    }

    fn add(&mut self, (floor, ours, cpu): (Measured, Measured, Duration)) {
        self.floor.push(floor);
        self.ours.push(ours);
        self.cpu += cpu;
    }

    fn figures(&self, options: &Options) -> Figures {
        let both = || self.ours.iter().zip(&self.floor);
        let of = |turns: &[Measured], part: f64| middle(turns.iter().map(|it| micros(it, part)).collect())[0];
        let rate = |turns: &[Measured]| middle(turns.iter().map(Measured::rate).collect())[0];
        let spent: Duration = self.ours.iter().map(|it| it.spent).sum();
        let ratio = middle(both().map(|(ours, floor)| ours.rate() / floor.rate()).collect());
        Figures {
            server: "ours",
            case: self.case,
            outstanding: options.outstanding,
            replies_per_s: rate(&self.ours),
            floor_per_s: rate(&self.floor),
            ratio_to_floor: ratio[0],
            ratio,
            p50_us: of(&self.ours, 0.5),
            p99_us: of(&self.ours, 0.99),
            floor_p50_us: of(&self.floor, 0.5),
            floor_p99_us: of(&self.floor, 0.99),
            p99_ratio: middle(both().map(|(ours, floor)| micros(ours, 0.99) / micros(floor, 0.99)).collect()),
            lost: self.ours.iter().map(|it| it.lost).sum(),
            wrong: self.ours.iter().map(|it| it.wrong).sum(),
            cores: self.cpu.as_secs_f64() / spent.as_secs_f64().max(f64::MIN_POSITIVE),
        }
    }
}

fn server() -> SocketAddrV4 {
    SocketAddrV4::new(SERVER, wire::CONTROL_PORT)
}

/// Asks until every site is known: what is foreign must be published, found and kept first.
fn await_answers(socket: &UdpSocket, questions: &mut Questions) -> anyhow::Result<()> {
    let deadline = Instant::now() + PUBLISHED;
    loop {
        let (pause, time) = (Duration::from_millis(1), Duration::from_millis(500));
        let pace = Pace { outstanding: 1, pause, time, patience: load::PATIENCE };
        let measured = ask(socket, server(), questions, pace)?;
        if measured.lost == 0 && measured.wrong == 0 && questions.all_known() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not all sites are found within {PUBLISHED:?}: {measured:?}");
        interrupt::sleep(Duration::from_millis(500))?;
    }
}

/// A floor that answers as the map system has just done.
fn start_floor(stage: &Stage, socket: &UdpSocket, sites: Sites, questions: &Questions) -> anyhow::Result<Floor> {
    let question = questions.get(0);
    socket.set_read_timeout(Some(load::PATIENCE))?;
    socket.send_to(&question.bytes, server())?;
    let mut buffer = [0; batch::OCTETS];
    let length = socket.recv(&mut buffer).context("a sample of an answer")?;
    let sample = Sample::new(&question.bytes, buffer[..length].to_vec(), sites, question.site)?;
    Floor::start(stage.lab.namespace("server")?, SocketAddrV4::new(SERVER, FLOOR_PORT), sample)
}

/// The value below which this share of the times lies; the longest there is, if nothing was answered.
fn micros(measured: &Measured, share: f64) -> f64 {
    micros_of(&measured.times, share)
}

fn micros_of(times: &[Duration], share: f64) -> f64 {
    quantile(times, share).unwrap_or(load::PATIENCE).as_secs_f64() * 1e6
}

/// Median, least and most.
fn middle(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    [at(values.len() / 2), at(0), at(values.len().saturating_sub(1))]
}

/// What a process has had of the processors until now.
fn cpu(process: u32) -> anyhow::Result<Duration> {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name: state is the first field, user and system time the 12th and 13th.
    let fields = line.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().skip(11).take(2);
    // USER_HZ is 100 on all of Linux's usual machines.
    Ok(Duration::from_millis(fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_median_between_the_least_and_the_most() {
        assert_eq!(middle(vec![3.0, 1.0, 2.0]), [2.0, 1.0, 3.0]);
        assert!(middle(vec![])[0].is_nan());
    }
}
