// SPDX-License-Identifier: GPL-2.0-or-later
//! When something was written last, by the clocks that outlive a process. With xTRs that register it is a minute ago at most, so that at a
//! start it tells for how long nobody was heard.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Seconds since 1970, by a clock that can be set.
    pub(super) wall: u64,
    /// Seconds since the machine was started, sleep included.
    pub(super) up: u64,
    /// Which start of the machine that was; 0 where it does not say.
    pub(super) boot: u64,
}

/// More than any registration lasts: a day, an eighth of it, and a little. A clock that was wrong once by years costs no more than that.
const LONGEST: Duration = Duration::from_secs(28 * 3600);

impl Moment {
    /// This one.
    pub(super) fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let up = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
        Self { wall: wall.as_secs(), up: up.as_secs(), boot: boot() }
    }

    /// Time from `earlier` to this one, as far as it is known. A clock that was set back says nothing, nor does the time of a machine that
    /// was started again. Where both say something the shorter time counts: a clock that was set ahead ends nothing before its time
    /// unless the machine was started again too.
    pub(super) fn since(self, earlier: Self) -> Duration {
        let is_same_run = self.boot == earlier.boot;
        let up = self.up.checked_sub(earlier.up).filter(|_| is_same_run);
        let told = [self.wall.checked_sub(earlier.wall), up];
        Duration::from_secs(told.into_iter().flatten().min().unwrap_or_default()).min(LONGEST)
    }
}

/// The first half of the UUID of this start of the machine (random(4)).
fn boot() -> u64 {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn between(wall: [u64; 2], up: [u64; 2], boot: [u64; 2]) -> u64 {
        let moment = |index| Moment { wall: wall[index], up: up[index], boot: boot[index] };
        moment(1).since(moment(0)).as_secs()
    }

    #[test]
    fn in_one_run_of_the_machine_its_own_time_counts_however_the_clock_is_set() {
        assert_eq!(between([100 * DAY, 100 * DAY + 600], [DAY, DAY + 600], [7, 7]), 600);
        assert_eq!(between([100 * DAY, 130 * DAY], [DAY, DAY + 600], [7, 7]), 600);
        assert_eq!(between([100 * DAY, 70 * DAY], [DAY, DAY + 600], [7, 7]), 600);
    }

    #[test]
    fn over_a_restart_of_the_machine_the_clock_counts_unless_it_goes_back() {
        assert_eq!(between([100 * DAY, 101 * DAY], [30 * DAY, 60], [7, 8]), DAY);
        assert_eq!(between([100 * DAY, 101 * DAY], [600, 660], [7, 8]), DAY, "up for longer than when it was written");
        assert_eq!(between([100 * DAY, 0], [30 * DAY, 60], [7, 8]), 0);
        assert_eq!(between([0, 20_000 * DAY], [30 * DAY, 60], [7, 8]), LONGEST.as_secs(), "it had no clock");
    }

    #[test]
    fn time_goes_on() {
        let first = Moment::now();
        assert!(first.boot > 0 && first.up > 0 && first.wall > 50 * 365 * DAY && first.since(first).is_zero());
    }
}
