// SPDX-License-Identifier: GPL-2.0-or-later
//! What the operator hears of ECN fields that nobody should make (RFC 6040, section 4.2).

use std::net::IpAddr;

use wire::data::Ecn;

use super::Control;

impl Control {
    /// Writes them to the log, or leaves it at their counters: should a pair come into use, what is logged is no news.
    #[must_use]
    pub fn logging_ecn(self, logs_ecn: bool) -> Self {
        Self { logs_ecn, ..self }
    }

    /// The packet half keeps to a rate. The outer source proves nothing: a router on the way may have changed the field, too.
    pub(super) fn on_unused_ecn(&self, rloc: IpAddr, (inner, outer): (Ecn, Ecn), packets: u64) {
        if self.logs_ecn {
            tracing::warn!(%rloc, ?inner, ?outer, packets, "packets have an outer ECN field that their inner one cannot have led to");
        }
    }
}
