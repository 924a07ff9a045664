// SPDX-License-Identifier: GPL-2.0-or-later
//! Ways that have lately taken a packet as long as their path MTU, as the answer to a long probe has shown (RFC 8899). A report that
//! packets are too long there may be forged by whoever guesses a port, and is looked into before it is believed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::limits;
use crate::reply::RateTable;

/// The RLOCs that they lead to, each with the end of that.
#[derive(Debug)]
pub(super) struct Proven {
    ends: HashMap<IpAddr, Instant>,
    looks: RateTable<IpAddr>,
}

impl Proven {
    pub(super) fn new() -> Self {
        let looks = RateTable::new(1, limits::UNREACHABLE_INTERVAL, limits::UNREACHABLE_TRACKED);
        Self { ends: HashMap::new(), looks }
    }

    /// Without room its reports are believed, as those about all others.
    pub(super) fn set(&mut self, now: Instant, rloc: IpAddr, until: Instant) {
        if self.ends.len() >= limits::PROVEN_WAYS {
            self.ends.retain(|_, end| now < *end);
        }
        if self.ends.len() < limits::PROVEN_WAYS {
            self.ends.insert(rloc, until);
        }
    }

    pub(super) fn holds(&self, now: Instant, rloc: IpAddr) -> bool {
        self.ends.get(&rloc).is_some_and(|end| now < *end)
    }

    /// Whether control is to look into a report about it.
    pub(super) fn is_to_be_looked_into(&mut self, now: Instant, rloc: IpAddr) -> bool {
        self.looks.allow(now, rloc)
    }
}
