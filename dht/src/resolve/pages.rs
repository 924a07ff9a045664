// SPDX-License-Identifier: GPL-2.0-or-later
//! Index pages read before, and the highest version seen of each.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use crate::limits;
use crate::record::{Index, RecordKey, Version};

/// An index page that was verified.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) index: Index,
    pub(super) version: Version,
    pub(super) expires_at: SystemTime,
    fetched_at: SystemTime,
}

/// The pages that a resolver has read, bounded, and its high-water marks, which it keeps on disk.
#[derive(Debug, Default)]
pub struct PageCache {
    pages: HashMap<RecordKey, Page>,
    marks: HashMap<RecordKey, Version>,
    page_order: VecDeque<RecordKey>,
    mark_order: VecDeque<RecordKey>,
    changed: Vec<(RecordKey, Version)>,
}

impl PageCache {
    /// The marks that rose since the last call, to be written to disk.
    pub fn changes(&mut self) -> Vec<(RecordKey, Version)> {
        std::mem::take(&mut self.changed)
    }

    /// Takes back a mark from disk.
    pub fn restore(&mut self, key: RecordKey, version: Version) {
        self.raise(key, version);
    }

    /// The highest version seen of a page.
    pub fn mark(&self, key: &RecordKey) -> Option<Version> {
        self.marks.get(key).copied()
    }

    /// A page that was read less than `life` ago.
    pub(super) fn fresh(&self, now: SystemTime, key: &RecordKey, life: Duration) -> Option<&Page> {
        let page = self.held(now, key)?;
        // A clock that went back makes the page old, not young.
        now.duration_since(page.fetched_at).is_ok_and(|age| age < life).then_some(page)
    }

    /// A page whose signature still holds, however long ago it was read: for when nothing else can be had.
    pub(super) fn held(&self, now: SystemTime, key: &RecordKey) -> Option<&Page> {
        self.pages.get(key).filter(|page| page.expires_at > now)
    }

    pub(super) fn insert(
        &mut self,
        now: SystemTime,
        key: RecordKey,
        index: Index,
        version: Version,
        expires_at: SystemTime,
    ) {
        if self.raise(key, version) {
            self.changed.push((key, version));
            // The oldest news goes first: they are marks, and the page's own sequence will raise them again.
            if self.changed.len() > limits::PAGE_MARKS {
                self.changed.remove(0);
            }
        }
        if self.pages.insert(key, Page { index, version, expires_at, fetched_at: now }).is_none() {
            self.page_order.push_back(key);
        }
        if self.page_order.len() > limits::PAGES
            && let Some(oldest) = self.page_order.pop_front()
        {
            self.pages.remove(&oldest);
        }
    }

    fn raise(&mut self, key: RecordKey, version: Version) -> bool {
        match self.marks.get_mut(&key) {
            Some(mark) if *mark >= version => return false,
            Some(mark) => *mark = version,
            None => {
                self.marks.insert(key, version);
                self.mark_order.push_back(key);
            }
        }
        if self.mark_order.len() > limits::PAGE_MARKS
            && let Some(oldest) = self.mark_order.pop_front()
        {
            self.marks.remove(&oldest);
        }
        true
    }
}
