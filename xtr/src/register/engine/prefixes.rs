// SPDX-License-Identifier: GPL-2.0-or-later
//! Which prefixes travel together: as few messages as they fit into, since some servers take each Map-Register as the whole site.

use std::time::Instant;

use wire::address::EidPrefix;

use super::{Batch, Registrar, may_have};

impl Registrar {
    /// Splits a server's prefixes into messages that fit a packet: one where possible.
    pub(super) fn plan(&mut self, now: Instant, server: usize) {
        let config = &self.servers[server];
        let mut rest = config.prefixes.as_slice();
        while !rest.is_empty() {
            let (prefixes, remaining) = rest.split_at(self.contents.count_that_fits(rest, config));
            self.batches.push(Batch::new(server, prefixes.to_vec(), now));
            rest = remaining;
        }
    }

    /// What has more or longer locators than before, or another way, may fit a packet no longer: it goes on as several messages (RFC 9301,
    /// section 5).
    pub(super) fn split(&mut self, now: Instant) {
        let mut split_off = Vec::new();
        for batch in self.batches.iter_mut().filter(|batch| !batch.withdrawing) {
            let server = &self.servers[batch.server];
            let mut rest = batch.split_off(now, self.contents.count_that_fits(&batch.prefixes, server));
            while let Some(mut part) = rest {
                rest = part.split_off(now, self.contents.count_that_fits(&part.prefixes, server));
                split_off.push(part);
            }
        }
        self.batches.append(&mut split_off);
    }

    /// Into a message that has room, one for each server.
    pub(super) fn add(&mut self, now: Instant, prefix: EidPrefix) {
        self.moves.forget(prefix, self.contents.database.prefixes());
        for server in 0..self.servers.len() {
            self.add_to(now, server, prefix);
        }
    }

    pub(super) fn add_to(&mut self, now: Instant, server: usize, prefix: EidPrefix) {
        let to = &self.servers[server];
        if self.withdrawing || self.retired.contains(&server) || !may_have(self.cgeids, to.to, &prefix) {
            return;
        }
        // A withdrawal on its way must not have the last word.
        self.batches.retain(|batch| !(batch.server == server && batch.withdrawing && batch.prefixes == [prefix]));
        let has_room = |batch: &&mut Batch| {
            batch.server == server && !batch.withdrawing && self.contents.has_room(&batch.prefixes, prefix, to)
        };
        match self.batches.iter_mut().rev().find(has_room) {
            Some(batch) => batch.join(now, prefix),
            None => self.batches.push(Batch::new(server, vec![prefix], now)),
        }
    }

    /// A message of its own takes the prefix back; the one that it was in goes on without it.
    pub(super) fn remove(&mut self, now: Instant, prefix: EidPrefix) {
        self.moves.forget(prefix, self.contents.database.prefixes());
        let mut registered_with = Vec::new();
        for batch in self.batches.iter_mut().filter(|batch| !batch.withdrawing && batch.prefixes.contains(&prefix)) {
            batch.drop_prefix(&prefix);
            registered_with.push(batch.server);
        }
        self.batches.retain(|batch| !batch.prefixes.is_empty());
        self.batches.extend(registered_with.into_iter().map(|server| Batch::withdrawal(server, prefix, now)));
    }
}
