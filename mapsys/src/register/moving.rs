// SPDX-License-Identifier: GPL-2.0-or-later
//! EID-prefixes that move from one xTR of a site to another: whoever had one is told, as in draft-ietf-lisp-eid-mobility, so that he
//! leaves it to the other and has those who send to him ask again. When it is withdrawn he is told that too.
//!
//! Only xTRs that give an xTR-ID can be told apart; those that merge hear of each other anyway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::auth::Algorithm;
use wire::control::{MapRegister, XtrIdentity};
use wire::record::{Action, MappingRecord, Ttl};

use super::label::{AnyEid, Spelling};
use super::notifier::Reach;
use super::registration::{Merged, Part};
use super::site::{NotifyPort, SiteId};
use super::{MapServer, Origin, form_of};
use crate::limits::{DISPLACED, HANDED_BACK, NOTIFY_INTERVAL};
use crate::refusal::{Refusal, Tally};
use crate::transport::Now;

/// An xTR, and what was its own.
type Former = (EidPrefix, [u8; 16]);

/// An xTR, and how to tell it.
type Reached = (XtrIdentity, Reach);

/// Who had an EID-prefix, or one around it, before the xTR that has it now.
#[derive(Debug, Default)]
pub(super) struct Displaced {
    had: BTreeMap<Former, (SiteId, Reached)>,
    /// When they were told something last: of what goes back and forth they hear no more often than of other changes.
    told: BTreeMap<Former, Instant>,
}

impl Displaced {
    pub(super) fn contains(&self, prefix: EidPrefix, xtr_id: &[u8; 16]) -> bool {
        self.had.contains_key(&(prefix, *xtr_id))
    }

    /// It has it again, or has gone itself.
    pub(super) fn forget(&mut self, prefix: EidPrefix, xtr_id: [u8; 16]) {
        self.had.remove(&(prefix, xtr_id));
    }

    fn of(&self, prefix: EidPrefix) -> Vec<(Former, (SiteId, Reached))> {
        let all = (prefix, [0; 16])..=(prefix, [u8::MAX; 16]);
        self.had.range(all).map(|(former, told)| (*former, *told)).collect()
    }

    /// When it was, or will be, told last that somebody may have `prefix` again who had it before.
    fn offered(&self, prefix: EidPrefix) -> Option<Instant> {
        let all = (prefix, [0; 16])..=(prefix, [u8::MAX; 16]);
        let free = self.told.range(all).filter(|(former, _)| !self.had.contains_key(former));
        free.map(|(_, told)| *told).max()
    }

    /// When one may be told something; it is noted that he is.
    fn earliest(&mut self, now: Instant, former: Former) -> Instant {
        let is_past = |at: &Instant| now.saturating_duration_since(*at) >= NOTIFY_INTERVAL;
        if self.told.len() >= DISPLACED {
            self.told.retain(|_, at| !is_past(at));
        }
        let earliest = self.told.get(&former).map_or(now, |at| now.max(*at + NOTIFY_INTERVAL));
        if self.told.len() < DISPLACED || self.told.contains_key(&former) {
            self.told.insert(former, earliest);
        }
        earliest
    }

    /// The sites have other numbers now; of what belongs to none nothing is told any more.
    pub(super) fn assign(&mut self, site_of: impl Fn(&EidPrefix) -> Option<SiteId>) {
        self.had.retain(|(prefix, _), (site, _)| site_of(prefix).inspect(|now| *site = *now).is_some());
    }
}

impl MapServer {
    /// Who has the EID-prefixes of a Map-Register now and is not its sender.
    pub(super) fn formers(&self, origin: Origin, message: &MapRegister) -> Vec<(EidPrefix, Vec<Reached>)> {
        let (Origin::Network { local, .. }, Some(identity)) = (origin, message.xtr_identity) else { return Vec::new() };
        if message.merge {
            return Vec::new();
        }
        let prefixes = message.records.iter().filter_map(|record| record.eid.ip_prefix());
        let all = prefixes.map(|prefix| (prefix, self.former((local, identity.xtr_id), message, &prefix)));
        all.filter(|(_, former)| !former.is_empty()).collect()
    }

    /// Who has `prefix`, or if nobody has, the one around it.
    fn former(
        &self,
        (local, xtr_id): (SocketAddr, [u8; 16]),
        message: &MapRegister,
        prefix: &EidPrefix,
    ) -> Vec<Reached> {
        let Some((_, entry)) = self.registrations.longest(prefix) else { return Vec::new() };
        let reach = |part: &Part| {
            let relays = part.relays.as_deref().copied().unwrap_or_default();
            // Whoever registered straight is told from the address that the mover has registered at: his own is not kept.
            let local = relays.last().map_or(local, |relay| relay.local);
            let mut remote = part.source.map(SocketAddr::from).filter(|remote| remote.is_ipv4() == local.is_ipv4())?;
            let site = self.sites.get(entry.site);
            let key = site.keys.iter().find(|key| key.id == part.key_id)?;
            if site.notify == NotifyPort::Control || relays.last().is_some() {
                remote.set_port(wire::CONTROL_PORT);
            }
            let algorithm = key.algorithm.or(Algorithm::from_id(message.auth.algorithm))?;
            let key = site.key(key.id, algorithm.id()).ok()?;
            let form = form_of(&key, message);
            let (key_id, spelling) = (part.key_id, Spelling::default());
            Some(Reach { local, remote, relays, key_id, algorithm, form, spelling })
        };
        let is_other = |part: &&Part| part.identity.as_deref().is_some_and(|other| other.xtr_id != xtr_id);
        let others = entry.parts().filter(|part| part.reach.is_none()).filter(is_other);
        others.filter_map(|part| Some((part.xtr_identity(), reach(part)?))).collect()
    }

    /// Tells those who had `prefix` who has it now.
    pub(super) fn tell_former(
        &mut self,
        now: Now,
        (prefix, site): (EidPrefix, SiteId),
        former: Vec<Reached>,
        tally: &mut Tally,
    ) {
        if self.registrations.get(&prefix).is_none() {
            return;
        }
        for reached in former {
            let former = (prefix, reached.0.xtr_id);
            let is_known = self.displaced.had.contains_key(&former);
            if !is_known && self.displaced.had.len() >= DISPLACED {
                tally.count(Refusal::NotifyTableFull);
                continue;
            }
            self.displaced.had.insert(former, (site, reached));
            let Some(entry) = self.registrations.get(&prefix) else { continue };
            let Merged { locators, ttl, map_version, .. } = entry.merged();
            let action = Action::NoAction;
            let eid = prefix.into();
            let record = MappingRecord { ttl, action, authoritative: false, map_version, eid, locators };
            self.tell_displaced(now, prefix, (site, reached), record, tally);
        }
    }

    /// Nobody has `prefix` any more: whoever had it before may have it again.
    pub(super) fn tell_free(&mut self, now: Now, prefix: EidPrefix, tally: &mut Tally) {
        if self.registrations.get(&prefix).is_some() {
            return;
        }
        for (former, told) in self.displaced.of(prefix) {
            self.displaced.had.remove(&former);
            let record = MappingRecord {
                ttl: Ttl::WITHDRAWN,
                action: Action::NoAction,
                authoritative: false,
                map_version: wire::record::MapVersion::default(),
                eid: prefix.into(),
                locators: Vec::new(),
            };
            self.tell_displaced(now, prefix, told, record, tally);
        }
    }

    /// When subscribers hear of the change of `prefix` that has just been made. What somebody may have again soon, and who asks
    /// would be told that nobody has, is not told as gone before that.
    pub(crate) fn told_to_subscribers_at(&self, now: Instant, prefix: &EidPrefix) -> Instant {
        let is_free = self.registrations.get(prefix).is_none();
        // Whoever hears of it later, since it goes back and forth, is not waited for.
        let offered = self.displaced.offered(*prefix).filter(|offered| is_free && *offered <= now);
        offered.map_or(now, |offered| now.max(offered + HANDED_BACK))
    }

    fn tell_displaced(
        &mut self,
        now: Now,
        prefix: EidPrefix,
        (site, (xtr, reach)): (SiteId, Reached),
        record: MappingRecord,
        tally: &mut Tally,
    ) {
        let earliest = self.displaced.earliest(now.monotonic, (prefix, xtr.xtr_id));
        if let Err(refusal) = self.tell_one((now, earliest), (AnyEid::Prefix(prefix), xtr), site, &reach, record) {
            tally.count(refusal);
        }
    }
}
