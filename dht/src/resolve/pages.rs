// SPDX-License-Identifier: GPL-2.0-or-later
//! Index pages read before, and the highest version seen of each.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::limits;
use crate::record::{Index, Recent, RecordKey, Subject, Version};

/// An index page that was verified.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) index: Index,
    /// Whether its writer says that there is none any more.
    pub(super) withdrawn: bool,
    pub(super) version: Version,
    pub(super) expires_at: SystemTime,
    fetched_at: SystemTime,
}

/// The pages that a resolver has read, bounded, and its high-water marks, which it keeps on disk.
#[derive(Debug)]
pub struct PageCache {
    pages: Recent<RecordKey, Page>,
    /// Entries of all those pages.
    entries: usize,
    marks: Recent<RecordKey, Version>,
    changed: VecDeque<(RecordKey, Version)>,
}

impl Default for PageCache {
    fn default() -> Self {
        Self {
            pages: Recent::new(limits::PAGES),
            entries: 0,
            marks: Recent::new(limits::PAGE_MARKS),
            changed: VecDeque::new(),
        }
    }
}

impl PageCache {
    /// The marks that rose since the last call, to be written to disk.
    pub fn changes(&mut self) -> Vec<(RecordKey, Version)> {
        std::mem::take(&mut self.changed).into()
    }

    /// Takes back a mark from disk.
    pub fn restore(&mut self, key: RecordKey, version: Version) {
        self.raise(key, version);
    }

    /// The highest version seen of a page.
    pub fn mark(&self, key: &RecordKey) -> Option<Version> {
        self.marks.peek(key).copied()
    }

    /// A page that was read less than `life` ago.
    pub(super) fn fresh(&mut self, now: SystemTime, key: &RecordKey, life: Duration) -> Option<&Page> {
        let page = self.held(now, key)?;
        // A clock that went back makes the page old, not young.
        now.duration_since(page.fetched_at).is_ok_and(|age| age < life).then_some(page)
    }

    /// A page whose signature still holds, however long ago it was read: for when nothing else can be had.
    pub(super) fn held(&mut self, now: SystemTime, key: &RecordKey) -> Option<&Page> {
        self.pages.get(key).filter(|page| page.expires_at > now)
    }

    /// A page whose writer is not to be believed any more is read no more.
    pub(super) fn forget(&mut self, now: SystemTime, key: &RecordKey) {
        let (Some(version), Subject::Index(covering)) = (self.mark(key), key.subject) else { return };
        if let Ok(nothing) = Index::new(covering, Vec::new()) {
            self.insert(now, *key, nothing, true, version, SystemTime::UNIX_EPOCH);
        }
    }

    pub(super) fn insert(
        &mut self,
        now: SystemTime,
        key: RecordKey,
        index: Index,
        withdrawn: bool,
        version: Version,
        expires_at: SystemTime,
    ) {
        if self.raise(key, version) {
            self.changed.push_back((key, version));
            // The oldest news goes first: they are marks, and the page's own sequence will raise them again.
            if self.changed.len() > limits::PAGE_MARKS {
                self.changed.pop_front();
            }
        }
        self.entries += index.entries().len();
        let page = Page { index, withdrawn, version, expires_at, fetched_at: now };
        let mut gone = self.pages.insert(key, page);
        // What is kept of a page is many times its octets, so a limit on pages alone would let long ones take too much.
        loop {
            self.entries -= gone.map_or(0, |page| page.index.entries().len());
            if self.entries <= limits::PAGE_ENTRIES {
                return;
            }
            gone = self.pages.pop();
        }
    }

    /// Whether the version is higher than any seen of that page.
    fn raise(&mut self, key: RecordKey, version: Version) -> bool {
        let higher = self.marks.get(&key).is_none_or(|&mark| version > mark);
        if higher {
            self.marks.insert(key, version);
        }
        higher
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use cgeid::{Cn, Network};
    use wire::address::{EidPrefix, InstanceId};

    use super::PageCache;
    use crate::limits;
    use crate::record::{Entry, Index, RecordKey, Target, Version};

    #[test]
    fn long_pages_take_no_more_memory_than_short_ones() {
        let covering = EidPrefix::new(InstanceId(0), "2001:db8::".parse().unwrap(), 32).unwrap();
        let site = |plen| Entry {
            prefix: EidPrefix::new(InstanceId(0), "2001:db8::".parse().unwrap(), plen).unwrap(),
            target: Target::Site { registrars: [Cn([1; 12])].into(), max_plen: plen },
        };
        let long = Index::new(covering, (33..=128).map(site).collect()).unwrap();
        let key = |number: u16| {
            let [high, low] = number.to_be_bytes();
            let mut cn = Cn([0; 12]);
            (cn.0[0], cn.0[1]) = (high, low);
            RecordKey::index(Network::LAB, cn, covering)
        };
        let (now, life) = (UNIX_EPOCH + Duration::from_secs(10), Duration::from_secs(1));
        let version = |sequence| Version { epoch: 1, sequence };
        let mut cache = PageCache::default();
        for number in 0..1000 {
            cache.insert(now, key(number), long.clone(), false, version(1), now + life);
            // The first one is in use all the time.
            assert!(cache.fresh(now, &key(0), life).is_some());
        }
        assert!(cache.entries <= limits::PAGE_ENTRIES && cache.entries > limits::PAGE_ENTRIES - 96);
        assert!(cache.fresh(now, &key(1), life).is_none() && cache.fresh(now, &key(999), life).is_some());
        // A page in its next version takes the place of the last.
        let before = cache.entries;
        cache.insert(now, key(0), long, false, version(2), now + life);
        assert_eq!((cache.entries, cache.changes().len()), (before, 1001));
    }
}
