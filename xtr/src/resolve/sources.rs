// SPDX-License-Identifier: GPL-2.0-or-later
//! Sources of packets from the core that the ETR has asked about, and that wait for the mapping system (RFC 9300, section 16).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use wire::address::EidPrefix;

use super::limits;
use crate::map_cache::SourceVerdict;

/// The sources that wait, each with the RLOCs that its packets came from.
#[derive(Debug, Default)]
pub(super) struct Sources(HashMap<EidPrefix, (Instant, Vec<IpAddr>)>);

impl Sources {
    /// Notes a question; whether there was room.
    pub(super) fn wait(&mut self, now: Instant, eid: EidPrefix, rloc: IpAddr) -> bool {
        if self.0.len() >= limits::SOURCES && !self.0.contains_key(&eid) {
            self.0.retain(|_, (since, _)| now.saturating_duration_since(*since) < limits::SOURCE_TIME);
            if self.0.len() >= limits::SOURCES {
                return false;
            }
        }
        let (since, rlocs) = self.0.entry(eid).or_insert((now, Vec::new()));
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
        if self.0.is_empty() {
            return Vec::new();
        }
        let taken = self.0.extract_if(|eid, _| is_answered(eid));
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
