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
    /// How it sees us.
    pub(super) seen: Option<SocketAddr>,
    /// Whether that was none of our locators, or another port, when it said so. Who has not yet said how he sees a new locator of ours says
    /// nothing of a NAT.
    pub(super) is_translated: bool,
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
            seen: None,
            is_translated: false,
        }
    }

    pub(super) fn asked(&mut self, now: Instant, requests: &[(Nonce, IpAddr)]) {
        let wait = limits::FIRST_RETRY.saturating_mul(1 << self.unanswered.min(5));
        self.due = now + wait.min(limits::KEEPALIVE).max(Duration::from_millis(1));
        self.unanswered = self.unanswered.saturating_add(1);
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
    pub(super) fn answered(&mut self, due: Instant, link: IpAddr, seen: Option<SocketAddr>) -> Option<SocketAddr> {
        self.outstanding.clear();
        (self.local, self.unanswered, self.due) = (Some(link), 0, due);
        std::mem::replace(&mut self.seen, seen)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.seen.is_some() && self.unanswered <= limits::MISSED
    }
}
