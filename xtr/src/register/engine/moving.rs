// SPDX-License-Identifier: GPL-2.0-or-later
//! EID-prefixes that move to another xTR of the site. The Map-Server tells whoever had one before; he leaves it to the other, which
//! he would otherwise take it from again with his next Map-Register, and has those who send to him ask the mapping system. What they
//! send until they have, and what hosts that stayed send, goes after it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use wire::address::EidPrefix;
use wire::record::{MappingRecord, Ttl};

use super::super::limits;
use super::{Batch, Output, Registrar, Registration};
use crate::refusal::Refusal;

/// A whole EID-prefix of ours that a Map-Server says another xTR has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    /// When a Map-Server last said so of it.
    said: Instant,
    /// When the mapping system is asked about it.
    pub(super) asks: Instant,
}

impl Registrar {
    /// What a server says of its own accord of an EID-prefix of ours, or of a part of one.
    pub(super) fn on_changed(&mut self, now: Instant, server: usize, record: &MappingRecord) {
        let is_local = |prefix: &EidPrefix| self.database.prefixes().iter().any(|own| own.covers(prefix));
        let Some(prefix) = record.eid.ip_prefix().filter(is_local) else { return };
        let is_ours = |address: IpAddr| self.database.locators().iter().any(|own| own.address == address);
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
        if !self.database.prefixes().contains(&prefix) {
            self.note_part(now, server, prefix);
        } else if !self.withdrawing {
            self.leave_to_others(now, server, prefix);
        }
        self.outputs.push_back(Output::Moved(prefix));
    }

    /// The other has withdrawn it, or has fallen silent: it is ours again, or the rest around it is all that there is.
    fn returned(&mut self, now: Instant, server: usize, prefix: EidPrefix) {
        self.moved_parts.remove(&(server, prefix));
        let was_moved = self.moved.remove(&(server, prefix)).is_some();
        if was_moved {
            self.add_to(now, server, prefix);
        }
        if was_moved || !self.database.prefixes().contains(&prefix) {
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
            is_on_its_way |= !batch.outstanding.is_empty();
        }
        self.batches.retain(|batch| !batch.prefixes.is_empty());
        if is_on_its_way {
            self.batches.push(Batch { withdrawing: true, ..Batch::new(server, vec![prefix], now) });
        }
        // What other Map-Servers have said of it is looked into together with that: where one had it from us again the rest would be kept.
        let moved = Moved { said: now, asks: now + limits::MOVE_DOUBTED };
        self.moved.insert((server, prefix), moved);
        self.moved.iter_mut().filter(|((_, other), _)| *other == prefix).for_each(|(_, of_other)| *of_other = moved);
    }

    /// One for which there is no room is sent to as before.
    fn note_part(&mut self, now: Instant, server: usize, prefix: EidPrefix) {
        if self.moved_parts.len() < limits::MOVED_PARTS || self.moved_parts.contains_key(&(server, prefix)) {
            self.moved_parts.insert((server, prefix), now);
        } else {
            self.tally.count(Refusal::MovedTableFull);
        }
    }

    /// A Map-Server may have said what is not so: it signs whatever strangers send it, or somebody has kept what it said another time. Where no
    /// other one has an EID-prefix from us the mapping system is asked whether anybody has it. Where one has, the answer would lead to us.
    pub(super) fn doubt_moves(&mut self, now: Instant) {
        let mut doubted = BTreeSet::new();
        for ((_, prefix), moved) in self.moved.iter_mut().filter(|(_, moved)| moved.asks <= now) {
            moved.asks = now + limits::MOVE_DOUBTED;
            doubted.insert(*prefix);
        }
        doubted.retain(|prefix| self.all_moved.contains(prefix));
        self.outputs.extend(doubted.into_iter().map(Output::Ask));
    }

    /// Nobody has it, three minutes after the last Map-Server has said that another xTR does: it is registered again with all that have.
    pub(super) fn is_free(&mut self, now: Instant, prefix: EidPrefix) {
        let is_doubted = |moved: &Moved| now.saturating_duration_since(moved.said) >= limits::MOVE_DOUBTED;
        let free = self.moved.iter().filter(|((_, moved), at)| prefix.covers(moved) && is_doubted(at));
        let free: Vec<_> = free.map(|(moved, _)| *moved).filter(|(_, moved)| self.all_moved.contains(moved)).collect();
        for (server, prefix) in free {
            let by = self.servers[server].to;
            tracing::warn!(%prefix, %by, "no other xTR has it, as the mapping system says: it is registered again");
            self.returned(now, server, prefix);
        }
    }

    /// The mapping system still says so a while after the move: the part has come back, and the Map-Notify about that was lost. Of a whole
    /// EID-prefix it is believed when [`Self::is_free`] is: the other loses it by that.
    pub(super) fn is_here(&mut self, now: Instant, prefix: EidPrefix) {
        let has_settled = |at: &Instant| now.saturating_duration_since(*at) >= limits::MOVE_SETTLES;
        let is_back = |part: &EidPrefix, at: &Instant| part.covers(&prefix) && has_settled(at);
        let back = self.moved_parts.iter().filter(|((_, part), at)| is_back(part, at));
        self.outputs.extend(back.map(|((_, part), _)| Output::Returned(*part)));
        self.moved_parts.retain(|(_, part), at| !is_back(part, at));
        self.is_free(now, prefix);
    }

    /// The operator gives a prefix to this node, or takes it away with its parts.
    pub(super) fn is_ours_again(&mut self, prefix: EidPrefix) {
        self.moved.retain(|(_, moved), _| *moved != prefix);
        let prefixes = self.database.prefixes();
        let is_part = |part: &EidPrefix| *part != prefix && prefixes.iter().any(|own| own.covers(part));
        self.moved_parts.retain(|(_, part), _| is_part(part));
    }

    /// Says what has moved, if that has changed. Of a whole EID-prefix that a Map-Server still has from us packets are delivered here: where
    /// two Map-Servers disagree each xTR would leave them to the other. One that has confirmed nothing for three minutes has it no more.
    pub(super) fn say_moved(&mut self, now: Instant) {
        let mut moved: BTreeSet<EidPrefix> = self.moved.keys().map(|(_, prefix)| *prefix).collect();
        let mut had_until = None;
        moved.retain(|prefix| {
            let until = self.batches.iter().filter_map(|batch| batch.has_until(prefix));
            let until = until.filter(|until| *until > now).max();
            had_until = had_until.into_iter().chain(until).min();
            until.is_none()
        });
        self.had_until = had_until;
        moved.extend(self.moved_parts.keys().map(|(_, prefix)| *prefix));
        if !moved.iter().eq(&self.all_moved) {
            self.all_moved = moved.into_iter().collect();
            self.outputs.push_back(Output::AllMoved(self.all_moved.clone()));
        }
    }

    /// All that has moved and not returned, as it was last said ([`Output::AllMoved`]).
    pub fn all_moved(&self) -> &[EidPrefix] {
        &self.all_moved
    }

    /// Those that are left to others, for `show registrations`.
    pub(super) fn moved(&self, now: Instant) -> impl Iterator<Item = Registration> + '_ {
        let asks_in = move |prefix: &EidPrefix, moved: &Moved| {
            self.all_moved.contains(prefix).then(|| moved.asks.saturating_duration_since(now))
        };
        let whole = self.moved.iter().map(move |(at, moved)| (at, asks_in(&at.1, moved)));
        let parts = self.moved_parts.keys().map(|at| (at, None));
        whole.chain(parts).map(|((server, prefix), asks_in)| Registration {
            server: self.servers[*server].to,
            prefixes: vec![*prefix],
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
