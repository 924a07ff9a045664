// SPDX-License-Identifier: GPL-2.0-or-later
//! Who has sent to us lately hears of our changes (RFC 9301, section 6.1), and is reached by the way that it sends by. The packet half knows
//! them, thousands as it may be, and names them when a Map-Server has said something that is proven to be its word: nobody else makes us
//! ask.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use wire::address::EidPrefix;

use super::{Control, Output};
use crate::{limits, reach};

/// When they were named, and what waits for it.
#[derive(Debug, Default)]
pub(super) struct Naming {
    asked: Option<Instant>,
    is_open: bool,
    /// What is told when they have been named.
    changed: Vec<EidPrefix>,
    /// What those that were known have been told since.
    late: BTreeSet<EidPrefix>,
}

impl Naming {
    fn waits(&self) -> bool {
        !self.is_open && !self.late.is_empty()
    }
}

impl Control {
    /// Has them named, once a second at most.
    pub(super) fn want_senders(&mut self, now: Instant) {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < limits::SENDERS_NAMED;
        if !self.naming.asked.is_some_and(is_recent) {
            (self.naming.asked, self.naming.is_open) = (Some(now), true);
            self.outputs.push_back(Output::WantAllSenders);
        }
    }

    /// They are to hear that the mapping of this prefix is another one, at the Map-Servers, than it was. Who is known hears it at once; who has
    /// begun to send since they were named, a second after that.
    pub(super) fn tell_senders(&mut self, now: Instant, prefix: EidPrefix) {
        self.want_senders(now);
        if self.naming.is_open {
            self.naming.changed.push(prefix);
        } else {
            self.solicitor.changed(now, [prefix]);
            self.naming.late.insert(prefix);
        }
    }

    /// Has them named for what could not be told to all at once.
    pub(super) fn name_senders(&mut self, now: Instant) {
        if self.naming.waits() {
            self.want_senders(now);
        }
    }

    /// When [`Self::name_senders`] has something to do.
    pub(super) fn naming_deadline(&self) -> Option<Instant> {
        self.naming.asked.filter(|_| self.naming.waits()).map(|asked| asked + limits::SENDERS_NAMED)
    }

    pub(super) fn on_packets_from(&mut self, now: Instant, senders: &[(IpAddr, Instant)]) {
        let mut late = std::mem::take(&mut self.naming.late);
        // An ITR is told of no more out of turn: all are told once more then.
        if late.len() > reach::limits::PREFIXES_PER_ITR {
            self.naming.changed.extend(std::mem::take(&mut late));
        }
        for (rloc, at) in senders {
            let is_late = !self.solicitor.knows(*rloc);
            self.solicitor.heard(now, *rloc, &[], true);
            self.prober.heard_data(now, *rloc, *at);
            for prefix in late.iter().filter(|_| is_late) {
                self.solicitor.solicit_one(now, *rloc, *prefix, reach::limits::TIMES_TOLD);
            }
        }
        self.naming.is_open = false;
        let changed = std::mem::take(&mut self.naming.changed);
        if !changed.is_empty() {
            self.solicitor.changed(now, changed);
        }
    }
}
