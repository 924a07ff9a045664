// SPDX-License-Identifier: GPL-2.0-or-later
//! When a node that speaks for itself signs and puts again: before anything that it said ends, and when peers have come that may
//! not have heard of it.

use std::time::{Duration, Instant};

use crate::limits;
use crate::record::Class;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// To sign all anew, and put it.
    Sign,
    /// To put what was signed before.
    Put,
}

/// The schedule of one bundle.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    resign: Option<Duration>,
    signed_at: Option<Instant>,
    /// When it was put last, to how many peers, and whether anybody took it.
    put: Option<(Instant, usize, bool)>,
}

impl Schedule {
    /// That of a bundle of these classes, which is due at once; without classes nothing ever is.
    pub fn new(classes: impl IntoIterator<Item = Class>) -> Self {
        Self { resign: classes.into_iter().map(resign).min(), ..Self::default() }
    }

    /// All was signed.
    pub fn signed(&mut self, now: Instant) {
        self.signed_at = Some(now);
    }

    /// It was put, when so many peers were known; whether anybody took it.
    pub fn put(&mut self, now: Instant, peers: usize, taken: bool) {
        self.put = Some((now, peers, taken));
    }

    /// What is due, when so many peers are known.
    pub fn due(&self, now: Instant, peers: usize) -> Option<Due> {
        let resign = self.resign?;
        let Some((at, before, taken)) = self.put else { return Some(Due::Sign) };
        let since = now.saturating_duration_since(at);
        let wait = match (taken, has_grown(before, peers)) {
            (false, _) => limits::ANNOUNCE_RETRY,
            (true, true) => limits::ANNOUNCE_PAUSE,
            (true, false) => limits::ANNOUNCE_INTERVAL,
        };
        if since < wait {
            return None;
        }
        let is_old = self.signed_at.is_none_or(|at| now.saturating_duration_since(at) >= resign);
        Some(if is_old { Due::Sign } else { Due::Put })
    }

    /// When something may be due, if the peers stay as many as they are.
    pub fn next_deadline(&self, peers: usize) -> Option<Instant> {
        self.resign?;
        let (at, before, taken) = self.put?;
        Some(
            at + match (taken, has_grown(before, peers)) {
                (false, _) => limits::ANNOUNCE_RETRY,
                (true, true) => limits::ANNOUNCE_PAUSE,
                (true, false) => limits::ANNOUNCE_INTERVAL,
            },
        )
    }
}

/// How old a statement may become before it is signed anew.
fn resign(class: Class) -> Duration {
    match class {
        Class::Topology => limits::RESIGN_TOPOLOGY,
        Class::Service => limits::RESIGN_SERVICE,
        _ => limits::ANNOUNCE_INTERVAL,
    }
}

/// By a quarter at least.
fn has_grown(before: usize, now: usize) -> bool {
    now > before && (now - before) * 4 >= before
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_says_nothing_of_itself_has_nothing_to_do() {
        let schedule = Schedule::new([]);
        assert_eq!((schedule.due(Instant::now(), 5), schedule.next_deadline(5)), (None, None));
    }

    #[test]
    fn a_mapping_is_signed_anew_each_time_and_services_when_they_are_old() {
        for (classes, expected) in [
            (vec![Class::Mapping, Class::Service], vec![Due::Sign; 40]),
            (vec![Class::Service], [vec![Due::Put; 35], vec![Due::Sign], vec![Due::Put; 4]].concat()),
        ] {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(classes);
            assert_eq!(schedule.due(now, 8), Some(Due::Sign), "at the start");
            schedule.signed(now);
            let mut done = Vec::new();
            for _ in 0..40 {
                schedule.put(now, 8, true);
                assert_eq!(schedule.due(now + limits::ANNOUNCE_INTERVAL - SECOND, 8), None);
                now = schedule.next_deadline(8).unwrap_or(now);
                done.extend(schedule.due(now, 8));
                if done.last() == Some(&Due::Sign) {
                    schedule.signed(now);
                }
            }
            assert_eq!(done, expected);
        }
    }

    #[test]
    fn more_peers_by_a_quarter_are_told_but_not_more_often_than_they_take_it() {
        let now = Instant::now();
        let mut schedule = Schedule::new([Class::Service]);
        schedule.signed(now);
        schedule.put(now, 8, true);
        assert_eq!(schedule.due(now + limits::ANNOUNCE_PAUSE, 9), None);
        assert_eq!(schedule.due(now + limits::ANNOUNCE_PAUSE - SECOND, 10), None);
        assert_eq!(schedule.due(now + limits::ANNOUNCE_PAUSE, 10), Some(Due::Put));
        schedule.put(now, 0, false);
        assert_eq!(schedule.due(now + limits::ANNOUNCE_RETRY - SECOND, 4), None);
        assert_eq!(schedule.due(now + limits::ANNOUNCE_RETRY, 0), Some(Due::Put));
    }
}
