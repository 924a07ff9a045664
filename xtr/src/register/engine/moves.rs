// SPDX-License-Identifier: GPL-2.0-or-later
//! What has moved: EID-prefixes of ours, and parts of them, that another xTR has registered with a Map-Server since we did.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wire::address::EidPrefix;

use crate::register::limits;

/// A Map-Server, and the EID-prefix that it says of that another xTR has it.
type At = (usize, EidPrefix);

#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Those that we had registered as they are.
    whole: BTreeMap<At, Moved>,
    /// Parts of ours, and when that was last said.
    parts: BTreeMap<At, Instant>,
    /// What was last said to have moved.
    told: Vec<EidPrefix>,
    /// When a Map-Server will have forgotten what has moved at another, unless it confirms that it has it.
    had_until: Option<Instant>,
}

/// A whole EID-prefix of ours that a Map-Server says another xTR has.
#[derive(Debug, Clone, Copy)]
struct Moved {
    /// When a Map-Server last said so of it.
    said: Instant,
    /// When the mapping system is asked about it.
    asks: Instant,
}

impl Moves {
    /// What other Map-Servers have said of it is looked into together with this: where one had it from us again the rest would be kept.
    pub(super) fn note_whole(&mut self, now: Instant, server: usize, prefix: EidPrefix) {
        let moved = Moved { said: now, asks: now + limits::MOVE_DOUBTED };
        self.whole.insert((server, prefix), moved);
        self.whole.iter_mut().filter(|((_, other), _)| *other == prefix).for_each(|(_, of_other)| *of_other = moved);
    }

    /// Whether there is room for it.
    pub(super) fn note_part(&mut self, now: Instant, server: usize, prefix: EidPrefix) -> bool {
        let has_room = self.parts.len() < limits::MOVED_PARTS || self.parts.contains_key(&(server, prefix));
        if has_room {
            self.parts.insert((server, prefix), now);
        }
        has_room
    }

    /// It has not moved any more, as that Map-Server says; whether it had as a whole.
    pub(super) fn end(&mut self, server: usize, prefix: EidPrefix) -> bool {
        self.parts.remove(&(server, prefix));
        self.whole.remove(&(server, prefix)).is_some()
    }

    /// The operator gives a prefix to this node, or takes it away with its parts; these are ours now.
    pub(super) fn forget(&mut self, prefix: EidPrefix, ours: &[EidPrefix]) {
        self.whole.retain(|(_, moved), _| *moved != prefix);
        let is_part = |part: &EidPrefix| *part != prefix && ours.iter().any(|own| own.covers(part));
        self.parts.retain(|(_, part), _| is_part(part));
    }

    pub(super) fn forget_server(&mut self, index: usize) {
        self.whole.retain(|(server, _), _| *server != index);
        self.parts.retain(|(server, _), _| *server != index);
    }

    /// A server has left the table.
    pub(super) fn renumber(&mut self, number: impl Fn(usize) -> usize) {
        let whole = std::mem::take(&mut self.whole).into_iter();
        self.whole = whole.map(|((server, prefix), moved)| ((number(server), prefix), moved)).collect();
        let parts = std::mem::take(&mut self.parts).into_iter();
        self.parts = parts.map(|((server, prefix), at)| ((number(server), prefix), at)).collect();
    }

    /// What is to be asked about now; each again after a while.
    pub(super) fn doubted(&mut self, now: Instant) -> BTreeSet<EidPrefix> {
        let mut doubted = BTreeSet::new();
        for ((_, prefix), moved) in self.whole.iter_mut().filter(|(_, moved)| moved.asks <= now) {
            moved.asks = now + limits::MOVE_DOUBTED;
            doubted.insert(*prefix);
        }
        doubted.retain(|prefix| self.told.contains(prefix));
        doubted
    }

    /// Those under this prefix of which no Map-Server has said for three minutes that another xTR has them, by Map-Server.
    pub(super) fn long_unsaid(&self, now: Instant, prefix: EidPrefix) -> Vec<(usize, EidPrefix)> {
        let is_doubted = |moved: &Moved| now.saturating_duration_since(moved.said) >= limits::MOVE_DOUBTED;
        let unsaid = self.whole.iter().filter(|((_, moved), at)| prefix.covers(moved) && is_doubted(at));
        unsaid.map(|(at, _)| *at).filter(|(_, moved)| self.told.contains(moved)).collect()
    }

    /// Takes out the parts with this prefix that have moved a while ago.
    pub(super) fn take_settled_parts(&mut self, now: Instant, prefix: EidPrefix) -> Vec<EidPrefix> {
        let has_settled = |at: &Instant| now.saturating_duration_since(*at) >= limits::MOVE_SETTLES;
        let is_it = |part: &EidPrefix, at: &Instant| part.covers(&prefix) && has_settled(at);
        let settled = self.parts.iter().filter(|((_, part), at)| is_it(part, at)).map(|((_, part), _)| *part).collect();
        self.parts.retain(|(_, part), at| !is_it(part, at));
        settled
    }

    /// All that has moved, if that is not what was told last. Of a whole EID-prefix that a Map-Server still has from us packets are delivered here:
    /// where two Map-Servers disagree each xTR would leave them to the other.
    pub(super) fn news(&mut self, had_until: impl Fn(&EidPrefix) -> Option<Instant>) -> Option<&[EidPrefix]> {
        let mut moved: BTreeSet<EidPrefix> = self.whole.keys().map(|(_, prefix)| *prefix).collect();
        self.had_until = None;
        moved.retain(|prefix| {
            let until = had_until(prefix);
            self.had_until = self.had_until.into_iter().chain(until).min();
            until.is_none()
        });
        moved.extend(self.parts.keys().map(|(_, prefix)| *prefix));
        if moved.iter().eq(&self.told) {
            return None;
        }
        self.told = moved.into_iter().collect();
        Some(&self.told)
    }

    /// What was last said to have moved.
    pub(super) fn told(&self) -> &[EidPrefix] {
        &self.told
    }

    /// Whether a Map-Server has forgotten by now what it had from us.
    pub(super) fn may_change(&self, now: Instant) -> bool {
        self.had_until.is_some_and(|until| until <= now)
    }

    /// When something is to be looked at again.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> + '_ {
        self.whole.values().map(|moved| moved.asks).chain(self.had_until)
    }

    /// Each with its Map-Server, and of what was told as a whole the time until the mapping system is asked about it.
    pub(super) fn rows(&self, now: Instant) -> impl Iterator<Item = (usize, EidPrefix, Option<Duration>)> + '_ {
        let asks_in = move |prefix: &EidPrefix, moved: &Moved| {
            self.told.contains(prefix).then(|| moved.asks.saturating_duration_since(now))
        };
        let whole = self.whole.iter().map(move |(at, moved)| (at.0, at.1, asks_in(&at.1, moved)));
        whole.chain(self.parts.keys().map(|at| (at.0, at.1, None)))
    }
}
