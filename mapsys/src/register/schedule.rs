// SPDX-License-Identifier: GPL-2.0-or-later
//! When what is registered is signed into the DHT: at once, then at most every ten seconds, and again before it expires.

use std::collections::BTreeMap;
use std::time::Instant;

use cgeid::Cn;
use wire::address::EidPrefix;

use crate::limits::{PUBLISH_INTERVAL, PUT_RETRY_FIRST, PUT_RETRY_LAST, PUT_TIMEOUT, REPUBLISH};

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
    /// Nothing is due before this time; `None` = not known. It saves a walk through all topics at every message.
    wake: Option<Instant>,
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
    /// Notes that a topic has changed.
    pub fn mark(&mut self, now: Instant, topic: Topic) {
        let state = self.topics.entry(topic).or_insert_with(|| State::new(now));
        state.dirty = true;
        self.wake = None;
    }

    /// The topics to publish now. They count as in flight until [`Self::done`].
    pub fn due(&mut self, now: Instant) -> Vec<Topic> {
        let mut due = Vec::new();
        if self.wake.is_some_and(|at| at > now) {
            return due;
        }
        for (topic, state) in &mut self.topics {
            if state.in_flight.is_some_and(|since| now.saturating_duration_since(since) >= PUT_TIMEOUT) {
                state.failed(now);
            }
            if state.next_deadline().is_some_and(|at| at <= now) && state.in_flight.is_none() {
                state.start(now);
                due.push(*topic);
            }
        }
        self.wake = self.earliest();
        due
    }

    /// Takes the end of a PUT. A failed one is tried again.
    pub fn done(&mut self, now: Instant, topic: Topic, stored: bool) {
        let Some(state) = self.topics.get_mut(&topic).filter(|state| state.in_flight.is_some()) else { return };
        if stored {
            (state.in_flight, state.retry_at, state.failures) = (None, None, 0);
        } else {
            state.failed(now);
        }
        self.wake = None;
    }

    /// Forgets a topic: its withdrawal is stored, and needs no refresh.
    pub fn forget(&mut self, topic: &Topic) {
        if self.topics.get(topic).is_some_and(|state| !state.dirty) {
            self.topics.remove(topic);
        }
    }

    /// Whether what others read is what is so.
    pub fn is_settled(&self, topic: &Topic) -> bool {
        self.topics.get(topic).is_none_or(|state| !state.dirty && state.in_flight.is_none() && state.failures == 0)
    }

    /// The process ends: what has changed goes out now or never.
    pub fn hurry(&mut self, now: Instant) {
        for state in self.topics.values_mut().filter(|state| state.dirty) {
            state.not_before = now;
            state.retry_at = None;
        }
        self.wake = None;
    }

    /// Whether a PUT is in flight.
    pub fn is_busy(&self) -> bool {
        self.topics.values().any(|state| state.in_flight.is_some())
    }

    /// Publishes everything that is `wanted` again soon.
    pub fn refresh(&mut self, wanted: impl Fn(&Topic) -> bool) {
        for (_, state) in self.topics.iter_mut().filter(|(topic, _)| wanted(topic)) {
            state.dirty = true;
            state.retry_at = None;
        }
        self.wake = None;
    }

    /// Whether there is something to say about a topic, now or later.
    pub fn contains(&self, topic: &Topic) -> bool {
        self.topics.contains_key(topic)
    }

    /// When [`Self::due`] next has something.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wake.or_else(|| self.earliest())
    }

    fn earliest(&self) -> Option<Instant> {
        self.topics.values().filter_map(State::next_deadline).min()
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
        schedule.hurry(start);
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
}
