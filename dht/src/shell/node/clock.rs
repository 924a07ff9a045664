// SPDX-License-Identifier: GPL-2.0-or-later
//! What time it is for a node: that of the system, or for experiments another.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock that a node goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    ahead: i64,
}

impl Clock {
    /// A clock that is so many seconds ahead of the system's, or behind it: how a node behaves whose clock is wrong.
    pub fn shifted(seconds: i64) -> Self {
        Self { ahead: seconds }
    }

    /// What it says.
    pub fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        let shift = Duration::from_secs(self.ahead.unsigned_abs());
        let shifted = if self.ahead < 0 { now.checked_sub(shift) } else { now.checked_add(shift) };
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
        assert_eq!(difference(3_600_500), "3600 s behind the clocks of its peers");
    }
}
