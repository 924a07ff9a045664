// SPDX-License-Identifier: GPL-2.0-or-later
//! When something was written last, by the clocks that outlive a process. With xTRs that register it is a minute ago at most, so that at a
//! start it tells for how long nobody was heard.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Seconds since 1970, by a clock that can be set.
    pub(super) wall: u64,
    /// Seconds since the machine was started, sleep included.
    pub(super) up: u64,
    /// Which start of the machine that was; `None` where it does not say.
    pub(super) boot: Option<NonZeroU64>,
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
    /// unless the machine was started again too. Where nobody knows if it was, the longer one does: what has ended meanwhile is not believed,
    /// and what has not is registered again within a minute.
    pub(super) fn since(self, earlier: Self) -> Duration {
        let (wall, up) = (self.wall.checked_sub(earlier.wall), self.up.checked_sub(earlier.up));
        let seconds = match self.boot.zip(earlier.boot).map(|(boot, before)| boot == before) {
            Some(true) => [wall, up].into_iter().flatten().min(),
            Some(false) => wall,
            None => wall.max(up),
        };
        Duration::from_secs(seconds.unwrap_or_default()).min(LONGEST)
    }
}

/// The first half of the UUID of this start of the machine (random(4)). The log warns once if it cannot be read.
fn boot() -> Option<NonZeroU64> {
    static BOOT: LazyLock<Option<NonZeroU64>> =
        LazyLock::new(|| read_boot(Path::new("/proc/sys/kernel/random/boot_id")));
    *BOOT
}

fn read_boot(path: &Path) -> Option<NonZeroU64> {
    let uuid = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let read = uuid.and_then(|uuid| {
        let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).ok().and_then(NonZeroU64::new).ok_or_else(|| "no UUID".to_owned())
    });
    let warn = |error: &String| {
        let path = path.display();
        tracing::warn!(%path, %error, "it is not known if the machine was started again: how long nobody was served is told by its clock");
    };
    read.inspect_err(warn).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::shell::log::logged;

    const DAY: u64 = 86_400;

    fn between(wall: [u64; 2], up: [u64; 2], boot: [u64; 2]) -> u64 {
        let moment = |index| Moment { wall: wall[index], up: up[index], boot: NonZeroU64::new(boot[index]) };
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
    fn where_it_is_not_known_whether_the_machine_was_started_again_nothing_is_believed_for_longer_than_its_time() {
        for boot in [[0, 0], [0, 7], [7, 0]] {
            // Up for longer than when it was written, or not.
            assert_eq!(between([100 * DAY, 101 * DAY], [600, 660], boot), DAY);
            assert_eq!(between([100 * DAY, 101 * DAY], [30 * DAY, 60], boot), DAY);
            // If it was not, the clock was set back; if it was, it has been up for longer than that since.
            assert_eq!(between([100 * DAY, 0], [DAY, DAY + 600], boot), 600);
            assert_eq!(between([100 * DAY, 0], [30 * DAY, 60], boot), 0);
        }
    }

    #[test]
    fn a_machine_that_does_not_say_which_start_it_is_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boot_id");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let mut boot = None;
            (logged(|| boot = read_boot(&path)).len(), boot)
        };
        let half = NonZeroU64::new(0x0123_4567_89ab_cdef);
        assert_eq!(read("01234567-89ab-cdef-fedc-ba9876543210\n"), (0, half));
        assert_eq!([read(""), read("-\n"), read("00000000-0000-0000-0000-000000000000\n")], [(1, None); 3]);
        let missing = folder.path().join("sys/boot_id");
        let lines = logged(|| assert_eq!(read_boot(&missing), None));
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(line.starts_with("WARN it is not known if the machine was started again"), "{line}");
        assert!(line.contains("sys/boot_id") && line.contains("No such file"), "{line}");
    }

    #[test]
    fn time_goes_on() {
        let first = Moment::now();
        assert!(first.boot.is_some() && first.up > 0 && first.wall > 50 * 365 * DAY && first.since(first).is_zero());
    }
}
