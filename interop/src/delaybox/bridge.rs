// SPDX-License-Identifier: GPL-2.0-or-later
//! A learning bridge that holds every frame back. Knows no sockets; time is an argument.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

use super::Delay;
use crate::limits::{DELAYED_OCTETS, STATIONS};

/// Octets of a MAC address.
const MAC: usize = 6;
/// Destination, source and type of a frame.
const HEADER: usize = 14;

/// A frame that may go now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The port it leaves by.
    pub port: usize,
    /// The frame.
    pub frame: Vec<u8>,
}

/// What passed a port. Octets are those of Ethernet frames without the 4 of the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Frames taken in.
    pub frames_in: u64,
    /// Octets taken in.
    pub octets_in: u64,
    /// Frames sent out.
    pub frames_out: u64,
    /// Octets sent out.
    pub octets_out: u64,
    /// Frames lost: by the dice, or because too many waited.
    pub lost: u64,
}

/// The bridge.
#[derive(Debug)]
pub struct Bridge {
    delay: Delay,
    dice: SmallRng,
    counters: Vec<Counters>,
    /// Which side of a cut each port is on; nothing crosses from one side to another.
    sides: Vec<usize>,
    /// Which station was last seen behind which port.
    stations: HashMap<[u8; MAC], usize>,
    /// By time of departure, and of one time by arrival.
    waiting: BTreeMap<(Instant, u64), Departure>,
    octets: usize,
    arrivals: u64,
}

impl Bridge {
    /// A bridge of so many ports. The same seed loses and shuffles in the same way.
    pub fn new(ports: usize, delay: Delay, seed: u64) -> Self {
        Self {
            delay,
            dice: SmallRng::seed_from_u64(seed),
            counters: vec![Counters::default(); ports],
            sides: vec![0; ports],
            stations: HashMap::new(),
            waiting: BTreeMap::new(),
            octets: 0,
            arrivals: 0,
        }
    }

    /// Says which side each port is on from now on; what is on its way still arrives.
    pub fn cut(&mut self, sides: &[usize]) {
        for (known, side) in self.sides.iter_mut().zip(sides) {
            *known = *side;
        }
        self.stations.clear();
    }

    /// Takes a frame that came in by a port.
    pub fn receive(&mut self, now: Instant, port: usize, frame: &[u8]) {
        let (Some(counters), true) = (self.counters.get_mut(port), frame.len() >= HEADER) else { return };
        counters.frames_in += 1;
        counters.octets_in += frame.len() as u64;
        let (to, from) = (mac(frame, 0), mac(frame, MAC));
        self.learn(from, port);
        match self.stations.get(&to).copied() {
            Some(out) => self.hold(now, port, out, frame),
            None => (0..self.counters.len()).for_each(|out| self.hold(now, port, out, frame)),
        }
    }

    /// When the next frame may go.
    pub fn next_departure(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(time, _)| *time)
    }

    /// A frame whose time has come.
    pub fn depart(&mut self, now: Instant) -> Option<Departure> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now)?;
        let departure = first.remove();
        self.octets -= departure.frame.len();
        if let Some(counters) = self.counters.get_mut(departure.port) {
            counters.frames_out += 1;
            counters.octets_out += departure.frame.len() as u64;
        }
        Some(departure)
    }

    /// What passed each port.
    pub fn counters(&self) -> &[Counters] {
        &self.counters
    }

    fn learn(&mut self, from: [u8; MAC], port: usize) {
        let is_group = from[0] & 1 != 0;
        if !is_group && (self.stations.contains_key(&from) || self.stations.len() < STATIONS) {
            self.stations.insert(from, port);
        }
    }

    /// Holds a frame for a port, unless it came from there or from the other side of a cut.
    fn hold(&mut self, now: Instant, from: usize, port: usize, frame: &[u8]) {
        if from == port || self.sides[from] != self.sides[port] {
            return;
        }
        let lost = self.dice.random_bool(self.delay.loss.clamp(0.0, 1.0));
        if lost || self.octets + frame.len() > DELAYED_OCTETS {
            self.counters[port].lost += 1;
            return;
        }
        let jitter = self.delay.jitter.mul_f64(self.dice.random_range(0.0..=1.0));
        let leaves = now + self.delay.one_way + jitter;
        self.arrivals += 1;
        self.octets += frame.len();
        self.waiting.insert((leaves, self.arrivals), Departure { port, frame: frame.to_vec() });
    }
}

fn mac(frame: &[u8], at: usize) -> [u8; MAC] {
    let mut mac = [0; MAC];
    mac.copy_from_slice(&frame[at..at + MAC]);
    mac
}

/// How long until `then`; none for what is due.
pub(super) fn patience(now: Instant, then: Option<Instant>, longest: Duration) -> Duration {
    then.map_or(longest, |then| then.saturating_duration_since(now).min(longest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const ALL: [u8; 6] = [0xff; 6];

    fn frame(to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
        [&to[..], &from, &[0x86, 0xdd, 1, 2, 3]].concat()
    }

    fn bridge(delay: Delay) -> (Bridge, Instant) {
        (Bridge::new(3, delay, 7), Instant::now())
    }

    fn departures(bridge: &mut Bridge, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| bridge.depart(now)).map(|departure| departure.port).collect()
    }

    #[test]
    fn a_frame_leaves_when_its_time_has_come_and_not_before() {
        let (mut bridge, now) = bridge(Delay::of(Duration::from_millis(20)));
        bridge.receive(now, 0, &frame(ALL, A));
        assert_eq!(bridge.next_departure(), Some(now + Duration::from_millis(20)));
        assert_eq!(bridge.depart(now + Duration::from_micros(19_999)), None);
        assert_eq!(departures(&mut bridge, now + Duration::from_millis(20)), [1, 2], "to all but where it came from");
        assert_eq!(bridge.next_departure(), None);
    }

    #[test]
    fn a_station_that_was_seen_gets_its_frames_alone() {
        let (mut bridge, now) = bridge(Delay::default());
        bridge.receive(now, 2, &frame(ALL, B));
        departures(&mut bridge, now);
        bridge.receive(now, 0, &frame(B, A));
        assert_eq!(departures(&mut bridge, now), [2]);
        bridge.receive(now, 2, &frame(B, A));
        assert_eq!(departures(&mut bridge, now), [] as [usize; 0], "it is where it came from");
    }

    #[test]
    fn nothing_crosses_a_cut_until_it_is_healed() {
        let (mut bridge, now) = bridge(Delay::default());
        bridge.cut(&[0, 1, 0]);
        bridge.receive(now, 0, &frame(ALL, A));
        assert_eq!(departures(&mut bridge, now), [2]);
        bridge.receive(now, 1, &frame(A, B));
        assert_eq!(departures(&mut bridge, now), [] as [usize; 0]);
        bridge.cut(&[0, 0, 0]);
        bridge.receive(now, 1, &frame(A, B));
        assert_eq!(departures(&mut bridge, now), [0, 2], "where A is has to be learned again");
    }

    #[test]
    fn frames_of_one_way_keep_their_order_without_jitter() {
        let (mut bridge, now) = bridge(Delay::of(Duration::from_millis(1)));
        for number in 0..50 {
            let mut frame = frame(ALL, A);
            frame.push(number);
            bridge.receive(now, 0, &frame);
        }
        let later = now + Duration::from_millis(1);
        let order: Vec<u8> = std::iter::from_fn(|| bridge.depart(later))
            .filter(|departure| departure.port == 1)
            .map(|departure| *departure.frame.last().unwrap())
            .collect();
        assert_eq!(order, (0..50).collect::<Vec<u8>>());
    }

    #[test]
    fn the_dice_lose_their_share_and_every_loss_is_counted() {
        let (mut bridge, now) = bridge(Delay { loss: 0.25, ..Delay::default() });
        for _ in 0..2000 {
            bridge.receive(now, 0, &frame(ALL, A));
        }
        let arrived = departures(&mut bridge, now).len();
        let lost: u64 = bridge.counters().iter().map(|counters| counters.lost).sum();
        assert_eq!(arrived as u64 + lost, 4000);
        assert!((800..1200).contains(&lost), "{lost}");
    }

    #[test]
    fn memory_is_bounded_and_short_frames_and_strange_ports_do_no_harm() {
        let (mut bridge, now) = bridge(Delay::of(Duration::from_secs(3600)));
        bridge.receive(now, 0, &[0; 13]);
        bridge.receive(now, 9, &frame(ALL, A));
        let big = [frame(ALL, A), vec![0; 60_000]].concat();
        for _ in 0..5000 {
            bridge.receive(now, 0, &big);
        }
        assert!(bridge.octets <= DELAYED_OCTETS);
        for number in 0..2 * u32::try_from(STATIONS).unwrap() {
            let [a, b, c, d] = number.to_be_bytes();
            bridge.receive(now, 0, &frame(ALL, [2, 1, a, b, c, d]));
        }
        assert!(bridge.stations.len() <= STATIONS);
    }
}
