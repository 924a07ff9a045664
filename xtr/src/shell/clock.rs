// SPDX-License-Identifier: GPL-2.0-or-later
//! The time that this node goes by, which goes on while the machine sleeps, as that of all others does: what is cached and registered ends when
//! it ends for them. An [`Instant`] alone stands still then.
#![allow(unsafe_code, reason = "the runtime has no other way to wait on a descriptor")]

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;

/// When this node began to look at the clock, and for how long the machine had run then.
static START: LazyLock<(Instant, Option<Duration>)> = LazyLock::new(|| (Instant::now(), uptime()));

/// Nanoseconds of sleep that never was.
static PRETENDED: AtomicU64 = AtomicU64::new(0);

/// Now, by this clock: to be compared with what else it said, and with no [`Instant::now`].
pub fn now() -> Instant {
    let (start, before) = *START;
    let passed = before.zip(uptime()).map(|(before, uptime)| uptime.saturating_sub(before));
    start + passed.unwrap_or_else(|| start.elapsed()) + Duration::from_nanos(PRETENDED.load(Ordering::Relaxed))
}

/// What becomes of a node whose machine sleeps for so long now, for those who want to see that. An [`Alarm`] that waits does not hear of it.
pub fn pretend_sleep(time: Duration) {
    PRETENDED.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Since the machine was started, sleep included.
fn uptime() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).ok()
}

/// Sleep that is worth speaking of: a Map-Server may have repeated what it tells until it gave up (RFC 9301, section 5.7, asks for three
/// retransmissions).
const SLEEP: Duration = Duration::from_secs(30);

/// Tells when the machine has slept.
#[derive(Debug)]
pub struct Sleep {
    /// What both clocks said last: this one, and the one that stands still in a sleep.
    last: (Instant, Instant),
}

impl Default for Sleep {
    fn default() -> Self {
        Self { last: (now(), Instant::now()) }
    }
}

impl Sleep {
    /// Whether the machine has slept for half a minute or more since this was last asked.
    pub fn has_been(&mut self) -> bool {
        self.follow((now(), Instant::now()))
    }

    fn follow(&mut self, (with, without): (Instant, Instant)) -> bool {
        let (former_with, former_without) = std::mem::replace(&mut self.last, (with, without));
        let awake = without.saturating_duration_since(former_without);
        with.saturating_duration_since(former_with).saturating_sub(awake) >= SLEEP
    }
}

/// Rings when it is time by this clock: if that is over after a sleep, then at its end.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<Timer>,
    set: Option<Instant>,
}

#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    /// If the system has no timer for it.
    pub fn new() -> io::Result<Self> {
        let timer = TimerFd::new(timerfd::ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        // SAFETY: a `Timer` owns its descriptor, and has no other one as long as it is.
        let timer = unsafe { AsyncFd::register(Timer(timer)) }?;
        Ok(Self { timer, set: None })
    }

    /// Waits until then; for ever where it is none. May be cancelled. Who asks for what is over again and again lets others run too.
    pub async fn until(&mut self, time: Option<Instant>) {
        let Some(time) = time else { return std::future::pending().await };
        loop {
            let left = time.saturating_duration_since(now());
            if left.is_zero() {
                return tokio::task::consume_budget().await;
            }
            if self.ring(time, left).await.is_err() {
                // It is late by a sleep, if there is one.
                tokio::time::sleep(left).await;
            }
        }
    }

    /// Sets it, unless it is set, and waits until it rings; it may do so for what it was set to before.
    async fn ring(&mut self, time: Instant, left: Duration) -> io::Result<()> {
        if self.set != Some(time) {
            let once = Expiration::OneShot(TimeSpec::from_duration(left));
            self.timer.get_ref().0.set(once, TimerSetTimeFlags::empty())?;
            self.set = Some(time);
        }
        self.timer.readable().await?.clear_ready();
        self.set = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_alarm_rings_when_it_is_time_whatever_it_was_set_to_before() {
        let mut alarm = Alarm::new().unwrap();
        for milliseconds in [20, 5] {
            let time = now() + Duration::from_millis(milliseconds);
            let later = time + Duration::from_secs(3600);
            assert!(tokio::time::timeout(Duration::from_millis(1), alarm.until(Some(later))).await.is_err());
            alarm.until(Some(time)).await;
            assert!((time..later).contains(&now()));
        }
        // One that has rung while nobody waited.
        let time = now() + Duration::from_millis(200);
        let _ = tokio::time::timeout(Duration::from_micros(100), alarm.until(Some(time))).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let time = now() + Duration::from_millis(20);
        alarm.until(Some(time)).await;
        assert!(now() >= time);
        assert!(tokio::time::timeout(Duration::from_millis(20), alarm.until(None)).await.is_err());
    }

    #[test]
    fn only_what_one_clock_is_ahead_of_the_other_is_sleep() {
        let (start, secs) = (Instant::now(), Duration::from_secs);
        let mut sleep = Sleep { last: (start, start) };
        let mut slept = |with, without| sleep.follow((start + secs(with), start + secs(without)));
        assert!(!slept(600, 600), "nothing was to be done");
        assert!(!slept(629, 600));
        assert!(slept(700, 641));
        assert!(!slept(701, 642), "it is said once");
    }

    #[tokio::test]
    async fn who_asks_for_what_is_over_again_and_again_lets_others_run() {
        let mut alarm = Alarm::new().unwrap();
        let past = now();
        let others = tokio::spawn(tokio::time::sleep(Duration::from_millis(5)));
        let given_up = Instant::now() + Duration::from_secs(30);
        while !others.is_finished() {
            alarm.until(Some(past)).await;
            assert!(Instant::now() < given_up, "no other task has run");
        }
    }
}
