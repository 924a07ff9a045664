// SPDX-License-Identifier: GPL-2.0-or-later
//! A cached EID-prefix of which an answer has parts alone: nobody may have the whole any more (RFC 9301, section 5.5), or somebody has registered
//! a more-specific where it begins, by which a Map-Server that goes by the first address answers. An address outside of the parts is asked
//! about: whoever has that says which it is, and until then packets go by what is cached.

use std::time::Instant;

use wire::address::EidPrefix;

use super::{Output, Resolver};
use crate::map_cache::Update;
use crate::resolve::conversation::Cause;
use crate::resolve::policy::Accepted;

impl Resolver {
    /// Whether what was asked about has a mapping with locators, and the answer says something of parts of it alone.
    pub(super) fn is_of_parts(&self, now: Instant, asked: &EidPrefix, accepted: &[Accepted<'_>]) -> bool {
        let is_part = |entry: &Accepted<'_>| entry.prefix != *asked && asked.covers(&entry.prefix);
        let has_locators = self.mirror.get(now, asked).is_some_and(|known| !known.locators.is_empty());
        has_locators && !accepted.is_empty() && accepted.iter().all(is_part)
    }

    /// Asks about the rest of `whole`, whose parts have just been installed. Where that is not possible, or there is none, it ends at once, and
    /// packets ask.
    pub(super) fn ask_about_rest(&mut self, now: Instant, whole: EidPrefix, cause: Option<Cause>) {
        let cause = if cause == Some(Cause::Smr) { Cause::Smr } else { Cause::Refresh };
        let rest = self.mirror.first_outside_parts(now, &whole);
        let rest = rest.filter(|rest| self.want(now, *rest, cause).is_ok());
        match rest.and_then(|rest| self.conversations.get_mut(&rest)) {
            Some(conversation) => conversation.whole = Some(whole),
            None => self.end(whole),
        }
    }

    /// The question about an address outside of the parts is answered with this, or never will be: what it was asked for ends, unless the answer
    /// has it.
    pub(super) fn end_whole(&mut self, asked: &EidPrefix, accepted: &[Accepted<'_>]) {
        let conversation = self.conversations.get_mut(asked);
        let Some(whole) = conversation.and_then(|conversation| conversation.whole.take()) else { return };
        if accepted.iter().all(|entry| entry.prefix != whole) {
            self.end(whole);
        }
    }

    fn end(&mut self, whole: EidPrefix) {
        if self.mirror.remove(&whole) {
            self.outputs.push_back(Output::Update(Update::Remove { prefix: whole }));
        }
    }
}
