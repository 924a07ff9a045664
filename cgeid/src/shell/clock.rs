// SPDX-License-Identifier: GPL-2.0-or-later
//! The clocks of this machine.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use rustix::time::{ClockId, clock_gettime};

use super::Failure;
use crate::error::date;
use crate::temporary::{BootId, Clock};

/// 2026-01-01 00:00:00 UTC. A machine that says an earlier time has just been started without a clock of its own.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

/// Reads the clocks. UTC counts as trusted unless it lies before this program was written; a caller that knows better (a
/// median of peers, an alarm) replaces [`Clock::utc`].
pub fn read() -> Clock {
    let boottime = clock_gettime(ClockId::Boottime);
    let seconds = Duration::from_secs(u64::try_from(boottime.tv_sec).unwrap_or(0));
    let uptime = seconds + Duration::from_nanos(u64::try_from(boottime.tv_nsec).unwrap_or(0));
    let now = SystemTime::now();
    Clock { boot: boot(), uptime, utc: Some(now).filter(|now| *now >= UNIX_EPOCH + EARLIEST) }
}

/// UTC for what is to be signed: a clock that was never set gives dates that nobody else believes.
pub(super) fn now() -> Result<SystemTime, Failure> {
    believed(SystemTime::now())
}

fn believed(now: SystemTime) -> Result<SystemTime, Failure> {
    /// 9999-01-01 00:00:00 UTC: a year later no certificate can say the time (RFC 5280 4.1.2.5).
    const LATEST: Duration = Duration::from_secs(253_370_764_800);
    let detail = match now.duration_since(UNIX_EPOCH) {
        Ok(since) if since < EARLIEST => format!("{}, before this program was written", date(now)),
        Ok(since) if since >= LATEST => "a year after 9998".to_owned(),
        Ok(_) => return Ok(now),
        Err(_) => "a time before 1970".to_owned(),
    };
    Err(Failure::machine(anyhow!("the clock of this machine says {detail}: set it first")))
}

/// The kernel's number for this start of the machine. Where it does not say, one that fits no other run: then nothing is
/// known about how much time passed between two.
fn boot() -> BootId {
    static BOOT: OnceLock<BootId> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        parse(&text).unwrap_or_else(rand::random)
    })
}

fn parse(uuid: &str) -> Option<BootId> {
    let digits: String = uuid.chars().filter(|character| !character.is_whitespace() && *character != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok()?;
    (digits.len() == 32).then(|| number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_a_uuid() {
        assert_eq!(parse("00000000-0000-0000-0000-0000000000ff\n").map(|id| id[15]), Some(255));
        assert_eq!(parse(""), None);
        assert_eq!(parse("ff"), None);
    }

    #[test]
    fn a_clock_that_cannot_be_right_is_named() {
        let day = Duration::from_secs(24 * 3600);
        let far = UNIX_EPOCH + Duration::from_secs(i64::MAX as u64);
        let wrong = [UNIX_EPOCH - day, UNIX_EPOCH, UNIX_EPOCH + day, UNIX_EPOCH + EARLIEST - day, far];
        for now in wrong {
            let failure = believed(now).err().map(|failure| (failure.code, failure.error.to_string()));
            assert!(matches!(&failure, Some((3, why)) if why.contains("the clock of this machine")), "{failure:?}");
        }
        let right = UNIX_EPOCH + EARLIEST;
        assert_eq!(believed(right).ok(), Some(right));
    }

    #[test]
    fn uptime_runs() {
        let (first, second) = (read(), read());
        assert!(second.uptime >= first.uptime && first.uptime > Duration::ZERO);
        assert_eq!(first.boot, second.boot);
    }
}
