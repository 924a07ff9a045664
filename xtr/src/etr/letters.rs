// SPDX-License-Identifier: GPL-2.0-or-later
//! Control messages at the data port of a node behind a NAT, whose binding leads there and nowhere else: Data-Map-Notifies, which are
//! known by their instance, and Info-Replies, which have no LISP header (draft-ermagan-lisp-nat-traversal, section 4.5).
//!
//! Only those of our RTRs are looked at; to all others such a datagram is a packet of an instance that we do not have. Who may say
//! what in them is for control to judge.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use wire::control::rtr::is_data_map_notify;

use super::OuterInfo;
use crate::map_cache::Event;
use crate::nat::limits;

/// First octet of an Info-Reply: type 7, R. As flags of a LISP header they would be E without N, which nobody may send.
const INFO_REPLY: u8 = 0x78;

/// What came and control has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Letters {
    rtrs: Vec<IpAddr>,
    is_behind: bool,
    events: VecDeque<Event>,
}

impl Letters {
    pub(super) fn set_rtrs(&mut self, rtrs: &[IpAddr]) {
        self.rtrs = rtrs.to_vec();
    }

    pub(super) fn set_behind(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
    }

    /// Whether it comes through our NAT from an RTR of ours, which has checked it: nobody else gets in by that binding. Where there is
    /// no NAT anybody can write so.
    #[inline]
    pub(super) fn is_relayed(&self, outer: &OuterInfo) -> bool {
        self.is_behind && self.is_rtr(outer.source) && matches!(outer.source_port, wire::DATA_PORT | wire::CONTROL_PORT)
    }

    /// Whether it is an RTR of ours.
    #[inline]
    fn is_rtr(&self, rloc: IpAddr) -> bool {
        !self.rtrs.is_empty() && self.rtrs.contains(&rloc)
    }

    /// Keeps a control message for control; whether it was one. What there is no room for is lost, as any datagram may be.
    #[inline]
    pub(super) fn take(&mut self, outer: &OuterInfo, payload: &[u8]) -> bool {
        self.is_rtr(outer.source) && self.take_of_rtr(outer, payload)
    }

    fn take_of_rtr(&mut self, outer: &OuterInfo, payload: &[u8]) -> bool {
        let is_control = outer.source_port == wire::CONTROL_PORT
            && payload.len() <= limits::LETTER_OCTETS
            && (payload.first() == Some(&INFO_REPLY) || is_data_map_notify(payload));
        if is_control && self.events.len() < limits::LETTERS {
            let from = SocketAddr::new(outer.source, outer.source_port);
            self.events.push_back(Event::Control { from, to: outer.destination, bytes: payload.to_vec() });
        }
        is_control
    }

    pub(super) fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn has_some(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn put_back(&mut self, event: Event) {
        self.events.push_front(event);
    }
}
