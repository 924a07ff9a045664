// SPDX-License-Identifier: GPL-2.0-or-later
//! Registrations over a restart: what must be on disk of them, and what is taken up from there.
//!
//! A row is written when an xTR says something new, in one transaction with the nonce of the Map-Register that said it, and not when it only
//! says it again. After a restart a registration lives as if its last Map-Register came at that moment; one that was registered with T lives
//! for what was left of its time. The time in which nobody was served does not count: whoever wanted to change something in it was not
//! confirmed and asks again within a minute (RFC 9301, section 5.7).

use std::time::{Duration, Instant};

use wire::address::EidPrefix;

use super::kept::{self, End, Kept, KeptPart};
use super::label::AnyEid;
use super::locators;
use super::registration::{Part, Source};
use super::site::SiteId;
use super::{LONGEST_SILENCE, MapServer};
use crate::engine::Mark;
use crate::limits::REGISTRATION_SILENCE;
use crate::refusal::Tally;

impl MapServer {
    /// Takes up rows of [`Mark::Registration`] after all runs before have served for `served`; names the EID-prefixes that are registered
    /// by that, and those of which nothing is taken. What the site of that name may not register any more, and what is over, is forgotten:
    /// what the run before has published of it is to be withdrawn, unless it is the node's own now, whose xTR registers in a moment. A row
    /// that cannot be read is forgotten too.
    pub fn restore(&mut self, now: Instant, rows: Vec<(Box<[u8]>, Box<[u8]>)>, served: Duration) -> Vec<EidPrefix> {
        self.began = Some((now, served));
        let (mut restored, mut unreadable) = (Vec::new(), 0_usize);
        for (key, row) in rows {
            let Some(kept) = kept::decode(&row) else {
                unreadable += 1;
                self.marks.push(Mark::UnreadableRegistration(key));
                continue;
            };
            let eid = kept.eid;
            let parts = kept.parts.len();
            let taken = self.take_up(now, kept, served);
            restored.extend(eid.prefix().filter(|prefix| taken > 0 || !self.is_own(prefix)));
            if taken < parts {
                let mark = self.mark_of(eid);
                self.marks.extend(mark);
            }
        }
        if unreadable > 0 {
            tracing::warn!(rows = unreadable, "registrations in the state file cannot be read: they are forgotten");
        }
        restored
    }

    /// How many parts are taken.
    fn take_up(&mut self, now: Instant, kept: Kept, served: Duration) -> usize {
        let Kept { eid, site, newest, parts } = kept;
        let Some(site) = self.sites.named(&site).filter(|site| self.may_register(&eid, *site)) else { return 0 };
        let parts: Vec<Part> = parts.into_iter().filter_map(|part| part_of(now, part, served)).collect();
        let count = parts.len();
        let has_room = count > 0
            && match eid {
                AnyEid::Prefix(prefix) => self.registrations.restore(now, prefix, site, newest, parts),
                AnyEid::Label(label) => self.labels.restore(label, site, newest, parts),
            };
        if has_room { count } else { 0 }
    }

    /// Whether the node's own xTR registers that, or nobody: a CGEID that is not among its own.
    fn is_own(&self, prefix: &EidPrefix) -> bool {
        self.is_cgeid(prefix) || self.sites.find(prefix).is_some_and(|grant| self.sites.is_pipe(grant.site))
    }

    /// Whether a site may have registered that over the network.
    fn may_register(&self, eid: &AnyEid, site: SiteId) -> bool {
        let may = match eid {
            AnyEid::Prefix(prefix) => {
                self.sites.find(prefix).is_some_and(|grant| grant.site == site && grant.registrable)
            }
            AnyEid::Label(label) => self.sites.labels().find(label).is_some_and(|grant| grant.site == site),
        };
        may && !self.sites.is_pipe(site)
    }

    /// What must be on disk of the registrations that have changed since this was asked last.
    pub(super) fn marks_of_registrations(&mut self) -> Vec<Mark> {
        let prefixes = self.registrations.take_unsaved().into_iter().map(AnyEid::Prefix);
        let eids = prefixes.chain(self.labels.take_unsaved().into_iter().map(AnyEid::Label));
        eids.filter_map(|eid| self.mark_of(eid)).collect()
    }

    /// What is registered for an EID, as it is kept; of the node's own xTR nothing, which starts with the map system.
    fn mark_of(&self, eid: AnyEid) -> Option<Mark> {
        match self.entry(&eid).filter(|entry| !self.sites.is_pipe(entry.site)) {
            Some(entry) => Some(Mark::Registration(eid, kept::encode(eid, &self.sites.get(entry.site).name, entry)?)),
            None => Some(Mark::ForgottenRegistration(eid)),
        }
    }

    /// Whether a part that ends at `expires` after so much silence was registered in this run.
    pub(super) fn is_of_this_run(&self, expires: Instant, silence: Duration) -> bool {
        self.began.is_none_or(|(began, _)| expires >= began + silence)
    }

    /// For how long this and all runs before have served.
    pub(super) fn served(&self, now: Instant) -> Duration {
        self.began.map_or(Duration::ZERO, |(began, before)| before + now.saturating_duration_since(began))
    }
}

/// What a part that lives on has less than one that is registered when the run begins: by that `MapServer::is_of_this_run` tells them apart.
const BEFORE_THIS_RUN: Duration = Duration::from_nanos(1);

/// A part that lives on; `None` if it is over.
fn part_of(now: Instant, kept: KeptPart, served: Duration) -> Option<Part> {
    let KeptPart { message, ends, source, relays, reach } = kept;
    let record = message.records.into_iter().next()?;
    // The end that is kept is later than the true one: no longer than was asked for.
    let life = record.ttl.lifetime().min(LONGEST_SILENCE);
    let left = |end: End| Duration::from_secs(end.get().into()).saturating_sub(served).min(life);
    let left = ends.map_or(REGISTRATION_SILENCE, left);
    let part = Part {
        locators: locators::kept(&record, &mut Tally::default()),
        ttl: record.ttl,
        map_version: record.map_version,
        proxy: message.proxy_reply,
        security: message.security_capable,
        key_id: message.auth.key_id,
        identity: message.xtr_identity.map(Box::new),
        source: source.map(Source::from),
        relays: relays.last().map(|_| Box::new(relays)),
        reach: reach.map(Box::new),
        expires: now + left.saturating_sub(BEFORE_THIS_RUN),
        ends,
    };
    (!left.is_zero() && !part.locators.is_empty()).then_some(part)
}
