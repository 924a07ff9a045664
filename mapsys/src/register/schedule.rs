// SPDX-License-Identifier: GPL-2.0-or-later
//! When what is registered is signed into the DHT: at once, then at most every ten seconds, and again before it expires.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

use cgeid::Cn;
use wire::address::EidPrefix;

use crate::limits::{
    PUBLISH_INTERVAL, PUBLISHED_AT_ONCE, PUT_REPEATS, PUT_RETRY_FIRST, PUT_RETRY_LAST, PUT_TIMEOUT, PUTS_IN_FLIGHT,
    REPUBLISH,
};
use crate::register::pace::{Pace, PutOutcome};

/// While others read much that is not so any more, or have not got it, one PUT in so many is of something else: that must not end meanwhile.
const OTHERS_PART: u32 = 4;

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

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cgeid(cn) => write!(f, "CGEID {cn}"),
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Index(prefix) => write!(f, "index page of {prefix}"),
        }
    }
}

/// When each topic is to be published.
#[derive(Debug, Default)]
pub struct Schedule {
    topics: BTreeMap<Topic, State>,
    lanes: Lanes,
    pace: Pace,
}

/// When something is to be done about each topic that has its time.
#[derive(Debug, Default)]
struct Lanes {
    /// To be published, while others read what is not so any more: that goes before what is only missing, or old.
    wrong: Lane,
    /// To be published, and never yet stored: that goes before what is only old.
    new: Lane,
    /// To be published again, since it is old or the DHT has new members.
    old: Lane,
    /// How often one had to wait for another.
    waits: u32,
    /// When the answer of each PUT in flight counts as lost.
    flights: Lane,
}

type Lane = BTreeSet<(Instant, Topic)>;

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
    /// Whether something was said about it before.
    is_known: bool,
    /// Whether nobody has stored anything about it yet.
    is_new: bool,
    /// Whether what others can read was true once, and is not any more.
    is_wrong: bool,
    /// Whether what is in flight was signed for an earlier PUT.
    is_repeated: bool,
}

impl Schedule {
    /// Notes that a topic has changed; one that is new is not published before `now`.
    pub fn mark(&mut self, now: Instant, topic: Topic) {
        if !self.topics.contains_key(&topic) {
            let state = State::new(now);
            self.lanes.place(&state, topic);
            self.topics.insert(topic, state);
        }
        self.change(&topic, |state| (state.dirty, state.is_wrong) = (true, state.is_known));
    }

    /// Topics to publish now, by kind: a prefix before the page that lists it. They count as in flight until [`Self::done`].
    /// There may be more: then [`Self::next_deadline`] is in the past.
    pub fn due(&mut self, now: Instant) -> Vec<Topic> {
        while let Some((_, topic)) = self.lanes.flights.first().copied().filter(|(at, _)| *at <= now) {
            self.change(&topic, |state| state.failed(now));
        }
        let mut due = Vec::new();
        while due.len() < PUBLISHED_AT_ONCE && self.lanes.flights.len() < PUTS_IN_FLIGHT && self.pace.allows(now) {
            let Some(topic) = self.lanes.due(now) else { break };
            self.pace.take(now);
            self.change(&topic, |state| state.start(now));
            due.push(topic);
        }
        due.sort_unstable();
        due
    }

    /// Whether what was signed about a topic for an earlier PUT is to be put again, of one that [`Self::due`] has named.
    pub fn is_repeated(&self, topic: &Topic) -> bool {
        self.topics.get(topic).is_some_and(|state| state.is_repeated)
    }

    /// Takes the end of a PUT; whether others can read now what was put. If not it is tried again.
    pub fn done(&mut self, now: Instant, topic: Topic, outcome: PutOutcome) -> bool {
        self.pace.heard(now, &outcome);
        let mut is_stored = false;
        self.change(&topic, |state| {
            if state.in_flight.is_none() {
                return;
            }
            is_stored = outcome.is_stored() && (!outcome.is_scarce() || state.failures >= PUT_REPEATS);
            if is_stored {
                (state.in_flight, state.retry_at, state.failures) = (None, None, 0);
                state.is_new = false;
                state.is_wrong &= state.dirty;
            } else {
                state.failed(now);
            }
        });
        is_stored
    }

    /// Forgets a topic: its withdrawal is stored, and needs no refresh.
    pub fn forget(&mut self, topic: &Topic) {
        if self.topics.get(topic).is_some_and(|state| !state.dirty)
            && let Some(state) = self.topics.remove(topic)
        {
            self.lanes.displace(&state, *topic);
        }
    }

    /// Whether what others read is what is so.
    pub fn is_settled(&self, topic: &Topic) -> bool {
        self.topics.get(topic).is_none_or(|state| !state.dirty && state.in_flight.is_none() && state.failures == 0)
    }

    /// The process ends: what has changed or was put in vain, and is `wanted`, goes out now or never.
    pub fn hurry(&mut self, now: Instant, wanted: impl Fn(&Topic) -> bool) {
        self.pace.lift();
        self.change_all(|topic, state| {
            if (state.dirty || state.failures > 0) && wanted(topic) {
                state.not_before = now;
                state.retry_at = state.retry_at.filter(|_| !state.dirty).map(|_| now);
            }
        });
    }

    /// Whether a PUT is in flight.
    pub fn is_busy(&self) -> bool {
        !self.lanes.flights.is_empty()
    }

    /// Publishes everything again soon, after what others have not got or read wrongly.
    pub fn refresh_all(&mut self) {
        self.change_all(|_, state| (state.dirty, state.retry_at) = (true, None));
    }

    /// Notes that everything that is `wanted` has changed.
    pub fn mark_all(&mut self, wanted: impl Fn(&Topic) -> bool) {
        self.change_all(|topic, state| {
            if wanted(topic) {
                (state.dirty, state.is_wrong) = (true, state.is_known);
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
        let to_start = self.lanes.next_start().filter(|_| self.lanes.flights.len() < PUTS_IN_FLIGHT);
        let to_start = to_start.map(|at| self.pace.ready_at().map_or(at, |ready| ready.max(at)));
        to_start.into_iter().chain(self.lanes.flights.first().map(|(at, _)| *at)).min()
    }

    /// Changes the state of a topic, and its place with it.
    fn change(&mut self, topic: &Topic, change: impl FnOnce(&mut State)) {
        let Some(state) = self.topics.get_mut(topic) else { return };
        self.lanes.displace(state, *topic);
        change(state);
        self.lanes.place(state, *topic);
    }

    /// Changes the state of any topics.
    fn change_all(&mut self, mut change: impl FnMut(&Topic, &mut State)) {
        for (topic, state) in &mut self.topics {
            self.lanes.displace(state, *topic);
            change(topic, state);
            self.lanes.place(state, *topic);
        }
    }
}

impl Lanes {
    /// The topic whose turn it is, if one is due.
    fn due(&mut self, now: Instant) -> Option<Topic> {
        let first = |lane: &Lane| lane.first().filter(|(at, _)| *at <= now).map(|(_, topic)| *topic);
        let mut waiting = [&self.wrong, &self.new, &self.old].into_iter().filter_map(first);
        let ahead = waiting.next()?;
        let Some(second) = waiting.next() else { return Some(ahead) };
        self.waits = self.waits.wrapping_add(1);
        if !self.waits.is_multiple_of(OTHERS_PART) {
            return Some(ahead);
        }
        // Where two kinds wait behind one, they have their turns in turn.
        let third = waiting.next().filter(|_| self.waits.is_multiple_of(2 * OTHERS_PART));
        Some(third.unwrap_or(second))
    }

    /// When one is due.
    fn next_start(&self) -> Option<Instant> {
        [&self.wrong, &self.new, &self.old].into_iter().filter_map(Lane::first).map(|(at, _)| *at).min()
    }

    /// Puts a topic where its state belongs.
    fn place(&mut self, state: &State, topic: Topic) {
        if let Some(at) = state.next_deadline() {
            self.of(state).insert((at, topic));
        }
    }

    /// Takes it out of there again.
    fn displace(&mut self, state: &State, topic: Topic) {
        if let Some(at) = state.next_deadline() {
            self.of(state).remove(&(at, topic));
        }
    }

    fn of(&mut self, state: &State) -> &mut Lane {
        match state {
            State { in_flight: Some(_), .. } => &mut self.flights,
            State { is_wrong: true, .. } => &mut self.wrong,
            State { is_new: true, .. } => &mut self.new,
            _ => &mut self.old,
        }
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            dirty: true,
            not_before: now,
            in_flight: None,
            refresh_at: None,
            retry_at: None,
            failures: 0,
            is_known: false,
            is_new: true,
            is_wrong: false,
            is_repeated: false,
        }
    }

    /// A PUT begins. What has not changed since it was signed for the last one, in vain, is not signed again before it is old.
    fn start(&mut self, now: Instant) {
        let is_fresh = self.refresh_at.is_some_and(|at| at > now);
        self.is_repeated = self.retry_at.is_some() && !self.dirty && is_fresh;
        if !self.is_repeated {
            self.not_before = now + PUBLISH_INTERVAL;
            self.refresh_at = Some(now + REPUBLISH);
        }
        (self.dirty, self.is_known) = (false, true);
        (self.in_flight, self.retry_at) = (Some(now), None);
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
        match (self.retry_at, self.dirty) {
            // What has changed meanwhile need not wait as long as what nobody took.
            (Some(at), true) => Some(at.min(self.not_before)),
            (Some(at), false) => Some(at),
            (None, true) => Some(self.not_before),
            (None, false) => self.refresh_at,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::limits::{PUT_COPIES, PUT_REQUESTS};
    use std::time::Duration;
    use wire::address::InstanceId;

    const STORED: PutOutcome = PutOutcome { local: true, stored: 2, asked: 2, busy: 0 };

    fn topic() -> Topic {
        Topic::Prefix(EidPrefix { iid: InstanceId(0), net: "2001:db8:a::/48".parse().unwrap() })
    }

    #[test]
    fn the_first_change_goes_at_once_and_the_next_ten_seconds_later() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.mark(start, topic());
        assert_eq!(schedule.due(start), [topic()]);
        schedule.done(start, topic(), STORED);
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
        schedule.done(start, topic(), STORED);
        assert_eq!(schedule.next_deadline(), Some(start + REPUBLISH));
        assert_eq!(schedule.due(start + REPUBLISH), [topic()]);
    }

    #[test]
    fn at_the_end_a_change_does_not_wait() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.mark(start, topic());
        schedule.due(start);
        schedule.done(start, topic(), STORED);
        schedule.mark(start, topic());
        assert_eq!(schedule.due(start), []);
        schedule.hurry(start, |_| true);
        assert_eq!(schedule.due(start), [topic()]);
        assert!(schedule.is_busy());
        schedule.done(start, topic(), STORED);
        assert!(!schedule.is_busy());
    }

    #[test]
    fn at_the_end_what_was_put_in_vain_goes_out_once_more_as_it_was_signed() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        for other in topics(2) {
            schedule.mark(start, other);
            assert_eq!(schedule.due(start), [other]);
            schedule.done(start, other, PutOutcome::FAILED);
        }
        let [wanted, unwanted] = topics(2)[..] else { panic!() };
        schedule.hurry(start, |topic| *topic != unwanted);
        assert_eq!(schedule.due(start), [wanted]);
        assert!(schedule.is_repeated(&wanted));
        schedule.done(start, wanted, PutOutcome::FAILED);
        assert!(schedule.due(start).is_empty() && !schedule.is_busy());
    }

    #[test]
    fn what_only_this_node_keeps_is_put_until_others_do() {
        let start = Instant::now();
        let (mut schedule, mut now) = (Schedule::default(), start);
        schedule.mark(start, topic());
        for _ in 0..=2 * PUT_REPEATS {
            assert_eq!(schedule.due(now), [topic()]);
            assert!(!schedule.done(now, topic(), PutOutcome { local: true, stored: 0, asked: 3, busy: 3 }));
            now = schedule.next_deadline().unwrap();
        }
        assert_eq!(schedule.due(now), [topic()]);
        assert!(schedule.done(now, topic(), STORED));
    }

    #[test]
    fn a_failed_put_is_tried_again_with_growing_pauses() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.mark(start, topic());
        schedule.due(start);
        let mut now = start;
        for pause in [2, 4, 8, 16, 32, 60, 60] {
            schedule.done(now, topic(), PutOutcome::FAILED);
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

    /// All that are due within this time.
    fn all_due(schedule: &mut Schedule, from: Instant, time: Duration) -> Vec<Topic> {
        let mut came = Vec::new();
        while let Some(at) = schedule.next_deadline().filter(|at| *at <= from + time) {
            let due = schedule.due(at.max(from));
            assert!(due.len() <= PUBLISHED_AT_ONCE);
            came.extend(due);
        }
        came
    }

    #[test]
    fn many_that_are_due_at_once_come_in_parts_and_none_twice() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let topics = topics(10 * PUBLISHED_AT_ONCE + 1);
        topics.iter().for_each(|topic| schedule.mark(start, *topic));
        let at_once = all_due(&mut schedule, start, Duration::ZERO);
        assert!((PUBLISHED_AT_ONCE..topics.len()).contains(&at_once.len()), "{}", at_once.len());
        // Nobody has said yet that a PUT asks fewer than twenty.
        let seconds = Duration::from_secs(topics.len() as u64 * u64::from(PUT_COPIES) / u64::from(PUT_REQUESTS) + 1);
        assert_eq!([at_once, all_due(&mut schedule, start, seconds)].concat(), topics);
        assert!(schedule.due(start + seconds).is_empty() && schedule.next_deadline() == Some(start + PUT_TIMEOUT));
    }

    #[test]
    fn no_more_are_in_flight_than_the_dht_is_given_at_once_and_each_that_ends_makes_room() {
        let start = Instant::now();
        let (mut schedule, long) = (Schedule::default(), PUT_TIMEOUT / 2);
        let topics = topics(2 * PUTS_IN_FLIGHT);
        topics.iter().for_each(|topic| schedule.mark(start, *topic));
        let first = all_due(&mut schedule, start, long);
        assert_eq!(first, topics[..PUTS_IN_FLIGHT]);
        assert_eq!(schedule.next_deadline(), Some(start + PUT_TIMEOUT), "it does not ask for what it would refuse");
        for topic in &first[..3] {
            schedule.done(start + long, *topic, STORED);
        }
        assert_eq!(all_due(&mut schedule, start + long, long / 2), topics[PUTS_IN_FLIGHT..PUTS_IN_FLIGHT + 3]);
        // Lost answers make room too, and what was not stored has its turn again later.
        let rest = all_due(&mut schedule, start + PUT_TIMEOUT, long / 2);
        assert_eq!(rest[..PUTS_IN_FLIGHT - 3], topics[PUTS_IN_FLIGHT + 3..]);
        assert!(!schedule.is_settled(&first[3]) && schedule.is_settled(&first[0]));
    }

    #[test]
    fn what_nobody_took_is_put_again_as_it_was_signed_until_it_has_changed_or_is_old() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.mark(start, topic());
        let mut now = start;
        while now < start + REPUBLISH {
            assert_eq!(schedule.due(now), [topic()]);
            assert_eq!(schedule.is_repeated(&topic()), now > start);
            schedule.done(now, topic(), PutOutcome::FAILED);
            now = schedule.next_deadline().unwrap();
        }
        assert_eq!(schedule.due(now), [topic()]);
        assert!(!schedule.is_repeated(&topic()), "twenty minutes old");
        schedule.done(now, topic(), PutOutcome::FAILED);
        schedule.mark(now, topic());
        assert_eq!(schedule.next_deadline(), Some(now + PUBLISH_INTERVAL), "and not in a minute");
        assert_eq!(schedule.due(now + PUBLISH_INTERVAL), [topic()]);
        assert!(!schedule.is_repeated(&topic()), "it has changed");
        schedule.done(now, topic(), STORED);
        assert_eq!(schedule.next_deadline(), Some(now + PUBLISH_INTERVAL + REPUBLISH));
    }

    #[test]
    fn what_came_too_fast_for_most_of_those_asked_is_put_to_them_again_but_not_for_ever() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.mark(start, topic());
        let (mut now, mut puts) = (start, 0);
        while !schedule.is_settled(&topic()) {
            assert_eq!(schedule.due(now), [topic()]);
            puts += 1;
            let is_stored = schedule.done(now, topic(), PutOutcome { local: true, stored: 2, asked: 20, busy: 18 });
            assert_eq!(is_stored, puts > PUT_REPEATS);
            now = schedule.next_deadline().unwrap();
        }
        assert_eq!((puts, now), (1 + PUT_REPEATS, start + REPUBLISH));
    }

    #[test]
    fn behind_a_backlog_of_what_is_old_neither_what_is_new_nor_what_has_changed_waits() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let topics = topics(404);
        let (known, new) = topics.split_at(400);
        known.iter().for_each(|topic| schedule.mark(start, *topic));
        let mut at = start;
        while known.iter().any(|topic| !schedule.is_settled(topic)) {
            for topic in schedule.due(at) {
                schedule.done(at, topic, STORED);
            }
            at += Duration::from_millis(10);
        }
        schedule.refresh_all();
        let now = at + PUT_TIMEOUT;
        schedule.mark_all(|topic| known[396..].contains(topic));
        new.iter().for_each(|topic| schedule.mark(now, *topic));
        let came = all_due(&mut schedule, now, Duration::from_millis(500));
        let last = |part: &[Topic]| came.iter().rposition(|topic| part.contains(topic)).unwrap();
        assert!(came.len() > 100 && last(&known[396..]) < PUBLISHED_AT_ONCE, "{}", last(&known[396..]));
        assert!(last(new) < 2 * PUBLISHED_AT_ONCE, "{}", last(new));
        let part = came[..8].iter().filter(|topic| known[..396].contains(topic)).count();
        assert_eq!(part, 1, "what is old has a part all the same");
    }

    #[test]
    fn what_is_wrong_goes_before_what_is_missing_and_leaves_that_a_part() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let topics = topics(400);
        let (known, new) = topics.split_at(200);
        known.iter().for_each(|topic| schedule.mark(start, *topic));
        for topic in all_due(&mut schedule, start, PUT_TIMEOUT / 2) {
            schedule.done(start, topic, STORED);
        }
        let now = start + PUT_TIMEOUT;
        new.iter().for_each(|topic| schedule.mark(now - Duration::from_secs(5), *topic));
        known.iter().for_each(|topic| schedule.mark(now, *topic));
        let came = all_due(&mut schedule, now, Duration::from_millis(500));
        let wrong = came.iter().filter(|topic| known.contains(topic)).count();
        assert!(came.len() > 100 && wrong == came.len() - came.len() / 4, "{wrong} of {}", came.len());
    }
}
