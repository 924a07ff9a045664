// SPDX-License-Identifier: GPL-2.0-or-later
//! How often an RTR is asked. Anybody can write the address of a NAT into his datagrams: he uses up what is for all behind that
//! address, and not what those have that have been accepted before, unless he knows their ports too.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::limits;
use crate::reply::RateTable;

/// Messages of one kind.
#[derive(Debug)]
pub(super) struct Rates {
    of_bindings: RateTable<SocketAddr>,
    of_others: RateTable<IpAddr>,
}

impl Rates {
    /// So many of each binding, and so many of each address, in a window.
    pub(super) fn new(allowed: u32) -> Self {
        let others = RateTable::new(allowed, limits::WINDOW, limits::TRACKED);
        Self {
            of_bindings: RateTable::new(allowed, limits::WINDOW, limits::BINDINGS),
            of_others: others.with_untracked(limits::UNTRACKED),
        }
    }

    /// Whether one more may come from there; it is counted if so.
    pub(super) fn allow(&mut self, now: Instant, remote: SocketAddr, is_bound: bool) -> bool {
        if is_bound { self.of_bindings.allow(now, remote) } else { self.of_others.allow(now, remote.ip()) }
    }
}
