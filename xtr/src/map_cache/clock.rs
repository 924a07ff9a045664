// SPDX-License-Identifier: GPL-2.0-or-later
//! The coarse clock of the map-cache: a moment in four octets, and a comparison for each packet instead of a division.

use std::time::{Duration, Instant};

/// How long a tick is.
const LENGTH: Duration = Duration::from_millis(100);

/// A moment, in tenths of a second since the clock began; 1 is the first. In four octets there is room for 13 years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tick(pub(crate) u32);

impl Tick {
    /// Before all others.
    pub(crate) const NONE: Self = Self(0);
    /// After all others.
    pub(crate) const NEVER: Self = Self(u32::MAX);

    /// The moment so much later.
    pub(crate) fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(ticks(time)))
    }
}

/// A clock that is told the time.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    tick: Tick,
    /// When the tick is over.
    ends: Instant,
}

impl Clock {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, tick: Tick(1), ends: start + LENGTH }
    }

    /// Whether a tick begins.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) -> bool {
        let begins = now >= self.ends;
        if begins {
            self.begin(now);
        }
        begins
    }

    /// The tick that goes on.
    pub(crate) fn tick(&self) -> Tick {
        self.tick
    }

    /// When the tick that goes on is over.
    pub(crate) fn ends(&self) -> Instant {
        self.ends
    }

    /// The tick that `moment` lies in.
    pub(crate) fn tick_of(&self, moment: Instant) -> Tick {
        Tick(1).plus(moment.saturating_duration_since(self.start))
    }

    /// When a tick begins.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.start + LENGTH * tick.0.saturating_sub(1)
    }

    #[inline(never)]
    fn begin(&mut self, now: Instant) {
        self.tick = self.tick_of(now);
        self.ends = self.instant(Tick(self.tick.0.saturating_add(1)));
    }
}

fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / LENGTH.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_begins_at_its_instant_and_not_before() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        for tenths in [1, 7, 8, 600, 36_000] {
            let moment = start + LENGTH * tenths;
            assert!(!clock.advance(clock.ends() - Duration::from_nanos(1)));
            assert!(clock.advance(moment));
            assert_eq!((clock.tick(), clock.instant(clock.tick())), (Tick(tenths + 1), moment));
            assert!(!clock.advance(moment + Duration::from_millis(99)));
        }
    }
}
