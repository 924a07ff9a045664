// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-versions in packets of trusted peers (RFC 9302, section 7): whose mapping is old, and what becomes of the packet.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use wire::address::EidPrefix;
use wire::record::MapVersion;

use super::peers::Said;
use crate::counters::{Count, Counters, DropReason};
use crate::limits;
use crate::map_cache::{Event, OwnMapping, PrefixTable};
use crate::reply::RateTable;

/// What a packet's version of its own mapping is to the one that is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// As new, or not to be compared: a mapping without a version is neither older nor newer.
    Same,
    /// The cached one is old.
    Newer,
    /// The packet's is.
    Older,
}

impl Source {
    pub(super) fn of(said: MapVersion, cached: MapVersion) -> Self {
        match (cached.is_older_than(said), said.is_older_than(cached)) {
            (true, _) => Self::Newer,
            (_, true) => Self::Older,
            _ => Self::Same,
        }
    }
}

/// An ITR with an old mapping of ours.
#[derive(Debug, Clone, Copy)]
struct Stale {
    /// How often it was told.
    told: u32,
    last: Instant,
}

/// Our version, and who has older ones.
#[derive(Debug)]
pub(super) struct Versions {
    own: OwnMapping,
    prefixes: PrefixTable<()>,
    /// By RLOC and EID-prefix of ours.
    stale: HashMap<(IpAddr, EidPrefix), Stale>,
    logged: RateTable<IpAddr>,
    counters: Arc<Counters>,
}

impl Versions {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            own: OwnMapping::default(),
            prefixes: PrefixTable::default(),
            stale: HashMap::new(),
            logged: RateTable::new(1, limits::VERSION_LOGGED, limits::PEERS),
            counters,
        }
    }

    pub(super) fn set_local_eids(&mut self, prefixes: &[EidPrefix]) {
        self.prefixes = PrefixTable::default();
        for prefix in prefixes {
            self.prefixes.insert(*prefix, ());
        }
        self.stale.retain(|(_, prefix), _| prefixes.contains(prefix));
    }

    /// Who has the version that was ours until now has just become stale.
    pub(super) fn set_own(&mut self, own: OwnMapping) {
        if own.version != self.own.version {
            self.stale.clear();
        }
        self.own = own;
    }

    /// The cases of RFC 9302, section 7.1.
    pub(super) fn check_destination(
        &mut self,
        now: Instant,
        said: &Said,
        version: MapVersion,
        events: &mut VecDeque<Event>,
    ) -> Result<(), DropReason> {
        let own = self.own.version;
        let is_regular = version == own && own != MapVersion(0);
        if is_regular && self.stale.is_empty() {
            return Ok(());
        }
        // Of what is not behind us, as a PETR has it, there is no mapping of ours (RFC 9302, appendix A.2.3).
        let Some(prefix) = self.prefix_of(said) else { return Ok(()) };
        if own == MapVersion(0) {
            return Err(DropReason::CoreVersionUnused);
        }
        if version == MapVersion(0) {
            return Err(DropReason::CoreVersionNull);
        }
        if own.is_older_than(version) {
            return Err(DropReason::CoreVersionNewer);
        }
        if version.is_older_than(own) {
            return self.older(now, (said.rloc, prefix), events);
        }
        self.stale.remove(&(said.rloc, prefix));
        Ok(())
    }

    /// The ITR is told, first often, then seldom, and in the end its packets are dropped. An old version that can be in no cache any
    /// more is dropped at once.
    fn older(
        &mut self,
        now: Instant,
        (rloc, prefix): (IpAddr, EidPrefix),
        events: &mut VecDeque<Event>,
    ) -> Result<(), DropReason> {
        if self.own.others_end.is_some_and(|end| end <= now) {
            return Err(DropReason::CoreVersionExpired);
        }
        let since = |at: Instant| now.saturating_duration_since(at);
        let known = self.stale.get(&(rloc, prefix)).copied();
        let interval = |told| if told < limits::STALE_TOLD { limits::STALE_INTERVAL } else { limits::STALE_LATER };
        let is_due = known.is_none_or(|stale| since(stale.last) >= interval(stale.told));
        if is_due && events.len() < limits::PEER_EVENTS && self.has_room(now, known.is_some()) {
            let told = known.map_or(0, |stale| stale.told) + 1;
            self.stale.insert((rloc, prefix), Stale { told: told.min(limits::STALE_TOLD + 1), last: now });
            events.push_back(Event::VersionStale { prefix, rloc });
        }
        let has_heard = |stale: Stale| {
            stale.told > limits::STALE_TOLD
                || stale.told == limits::STALE_TOLD && since(stale.last) >= limits::STALE_INTERVAL
        };
        if known.is_some_and(has_heard) {
            return Err(DropReason::CoreVersionStale);
        }
        self.counters.add(Count::VersionOld, 1);
        Ok(())
    }

    fn has_room(&mut self, now: Instant, is_known: bool) -> bool {
        if !is_known && self.stale.len() >= limits::STALE_ITRS {
            self.stale.retain(|_, stale| now.saturating_duration_since(stale.last) < 2 * limits::STALE_LATER);
        }
        is_known || self.stale.len() < limits::STALE_ITRS
    }

    /// The prefix of ours that a packet is for.
    fn prefix_of(&self, said: &Said) -> Option<EidPrefix> {
        let (length, ()) = self.prefixes.longest_match(said.iid, said.destination, |()| true)?;
        EidPrefix::new(said.iid, said.destination, length)
    }

    /// A line in the log (RFC 9302, section 7.1), not as often as somebody likes (section 8).
    pub(super) fn log(&mut self, now: Instant, said: &Said, reason: DropReason) {
        if self.logged.allow(now, said.rloc) {
            let (rloc, versions) = (said.rloc, said.lisp.versions);
            tracing::warn!(%rloc, reason = reason.key(), ?versions, own = self.own.version.0, "packets are dropped");
        }
    }
}
