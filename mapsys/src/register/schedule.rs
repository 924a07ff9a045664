// SPDX-License-Identifier: GPL-2.0-or-later
//! When what is registered is signed into the DHT: at once, then at most every ten seconds, and again before it expires.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use cgeid::Cn;
use wire::address::EidPrefix;

use crate::limits::{
    PUBLISH_INTERVAL, PUBLISHED_AT_ONCE, PUT_RETRY_FIRST, PUT_RETRY_LAST, PUT_TIMEOUT, PUTS_IN_FLIGHT, REPUBLISH,
};

/// One record of ours in the DHT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// What a CGEID of this node says about itself (MAPPING).
    Cgeid(Cn),
    /// A registered EID-prefix (PREFIX).
    Prefix(EidPrefix),
    /// What this node, as an anchor or as a registrar of more-specifics, has under a prefix (INDEX).
    Index(EidPrefix),
}

/// When each topic is to be published.
#[derive(Debug, Default)]
pub struct Schedule {
    topics: BTreeMap<Topic, State>,
    /// When each topic that has its time is to be published.
    queue: BTreeSet<(Instant, Topic)>,
    /// When the answer of each PUT in flight counts as lost.
    flights: BTreeSet<(Instant, Topic)>,
}

#[derive(Debug)]
struct State {
    /// What others can read is not what is so.
    dirty: bool,
    /// Not published before this time.
    not_before: Instant,
    in_flight: Option<Instant>,
    refresh_at: Option<Instant>,
    retry_at: Option<Instant>,
    failures: u32,
}

impl Schedule {
    /// Notes that a topic has changed; one that is new is not published before `now`.
    pub fn mark(&mut self, now: Instant, topic: Topic) {
        if !self.topics.contains_key(&topic) {
            let state = State::new(now);
            place(&state, topic, &mut self.queue, &mut self.flights);
            self.topics.insert(topic, state);
        }
        self.change(&topic, |state| state.dirty = true);
    }

    /// Topics to publish now, by kind: a prefix before the page that lists it. They count as in flight until [`Self::done`].
    /// There may be more: then [`Self::next_deadline`] is in the past.
    pub fn due(&mut self, now: Instant) -> Vec<Topic> {
        while let Some((_, topic)) = self.flights.first().copied().filter(|(at, _)| *at <= now) {
            self.change(&topic, |state| state.failed(now));
        }
        let mut due = Vec::new();
        while due.len() < PUBLISHED_AT_ONCE && self.flights.len() < PUTS_IN_FLIGHT {
            let Some((_, topic)) = self.queue.first().copied().filter(|(at, _)| *at <= now) else { break };
            self.change(&topic, |state| state.start(now));
            due.push(topic);
        }
        due.sort_unstable();
        due
    }

    /// Takes the end of a PUT. A failed one is tried again.
    pub fn done(&mut self, now: Instant, topic: Topic, stored: bool) {
        self.change(&topic, |state| {
            if state.in_flight.is_none() {
                return;
            }
            if stored {
                (state.in_flight, state.retry_at, state.failures) = (None, None, 0);
            } else {
                state.failed(now);
            }
        });
    }

    /// Forgets a topic: its withdrawal is stored, and needs no refresh.
    pub fn forget(&mut self, topic: &Topic) {
        if self.topics.get(topic).is_some_and(|state| !state.dirty)
            && let Some(state) = self.topics.remove(topic)
        {
            displace(&state, *topic, &mut self.queue, &mut self.flights);
        }
    }

    /// Whether what others read is what is so.
    pub fn is_settled(&self, topic: &Topic) -> bool {
        self.topics.get(topic).is_none_or(|state| !state.dirty && state.in_flight.is_none() && state.failures == 0)
    }

    /// The process ends: what has changed and is `wanted` goes out now or never.
    pub fn hurry(&mut self, now: Instant, wanted: impl Fn(&Topic) -> bool) {
        self.change_all(|topic, state| {
            if state.dirty && wanted(topic) {
                state.not_before = now;
                state.retry_at = None;
            }
        });
    }

    /// Whether a PUT is in flight.
    pub fn is_busy(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Publishes everything that is `wanted` again soon.
    pub fn refresh(&mut self, wanted: impl Fn(&Topic) -> bool) {
        self.change_all(|topic, state| {
            if wanted(topic) {
                state.dirty = true;
                state.retry_at = None;
            }
        });
    }

    /// Whether there is something to say about a topic, now or later.
    pub fn contains(&self, topic: &Topic) -> bool {
        self.topics.contains_key(topic)
    }

    /// When [`Self::due`] next has something.
    pub fn next_deadline(&self) -> Option<Instant> {
        let to_start = self.queue.first().filter(|_| self.flights.len() < PUTS_IN_FLIGHT);
        [to_start, self.flights.first()].into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// Changes the state of a topic, and its place in the queue with it.
    fn change(&mut self, topic: &Topic, change: impl FnOnce(&mut State)) {
        let Some(state) = self.topics.get_mut(topic) else { return };
        displace(state, *topic, &mut self.queue, &mut self.flights);
        change(state);
        place(state, *topic, &mut self.queue, &mut self.flights);
    }

    /// Changes the state of any topics.
    fn change_all(&mut self, mut change: impl FnMut(&Topic, &mut State)) {
        for (topic, state) in &mut self.topics {
            displace(state, *topic, &mut self.queue, &mut self.flights);
            change(topic, state);
            place(state, *topic, &mut self.queue, &mut self.flights);
        }
    }
}

type Queue = BTreeSet<(Instant, Topic)>;

/// Puts a topic where its state belongs.
fn place(state: &State, topic: Topic, queue: &mut Queue, flights: &mut Queue) {
    if let Some(at) = state.next_deadline() {
        let into = if state.in_flight.is_some() { flights } else { queue };
        into.insert((at, topic));
    }
}

/// Takes it out of there again.
fn displace(state: &State, topic: Topic, queue: &mut Queue, flights: &mut Queue) {
    if let Some(at) = state.next_deadline() {
        let from = if state.in_flight.is_some() { flights } else { queue };
        from.remove(&(at, topic));
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self { dirty: true, not_before: now, in_flight: None, refresh_at: None, retry_at: None, failures: 0 }
    }

    fn start(&mut self, now: Instant) {
        self.dirty = false;
        self.not_before = now + PUBLISH_INTERVAL;
        self.in_flight = Some(now);
        self.refresh_at = Some(now + REPUBLISH);
        self.retry_at = None;
    }

    fn failed(&mut self, now: Instant) {
        let pause = PUT_RETRY_FIRST.saturating_mul(1 << self.failures.min(8)).min(PUT_RETRY_LAST);
        self.failures = self.failures.saturating_add(1);
        self.in_flight = None;
        self.retry_at = Some(now + pause);
    }

    fn next_deadline(&self) -> Option<Instant> {
        if let Some(since) = self.in_flight {
            return Some(since + PUT_TIMEOUT);
        }
        if self.retry_at.is_some() {
            return self.retry_at;
        }
        if self.dirty { Some(self.not_before) } else { self.refresh_at }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;
    use wire::address::InstanceId;

    fn topic() -> Topic {
        Topic::Prefix(EidPrefix { iid: InstanceId(0), net: "2001:db8:a::/48".parse().unwrap() })
    }

    #[test]
    fn the_first_change_goes_at_once_and_the_next_ten_seconds_later() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.mark(start, topic());
        assert_eq!(schedule.due(start), [topic()]);
        schedule.done(start, topic(), true);
        assert!(schedule.is_settled(&topic()));
        for second in 1..10 {
            let now = start + Duration::from_secs(second);
            schedule.mark(now, topic());
            assert_eq!(schedule.due(now), []);
        }
        assert_eq!(schedule.next_deadline(), Some(start + PUBLISH_INTERVAL));
        assert_eq!(schedule.due(start + PUBLISH_INTERVAL), [topic()]);
    }

    #[test]
    fn an_unchanged_record_is_signed_again_after_twenty_minutes() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.mark(start, topic());
        schedule.due(start);
        schedule.done(start, topic(), true);
        assert_eq!(schedule.next_deadline(), Some(start + REPUBLISH));
        assert_eq!(schedule.due(start + REPUBLISH), [topic()]);
    }

    #[test]
    fn at_the_end_a_change_does_not_wait() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.mark(start, topic());
        schedule.due(start);
        schedule.done(start, topic(), true);
        schedule.mark(start, topic());
        assert_eq!(schedule.due(start), []);
        schedule.hurry(start, |_| true);
        assert_eq!(schedule.due(start), [topic()]);
        assert!(schedule.is_busy());
        schedule.done(start, topic(), true);
        assert!(!schedule.is_busy());
    }

    #[test]
    fn a_failed_put_is_tried_again_with_growing_pauses() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.mark(start, topic());
        schedule.due(start);
        let mut now = start;
        for pause in [2, 4, 8, 16, 32, 60, 60] {
            schedule.done(now, topic(), false);
            assert!(!schedule.is_settled(&topic()));
            now += Duration::from_secs(pause);
            assert_eq!(schedule.next_deadline(), Some(now));
            assert_eq!(schedule.due(now), [topic()]);
        }
        assert_eq!(schedule.due(now + PUT_TIMEOUT), [], "a lost answer counts as a failure, not as a PUT at once");
    }

    fn topics(count: usize) -> Vec<Topic> {
        let topic = |n| {
            let address = std::net::Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | n as u128);
            Topic::Prefix(EidPrefix::host(InstanceId(0), address.into()))
        };
        (0..count).map(topic).collect()
    }

    /// All that are due until the schedule says that there is no more.
    fn all_due(schedule: &mut Schedule, now: Instant) -> Vec<Topic> {
        let mut came = Vec::new();
        while schedule.next_deadline().is_some_and(|at| at <= now) {
            let due = schedule.due(now);
            assert!((1..=PUBLISHED_AT_ONCE).contains(&due.len()));
            came.extend(due);
        }
        came
    }

    #[test]
    fn many_that_are_due_at_once_come_in_parts_and_none_twice() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let topics = topics(3 * PUBLISHED_AT_ONCE + 1);
        topics.iter().for_each(|topic| schedule.mark(start, *topic));
        assert_eq!(all_due(&mut schedule, start), topics);
        assert!(schedule.due(start).is_empty() && schedule.next_deadline() == Some(start + PUT_TIMEOUT));
    }

    #[test]
    fn no_more_are_in_flight_than_the_dht_is_given_at_once_and_each_that_ends_makes_room() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let topics = topics(2 * PUTS_IN_FLIGHT);
        topics.iter().for_each(|topic| schedule.mark(start, *topic));
        let first = all_due(&mut schedule, start);
        assert_eq!(first, topics[..PUTS_IN_FLIGHT]);
        assert_eq!(schedule.next_deadline(), Some(start + PUT_TIMEOUT), "it does not ask for what it would refuse");
        for topic in &first[..3] {
            schedule.done(start, *topic, true);
        }
        assert_eq!(all_due(&mut schedule, start), topics[PUTS_IN_FLIGHT..PUTS_IN_FLIGHT + 3]);
        // Lost answers make room too, and what was not stored has its turn again later.
        let later = start + PUT_TIMEOUT;
        assert_eq!(all_due(&mut schedule, later), topics[PUTS_IN_FLIGHT + 3..]);
        assert!(!schedule.is_settled(&first[3]) && schedule.is_settled(&first[0]));
    }
}
