// SPDX-License-Identifier: GPL-2.0-or-later
//! One Map-Register: which prefixes it has, when it is sent, and what became of it.

use std::collections::VecDeque;
use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::Nonce;

use super::{Refused, Registration};
use crate::nat::natted::Way;
use crate::register::limits;
use crate::register::through::Path;
use crate::transport::MapSystem;

/// The prefixes that travel in one message, and what became of it.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) server: usize,
    pub(super) prefixes: Vec<EidPrefix>,
    /// Nonces a Map-Notify may carry, oldest first, and by which RTR each was sent, if by one.
    outstanding: VecDeque<(Nonce, Option<Way>)>,
    /// When it was last sent by all its ways; and by which of them it was confirmed since, and in the round before.
    round: Option<Instant>,
    answered: [Vec<Way>; 2],
    unanswered: u32,
    refused: Option<Refused>,
    confirmed: Option<Instant>,
    /// Those of its prefixes that came later than that.
    joined: Vec<EidPrefix>,
    /// Whether it takes back what an earlier message registered.
    pub(super) withdrawing: bool,
    /// `None`: a withdrawal that was confirmed, or a message that cannot be sent.
    pub(super) due: Option<Instant>,
    /// Whether it was not confirmed since it was last to be said at once.
    is_news: bool,
    /// Whether what it says of each prefix has changed since it was confirmed last, and not only which ones it has.
    is_changed: bool,
}

impl Batch {
    pub(super) fn new(server: usize, prefixes: Vec<EidPrefix>, due: Instant) -> Self {
        Self {
            server,
            prefixes,
            outstanding: VecDeque::new(),
            round: None,
            answered: Default::default(),
            unanswered: 0,
            refused: None,
            confirmed: None,
            joined: Vec::new(),
            withdrawing: false,
            due: Some(due),
            is_news: true,
            is_changed: false,
        }
    }

    /// Takes back what an earlier message has registered.
    pub(super) fn withdrawal(server: usize, prefix: EidPrefix, due: Instant) -> Self {
        Self { withdrawing: true, ..Self::new(server, vec![prefix], due) }
    }

    /// What comes after so many of its prefixes goes on in another message.
    pub(super) fn split_off(&mut self, now: Instant, count: usize) -> Option<Self> {
        let rest = self.prefixes.split_off(count);
        let (confirmed, joined) = (self.confirmed, self.joined.clone());
        (!rest.is_empty()).then(|| Self { confirmed, joined, ..Self::new(self.server, rest, now) })
    }

    /// Takes another prefix, if it has not got it; what else is in it is confirmed anew with that.
    pub(super) fn join(&mut self, now: Instant, prefix: EidPrefix) {
        if !self.prefixes.contains(&prefix) {
            self.prefixes.push(prefix);
            self.prefixes.sort_unstable();
            self.joined.push(prefix);
        }
        self.hurry(now);
    }

    pub(super) fn drop_prefix(&mut self, prefix: &EidPrefix) {
        self.prefixes.retain(|other| other != prefix);
        self.joined.retain(|other| other != prefix);
    }

    /// What it is at, with the Map-Server of this address.
    pub(super) fn rows(&self, now: Instant, server: MapSystem) -> impl Iterator<Item = Registration> + '_ {
        let row = move |(prefixes, confirmed): (Vec<EidPrefix>, Option<Instant>)| Registration {
            server,
            prefixes,
            confirmed_ago: confirmed.map(|at| now.saturating_duration_since(at)),
            changing: confirmed.is_some() && self.is_changed,
            unanswered: self.unanswered,
            last_refused: self.refused,
            withdrawing: self.withdrawing,
            moved: false,
            asks_in: None,
        };
        self.by_confirmation().into_iter().filter(|(prefixes, _)| !prefixes.is_empty()).map(row)
    }

    /// The prefixes that were last confirmed at the same time: those that came after that were not.
    fn by_confirmation(&self) -> [(Vec<EidPrefix>, Option<Instant>); 2] {
        let has_joined = |prefix: &EidPrefix| self.confirmed.is_some() && self.joined.contains(prefix);
        let (joined, others) = self.prefixes.iter().copied().partition(has_joined);
        [(others, self.confirmed), (joined, None)]
    }

    /// Until when its Map-Server has an EID-prefix from us, if it has confirmed nothing since.
    pub(super) fn has_until(&self, prefix: &EidPrefix) -> Option<Instant> {
        let is_in = !self.withdrawing && self.prefixes.contains(prefix) && !self.joined.contains(prefix);
        self.confirmed.filter(|_| is_in).map(|at| at + limits::FORGOTTEN)
    }

    /// Whether nothing of it is still to be confirmed that can be.
    pub(super) fn is_told(&self) -> bool {
        !self.is_news || self.due.is_none()
    }

    /// Whether it is on its way: its Map-Server may have it, or have it soon.
    pub(super) fn is_on_its_way(&self) -> bool {
        !self.outstanding.is_empty()
    }

    /// Makes the message due now; what answers an earlier one of other contents no longer counts.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.outstanding.clear();
        self.round = None;
        (self.unanswered, self.refused) = (0, None);
        self.due = Some(now);
        self.is_news = true;
    }

    /// The same, as it says something else of each of its prefixes.
    pub(super) fn say_otherwise(&mut self, now: Instant) {
        self.hurry(now);
        self.is_changed = true;
    }

    /// Whether a withdrawal was sent often enough: its server forgets the registration by itself.
    pub(super) fn is_given_up(&self) -> bool {
        self.withdrawing && self.unanswered >= limits::WITHDRAWALS
    }

    /// It cannot be sent any more.
    pub(super) fn give_up(&mut self) {
        self.due = None;
    }

    /// How often it was sent since it was last answered.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered as usize
    }

    /// There is no way to its server now; a withdrawal ends like one that nobody answers.
    pub(super) fn has_no_way(&mut self, now: Instant) {
        self.due = Some(now + limits::LONGEST_RETRY);
        self.unanswered = self.unanswered.saturating_add(u32::from(self.withdrawing));
    }

    /// Leaves the ways out by which it was confirmed already. After each refresh all are taken again, those that answered last, or not
    /// at all, as the last: a server that insists on rising nonces refuses what comes behind a later one, and hears that again.
    pub(super) fn begin(&mut self, now: Instant, paths: &mut Vec<Path>) {
        if self.round.is_none_or(|round| round + limits::REFRESH <= now) {
            self.round = Some(now);
            let [answered, before] = &mut self.answered;
            if !answered.is_empty() {
                *before = std::mem::take(answered);
            }
        }
        let [answered, before] = &self.answered;
        let place = |way: Option<Way>| before.iter().position(|other| Some(*other) == way).unwrap_or(usize::MAX);
        paths.sort_by_key(|path| place(path.way()));
        if paths.iter().any(|path| !path.way().is_some_and(|way| answered.contains(&way))) {
            paths.retain(|path| !path.way().is_some_and(|way| answered.contains(&way)));
        }
    }

    pub(super) fn sent(&mut self, now: Instant, messages: Vec<(Nonce, Option<Way>)>) {
        let doubled = limits::FIRST_RETRY.saturating_mul(1 << self.unanswered.min(6)).min(limits::LONGEST_RETRY);
        // Those that have confirmed it are not to wait for one that does not.
        let refresh = self.round.filter(|_| !self.answered[0].is_empty()).map(|round| round + limits::REFRESH);
        self.due = Some(refresh.map_or(now + doubled, |refresh| refresh.min(now + doubled)));
        self.unanswered = self.unanswered.saturating_add(1);
        let most = limits::OUTSTANDING_NONCES * messages.len();
        self.outstanding.extend(messages);
        let extra = self.outstanding.len().saturating_sub(most);
        self.outstanding.drain(..extra);
    }

    /// Whether a Map-Notify with this nonce may confirm it; and what by, if it went by an RTR.
    pub(super) fn awaited(&self, nonce: Nonce) -> Option<Option<Way>> {
        self.outstanding.iter().find(|(awaited, _)| *awaited == nonce).map(|(_, way)| *way)
    }

    pub(super) fn refused(&mut self, refused: Refused) {
        self.refused = Some(refused);
    }

    /// Notes by which way it was confirmed; whether that was the last one.
    pub(super) fn confirmed_by(&mut self, way: Option<Way>, taken: &[Path]) -> bool {
        let Some(way) = way else { return true };
        let answered = &mut self.answered[0];
        if !answered.contains(&way) {
            answered.push(way);
        }
        self.outstanding.retain(|(_, other)| *other != Some(way));
        taken.iter().filter_map(Path::way).all(|way| answered.contains(&way))
    }

    /// What takes a registration back has done so when it is confirmed by one way.
    pub(super) fn confirmed(&mut self, now: Instant, by_all: bool) {
        (self.unanswered, self.refused) = (0, None);
        self.confirmed = Some(now);
        self.joined.clear();
        (self.is_news, self.is_changed) = (false, false);
        if by_all || self.withdrawing {
            self.outstanding.clear();
            self.round = None;
            self.due = (!self.withdrawing).then(|| now + limits::REFRESH);
        }
    }
}
