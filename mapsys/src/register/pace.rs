// SPDX-License-Identifier: GPL-2.0-or-later
//! How fast records go into the DHT: so many requests to its nodes a second, and fewer while these say that they are asked too often.

use std::time::{Duration, Instant};

use crate::limits::{PUT_COPIES, PUT_ENOUGH, PUT_PACE_STEP, PUT_REQUESTS, PUT_REQUESTS_LEAST, PUT_REQUESTS_SAVED};

/// How a PUT ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PutOutcome {
    /// Whether this node itself keeps the record.
    pub local: bool,
    /// Other nodes that keep it.
    pub stored: usize,
    /// Other nodes that were asked to.
    pub asked: usize,
    /// Of these, those that did not look at it, since they are asked too often.
    pub busy: usize,
}

impl PutOutcome {
    /// Nobody keeps it, for whatever reason, and nobody was asked to.
    pub const FAILED: Self = Self { local: false, stored: 0, asked: 0, busy: 0 };

    /// There was nothing to put.
    pub const NEEDLESS: Self = Self { local: true, ..Self::FAILED };

    /// Whether others can read it. What this node alone keeps counts only where there is nobody else: what others still have in its
    /// place, they go on telling.
    pub fn is_stored(&self) -> bool {
        self.stored > 0 || (self.local && self.asked == 0)
    }

    /// Whether it came too fast: more than half of those asked say so, and not one alone, who may lie.
    pub fn is_too_fast(&self) -> bool {
        self.busy > 1 && 2 * self.busy > self.asked
    }

    /// Whether it came too fast for so many that those who took it are too few.
    pub fn is_scarce(&self) -> bool {
        self.is_too_fast() && self.stored < PUT_ENOUGH.min(self.asked / 2)
    }
}

/// The pace of all PUTs of this node together.
#[derive(Debug)]
pub(super) struct Pace {
    /// Requests a second now.
    rate: u32,
    /// Nodes that the last PUT has asked: the next one will ask as many.
    cost: u32,
    /// When all that can be saved is there again; none was taken yet.
    full_at: Option<Instant>,
    /// When the rate was last changed.
    changed: Option<Instant>,
    /// The process ends, and nothing waits.
    is_lifted: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rate: PUT_REQUESTS, cost: PUT_COPIES, full_at: None, changed: None, is_lifted: false }
    }
}

impl Pace {
    /// When the next PUT may begin.
    pub(super) fn ready_at(&self) -> Option<Instant> {
        let full_at = self.full_at.filter(|_| !self.is_lifted)?;
        full_at.checked_sub(PUT_REQUESTS_SAVED)
    }

    /// Whether one may begin now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.ready_at().is_none_or(|at| at <= now)
    }

    /// One begins.
    pub(super) fn take(&mut self, now: Instant) {
        let took = Duration::from_secs(1) * self.cost / self.rate;
        self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + took);
    }

    /// One has ended.
    pub(super) fn heard(&mut self, now: Instant, outcome: &PutOutcome) {
        // Who asked nobody has learnt nothing of others.
        if outcome.asked == 0 {
            return;
        }
        if outcome.is_stored() {
            self.cost = u32::try_from(outcome.asked).unwrap_or(u32::MAX).clamp(1, PUT_REQUESTS);
        }
        // Those that are on their way together hear the same.
        if self.changed.is_some_and(|at| at + PUT_PACE_STEP > now) {
            return;
        }
        let rate = if outcome.is_too_fast() { self.rate / 2 } else { self.rate + PUT_REQUESTS_LEAST };
        let rate = rate.clamp(PUT_REQUESTS_LEAST, PUT_REQUESTS);
        if rate != self.rate {
            tracing::debug!(requests = rate, "pace of PUTs");
            (self.rate, self.changed) = (rate, Some(now));
        }
    }

    /// The process ends: what is to be said goes out now or never.
    pub(super) fn lift(&mut self) {
        self.is_lifted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PUTs that begin within this time, each of which ends as given as soon as it has begun.
    fn begun(pace: &mut Pace, from: Instant, time: Duration, outcome: PutOutcome) -> u32 {
        let (mut now, mut count) = (from, 0);
        while now <= from + time {
            while pace.allows(now) {
                pace.take(now);
                pace.heard(now, &outcome);
                count += 1;
            }
            now = pace.ready_at().unwrap_or(now).max(now + Duration::from_micros(1));
        }
        count
    }

    fn taken(asked: usize) -> PutOutcome {
        PutOutcome { stored: asked, asked, ..PutOutcome::FAILED }
    }

    fn too_fast(stored: usize, asked: usize, busy: usize) -> PutOutcome {
        PutOutcome { local: true, stored, asked, busy }
    }

    #[test]
    fn a_puts_share_of_the_pace_is_what_it_asks_of_others() {
        for asked in [1, 2, 20, 64] {
            let (start, mut pace) = (Instant::now(), Pace::default());
            begun(&mut pace, start, Duration::from_secs(2), taken(asked));
            let ten = begun(&mut pace, start + Duration::from_secs(2), Duration::from_secs(10), taken(asked));
            let requests = ten * u32::try_from(asked).unwrap_or_default();
            assert!(requests.abs_diff(10 * PUT_REQUESTS) <= PUT_REQUESTS / 4, "{asked}: {requests}");
        }
    }

    #[test]
    fn a_few_go_at_once_though_nobody_knows_yet_what_they_cost() {
        let (now, mut pace) = (Instant::now(), Pace::default());
        let at_once = begun(&mut pace, now, Duration::ZERO, PutOutcome::FAILED);
        assert!((8..40).contains(&at_once), "{at_once}");
    }

    #[test]
    fn whoever_is_asked_too_often_is_asked_less_and_then_more_again() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        begun(&mut pace, start, Duration::from_secs(2), taken(2));
        let busy = too_fast(1, 3, 2);
        begun(&mut pace, start + Duration::from_secs(2), Duration::from_secs(10), busy);
        assert_eq!(pace.rate, PUT_REQUESTS_LEAST);
        let slow = begun(&mut pace, start + Duration::from_secs(12), Duration::from_secs(1), busy);
        assert!(slow <= PUT_REQUESTS_LEAST / 3 + 1, "{slow}");
        begun(&mut pace, start + Duration::from_secs(13), Duration::from_secs(60), taken(2));
        assert_eq!(pace.rate, PUT_REQUESTS);
    }

    #[test]
    fn half_of_those_asked_and_one_of_two_who_say_so_slow_nobody_down() {
        assert!(!too_fast(10, 20, 10).is_too_fast() && too_fast(9, 20, 11).is_too_fast());
        assert!(
            !too_fast(1, 2, 1).is_too_fast() && !too_fast(0, 1, 1).is_too_fast() && too_fast(0, 2, 2).is_too_fast()
        );
        assert!(!PutOutcome::FAILED.is_too_fast());
    }

    #[test]
    fn three_who_took_it_are_enough_or_half_of_fewer() {
        let scarce = [(2, 20, 18), (3, 20, 17), (0, 3, 3), (1, 3, 2), (1, 20, 10)];
        assert_eq!(
            scarce.map(|(stored, asked, busy)| too_fast(stored, asked, busy).is_scarce()),
            [true, false, true, false, false]
        );
    }

    #[test]
    fn what_this_node_alone_keeps_is_stored_only_where_nobody_else_is() {
        let stored = |local, stored, asked| PutOutcome { local, stored, asked, busy: 0 }.is_stored();
        assert!(stored(true, 0, 0) && stored(true, 1, 20) && stored(false, 1, 20));
        assert!(!stored(true, 0, 1) && !stored(false, 0, 0) && !stored(false, 0, 20));
        assert!(PutOutcome::NEEDLESS.is_stored() && !PutOutcome::FAILED.is_stored());
    }

    #[test]
    fn a_put_that_asked_nobody_changes_neither_the_pace_nor_what_the_next_one_costs() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        begun(&mut pace, start, Duration::from_secs(10), too_fast(1, 3, 2));
        let (rate, cost) = (pace.rate, pace.cost);
        let later = start + Duration::from_secs(60);
        for outcome in [PutOutcome::FAILED, PutOutcome::NEEDLESS] {
            pace.heard(later, &outcome);
            assert_eq!((pace.rate, pace.cost), (rate, cost));
        }
        pace.heard(later, &taken(2));
        assert_ne!((pace.rate, pace.cost), (rate, cost));
    }

    #[test]
    fn a_put_of_which_nothing_is_known_is_taken_to_go_to_a_region_full() {
        assert_eq!(usize::try_from(PUT_COPIES), Ok(dht::limits::REPLICAS));
    }

    #[test]
    fn at_the_end_nothing_waits() {
        let (now, mut pace) = (Instant::now(), Pace::default());
        (0..1000).for_each(|_| pace.take(now));
        assert!(!pace.allows(now));
        pace.lift();
        assert!(pace.allows(now) && pace.ready_at().is_none());
    }
}
