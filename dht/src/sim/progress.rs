// SPDX-License-Identifier: GPL-2.0-or-later
//! How far a scenario is, for somebody on another thread. The model itself never looks at it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Told by a scenario while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    networks: AtomicUsize,
    seconds: AtomicU64,
}

impl Progress {
    /// Networks that were made so far; the last of them is at work.
    pub fn networks(&self) -> usize {
        self.networks.load(Ordering::Relaxed)
    }

    /// Virtual time since the beginning of the last one, in whole seconds.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }

    pub(super) fn begin(&self) {
        self.seconds.store(0, Ordering::Relaxed);
        self.networks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn at(&self, now: Duration) {
        self.seconds.store(now.as_secs(), Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::super::{Scenario, Settings, watched};
    use super::*;

    #[test]
    fn who_watches_sees_every_network_and_its_time() {
        let progress = Arc::new(Progress::default());
        let settings = Settings { nodes: 20, records: 2, lookups: 5, ..Settings::default() };
        watched(Scenario::Hostile, &settings, &progress).unwrap();
        assert_eq!(progress.networks(), 3, "one for each number of paths");
        assert!(progress.time() > Duration::from_secs(10), "the quota's period passes between two PUTs");
    }
}
