// SPDX-License-Identifier: GPL-2.0-or-later
//! Sources of packets from the core that the ETR has asked about, and that wait for the mapping system (RFC 9300, section 16).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use wire::address::EidPrefix;

use super::limits;
use crate::limits::{SOURCE_RLOCS, SOURCES_WINDOW};
use crate::map_cache::SourceVerdict;
use crate::reply::RateTable;

/// The sources that wait, and how many the mapping system is asked about.
#[derive(Debug)]
pub(super) struct Sources {
    /// Each with the RLOCs that its packets came from.
    waiting: HashMap<EidPrefix, (Instant, Vec<IpAddr>)>,
    each: RateTable<IpAddr>,
    all: RateTable<()>,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            each: RateTable::new(limits::SOURCES_ASKED_EACH, SOURCES_WINDOW, SOURCE_RLOCS),
            all: RateTable::new(limits::SOURCES_ASKED, SOURCES_WINDOW, 1),
        }
    }
}

impl Sources {
    /// Whether the mapping system may be asked now about a source that sends from this RLOC; it is counted if so.
    pub(super) fn may_ask(&mut self, now: Instant, rloc: IpAddr) -> bool {
        self.each.allow(now, rloc) && self.all.allow(now, ())
    }

    /// Whether those that wait for an answer that comes anyway leave room for the others.
    pub(super) fn has_much_room(&self) -> bool {
        self.waiting.len() < limits::SOURCES / 2
    }

    /// Notes a question; whether there was room.
    pub(super) fn wait(&mut self, now: Instant, eid: EidPrefix, rloc: IpAddr) -> bool {
        if self.waiting.len() >= limits::SOURCES && !self.waiting.contains_key(&eid) {
            self.waiting.retain(|_, (since, _)| now.saturating_duration_since(*since) < limits::SOURCE_TIME);
            if self.waiting.len() >= limits::SOURCES {
                return false;
            }
        }
        let (since, rlocs) = self.waiting.entry(eid).or_insert((now, Vec::new()));
        if now.saturating_duration_since(*since) >= limits::SOURCE_TIME {
            (*since, *rlocs) = (now, Vec::new());
        }
        if rlocs.contains(&rloc) {
            return true;
        }
        let has_room = rlocs.len() < limits::RLOCS_OF_SOURCE;
        if has_room {
            rlocs.push(rloc);
        }
        has_room
    }

    /// The questions about these sources, which wait no longer.
    pub(super) fn take(&mut self, is_answered: impl Fn(&EidPrefix) -> bool) -> Vec<(EidPrefix, IpAddr)> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let taken = self.waiting.extract_if(|eid, _| is_answered(eid));
        taken.flat_map(|(eid, (_, rlocs))| rlocs.into_iter().map(move |rloc| (eid, rloc))).collect()
    }
}

/// What a mapping with these locators says. A locator that is not to be sent to, or cannot be reached, may send all the same.
pub(super) fn verdict(mut locators: impl Iterator<Item = IpAddr>, rloc: IpAddr) -> SourceVerdict {
    match locators.next() {
        None => SourceVerdict::Unmapped,
        Some(first) if first == rloc || locators.any(|locator| locator == rloc) => SourceVerdict::Here,
        Some(_) => SourceVerdict::Elsewhere,
    }
}
