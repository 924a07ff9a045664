// SPDX-License-Identifier: GPL-2.0-or-later
//! What has come, in its order, for those who wait for some of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::exchange;

/// What one inbox keeps of a run: what comes beyond is a flood, and not kept. A suite sees some ten thousand packets.
pub(super) const MOST: usize = 100_000;

/// Something that came in a packet.
pub(super) trait InPacket {
    /// The whole packet.
    fn octets(&self) -> &Arc<[u8]>;
}

/// All that has come.
pub(super) struct Inbox<T> {
    came: Mutex<Vec<T>>,
    bell: Condvar,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { came: Mutex::default(), bell: Condvar::new() }
    }
}

impl<T: InPacket> Inbox<T> {
    pub(super) fn push(&self, one: T) {
        let mut came = lock(&self.came);
        if came.len() < MOST {
            came.push(one);
        }
        drop(came);
        self.bell.notify_all();
    }

    /// How much has come: what comes from now on has a higher number.
    pub(super) fn mark(&self) -> usize {
        lock(&self.came).len()
    }

    /// Whether something may have come that was not kept.
    pub(super) fn is_full(&self) -> bool {
        self.mark() >= MOST
    }

    /// The first `count` from a mark on in which `read` finds something, or those that came in time.
    pub(super) fn wait<R>(
        &self,
        mark: usize,
        count: usize,
        patience: Duration,
        mut read: impl FnMut(&T) -> Option<R>,
    ) -> Vec<R> {
        let until = Instant::now() + patience;
        let (mut found, mut next) = (Vec::new(), mark);
        let mut came = lock(&self.came);
        loop {
            while let Some(one) = came.get(next).filter(|_| found.len() < count) {
                if let Some(what) = read(one) {
                    exchange::packet_came(one.octets());
                    found.push(what);
                }
                next += 1;
            }
            let left = until.saturating_duration_since(Instant::now());
            if found.len() >= count || left.is_zero() {
                if found.is_empty() {
                    exchange::no_packet(patience);
                }
                return found;
            }
            came = self.bell.wait_timeout(came, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Who panicked while he held it has said so; what it guards is whole.
pub(in crate::suite) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
