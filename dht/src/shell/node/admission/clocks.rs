// SPDX-License-Identifier: GPL-2.0-or-later
//! The clocks of peers at work: whose count, what they say about ours, and what follows.

use std::time::Duration;

use libp2p::PeerId;
use nix::time::{ClockId, clock_gettime};

use super::Admission;
use super::known::Exchange;
use crate::admit::ClockVerdict;
use crate::shell::node::NodeError;
use crate::shell::node::driver::Driver;

impl Admission {
    /// What the peers say about our clock.
    pub(in crate::shell::node) fn clock_verdict(&self) -> ClockVerdict {
        self.clocks.verdict(uptime(), self.clock.now())
    }

    /// Whether anything may be published.
    pub(in crate::shell::node) fn check_clock(&self) -> Result<(), NodeError> {
        match self.clock_verdict() {
            ClockVerdict::Wrong(offset) => Err(NodeError::Clock(offset.0)),
            ClockVerdict::Right(_) | ClockVerdict::Unknown { .. } => Ok(()),
        }
    }

    /// Takes the clock of a peer that has both answered and been admitted.
    pub(super) fn take_clock(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get(&peer).filter(|known| known.counts_for_clock) else { return };
        if let (Some(at), Exchange::Answered { asked_at, heard_at, time }) = (known.at, known.exchange) {
            self.clocks.heard(peer, at, time, asked_at, heard_at);
        }
    }
}

impl Driver {
    /// Says once when the clock turns out to be wrong, and when it is right again.
    pub(super) fn look_at_clock(&mut self) {
        let verdict = self.admission.clock_verdict();
        match verdict {
            ClockVerdict::Wrong(offset) if !self.admission.clock_is_wrong => {
                self.admission.clock_is_wrong = true;
                tracing::warn!("{}", NodeError::Clock(offset.0));
            }
            ClockVerdict::Right(_) if self.admission.clock_is_wrong => {
                self.admission.clock_is_wrong = false;
                tracing::info!("the clock of this machine is that of its peers again");
            }
            _ => {}
        }
    }
}

/// The time since this machine was started, sleep included.
pub(super) fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}
