// SPDX-License-Identifier: GPL-2.0-or-later
//! Two clocks: one that only runs, and one that says what time it is, if it can be believed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::limits::DAY;

/// Which start of the machine an uptime counts from; a random number that the kernel makes at each.
pub type BootId = [u8; 16];

/// What the clocks of the machine say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Which start of the machine.
    pub boot: BootId,
    /// Time since then; it is never set, and counts while the machine sleeps (`CLOCK_BOOTTIME`).
    pub uptime: Duration,
    /// UTC, if there is a reason to believe it. It may be set, forward and backward.
    pub utc: Option<SystemTime>,
}

const DAY_MS: i64 = 86_400_000;
/// 10000-01-01 00:00:00 UTC: no certificate can say a later time.
const END_MS: i64 = 253_402_300_800_000;

/// A point of uptime in milliseconds; before the start of the machine it is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) i64);

impl Moment {
    pub(super) fn after(self, time: Duration) -> Moment {
        self.shifted(ms(time))
    }

    pub(super) fn before(self, time: Duration) -> Moment {
        self.shifted(-ms(time))
    }

    pub(super) fn shifted(self, ms: i64) -> Moment {
        Moment(self.0.saturating_add(ms))
    }

    /// Time from `earlier` to here; zero if it is later.
    pub(super) fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Time between two moments, whichever comes first.
    pub(super) fn distance(self, other: Moment) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }

    /// As the uptime of a caller.
    pub(super) fn uptime(self) -> Duration {
        self.since(Moment(0))
    }
}

/// Times that a clock of this century can show fit; longer ones count as the longest.
fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Days of UTC since 1970.
pub(super) type Day = i64;

/// What the clocks say, in the engine's own units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) boot: BootId,
    pub(super) at: Moment,
    /// Milliseconds since 1970.
    pub(super) utc: Option<i64>,
}

impl Now {
    pub(super) fn of(clock: Clock) -> Now {
        let since_1970 = clock.utc.and_then(|utc| utc.duration_since(UNIX_EPOCH).ok());
        // A time that no certificate can say is none that one can believe.
        let utc = since_1970.map(ms).filter(|&utc| utc < END_MS);
        Now { boot: clock.boot, at: Moment(ms(clock.uptime)), utc }
    }

    pub(super) fn today(&self) -> Option<Day> {
        self.utc.map(|utc| utc.div_euclid(DAY_MS))
    }

    /// When the day begins, as far as is known now.
    pub(super) fn midnight(&self, day: Day) -> Option<Moment> {
        self.utc.map(|utc| self.at.shifted(day.saturating_mul(DAY_MS).saturating_sub(utc)))
    }
}

/// The first second of a day, if a clock can say it.
pub(super) fn begin(day: Day) -> Option<SystemTime> {
    let days = u32::try_from(day).ok()?;
    UNIX_EPOCH.checked_add(DAY.checked_mul(days)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midnight_lies_where_utc_says() {
        let clock = |utc| Now::of(Clock { boot: [0; 16], uptime: Duration::from_secs(100), utc: Some(utc) });
        let now = clock(UNIX_EPOCH + DAY * 20_000 + Duration::from_secs(30));
        assert_eq!(now.today(), Some(20_000));
        assert_eq!(now.midnight(20_000), Some(Moment(70_000)));
        assert_eq!(now.midnight(20_001), Some(Moment(70_000 + DAY_MS)));
        assert_eq!(clock(UNIX_EPOCH - DAY).utc, None);
        assert_eq!(clock(UNIX_EPOCH + DAY * 366 * 8_030).utc, None);
    }
}
