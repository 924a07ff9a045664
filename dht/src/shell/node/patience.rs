// SPDX-License-Identifier: GPL-2.0-or-later
//! When a request is given up, where the node itself may have been held up: a machine that was paused, or a thread that had no
//! processor, finds answers in its sockets that came in time. It reads them before it judges by the clock.

use std::time::{Duration, Instant};

use crate::shell::limits;

/// How long something is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    end: Instant,
    /// How much longer it may become.
    spare: Duration,
}

impl Patience {
    pub(super) fn until(end: Instant) -> Self {
        Self { end, spare: limits::FORGIVEN }
    }

    pub(super) fn end(&self) -> Instant {
        self.end
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.end <= now
    }

    /// The node was held up for so long: it waits so much longer, [`limits::FORGIVEN`] in all.
    pub(super) fn forgive(&mut self, late: Duration) {
        let more = late.min(self.spare);
        (self.end, self.spare) = (self.end + more, self.spare - more);
    }
}

/// How much longer a node waits for what it has asked, having come to its turn at `now` and not at `wake` as it wanted. What ends at
/// `wake` itself is heard too.
pub(super) fn held_up(wake: Instant, now: Instant) -> Option<Duration> {
    let late = now.saturating_duration_since(wake);
    (late > limits::LATE).then(|| late + limits::LATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_held_up_waits_longer_and_not_for_ever() {
        let begun = Instant::now();
        let mut patience = Patience::until(begun + limits::PUT_STORE);
        let turn = |wake: Instant, late| held_up(wake, wake + late);
        assert_eq!(turn(begun, limits::LATE), None, "as any timer");
        let late = turn(patience.end(), Duration::from_secs(2)).unwrap_or_default();
        let now = patience.end() + Duration::from_secs(2);
        patience.forgive(late);
        assert!(!patience.is_over(now) && patience.is_over(now + limits::LATE), "what is there is heard");
        for _ in 0..100 {
            patience.forgive(late);
        }
        assert_eq!(patience.end(), begun + limits::PUT_STORE + limits::FORGIVEN);
    }
}
