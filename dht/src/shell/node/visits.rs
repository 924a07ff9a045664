// SPDX-License-Identifier: GPL-2.0-or-later
//! Whom a node that is elsewhere than it was dials, so that they learn where it is, and when. Knows no sockets; time is an argument.

use std::collections::VecDeque;
use std::time::Instant;

use libp2p::PeerId;

use super::pace::Pace;
use crate::shell::limits;

/// Rounds through all known peers. Who moves again and again makes a few of them in a time, and the last one when that is over.
#[derive(Debug)]
pub(super) struct Visits {
    rounds: Pace,
    /// Whether it has moved since the last round began.
    has_moved: bool,
    /// Peers still to be visited, the next one last.
    left: Vec<PeerId>,
    /// Peers that were visited, and when it is looked whether that was in vain: a connection that only seems to stand there, over what this
    /// node has left, may have been in the way.
    visited: VecDeque<(Instant, PeerId)>,
}

impl Default for Visits {
    fn default() -> Self {
        let rounds = Pace::new(limits::VISITS, limits::VISITS_TIME);
        Self { rounds, has_moved: false, left: Vec::new(), visited: VecDeque::new() }
    }
}

impl Visits {
    /// This node is elsewhere than it was.
    pub(super) fn moved(&mut self) {
        self.has_moved = true;
    }

    /// Whether a round is to begin.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.has_moved && self.rounds.take(now);
        self.has_moved &= !is_due;
        is_due
    }

    /// Begins a round through these, the nearest first; one that goes on ends.
    pub(super) fn begin(&mut self, peers: &[PeerId]) {
        self.left = peers.iter().rev().copied().collect();
        self.visited.clear();
    }

    /// The next one. All are visited before one is for the second time.
    pub(super) fn next(&mut self, now: Instant) -> Option<PeerId> {
        if let Some(peer) = self.left.pop() {
            self.visited.push_back((now + limits::VISIT_AGAIN, peer));
            return Some(peer);
        }
        let is_due = self.visited.front().is_some_and(|(at, _)| *at <= now);
        let (_, peer) = is_due.then(|| self.visited.pop_front())??;
        Some(peer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whom it dials within this time, and how long after `now`; it looks once a second.
    fn visits(visits: &mut Visits, now: Instant, time: Duration, peers: &[PeerId]) -> Vec<(Duration, PeerId)> {
        let mut seen = Vec::new();
        for after in (0..time.as_secs()).map(Duration::from_secs) {
            if visits.is_due(now + after) {
                visits.begin(peers);
            }
            seen.extend(std::iter::from_fn(|| visits.next(now + after)).map(|peer| (after, peer)));
        }
        seen
    }

    #[test]
    fn all_are_visited_the_nearest_first_and_once_more_after_a_while() {
        let (now, peers) = (Instant::now(), [PeerId::random(), PeerId::random()]);
        let mut at = Visits::default();
        assert_eq!(visits(&mut at, now, Duration::from_secs(60), &peers), [], "it has not moved");
        at.moved();
        let twice = [Duration::ZERO, limits::VISIT_AGAIN].map(|after| peers.map(|peer| (after, peer))).concat();
        assert_eq!(visits(&mut at, now, Duration::from_secs(60), &peers), twice);
    }

    #[test]
    fn who_flaps_visits_few_times_and_at_the_end_once_more() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let (mut at, mut count, second) = (Visits::default(), 0, Duration::from_secs(1));
        let end = limits::VISITS_TIME - second;
        for after in (0..end.as_secs()).map(Duration::from_secs) {
            at.moved();
            count += visits(&mut at, now + after, second, &[peer]).len();
        }
        assert_eq!(count, limits::VISITS as usize + 1, "the last one twice");
        let seen = visits(&mut at, now + end, Duration::from_secs(60), &[peer]);
        assert_eq!(seen, [(second, peer), (second + limits::VISIT_AGAIN, peer)], "where it is at last");
    }
}
