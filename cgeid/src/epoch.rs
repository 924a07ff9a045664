// SPDX-License-Identifier: GPL-2.0-or-later
//! Numbers that order the operational keys of one identity: a higher epoch supersedes all lower ones at once.
//!
//! `epoch = period * 256 + revision`. A period has 30 days and begins at an offset that the CN decides, so that the
//! nodes of a network roll over spread across the month, not all in one night.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cn::Cn;

/// Length of a period.
pub const PERIOD: Duration = Duration::from_secs(30 * 24 * 3600);

/// Epochs in a period: revisions 0 to 255, for a key that must be replaced within its month.
pub const REVISIONS: u32 = 256;

/// The period of `cn` that `now` falls in; times before 1970 count as 1970, times that do not fit as the last period.
pub fn period(cn: Cn, now: SystemTime) -> u32 {
    let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let period = (since_1970.saturating_add(offset(cn))) / PERIOD.as_secs();
    u32::try_from(period).unwrap_or(u32::MAX).min(u32::MAX / REVISIONS)
}

/// When the given period of `cn` begins; before 1970 for period 0 counts as 1970. `None` where it is beyond the clock.
pub fn period_start(cn: Cn, period: u32) -> Option<SystemTime> {
    let seconds = (u64::from(period) * PERIOD.as_secs()).saturating_sub(offset(cn));
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// The epoch of a revision within a period.
pub fn epoch(period: u32, revision: u8) -> u32 {
    period.saturating_mul(REVISIONS) | u32::from(revision)
}

/// Seconds by which the periods of `cn` begin before multiples of 30 days: its first 32 bits modulo 30 days.
fn offset(cn: Cn) -> u64 {
    let [a, b, c, d, ..] = cn.0;
    u64::from(u32::from_be_bytes([a, b, c, d])) % PERIOD.as_secs()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_by_hand() {
        // 0x0f2c8a34 = 254577204; modulo 2592000 = 561204. (1800000000 + 561204) / 2592000 = 694.66...
        let cn: Cn = "0f2c8a3454a468b75f32e76a".parse().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        assert_eq!(period(cn, now), 694);
        assert_eq!(epoch(694, 3), 694 * 256 + 3);
    }

    #[test]
    fn a_period_begins_where_the_number_changes() {
        let cn: Cn = "ffffffff54a468b75f32e76a".parse().unwrap();
        let start = period_start(cn, 700).unwrap();
        assert_eq!(period(cn, start), 700);
        assert_eq!(period(cn, start - Duration::from_secs(1)), 699);
        assert_eq!(period(cn, start + PERIOD), 701);
    }
}
