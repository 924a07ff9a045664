// SPDX-License-Identifier: GPL-2.0-or-later
//! Virtual time, and what is going to happen in it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
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
        Self { now: Duration::ZERO, scheduled: 0, due: BinaryHeap::new(), events: Vec::new(), free: Vec::new() }
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

    /// The next event until then; without one it is then.
    pub(super) fn next(&mut self, until: Duration) -> Option<E> {
        if self.due.peek().is_some_and(|Reverse(due)| due.at <= until) {
            let Reverse(due) = self.due.pop()?;
            self.now = due.at;
            self.free.push(due.place);
            return self.events.get_mut(due.place)?.take();
        }
        self.now = self.now.max(until);
        None
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
}
