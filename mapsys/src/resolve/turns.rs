// SPDX-License-Identifier: GPL-2.0-or-later
//! Whose turn it is among the Map-Servers of a site elsewhere: who asks again had no answer of the one that was asked.

use std::net::IpAddr;
use std::time::Instant;

use wire::address::EidPrefix;

use super::ask::Ask;
use crate::limit::Bounded;
use crate::limits::{ASKED_AGAIN, WATCHED_TURNS};

/// What was sent on lately, by who is to be answered (none is the node's own xTR) and what is asked for.
#[derive(Debug)]
pub(super) struct Turns(Bounded<(Option<IpAddr>, EidPrefix), Turn>);

#[derive(Debug, Clone, Copy)]
struct Turn {
    at: Instant,
    number: usize,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Bounded::new(WATCHED_TURNS))
    }
}

impl Turns {
    /// How often who asks has asked for `host` in a row before, each time within [`ASKED_AGAIN`]. The end of a subscription is no
    /// question, and goes where that went.
    pub(super) fn next(&mut self, now: Instant, ask: &Ask, host: EidPrefix) -> usize {
        let asked = (ask.target(), host);
        let before = self.0.get(&asked).filter(|turn| now.saturating_duration_since(turn.at) < ASKED_AGAIN);
        let number = before.map_or(0, |turn| turn.number.wrapping_add(usize::from(!ask.is_leaving)));
        self.0.renew(asked, Turn { at: now, number });
        number
    }
}
