// SPDX-License-Identifier: GPL-2.0-or-later
//! Virtual time, and what is going to happen in it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When the model begins: a date, because records carry dates; always the same one, so that a seed gives the same run.
const START: Duration = Duration::from_secs(1_800_000_000);

/// The time of a model, which stands still between two events.
#[derive(Debug)]
pub(super) struct Clock<E> {
    now: Duration,
    scheduled: u64,
    due: BinaryHeap<Reverse<Due>>,
    /// The events themselves stay where they are: what a heap moves about should be small.
    events: Vec<Option<E>>,
    /// Places among them that are free.
    free: Vec<usize>,
    /// Time limits, by their length: of equal ones the first to be set is the first to end. There are many, since nearly all
    /// are for what has ended by then, and a heap of them would be the slowest part of a model.
    limits: Vec<(Duration, VecDeque<Limit<E>>)>,
}

#[derive(Debug)]
struct Limit<E> {
    at: Duration,
    order: u64,
    event: E,
}

/// Of two events at one time the one scheduled first happens first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Duration,
    order: u64,
    place: usize,
}

impl<E> Clock<E> {
    pub(super) fn new() -> Self {
        Self {
            now: Duration::ZERO,
            scheduled: 0,
            due: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            limits: Vec::new(),
        }
    }

    /// Since the beginning of the model.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// What the model's people read off their clocks.
    pub(super) fn date(&self) -> SystemTime {
        UNIX_EPOCH + START + self.now
    }

    pub(super) fn after(&mut self, delay: Duration, event: E) {
        self.scheduled += 1;
        let place = self.free.pop().unwrap_or(self.events.len());
        match self.events.get_mut(place) {
            Some(free) => *free = Some(event),
            None => self.events.push(Some(event)),
        }
        self.due.push(Reverse(Due { at: self.now + delay, order: self.scheduled, place }));
    }

    /// The same, of a delay that many events have.
    pub(super) fn limit(&mut self, delay: Duration, event: E) {
        self.scheduled += 1;
        let limit = Limit { at: self.now + delay, order: self.scheduled, event };
        match self.limits.iter_mut().find(|(known, _)| *known == delay) {
            Some((_, limits)) => limits.push_back(limit),
            None => self.limits.push((delay, VecDeque::from([limit]))),
        }
    }

    /// The next event until then; without one it is then.
    pub(super) fn next(&mut self, until: Duration) -> Option<E> {
        let due = self.due.peek().map(|Reverse(due)| (due.at, due.order, None));
        let fronts = self.limits.iter().enumerate();
        let fronts = fronts.filter_map(|(lane, (_, limits))| limits.front().map(|one| (one.at, one.order, Some(lane))));
        let (at, _, lane) = due.into_iter().chain(fronts).min().filter(|(at, ..)| *at <= until).or_else(|| {
            self.now = self.now.max(until);
            None
        })?;
        self.now = at;
        if let Some(lane) = lane {
            return self.limits.get_mut(lane)?.1.pop_front().map(|limit| limit.event);
        }
        let Reverse(due) = self.due.pop()?;
        self.free.push(due.place);
        self.events.get_mut(due.place)?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_then_of_scheduling() {
        let mut clock = Clock::new();
        for (delay, name) in [(2, 'c'), (1, 'a'), (1, 'b'), (9, 'd')] {
            clock.after(Duration::from_secs(delay), name);
        }
        let until = Duration::from_secs(5);
        let seen: Vec<char> = std::iter::from_fn(|| clock.next(until)).collect();
        assert_eq!((seen, clock.now()), (vec!['a', 'b', 'c'], until));
    }

    #[test]
    fn limits_come_in_the_same_order() {
        let mut clock = Clock::new();
        let second = Duration::from_secs(1);
        clock.limit(3 * second, 'd');
        clock.limit(second, 'a');
        clock.after(second, 'b');
        clock.limit(second, 'c');
        let seen: Vec<char> = std::iter::from_fn(|| clock.next(9 * second)).collect();
        assert_eq!(seen, ['a', 'b', 'c', 'd']);
    }
}
