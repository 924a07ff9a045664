// SPDX-License-Identifier: GPL-2.0-or-later
//! What time it is for a node: that of the system, or for experiments another.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock that a node goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    ahead: i64,
    hand: Option<&'static Hand>,
}

/// Sets a clock while others go by it.
#[derive(Debug, Default)]
pub struct Hand(AtomicI64);

impl Hand {
    /// So many seconds ahead of the system's, or behind it, from now on.
    pub fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl PartialEq for Hand {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Hand {}

impl Clock {
    /// A clock that is so many seconds ahead of the system's, or behind it: how a node behaves whose clock is wrong.
    pub fn shifted(seconds: i64) -> Self {
        Self { ahead: seconds, hand: None }
    }

    /// A clock that can be set while a node goes by it: what becomes of a node whose administrator does that. It stays in memory.
    pub fn settable() -> (Self, &'static Hand) {
        let hand: &'static Hand = Box::leak(Box::default());
        (Self { ahead: 0, hand: Some(hand) }, hand)
    }

    /// What it says.
    pub fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        let ahead = self.ahead.saturating_add(self.hand.map_or(0, |hand| hand.0.load(Ordering::Relaxed)));
        let shift = Duration::from_secs(ahead.unsigned_abs());
        let shifted = if ahead < 0 { now.checked_sub(shift) } else { now.checked_add(shift) };
        shifted.unwrap_or(UNIX_EPOCH)
    }
}

/// The difference to other clocks, in words; positive milliseconds are those by which ours is behind.
pub(super) fn difference(behind: i64) -> String {
    let seconds = behind.unsigned_abs() / 1000;
    let direction = if behind < 0 { "ahead of" } else { "behind" };
    format!("{seconds} s {direction} the clocks of its peers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_clock_says_another_time() {
        let hour = Duration::from_secs(3600);
        let (late, early) = (Clock::shifted(-3600).now(), Clock::shifted(3600).now());
        assert!(early.duration_since(late).is_ok_and(|apart| apart >= hour * 2));
        assert_eq!(Clock::shifted(i64::MAX).now(), UNIX_EPOCH);
        let (clock, hand) = Clock::settable();
        let copy = clock;
        // It is asked first: the system's goes on meanwhile.
        let behind = || {
            let told = copy.now();
            SystemTime::now().duration_since(told)
        };
        hand.set(-3600);
        assert!(behind().is_ok_and(|apart| apart >= hour));
        hand.set(0);
        assert!(behind().is_ok_and(|apart| apart < hour));
        assert_eq!(difference(3_600_500), "3600 s behind the clocks of its peers");
    }
}
