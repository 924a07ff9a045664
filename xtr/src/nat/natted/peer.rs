// SPDX-License-Identifier: GPL-2.0-or-later
//! One who is asked how he sees us, and whether he is heard.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use wire::control::Nonce;

use crate::nat::limits;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Rtr,
    /// One of [`super::Config::servers`].
    Server(usize),
}

/// One who is asked, and what was heard.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) role: Role,
    /// The locator of ours from which it is reached, once it has answered there.
    pub(super) local: Option<IpAddr>,
    /// Nonces that may be answered, and from which locator of ours each was sent.
    pub(super) outstanding: VecDeque<(Nonce, IpAddr)>,
    pub(super) due: Instant,
    /// Info-Requests since the last answer.
    pub(super) unanswered: u32,
    /// The same, of those since our locators have changed: how long the next answer is waited for.
    tries: u32,
    /// How it sees us.
    pub(super) seen: Option<SocketAddr>,
    /// Whether that was none of our locators, or another port, when it said so. Who has not yet said how he sees a new locator of ours says
    /// nothing of a NAT.
    pub(super) is_translated: bool,
    /// Whether packets go there and nothing comes back, which is being looked into.
    is_suspected: bool,
    /// Whether that was not answered: it is not used while another RTR is heard.
    pub(super) is_silent: bool,
    /// Until when suspicion has to wait.
    paused: Option<Instant>,
}

impl Peer {
    pub(super) fn new(now: Instant, address: IpAddr, role: Role) -> Self {
        Self {
            address,
            role,
            local: None,
            outstanding: VecDeque::new(),
            due: now,
            unanswered: 0,
            tries: 0,
            seen: None,
            is_translated: false,
            is_suspected: false,
            is_silent: false,
            paused: None,
        }
    }

    /// Packets go there and nothing comes back, or somebody says that they do not get there: it is asked at once, or as soon as a pause is
    /// over. What it has not answered before counts.
    pub(super) fn suspect(&mut self, now: Instant) {
        if self.role != Role::Rtr || !self.is_alive() || self.is_silent || self.is_suspected {
            return;
        }
        self.is_suspected = true;
        let due = match self.unanswered {
            0 => self.paused.map_or(now, |until| until.max(now)),
            unanswered => now + wait_suspected(unanswered),
        };
        self.due = self.due.min(due);
    }

    /// Whether it is suspected, and has not answered the first Info-Request for that when the second is due.
    pub(super) fn is_doubtful(&self, now: Instant) -> bool {
        self.is_suspected && self.unanswered > 0 && self.due <= now
    }

    /// Whether it is suspected and was asked often enough for that: it is taken for silent then, and asked as any that does not answer.
    pub(super) fn falls_silent(&mut self, now: Instant) -> bool {
        let is_over = self.is_suspected && self.unanswered >= limits::MISSED;
        if is_over {
            (self.is_suspected, self.is_silent) = (false, true);
            self.due = now + wait(self.unanswered - 1);
        }
        is_over
    }

    /// Our locators are others: it is asked at once, and soon again. What was not heard from the former ones says nothing of these.
    pub(super) fn begins_anew(&mut self, now: Instant) {
        (self.due, self.tries) = (now, 0);
        self.forget_suspicion();
    }

    fn forget_suspicion(&mut self) {
        (self.is_suspected, self.is_silent) = (false, false);
    }

    pub(super) fn asked(&mut self, now: Instant, requests: &[(Nonce, IpAddr)]) {
        let before = self.tries;
        (self.unanswered, self.tries) = (self.unanswered.saturating_add(1), before.saturating_add(1));
        self.due = now + if self.is_suspected { wait_suspected(self.unanswered) } else { wait(before) };
        self.outstanding.extend(requests);
        let extra = self.outstanding.len().saturating_sub(limits::OUTSTANDING * requests.len().max(1));
        self.outstanding.drain(..extra);
    }

    /// From where the Info-Request with this nonce was sent, if it may still be answered.
    pub(super) fn link_asked(&self, nonce: Nonce) -> Option<IpAddr> {
        self.outstanding.iter().find(|(asked, _)| *asked == nonce).map(|(_, local)| *local)
    }

    /// Whether an answer to this locator counts: to another than the one used only when that one has got none for some time, and others are
    /// heard there, or nobody is.
    pub(super) fn goes_by(&self, link: IpAddr, to_others: Option<IpAddr>) -> bool {
        if self.is_heard() { self.local == Some(link) } else { to_others.is_none_or(|used| used == link) }
    }

    pub(super) fn is_heard(&self) -> bool {
        self.local.is_some() && self.unanswered <= limits::UPLINK_MISSED
    }

    /// How it saw us before.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        keepalive: Duration,
        (link, seen): (IpAddr, Option<SocketAddr>),
    ) -> Option<SocketAddr> {
        self.outstanding.clear();
        if self.is_suspected || self.is_silent {
            self.paused = Some(now + limits::SUSPICION_PAUSE);
        }
        self.forget_suspicion();
        (self.local, self.unanswered, self.tries, self.due) = (Some(link), 0, 0, now + keepalive);
        std::mem::replace(&mut self.seen, seen)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.seen.is_some() && self.unanswered <= limits::MISSED
    }
}

/// For the answer to an Info-Request before which so many were not answered.
fn wait(unanswered: u32) -> Duration {
    let wait = limits::FIRST_RETRY.saturating_mul(1 << unanswered.min(5));
    wait.min(limits::KEEPALIVE).max(Duration::from_millis(1))
}

/// For the answer of one that is suspected, to the last of so many.
fn wait_suspected(unanswered: u32) -> Duration {
    if unanswered < limits::MISSED { limits::SUSPICION_GAP } else { limits::SUSPICION_LAST_WAIT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_heard_from_the_former_locators_is_asked_soon_again_from_the_next() {
        let now = Instant::now();
        let mut peer = Peer::new(now, IpAddr::from([203, 0, 113, 1]), Role::Rtr);
        (0..5).for_each(|_| peer.asked(now, &[]));
        assert!(peer.due > now + limits::DETECTION);
        peer.begins_anew(now);
        peer.asked(now, &[]);
        assert_eq!((peer.due, peer.unanswered), (now + limits::FIRST_RETRY, 6), "it is as silent as before");
    }
}
