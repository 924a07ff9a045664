// SPDX-License-Identifier: GPL-2.0-or-later
//! A cached EID-prefix of which an answer has parts alone: nobody may have the whole any more (RFC 9301, section 5.5), or somebody has registered
//! a more-specific where it begins, by which a Map-Server that goes by the first address answers. An address outside of the parts is asked
//! about: whoever has that says which it is, and until then packets go by what is cached.

use std::time::Instant;

use wire::address::EidPrefix;

use super::{Output, Resolver};
use crate::map_cache::Update;
use crate::resolve::conversation::{Cause, Whole};
use crate::resolve::limits;
use crate::resolve::policy::Accepted;

impl Resolver {
    /// Whether what was asked about has a mapping with locators, and the answer says something of parts of it alone.
    pub(super) fn is_of_parts(&self, now: Instant, asked: &EidPrefix, accepted: &[Accepted<'_>]) -> bool {
        let is_part = |entry: &Accepted<'_>| entry.prefix != *asked && asked.covers(&entry.prefix);
        let has_locators = self.mirror.get(now, asked).is_some_and(|known| !known.locators.is_empty());
        has_locators && !accepted.is_empty() && accepted.iter().all(is_part)
    }

    /// Asks about the rest of `whole`, whose parts have just been installed. Where that is not possible, or there is none, it ends at once, and
    /// packets ask; what was asked about only because it is unreachable does not.
    pub(super) fn ask_about_rest(&mut self, now: Instant, whole: EidPrefix, cause: Option<Cause>) {
        let Some(since) = self.mirror.get(now, &whole).map(|known| known.since) else { return };
        let cause = cause.filter(|cause| matches!(cause, Cause::Smr | Cause::Unreached)).unwrap_or(Cause::Refresh);
        let whole = Whole { prefix: whole, since, cause, questions: 0 };
        if !self.ask_outside_parts(now, whole) && cause != Cause::Unreached {
            self.end(now, whole);
        }
    }

    /// Asks about the first address that is in no known part. Whether it does: a few are asked about, as far as there is room.
    fn ask_outside_parts(&mut self, now: Instant, whole: Whole) -> bool {
        let rest = self.mirror.first_outside_parts(now, &whole.prefix);
        let rest = rest.filter(|_| whole.questions < limits::REST_QUESTIONS);
        let Some(rest) = rest.filter(|rest| self.want(now, *rest, whole.cause).is_ok()) else { return false };
        let Some(conversation) = self.conversations.get_mut(&rest) else { return false };
        conversation.whole = Some(Whole { questions: whole.questions + 1, ..whole });
        true
    }

    /// The question about an address outside of the parts is answered with this, or never will be: what it was asked for ends, unless a record
    /// names it, however little of that is believed. One that names another part leaves a rest to be asked about.
    pub(super) fn end_whole(&mut self, now: Instant, asked: &EidPrefix, accepted: &[Accepted<'_>]) {
        let conversation = self.conversations.get_mut(asked);
        let Some(whole) = conversation.and_then(|conversation| conversation.whole.take()) else { return };
        let is_whole =
            |entry: &Accepted<'_>| entry.record.eid.ip_prefix() == Some(whole.prefix) && !entry.is_negative();
        if accepted.iter().any(is_whole) {
            return;
        }
        let is_part = |entry: &Accepted<'_>| !entry.is_negative() && whole.prefix.covers(&entry.prefix);
        // That nobody answers, or is there, says nothing more of what is unreachable.
        let stays = match accepted.iter().any(is_part) {
            true => self.ask_outside_parts(now, whole),
            false => accepted.is_empty() && whole.cause == Cause::Unreached,
        };
        if !stays {
            self.end(now, whole);
        }
    }

    /// Unless it has been installed anew meanwhile.
    fn end(&mut self, now: Instant, whole: Whole) {
        let is_old = self.mirror.get(now, &whole.prefix).is_some_and(|known| known.since == whole.since);
        if is_old && self.mirror.remove(&whole.prefix) {
            self.outputs.push_back(Output::Update(Update::Remove { prefix: whole.prefix }));
        }
    }
}
