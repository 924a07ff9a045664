// SPDX-License-Identifier: GPL-2.0-or-later
//! A bounded table of counters per key and time window.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Least time between two searches of a full table for closed windows.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Allows each key so many events in each window.
#[derive(Debug)]
pub(crate) struct RateTable<K> {
    windows: HashMap<K, (Instant, u32)>,
    swept: Option<Instant>,
    window: Duration,
    allowed: u32,
    capacity: usize,
    /// What all keys together have for which there is no room, and how much of it was used since when.
    untracked: u32,
    used: Option<(Instant, u32)>,
}

impl<K: Eq + Hash> RateTable<K> {
    pub(crate) fn new(allowed: u32, window: Duration, capacity: usize) -> Self {
        Self { windows: HashMap::new(), swept: None, window, allowed, capacity, untracked: 0, used: None }
    }

    /// Allows so many events in each window to all those together for which a full table has no room.
    pub(crate) fn with_untracked(self, untracked: u32) -> Self {
        Self { untracked, ..self }
    }

    /// Whether one more event of `key` is allowed; it is counted if so.
    pub(crate) fn allow(&mut self, now: Instant, key: K) -> bool {
        let window = self.window;
        let is_open = |start: Instant| now.saturating_duration_since(start) < window;
        if self.windows.len() >= self.capacity && !self.windows.contains_key(&key) {
            // A flood must not buy a walk through the table with each message.
            if self.swept.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_INTERVAL) {
                self.swept = Some(now);
                self.windows.retain(|_, (start, _)| is_open(*start));
            }
            if self.windows.len() >= self.capacity {
                return self.allow_untracked(now);
            }
        }
        let (start, count) = self.windows.entry(key).or_insert((now, 0));
        if !is_open(*start) {
            (*start, *count) = (now, 0);
        }
        if *count >= self.allowed {
            return false;
        }
        *count += 1;
        true
    }

    /// When the window of `key` ends, in which no more are allowed, or will have been, if it is counted at all.
    pub(crate) fn window_ends(&self, key: &K) -> Option<Instant> {
        self.windows.get(key).map(|(start, _)| *start + self.window)
    }

    fn allow_untracked(&mut self, now: Instant) -> bool {
        let open = self.used.filter(|(start, _)| now.saturating_duration_since(*start) < self.window);
        let (start, used) = open.unwrap_or((now, 0));
        let is_allowed = used < self.untracked;
        self.used = Some((start, used + u32::from(is_allowed)));
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gets_its_share_of_each_window() {
        let mut table = RateTable::new(2, Duration::from_secs(3), 8);
        let start = Instant::now();
        assert!(table.allow(start, 1) && table.allow(start, 1));
        assert!(!table.allow(start + Duration::from_secs(2), 1));
        assert!(table.allow(start, 2), "another key has its own share");
        assert!(table.allow(start + Duration::from_secs(3), 1));
    }

    #[test]
    fn a_full_table_refuses_new_keys_until_windows_close() {
        let mut table = RateTable::new(1, Duration::from_secs(3), 2);
        let start = Instant::now();
        assert!(table.allow(start, 1) && table.allow(start, 2));
        assert!(!table.allow(start, 3));
        assert!(table.allow(start + Duration::from_secs(3), 3));
    }

    #[test]
    fn those_for_whom_a_full_table_has_no_room_share_what_is_set_aside() {
        let mut table = RateTable::new(1, Duration::from_secs(3), 2).with_untracked(2);
        let start = Instant::now();
        let allowed = |table: &mut RateTable<i32>| (0..9).filter(|key| table.allow(start, *key)).count();
        assert_eq!(allowed(&mut table), 4);
        assert_eq!(allowed(&mut table), 0);
        assert!(table.allow(start + Duration::from_secs(3), 8));
    }
}
