// SPDX-License-Identifier: GPL-2.0-or-later
//! Nonces in packets of trusted peers (RFC 9300, section 10.1): those that we asked them to echo, and those that they ask us to.
//!
//! A nonce without E may be any (section 5.3), so only the one that is waited for is told to control: nobody can make it hear of others.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::counters::{Count, Counters};
use crate::limits;
use crate::map_cache::Event;
use crate::reply::RateTable;

/// What is waited for, and what was told.
#[derive(Debug)]
pub(super) struct Nonces {
    counters: Arc<Counters>,
    /// The RLOC that each nonce was sent to: each has its own. A router with several sends the echo from any of them.
    expected: HashMap<u32, IpAddr>,
    /// The other way round.
    sent: HashMap<IpAddr, u32>,
    /// The nonce that each RLOC wants back, and when control was told.
    asked: HashMap<IpAddr, (u32, Instant)>,
    each: RateTable<IpAddr>,
}

impl Nonces {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        let each = RateTable::new(limits::ECHO_ASKED, limits::ECHO_ASKED_WINDOW, limits::PEERS);
        Self { counters, expected: HashMap::new(), sent: HashMap::new(), asked: HashMap::new(), each }
    }

    /// An RLOC is asked for this nonce, or for none any more.
    pub(super) fn expect(&mut self, rloc: IpAddr, nonce: Option<u32>) {
        if let Some(former) = self.sent.remove(&rloc) {
            self.expected.remove(&former);
        }
        if let Some(nonce) = nonce.filter(|_| self.sent.len() < limits::PEERS) {
            self.sent.insert(rloc, nonce);
            self.expected.insert(nonce, rloc);
        }
    }

    /// Takes a nonce with or without E.
    pub(super) fn take(&mut self, now: Instant, said: (IpAddr, u32, bool), events: &mut VecDeque<Event>) {
        let (rloc, nonce, echo) = said;
        let has_room = events.len() < limits::PEER_EVENTS;
        if !echo {
            return match self.expected.get(&nonce).copied() {
                None => self.counters.add(Count::NonceUnasked, 1),
                // The next packet of the peer does not say it again, but the peer is asked again.
                Some(_) if !has_room => self.counters.add(Count::EventLost, 1),
                Some(asked) => {
                    self.expect(asked, None);
                    events.push_back(Event::Echoed { rloc: asked, nonce });
                }
            };
        }
        let was_told =
            |(told, at): &(u32, Instant)| *told == nonce && now.saturating_duration_since(*at) < limits::ECHO_AGAIN;
        if self.asked.get(&rloc).is_some_and(was_told) || !has_room || !self.each.allow(now, rloc) {
            return;
        }
        if self.asked.len() >= limits::PEERS {
            self.asked.retain(|_, (_, at)| now.saturating_duration_since(*at) < limits::ECHO_AGAIN);
        }
        if self.asked.len() < limits::PEERS || self.asked.contains_key(&rloc) {
            self.asked.insert(rloc, (nonce, now));
            events.push_back(Event::EchoAsked { rloc, nonce });
        }
    }
}
