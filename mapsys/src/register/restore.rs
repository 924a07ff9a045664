// SPDX-License-Identifier: GPL-2.0-or-later
//! Registrations over a restart: what must be on disk of them, and what is taken up from there.
//!
//! A row is written when an xTR says something new, in one transaction with the nonce of the Map-Register that said it, and not when it only
//! says it again. What has ended while nobody was served is not taken up: without T all, if nobody was heard for three minutes
//! (RFC 9301, section 8.2), and with T what has come to its own end ([`Lapsed`]). All else lives for three minutes at least, in which its xTR
//! can register again; with T for what is left, if that is more, and no longer than it asked for.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use wire::address::EidPrefix;

use super::kept::{self, Kept, KeptPart};
use super::label::AnyEid;
use super::lapsed::Lapsed;
use super::locators;
use super::registration::{Part, Source};
use super::renaming::Renamed;
use super::site::SiteId;
use super::{LONGEST_SILENCE, MapServer};
use crate::engine::Mark;
use crate::limits::REGISTRATION_SILENCE;
use crate::refusal::Tally;

/// What becomes of a row.
enum TakenUp {
    Whole,
    Part,
    /// Its time is over; it was of the site of this name.
    Ended(String),
    /// Its site may not have it any more, or there is no room.
    Refused,
}

impl MapServer {
    /// Takes up rows of [`Mark::Registration`] that are of such an `age`; for the time `away` nobody was heard. What the site of that name, or
    /// of the name that it has now, may not register any more is forgotten: what the run before has published of it is to be withdrawn, unless
    /// it is the node's own now, whose xTR registers in a moment. So is what finds no room on an INDEX page, and a row that cannot be read.
    /// Names the EID-prefixes to publish or to withdraw: those that are registered, and those that are forgotten.
    pub fn restore(
        &mut self,
        now: Instant,
        rows: Vec<(Box<[u8]>, Box<[u8]>)>,
        renamed: &Renamed,
        (age, away): (Duration, Duration),
    ) -> Vec<EidPrefix> {
        self.began = Some((now, age));
        self.lapsed = Lapsed::found_at(now);
        let (mut changed, mut unreadable) = (Vec::new(), 0_usize);
        for (key, row) in rows {
            let Some(mut kept) = kept::decode(&row) else {
                unreadable += 1;
                self.marks.push(Mark::UnreadableRegistration(key));
                continue;
            };
            let eid = kept.eid;
            let name = renamed.name_of(&kept.site);
            let is_renamed = name != kept.site;
            if is_renamed {
                kept.site = name.to_owned();
            }
            match self.take_up(now, kept, (age, away)) {
                TakenUp::Whole if !is_renamed => changed.extend(eid.prefix()),
                TakenUp::Whole | TakenUp::Part => {
                    changed.extend(eid.prefix());
                    let mark = self.mark_of(eid);
                    self.marks.extend(mark);
                }
                TakenUp::Ended(site) => {
                    self.lapsed.note(eid);
                    let lapsed = kept::encode_lapsed(eid, &site).filter(|lapsed| *lapsed != row);
                    self.marks.extend(lapsed.map(|lapsed| Mark::Registration(eid, lapsed)));
                }
                TakenUp::Refused => {
                    changed.extend(eid.prefix().filter(|prefix| !self.is_own(prefix)));
                    let mark = self.mark_of(eid);
                    self.marks.extend(mark);
                }
            }
        }
        let surplus: HashSet<EidPrefix> = self.end_surplus().into_iter().collect();
        changed.retain(|prefix| !surplus.contains(prefix));
        let marks = self.marks_of_registrations();
        self.marks.extend(marks);
        if unreadable > 0 {
            tracing::warn!(rows = unreadable, "registrations in the state file cannot be read: they are forgotten");
        }
        if !self.lapsed.is_empty() {
            let registrations = self.lapsed.len();
            tracing::info!(registrations, "ended while nobody was served: who asks for them is told to ask again");
        }
        changed
    }

    fn take_up(&mut self, now: Instant, kept: Kept, since: (Duration, Duration)) -> TakenUp {
        let Kept { eid, site: name, newest, parts } = kept;
        let Some(site) = self.sites.named(&name).filter(|site| self.may_register(&eid, *site)) else {
            return TakenUp::Refused;
        };
        let all = parts.len();
        let parts: Vec<Part> = parts.into_iter().filter_map(|part| part_of(now, part, since)).collect();
        let whole = if parts.len() < all { TakenUp::Part } else { TakenUp::Whole };
        if parts.is_empty() {
            return TakenUp::Ended(name);
        }
        let has_room = match eid {
            AnyEid::Prefix(prefix) => self.registrations.restore(now, prefix, site, newest, parts),
            AnyEid::Label(label) => self.labels.restore(label, site, newest, parts),
        };
        if has_room { whole } else { TakenUp::Refused }
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

    /// Ends what nobody has registered anew of what ended while nobody was served.
    pub(super) fn expire_lapsed(&mut self, now: Instant) -> Vec<AnyEid> {
        let ended = self.lapsed.expire(now);
        let marks: Vec<Mark> = ended.iter().filter_map(|eid| self.mark_of(*eid)).collect();
        self.marks.extend(marks);
        ended
    }

    /// What must be on disk of the registrations that have changed since this was asked last.
    pub(super) fn marks_of_registrations(&mut self) -> Vec<Mark> {
        let prefixes = self.registrations.take_unsaved().into_iter().map(AnyEid::Prefix);
        let eids = prefixes.chain(self.labels.take_unsaved().into_iter().map(AnyEid::Label));
        eids.filter_map(|eid| self.mark_of(eid)).collect()
    }

    /// What is registered for an EID, as it is kept; of the node's own xTR nothing, which starts with the map system.
    pub(super) fn mark_of(&self, eid: AnyEid) -> Option<Mark> {
        match self.entry(&eid).filter(|entry| !self.sites.is_pipe(entry.site)) {
            Some(entry) => Some(Mark::Registration(eid, kept::encode(eid, &self.sites.get(entry.site).name, entry)?)),
            None => Some(Mark::ForgottenRegistration(eid)),
        }
    }

    /// Whether a part that ends at `expires` after so much silence was registered in this run.
    pub(super) fn is_of_this_run(&self, expires: Instant, silence: Duration) -> bool {
        self.began.is_none_or(|(began, _)| expires >= began + silence)
    }

    /// How old what is registered is: as [`Memory::age`](crate::engine::Memory::age), in this run.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.began.map_or(Duration::ZERO, |(began, before)| before + now.saturating_duration_since(began))
    }
}

/// What a part that lives on has less than one that is registered when the run begins: by that `MapServer::is_of_this_run` tells them apart.
const BEFORE_THIS_RUN: Duration = Duration::from_nanos(1);

/// A part that lives on; `None` if it is over.
fn part_of(now: Instant, kept: KeptPart, (age, away): (Duration, Duration)) -> Option<Part> {
    let KeptPart { message, ends, source, relays, reach } = kept;
    let record = message.records.into_iter().next()?;
    let (life, left) = match ends {
        // The end that is kept is later than the true one.
        Some(end) => {
            (record.ttl.lifetime().min(LONGEST_SILENCE), Duration::from_secs(end.get().into()).saturating_sub(age))
        }
        None => (REGISTRATION_SILENCE, REGISTRATION_SILENCE.saturating_sub(away)),
    };
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
        expires: now + left.max(REGISTRATION_SILENCE).min(life).saturating_sub(BEFORE_THIS_RUN),
        ends,
    };
    (!left.is_zero() && !part.locators.is_empty()).then_some(part)
}
