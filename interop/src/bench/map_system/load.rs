// SPDX-License-Identifier: GPL-2.0-or-later
//! Who asks: a fixed number of questions is outstanding, and each answer is looked at.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::batch::{BATCH, Incoming, Outgoing, only_when_idle, send};
use super::questions::{Questions, Sites, Within, encode};

/// After this an answer is lost. One that is late before spoils the times, on a machine where somebody had no processor.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// The same where limits hold, and what is beyond them is not answered.
pub(super) const LIMITED_PATIENCE: Duration = Duration::from_millis(250);
/// How often who waits for an answer looks at the clock.
const LOOK: Duration = Duration::from_millis(50);

/// How it is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Questions outstanding.
    pub(super) outstanding: usize,
    /// Pause before a question takes the place of one that was answered.
    pub(super) pause: Duration,
    /// For how long.
    pub(super) time: Duration,
    /// After this an answer is lost.
    pub(super) patience: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// Time to each right answer.
    pub(super) times: Vec<Duration>,
    /// The same up to when it reached the socket, by the kernel's word, where that is asked: who asks may wait for a processor
    /// afterwards.
    pub(super) arrivals: Vec<Duration>,
    /// Questions without an answer.
    pub(super) lost: usize,
    /// Answers that say something else, and answers to nothing.
    pub(super) wrong: usize,
    /// How long it took in all.
    pub(super) spent: Duration,
}

impl Measured {
    /// Right answers a second.
    pub(super) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.spent.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Asks, from a socket that is bound to all addresses and not connected.
pub(super) fn ask(
    socket: &UdpSocket,
    to: SocketAddrV4,
    questions: &mut Questions,
    pace: Pace,
) -> std::io::Result<Measured> {
    socket.set_read_timeout(Some(LOOK))?;
    let mut asker = Asker::new(questions.len());
    let mut incoming = Incoming::new();
    let begun = Instant::now();
    asker.send(socket, to, questions, pace.outstanding)?;
    while begun.elapsed() < pace.time {
        let now = Instant::now();
        match incoming.receive(socket) {
            Ok(()) => incoming.datagrams().for_each(|(answer, at)| asker.take(questions, answer, at)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        // Whatever came until then has been looked at.
        if incoming.has_all() {
            asker.give_up(now, pace.patience);
        }
        if !pace.pause.is_zero() {
            std::thread::sleep(pace.pause);
        }
        asker.send(socket, to, questions, pace.outstanding)?;
    }
    // Those of the last moment are answered too, but nobody waits for them: the next turn sees that they are not its own.
    asker.measured.spent = begun.elapsed();
    let mut looks = 0;
    while asker.outstanding > 0 && looks < pace.patience.as_millis() / LOOK.as_millis() {
        looks = if incoming.receive(socket).is_ok() { 0 } else { looks + 1 };
        incoming.datagrams().for_each(|(answer, at)| asker.take(questions, answer, at));
    }
    asker.measured.lost += asker.outstanding;
    // An answer that came after all was counted as lost, which is enough.
    asker.measured.wrong += asker.strays.saturating_sub(asker.measured.lost);
    Ok(asker.measured)
}

struct Asker {
    /// When each question was sent that waits for an answer.
    sent: Vec<Option<(Instant, SystemTime)>>,
    /// Numbers in the order of sending, those that were answered among them.
    order: VecDeque<usize>,
    next: usize,
    outstanding: usize,
    /// Answers that nobody waited for.
    strays: usize,
    measured: Measured,
}

impl Asker {
    fn new(questions: usize) -> Self {
        let measured = Measured::default();
        Self { sent: vec![None; questions], order: VecDeque::new(), next: 0, outstanding: 0, strays: 0, measured }
    }

    /// Asks until so many are outstanding.
    fn send(
        &mut self,
        socket: &UdpSocket,
        to: SocketAddrV4,
        questions: &Questions,
        outstanding: usize,
    ) -> std::io::Result<()> {
        let missing = outstanding.saturating_sub(self.outstanding).min(BATCH);
        if missing == 0 {
            return Ok(());
        }
        let mut batch = [Outgoing { from: Ipv4Addr::UNSPECIFIED, bytes: &[] }; BATCH];
        let now = (Instant::now(), SystemTime::now());
        for place in &mut batch[..missing] {
            let number = self.next;
            self.next = (number + 1) % questions.len();
            let question = questions.get(number);
            *place = Outgoing { from: question.from, bytes: &question.bytes };
            self.outstanding += usize::from(self.sent[number].replace(now).is_none());
            self.order.push_back(number);
        }
        let mut rest = &batch[..missing];
        while !rest.is_empty() {
            rest = &rest[send(socket, to, rest)?..];
        }
        Ok(())
    }

    fn take(&mut self, questions: &mut Questions, answer: &[u8], at: Option<SystemTime>) {
        let Some((number, right)) = questions.judge(answer) else {
            self.measured.wrong += 1;
            return;
        };
        let Some((sent, sent_at)) = self.sent[number].take() else {
            self.strays += 1;
            return;
        };
        self.outstanding -= 1;
        if right {
            self.measured.times.push(sent.elapsed());
            self.measured.arrivals.extend(at.map(|at| at.duration_since(sent_at).unwrap_or_default()));
        } else {
            self.measured.wrong += 1;
        }
    }

    /// Those who wait for too long have lost their answer.
    fn give_up(&mut self, now: Instant, patience: Duration) {
        while let Some(&number) = self.order.front() {
            match self.sent[number] {
                Some((sent, _)) if now.saturating_duration_since(sent) < patience => return,
                Some(_) => {
                    self.sent[number] = None;
                    self.outstanding -= 1;
                    self.measured.lost += 1;
                }
                None => {}
            }
            self.order.pop_front();
        }
    }
}

/// How often a bunch of the flood is sent.
const TICK: Duration = Duration::from_millis(1);
/// Different questions of the flood: more than the map system could answer from what it was asked lately.
const FLOOD_QUESTIONS: usize = 65_536;
/// Where nothing is registered, and nobody is trusted for anything: half of the flood, of which no lookup comes.
const NOWHERE: Within = Within::Group(0xdbf);
/// The CGEIDs of a map system without `--prefix`: the other half, each of which would be looked up in the DHT.
const CGEIDS: u128 = 0x3fff_0ce1 << 96;

/// Name of the thread that sends it.
pub(super) const FLOOD_THREAD: &str = "flood";

/// Questions about random EIDs from everybody, at a rate, until it is dropped.
#[derive(Debug)]
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<FloodEnd>>>,
}

/// What came of a flood.
#[derive(Debug, Default)]
pub(super) struct FloodEnd {
    /// Questions that were sent, ...
    pub(super) sent: u64,
    /// ... in which time.
    pub(super) time: Duration,
    /// Whether its thread took no processor from anybody: it had one of its own, or one only while nobody else wanted it.
    pub(super) took_none: bool,
}

/// Where it is sent from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// These processors, or all.
    pub(super) processors: Option<CpuSet>,
    /// Nobody else is there.
    pub(super) is_apart: bool,
}

impl Flood {
    /// Starts it there.
    pub(super) fn start(
        socket: UdpSocket,
        to: SocketAddrV4,
        crowd: &[Ipv4Addr],
        rate: f64,
        from: Place,
    ) -> anyhow::Result<Self> {
        let port = socket.local_addr()?.port();
        let sites = Sites { within: NOWHERE, count: 1 << 16 };
        let question = |number: usize| {
            let from = crowd[number % crowd.len()];
            let cgeid = Ipv6Addr::from_bits(CGEIDS | rand::random::<u128>() >> 32);
            let eid = if number % 2 == 0 { sites.host(rand::random(), rand::random()) } else { cgeid };
            Ok((from, encode(wire::control::Nonce(rand::random()), (from, port).into(), eid)?))
        };
        let questions = (0..FLOOD_QUESTIONS).map(question).collect::<anyhow::Result<Vec<_>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(FLOOD_THREAD.into()).spawn(move || {
            from.processors.map_or(Ok(()), |there| sched_setaffinity(Pid::from_raw(0), &there))?;
            let took_none = from.is_apart || only_when_idle().is_ok();
            let (sent, time) = flood(&socket, to, &questions, rate, &stopped)?;
            Ok(FloodEnd { sent, time, took_none })
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it.
    pub(super) fn end(mut self) -> anyhow::Result<FloodEnd> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(FloodEnd::default()) };
        Ok(thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the flood panicked")))?)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn flood(
    socket: &UdpSocket,
    to: SocketAddrV4,
    questions: &[(Ipv4Addr, Vec<u8>)],
    rate: f64,
    stop: &AtomicBool,
) -> std::io::Result<(u64, Duration)> {
    let (begun, mut sent) = (Instant::now(), 0u64);
    let mut questions = questions.iter().cycle();
    while !stop.load(Ordering::Relaxed) {
        // On a busy machine it may be far behind.
        while (sent as f64) < begun.elapsed().as_secs_f64() * rate && !stop.load(Ordering::Relaxed) {
            let mut batch = [Outgoing { from: Ipv4Addr::UNSPECIFIED, bytes: &[] }; BATCH / 4];
            for (place, (from, bytes)) in batch.iter_mut().zip(&mut questions) {
                *place = Outgoing { from: *from, bytes };
            }
            sent += send(socket, to, &batch)? as u64;
        }
        // Nobody reads the answers: the socket drops what it has no room for.
        std::thread::sleep(TICK);
    }
    Ok((sent, begun.elapsed()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_answered_is_lost_and_what_is_no_answer_is_wrong() {
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, deaf.local_addr().unwrap().port());
        let sites = Sites { within: Within::Group(0xdb8), count: 1 };
        let mut questions = Questions::new(sites, &[Ipv4Addr::LOCALHOST], 4000, 64).unwrap();
        // A question is no answer.
        let port = client.local_addr().unwrap().port();
        deaf.send_to(&questions.get(0).bytes, (Ipv4Addr::LOCALHOST, port)).unwrap();
        let (time, patience) = (Duration::from_millis(300), Duration::from_millis(100));
        let pace = Pace { outstanding: 2, pause: Duration::ZERO, time, patience };
        let measured = ask(&client, to, &mut questions, pace).unwrap();
        assert_eq!((measured.times.len(), measured.wrong), (0, 1));
        assert!(measured.lost >= 2, "{measured:?}");
    }
}
