// SPDX-License-Identifier: GPL-2.0-or-later
//! What Map-Servers say of mappings that we have subscribed to (RFC 9437) enters the map-cache by the rules of a Map-Reply.
//!
//! Where LISP-SEC is demanded only if it has made the key of the Map-Notify (RFC 9437, section 7.1): that key is known to us and to
//! Map-Servers, which vouch for what they tell by it. A key that is shared with an xTR proves that its sender has the key, and not how far
//! its records reach (RFC 9303 protects Map-Replies): what is told under it makes us ask, with LISP-SEC.

use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::MapReply;
use wire::record::MappingRecord;

use super::Resolver;
use crate::refusal::Refusal;
use crate::resolve::conversation::Cause;
use crate::resolve::mirror::Installed;
use crate::resolve::policy::{Accepted, Answer};
use crate::resolve::secured::Demand;
use crate::transport::Via;

impl Resolver {
    pub(super) fn on_published(
        &mut self,
        now: Instant,
        by: (Via, bool),
        asked: Option<(EidPrefix, bool)>,
        records: &[MappingRecord],
    ) -> Result<(), Refusal> {
        let (_, proven) = by;
        if self.secured.demand() != Demand::Off && !proven {
            return self.ask_about_published(now, asked, records);
        }
        if let Some(asked) = asked {
            return self.take_published(now, by, asked, records);
        }
        for record in records {
            let Some(prefix) = record.eid.ip_prefix() else {
                self.tally.count(Refusal::RecordNotIp);
                continue;
            };
            // Nobody has asked for so much: what it could be narrowed to is what its parts were, and for these there are Map-Replies.
            if self.config.policy.is_too_wide(&prefix) {
                self.ask_about_narrowed(now, prefix, record);
                continue;
            }
            self.take_published(now, by, (prefix, true), std::slice::from_ref(record))?;
        }
        Ok(())
    }

    /// Asks about what is told otherwise than it is cached, or is to live longer.
    fn ask_about_published(
        &mut self,
        now: Instant,
        asked: Option<(EidPrefix, bool)>,
        records: &[MappingRecord],
    ) -> Result<(), Refusal> {
        if let Some((asked, extends)) = asked {
            let is_news = |record: &MappingRecord| {
                let eid = record.eid.ip_prefix();
                eid.is_some_and(|eid| !self.is_known(now, if eid.covers(&asked) { asked } else { eid }, record))
            };
            // A subscription begins by saying what has just been proven.
            let is_old = |known: &Installed| {
                known.expires.saturating_duration_since(now) < now.saturating_duration_since(known.since)
            };
            let is_late = extends && self.mirror.get(now, &asked).is_none_or(is_old);
            let is_worth_it = is_late || records.iter().any(is_news);
            return if is_worth_it { self.want(now, asked, Cause::Refresh) } else { Ok(()) };
        }
        for record in records {
            let Some(prefix) = record.eid.ip_prefix() else {
                self.tally.count(Refusal::RecordNotIp);
                continue;
            };
            if self.config.policy.is_too_wide(&prefix) {
                self.ask_about_narrowed(now, prefix, record);
                continue;
            }
            // Only about what is cached, as after an SMR: nobody here wants to know the rest.
            let is_cached = self.mirror.round(now, &prefix, |_| true).is_some();
            if !is_cached || self.is_known(now, prefix, record) {
                continue;
            }
            self.ask_about_told(now, prefix);
        }
        Ok(())
    }

    /// Asks about the mappings that were narrowed from a record like this one, and are cached otherwise: the answers are narrowed to them again.
    fn ask_about_narrowed(&mut self, now: Instant, prefix: EidPrefix, record: &MappingRecord) {
        let narrowed = self.mirror.narrowed_inside(now, &[prefix]);
        if narrowed.is_empty() {
            self.tally.count(Refusal::RecordOverclaims);
        }
        for part in narrowed {
            if self.is_known(now, part, record) {
                continue;
            }
            self.ask_about_told(now, part);
        }
    }

    /// As nobody says it again, what there is no room for waits.
    fn ask_about_told(&mut self, now: Instant, prefix: EidPrefix) {
        let asked = match self.want(now, prefix, Cause::Told) {
            Err(Refusal::RequestTableFull) => self.wait_for_room(prefix),
            asked => asked,
        };
        if let Err(refusal) = asked {
            self.tally.count(refusal);
        }
    }

    /// Whether the mapping of exactly this prefix is cached as a record has it.
    pub(super) fn is_known(&self, now: Instant, prefix: EidPrefix, record: &MappingRecord) -> bool {
        let known = self.mirror.get(now, &prefix).filter(|known| !known.locators.is_empty());
        known.is_some_and(|known| self.config.policy.says_the_same(record, known))
    }

    fn take_published(
        &mut self,
        now: Instant,
        (via, proven): (Via, bool),
        (asked, extends): (EidPrefix, bool),
        records: &[MappingRecord],
    ) -> Result<(), Refusal> {
        let reply = MapReply { records: records.to_vec(), ..MapReply::default() };
        let mirror = &self.mirror;
        // What takes a mapping away buries nothing.
        let buries = |prefix: &EidPrefix| *prefix != asked && mirror.has_positive_inside(now, prefix);
        // What is told about a part leaves what is round it.
        let answer = Answer { asked, reply: &reply, within: None, is_cached: false };
        let accepted = self.config.policy.accept(answer, buries, &mut self.tally)?;
        let says_the_same = |entry: &Accepted<'_>| self.is_known(now, entry.prefix, entry.record);
        if extends || !accepted.iter().all(says_the_same) {
            self.install(now, via, (asked, false), proven, &accepted);
            accepted.iter().filter(|_| proven).for_each(|entry| self.mirror.mark_secured(&entry.prefix));
        }
        Ok(())
    }
}
