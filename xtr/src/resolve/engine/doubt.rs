// SPDX-License-Identifier: GPL-2.0-or-later
//! Mappings in doubt: somebody says that they have changed (RFC 9301, section 6.1), or no locator of theirs can be reached. Neither proves
//! anything, so the mapping system is asked, and only about what is cached.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use wire::address::{Address, EidPrefix};
use wire::control::MapRequest;

use super::Resolver;
use crate::refusal::Refusal;
use crate::resolve::conversation::Cause;
use crate::resolve::limits;
use crate::resolve::mirror::in_use;

impl Resolver {
    /// A locator of the mapping of exactly each of these prefixes does not answer. If none that `is_usable` is left the site may have come
    /// back with others, and not know who has these: the mapping system is asked, once a minute, as long as there is room. Whether it is
    /// asked now.
    pub fn unreached(&mut self, now: Instant, prefixes: &[EidPrefix], is_usable: impl Fn(IpAddr) -> bool) -> bool {
        if prefixes.is_empty() {
            return false;
        }
        let room = self.room_for_doubtful(limits::UNREACHED_CONVERSATIONS);
        let mut asked = 0;
        for prefix in prefixes {
            let is_asked = asked < room
                && self.is_lost(now, prefix, &is_usable)
                && !self.conversations.contains_key(prefix)
                && self.unreached.allow(now, *prefix)
                && self.want(now, *prefix, Cause::Unreached).is_ok();
            asked += usize::from(is_asked);
        }
        asked > 0
    }

    fn is_lost(&self, now: Instant, prefix: &EidPrefix, is_usable: impl Fn(IpAddr) -> bool) -> bool {
        let installed = self.mirror.get(now, prefix);
        installed.is_some_and(|installed| in_use(installed).next().is_some() && !in_use(installed).any(is_usable))
    }

    /// An SMR names the changed EID as its source (RFC 9301, section 6.1; its record then is one of ours). It proves
    /// nothing, so the mapping system is asked, and only about what is cached.
    pub(super) fn on_smr(&mut self, now: Instant, message: &MapRequest) -> Result<(), Refusal> {
        let of_records =
            || message.records.iter().take(limits::SMR_RECORDS).filter_map(|record| record.eid.ip_prefix());
        let from_source = message.source_eid.ip().map(|address| {
            let iid = of_records().next().map(|prefix| prefix.iid);
            EidPrefix::host(iid.unwrap_or_default(), address)
        });
        // Whoever names changed EIDs in the records may name several: a receiver processes all (RFC 9301, section 5.2).
        let changed: Vec<EidPrefix> = from_source.into_iter().chain(of_records()).collect();
        if changed.is_empty() {
            return Err(Refusal::RequestWithoutRecord);
        }
        let round = changed.iter().filter_map(|changed| self.mirror.positive_round(now, changed));
        let mut cached: BTreeSet<EidPrefix> = round.collect();
        cached.extend(self.narrowed_inside(now, &changed));
        let served = self.served_inside(now, message, &changed);
        if cached.is_empty() && served.is_empty() {
            return Err(Refusal::SmrNotCached);
        }
        for prefix in self.longest_unasked(now, served.difference(&cached).copied().collect()) {
            let is_asked = self.is_asked(now, &prefix);
            let asked = match !is_asked && self.smrs_inside.allow(now, prefix) {
                true => self.doubt(now, prefix),
                false if is_asked => self.doubt_later(prefix),
                false => Err(Refusal::SmrRateLimited),
            };
            if let Err(refusal) = asked {
                self.tally.count(refusal);
            }
        }
        for prefix in cached {
            let is_allowed = self.smrs.allow(now, prefix);
            let asked = if is_allowed { self.doubt(now, prefix) } else { self.doubt_later(prefix) };
            if let Err(refusal) = asked {
                self.tally.count(refusal);
            }
        }
        Ok(())
    }

    /// The mappings inside what has changed that lead to whoever says so. A Map-Server answers with less than the EID-prefix of a site that has
    /// another one inside, and the site names the whole. Who is no locator of theirs may be anybody.
    fn served_inside(&self, now: Instant, message: &MapRequest, changed: &[EidPrefix]) -> BTreeSet<EidPrefix> {
        let said_by = message.itr_rlocs.iter().filter_map(Address::ip).take(limits::SMR_RLOCS).collect();
        self.mirror.served_inside(now, &said_by, &changed.iter().copied().collect())
    }

    /// The mappings inside what has changed that hold for a part of it only.
    fn narrowed_inside(&self, now: Instant, changed: &[EidPrefix]) -> Vec<EidPrefix> {
        self.longest_unasked(now, self.mirror.narrowed_inside(now, changed).into_iter().collect())
    }

    /// Of what may be more than one SMR has asked about: those that none has had asked about just now come first, and of these the ones that were
    /// answered longest ago, so that the second telling is of the next ones.
    fn longest_unasked(&self, now: Instant, mut all: Vec<EidPrefix>) -> Vec<EidPrefix> {
        let since = |prefix: &EidPrefix| self.mirror.get(now, prefix).map(|installed| installed.since);
        all.sort_by_key(|prefix| (self.is_asked(now, prefix), since(prefix)));
        all.truncate(limits::SMR_RECORDS);
        all
    }

    /// Until when no other SMR has it asked about.
    fn asked_until(&self, prefix: &EidPrefix) -> Option<Instant> {
        self.smrs.window_ends(prefix).max(self.smrs_inside.window_ends(prefix))
    }

    fn is_asked(&self, now: Instant, prefix: &EidPrefix) -> bool {
        self.asked_until(prefix).is_some_and(|ends| now < ends)
    }

    /// What it is about may have come after the answer to the one before, and nobody says it a third time: it is asked about as soon as it may
    /// be, once for all that come until then.
    fn doubt_later(&mut self, prefix: EidPrefix) -> Result<(), Refusal> {
        match self.asked_until(&prefix) {
            Some(ends) if self.said_again.insert((ends, prefix)) => Ok(()),
            _ => Err(Refusal::SmrRateLimited),
        }
    }

    /// Asks about what was said to have changed again, as far as the time for that has come, and it was not asked about since.
    pub(super) fn doubt_what_was_said_again(&mut self, now: Instant) {
        while let Some((at, prefix)) = self.said_again.first().copied()
            && at <= now
        {
            self.said_again.remove(&(at, prefix));
            let is_asked = self.is_asked(now, &prefix);
            // What is gone meanwhile is asked for when it is needed.
            if is_asked || self.mirror.get(now, &prefix).is_none() {
                continue;
            }
            let was_inside = self.smrs_inside.window_ends(&prefix).is_some();
            let windows = if was_inside { &mut self.smrs_inside } else { &mut self.smrs };
            let is_allowed = windows.allow(now, prefix);
            let asked = if is_allowed { self.doubt(now, prefix) } else { Err(Refusal::SmrRateLimited) };
            if let Err(refusal) = asked {
                self.tally.count(refusal);
            }
        }
    }

    /// An SMR is said twice and no more (nobody acknowledges one): where there is no room now it is asked about as soon as there is.
    fn doubt(&mut self, now: Instant, prefix: EidPrefix) -> Result<(), Refusal> {
        if self.doubted.contains(&prefix) {
            return Ok(());
        }
        match self.want(now, prefix, Cause::Smr) {
            Err(Refusal::RequestTableFull) => self.wait_for_room(prefix),
            asked => asked,
        }
    }

    pub(super) fn wait_for_room(&mut self, prefix: EidPrefix) -> Result<(), Refusal> {
        if self.doubted.contains(&prefix) {
            return Ok(());
        }
        if self.doubted.len() >= limits::DOUBTED {
            return Err(Refusal::RequestTableFull);
        }
        self.doubted.push_back(prefix);
        Ok(())
    }

    /// Nobody has answered, and the rest is over: it is asked about again, behind all others that wait for that.
    pub(super) fn doubt_on(&mut self, now: Instant, prefix: EidPrefix) -> Result<(), Refusal> {
        if self.doubted.is_empty() && self.room_for_doubted() > 0 {
            return self.ask(now, prefix);
        }
        self.conversations.remove(&prefix);
        self.forget_keys(&prefix);
        self.wait_for_room(prefix)
    }

    /// Asks about what has waited for room, as far as there is any. Whether something is asked about.
    pub(super) fn ask_about_doubted(&mut self, now: Instant) -> bool {
        let mut is_asked = false;
        while !self.doubted.is_empty() && self.room_for_doubted() > 0 {
            let Some(prefix) = self.doubted.pop_front() else { break };
            // What is gone meanwhile is asked for when it is needed. Of a part of something cached a Map-Server may have told.
            if self.mirror.round(now, &prefix, |_| true).is_some() {
                is_asked |= self.want(now, prefix, Cause::Smr).is_ok();
            }
        }
        is_asked
    }
}
