// SPDX-License-Identifier: GPL-2.0-or-later
//! EID-prefixes that move to another xTR of the site. The Map-Server tells whoever had one before; he leaves it to the other, which
//! he would otherwise take it from again with his next Map-Register, and has those who send to him ask the mapping system. What they
//! send until they have, and what hosts that stayed send, goes after it.

use std::net::IpAddr;
use std::time::Instant;

use wire::address::EidPrefix;
use wire::record::{MappingRecord, Ttl};

use super::{Batch, Output, Registrar, Registration};
use crate::refusal::Refusal;

impl Registrar {
    /// What a server says of its own accord of an EID-prefix of ours, or of a part of one.
    pub(super) fn on_changed(&mut self, now: Instant, server: usize, record: &MappingRecord) {
        let is_local = |prefix: &EidPrefix| self.contents.database.prefixes().iter().any(|own| own.covers(prefix));
        let Some(prefix) = record.eid.ip_prefix().filter(is_local) else { return };
        let is_ours = |address: IpAddr| self.contents.database.locators().iter().any(|own| own.address == address);
        let has_ours = record.locators.iter().any(|locator| locator.rloc.ip().is_some_and(is_ours));
        if has_ours || self.retired.contains(&server) {
            return;
        }
        if record.locators.is_empty() {
            if record.ttl == Ttl::WITHDRAWN {
                self.returned(now, server, prefix);
            }
            return;
        }
        if !self.contents.database.prefixes().contains(&prefix) {
            // One for which there is no room is sent to as before.
            if !self.moves.note_part(now, server, prefix) {
                self.tally.count(Refusal::MovedTableFull);
            }
        } else if !self.withdrawing {
            self.leave_to_others(now, server, prefix);
        }
        self.outputs.push_back(Output::Moved(prefix));
    }

    /// The other has withdrawn it, or has fallen silent: it is ours again, or the rest around it is all that there is.
    fn returned(&mut self, now: Instant, server: usize, prefix: EidPrefix) {
        let was_moved = self.moves.end(server, prefix);
        if was_moved {
            self.add_to(now, server, prefix);
        }
        if was_moved || !self.contents.database.prefixes().contains(&prefix) {
            self.outputs.push_back(Output::Returned(prefix));
        }
    }

    /// It is registered with that server no more. A Map-Register of ours that is still on its way takes it from the other again, so
    /// that one is withdrawn; of what the other has registered a Map-Server ends nothing then.
    fn leave_to_others(&mut self, now: Instant, server: usize, prefix: EidPrefix) {
        let mut is_on_its_way = false;
        let of_server = self.batches.iter_mut().filter(|batch| batch.server == server && !batch.withdrawing);
        for batch in of_server.filter(|batch| batch.prefixes.contains(&prefix)) {
            batch.drop_prefix(&prefix);
            is_on_its_way |= batch.is_on_its_way();
        }
        self.batches.retain(|batch| !batch.prefixes.is_empty());
        if is_on_its_way {
            self.batches.push(Batch::withdrawal(server, prefix, now));
        }
        self.moves.note_whole(now, server, prefix);
    }

    /// A Map-Server may have said what is not so: it signs whatever strangers send it, or somebody has kept what it said another time. Where no
    /// other one has an EID-prefix from us the mapping system is asked whether anybody has it. Where one has, the answer would lead to us.
    pub(super) fn doubt_moves(&mut self, now: Instant) {
        self.outputs.extend(self.moves.doubted(now).into_iter().map(Output::Ask));
    }

    /// Nobody has it, three minutes after the last Map-Server has said that another xTR does: it is registered again with all that have.
    pub(super) fn is_free(&mut self, now: Instant, prefix: EidPrefix) {
        for (server, prefix) in self.moves.long_unsaid(now, prefix) {
            let by = self.servers[server].to;
            tracing::warn!(%prefix, %by, "no other xTR has it, as the mapping system says: it is registered again");
            self.returned(now, server, prefix);
        }
    }

    /// The mapping system still says so a while after the move: the part has come back, and the Map-Notify about that was lost. Of a whole
    /// EID-prefix it is believed when [`Self::is_free`] is: the other loses it by that.
    pub(super) fn is_here(&mut self, now: Instant, prefix: EidPrefix) {
        self.outputs.extend(self.moves.take_settled_parts(now, prefix).into_iter().map(Output::Returned));
        self.is_free(now, prefix);
    }

    /// Says what has moved, if that has changed. A Map-Server that has confirmed nothing for three minutes has from us nothing any more.
    pub(super) fn say_moved(&mut self, now: Instant) {
        let had_until = |prefix: &EidPrefix| {
            let until = self.batches.iter().filter_map(|batch| batch.has_until(prefix));
            until.filter(|until| *until > now).max()
        };
        self.outputs.extend(self.moves.news(had_until).map(|moved| Output::AllMoved(moved.to_vec())));
    }

    /// All that has moved and not returned, as it was last said ([`Output::AllMoved`]).
    pub fn all_moved(&self) -> &[EidPrefix] {
        self.moves.told()
    }

    /// Those that are left to others, for `show registrations`.
    pub(super) fn moved(&self, now: Instant) -> impl Iterator<Item = Registration> + '_ {
        self.moves.rows(now).map(|(server, prefix, asks_in)| Registration {
            server: self.servers[server].to,
            prefixes: vec![prefix],
            confirmed_ago: None,
            changing: false,
            unanswered: 0,
            last_refused: None,
            withdrawing: false,
            moved: true,
            asks_in,
        })
    }
}
