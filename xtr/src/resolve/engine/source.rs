// SPDX-License-Identifier: GPL-2.0-or-later
//! Sources of packets from the core: what is cached answers at once, whoever asks. What the mapping system has to be asked about is bounded, as
//! packets can be made up from any source and any RLOC; who asks beyond that hears so.

use std::net::IpAddr;
use std::time::Instant;

use wire::address::EidPrefix;

use super::{Output, Resolver};
use crate::limits as both;
use crate::map_cache::{SourceVerdict, Update};
use crate::refusal::Refusal;
use crate::resolve::conversation::{Cause, Conversation};

impl Resolver {
    /// What is cached says that packets may come from there, or the mapping system is asked: what else is cached may be old.
    pub(super) fn on_source(
        &mut self,
        now: Instant,
        (eid, rloc): (EidPrefix, IpAddr),
        is_known: bool,
    ) -> Result<(), Refusal> {
        if self.config.policy.is_own(&eid) {
            // Nobody elsewhere speaks as one of ours.
            self.say_source(now, (eid, eid), rloc, SourceVerdict::Elsewhere);
            return Ok(());
        }
        let cached = self.mirror.positive_round(now, &eid);
        let locators = cached.and_then(|prefix| self.mirror.get(now, &prefix)).map(|installed| &installed.locators);
        let is_here = locators.is_some_and(|locators| locators.iter().any(|(address, _)| *address == rloc));
        if let Some(prefix) = cached.filter(|_| is_here) {
            self.say_source(now, (prefix, eid), rloc, SourceVerdict::Here);
            return Ok(());
        }
        let asked = self.ask_about_source(now, (eid, rloc), cached.unwrap_or(eid), is_known);
        if let Err(refusal) = asked {
            let wait = if refusal == Refusal::RequestPaused { both::SOURCE_PATIENCE } else { both::SOURCES_WINDOW };
            self.outputs.push_back(Output::Update(Update::SourcePutOff { eid, rloc, ask: now + wait }));
        }
        asked
    }

    /// Costs the mapping system a Map-Request, unless `prefix` is asked about anyway. Who is known could not be made up, and has a bound where he
    /// is asked about.
    fn ask_about_source(
        &mut self,
        now: Instant,
        (eid, rloc): (EidPrefix, IpAddr),
        prefix: EidPrefix,
        is_known: bool,
    ) -> Result<(), Refusal> {
        let is_asked = self.conversations.get(&prefix).is_some_and(Conversation::is_under_way);
        let is_free = is_known || is_asked && self.sources.has_much_room();
        if !is_free && !self.sources.may_ask(now, rloc) {
            return Err(Refusal::SourceRateLimited);
        }
        if !self.sources.wait(now, eid, rloc) {
            return Err(Refusal::RequestTableFull);
        }
        self.want(now, prefix, Cause::Source)
    }

    /// Says it of the whole prefix, unless part of that has a mapping of its own.
    pub(super) fn say_source(
        &mut self,
        now: Instant,
        of: (EidPrefix, EidPrefix),
        rloc: IpAddr,
        verdict: SourceVerdict,
    ) {
        let (prefix, eid) = of;
        let prefix = if self.mirror.has_inside(&prefix) { eid } else { prefix };
        let life = if verdict == SourceVerdict::Here { both::SOURCE_HERE } else { both::SOURCE_NOT_HERE };
        self.outputs.push_back(Output::Update(Update::Source { eid, prefix, rloc, verdict, ask: now + life }));
    }
}
