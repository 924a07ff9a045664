// SPDX-License-Identifier: GPL-2.0-or-later
//! What has been asked about one EID-prefix, and what follows.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use wire::address::EidPrefix;
use wire::control::Nonce;

use super::limits;

/// Why a conversation was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A packet found no mapping.
    Miss { source: IpAddr },
    /// A mapping in use is about to expire.
    Refresh,
    /// Somebody says that a mapping changed.
    Smr,
    /// A packet came from an EID, and whether it may come from its RLOC is not known.
    Source,
    /// A Map-Server has told of a change in a way that LISP-SEC does not protect.
    Told,
    /// None of the locators of a mapping can be reached.
    Unreached,
}

impl Cause {
    /// Whether it is the word of others, which proves nothing: a flood of such leaves room for what our own hosts want.
    pub(super) fn is_doubtful(self) -> bool {
        matches!(self, Self::Smr | Self::Source | Self::Told | Self::Unreached)
    }

    /// Whether it says that the mapping is another now, which nobody says for ever.
    pub(super) fn is_of_a_change(self) -> bool {
        matches!(self, Self::Smr | Self::Told)
    }

    /// The source-EID of the request.
    pub(super) fn source(self) -> Option<IpAddr> {
        match self {
            Self::Miss { source } => Some(source),
            Self::Refresh | Self::Smr | Self::Source | Self::Told | Self::Unreached => None,
        }
    }
}

/// Where a conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A request is to be sent.
    Due { at: Instant },
    /// A request was sent and has not been answered; the next try is at `retry`.
    Asked { nonce: Nonce, retry: Instant },
    /// The answer was "ask again": done at `at` if packets still come.
    AskAgain { at: Instant, wanted: bool },
    /// Nobody answered, or nobody could be asked: no more requests until then.
    Resting { until: Instant },
    /// Answered: the rate limit still forbids another request until then.
    Answered { until: Instant },
}

/// A cached EID-prefix of which others were said to have parts, so that an address outside of those is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) prefix: EidPrefix,
    /// When it was installed.
    pub(super) since: Instant,
    /// Why it was asked about.
    pub(super) cause: Cause,
    /// Addresses outside of the parts that were asked about.
    pub(super) questions: u32,
}

/// One EID-prefix's conversation with the Map-Resolvers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conversation {
    pub(super) cause: Cause,
    /// Whether it was begun on the word of others, whoever has joined it since.
    pub(super) is_doubtful: bool,
    pub(super) stage: Stage,
    /// Kept over retransmissions, so that a late answer to an earlier one still counts.
    pub(super) nonce: Option<Nonce>,
    /// Requests sent since the last answer.
    pub(super) sent: u32,
    /// Answers in a row that were "ask again".
    pub(super) asked_again: u32,
    /// Whether somebody has said, since the last answer, that the mapping changed: it is asked about until there is one.
    pub(super) is_doubted: bool,
    /// What ends unless the answer has it.
    pub(super) whole: Option<Whole>,
    /// When the last request was sent.
    pub(super) last_sent: Option<Instant>,
}

impl Conversation {
    pub(super) fn new(now: Instant, cause: Cause) -> Self {
        let (stage, is_doubted) = (Stage::Due { at: now }, cause.is_of_a_change());
        let is_doubtful = cause.is_doubtful();
        Self {
            cause,
            is_doubtful,
            stage,
            nonce: None,
            sent: 0,
            asked_again: 0,
            is_doubted,
            whole: None,
            last_sent: None,
        }
    }

    /// Another question about the same, as soon as the rate allows one.
    pub(super) fn begins_again(&mut self, cause: Cause, at: Instant) {
        (self.cause, self.is_doubtful, self.stage) = (cause, cause.is_doubtful(), Stage::Due { at });
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Instant {
        match self.stage {
            Stage::Due { at } | Stage::AskAgain { at, .. } => at,
            Stage::Asked { retry, .. } => retry,
            Stage::Resting { until } | Stage::Answered { until } => until,
        }
    }

    /// Whether an answer is to come without another question.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Due { .. } | Stage::Asked { .. })
    }

    /// Whether it may make room for another.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Answered { .. })
    }

    /// Notes a request; `ends` is when the mapping ends that it is to refresh.
    pub(super) fn sent(&mut self, now: Instant, nonce: Nonce, ends: Option<Instant>) {
        self.last_sent = Some(now);
        self.nonce = Some(nonce);
        self.stage = Stage::Asked { nonce, retry: now + self.wait(now, ends) };
        self.sent += 1;
    }

    /// Where the rest after the last try would outlast a mapping the slow tries are spread over what is left of its life: whoever can answer
    /// again by its end is asked, and a packet that finds none then meets no rest.
    fn wait(&self, now: Instant, ends: Option<Instant>) -> Duration {
        let usual = retry_after(self.sent);
        let Some(left) = ends.map(|ends| ends.saturating_duration_since(now)) else { return usual };
        let waits = (limits::RETRANSMISSIONS + 1).saturating_sub(self.sent).max(1);
        let is_outlasted = limits::LONGEST_RETRY * waits + limits::REST > left;
        if usual < limits::LONGEST_RETRY || !is_outlasted {
            return usual;
        }
        usual.max((left + limits::LONGEST_RETRY) / waits)
    }

    /// Somebody else wants to know it too.
    pub(super) fn joins(&mut self, cause: Cause) {
        match cause {
            Cause::Miss { source } => self.waits(source),
            Cause::Refresh if self.cause == Cause::Unreached => self.cause = cause,
            Cause::Smr | Cause::Told if self.cause == Cause::Unreached => self.cause = cause,
            _ => {}
        }
    }

    /// A packet waits from now on, whatever the request was first for. What was to refresh a mapping has come too late: it is asked for at the
    /// first pace again.
    fn waits(&mut self, source: IpAddr) {
        if let (Cause::Refresh, Stage::Asked { retry, .. }) = (self.cause, self.stage) {
            self.sent = self.sent.min(1);
            self.stage = Stage::Due { at: self.allowed().map_or(retry, |at| at.min(retry)) };
        }
        self.cause = Cause::Miss { source };
    }

    pub(super) fn answered(&mut self, now: Instant) {
        self.close();
        (self.asked_again, self.is_doubted) = (0, false);
        self.stage = Stage::Answered { until: self.allowed().unwrap_or(now + limits::MIN_INTERVAL) };
    }

    pub(super) fn told_to_ask_again(&mut self, now: Instant) {
        self.close();
        let wait = limits::MIN_INTERVAL.saturating_mul(1 << self.asked_again.min(6)).min(limits::LONGEST_ASK_AGAIN);
        self.asked_again = self.asked_again.saturating_add(1);
        // The packet that caused the request still waits after 1 s and after 3 s; later ones make themselves heard.
        self.stage = Stage::AskAgain { at: now + wait, wanted: self.asked_again <= 2 };
    }

    /// The answer is worth another request at once, as far as the rate allows.
    pub(super) fn asks_anew(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Asked { .. }) && self.sent <= limits::RETRANSMISSIONS {
            self.stage = Stage::Due { at: self.allowed().unwrap_or(now + limits::MIN_INTERVAL) };
        }
    }

    /// The same of an answer that holds: what is asked next is another question.
    pub(super) fn asks_otherwise(&mut self, now: Instant) {
        self.close();
        self.stage = Stage::Due { at: self.allowed().unwrap_or(now + limits::MIN_INTERVAL) };
    }

    /// As if nothing had been asked yet: nothing that comes counts any more.
    pub(super) fn starts_over(&mut self) {
        self.close();
        if let Stage::Asked { retry, .. } = self.stage {
            self.stage = Stage::Due { at: self.allowed().unwrap_or(retry) };
        }
    }

    /// Whom to ask, or from where, is another than when nobody answered.
    pub(super) fn wakes(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Resting { .. }) {
            self.stage = Stage::Due { at: self.allowed().unwrap_or(now) };
        }
    }

    pub(super) fn rests(&mut self, now: Instant) {
        self.close();
        self.stage = Stage::Resting { until: now + limits::REST };
    }

    /// When the rate limit allows the next request.
    fn allowed(&self) -> Option<Instant> {
        self.last_sent.map(|at| at + limits::MIN_INTERVAL)
    }

    fn close(&mut self) {
        self.nonce = None;
        self.sent = 0;
    }
}

/// 1, 1, 2, 2, 4, 4, 8, 8 ... seconds: two tries at each pace, since a lost packet is likelier than a slow resolver.
fn retry_after(sent: u32) -> Duration {
    limits::MIN_INTERVAL.saturating_mul(1 << (sent / 2).min(6)).min(limits::LONGEST_RETRY)
}
