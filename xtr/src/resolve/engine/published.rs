// SPDX-License-Identifier: GPL-2.0-or-later
//! What Map-Servers say of mappings that we have subscribed to (RFC 9437) enters the map-cache by the rules of a Map-Reply.

use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::MapReply;
use wire::record::MappingRecord;

use super::Resolver;
use crate::refusal::Refusal;
use crate::resolve::policy::{Accepted, Answer};
use crate::transport::Via;

impl Resolver {
    pub(super) fn on_published(
        &mut self,
        now: Instant,
        via: Via,
        asked: Option<(EidPrefix, bool)>,
        records: &[MappingRecord],
    ) -> Result<(), Refusal> {
        if let Some(asked) = asked {
            return self.take_published(now, via, asked, records);
        }
        for record in records {
            let Some(prefix) = record.eid.ip_prefix() else {
                self.tally.count(Refusal::RecordNotIp);
                continue;
            };
            // Nobody has asked for so much, so there is nothing that it could be narrowed to.
            if self.config.policy.is_too_wide(&prefix) {
                self.tally.count(Refusal::RecordOverclaims);
                continue;
            }
            self.take_published(now, via, (prefix, true), std::slice::from_ref(record))?;
        }
        Ok(())
    }

    fn take_published(
        &mut self,
        now: Instant,
        via: Via,
        (asked, extends): (EidPrefix, bool),
        records: &[MappingRecord],
    ) -> Result<(), Refusal> {
        let reply = MapReply { records: records.to_vec(), ..MapReply::default() };
        let mirror = &self.mirror;
        // What takes a mapping away buries nothing.
        let buries = |prefix: &EidPrefix| *prefix != asked && mirror.has_positive_inside(now, prefix);
        let answer = Answer { asked, reply: &reply, within: None };
        let accepted = self.config.policy.accept(answer, buries, &mut self.tally)?;
        let says_the_same = |entry: &Accepted<'_>| {
            let known = self.mirror.get(now, &entry.prefix).filter(|known| !known.locators.is_empty());
            known.is_some_and(|known| self.config.policy.says_the_same(entry.record, known))
        };
        if extends || !accepted.iter().all(says_the_same) {
            self.install(now, via, asked, &accepted);
        }
        Ok(())
    }
}
