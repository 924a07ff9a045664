// SPDX-License-Identifier: GPL-2.0-or-later
//! So many in a time, and no more. The clock is an argument.

use std::time::{Duration, Instant};

/// Tokens that come back all at once when their time is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    size: u32,
    time: Duration,
    left: u32,
    since: Option<Instant>,
}

impl Pace {
    /// `size` tokens in each `time`.
    pub(super) fn new(size: u32, time: Duration) -> Self {
        Self { size, time, left: size, since: None }
    }

    /// Takes a token, if one is left.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let begun = *self.since.get_or_insert(now);
        if now.saturating_duration_since(begun) >= self.time {
            (self.left, self.since) = (self.size, Some(now));
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_comes_back_with_time() {
        let (now, time) = (Instant::now(), Duration::from_secs(1));
        let mut pace = Pace::new(3, time);
        assert_eq!((0..10).filter(|_| pace.take(now)).count(), 3);
        assert_eq!((0..10).filter(|_| pace.take(now + time)).count(), 3);
    }
}
