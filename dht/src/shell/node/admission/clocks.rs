// SPDX-License-Identifier: GPL-2.0-or-later
//! The clocks of peers at work: whose count, what they say about ours, and what follows.
//!
//! A node whose clock is behind the certificates of those whom it was given admits none of them, and so hears of nobody else.
//! Whoever is refused for its dates only is asked whom it knows: these are dialled, and have a say about the clock as well.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use nix::time::{ClockId, clock_gettime};

use super::Admission;
use super::known::{Exchange, Known};
use crate::admit::ClockVerdict;
use crate::shell::node::NodeError;
use crate::shell::node::driver::Driver;

impl Admission {
    /// What the peers say about our clock.
    pub(in crate::shell::node) fn clock_verdict(&self) -> ClockVerdict {
        self.clocks.verdict(uptime(), self.clock.now())
    }

    /// Whether anything may be published.
    pub(in crate::shell::node) fn check_clock(&mut self) -> Result<(), NodeError> {
        match self.clock_verdict() {
            ClockVerdict::Wrong(offset) => {
                self.stats.unpublished += 1;
                Err(NodeError::Clock(offset.0))
            }
            ClockVerdict::Right(_) | ClockVerdict::Unknown { .. } => Ok(()),
        }
    }

    /// Takes the clock of a peer that has both answered and been admitted, or refused for its dates only.
    pub(super) fn take_clock(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get(&peer).filter(|known| known.counts_for_clock) else { return };
        if let (Some(at), Exchange::Answered { asked_at, heard_at, time }) = (known.at, known.exchange) {
            self.clocks.heard(peer, at, time, asked_at, heard_at);
        }
    }

    /// Whom to ask who else can tell the time; nobody, where enough say it already.
    fn who_to_ask(&mut self, now: Instant) -> Option<PeerId> {
        let is_new = |(_, known): &(&PeerId, &mut Known)| known.is_undated() && !known.was_asked;
        let (peer, known) = self.peers.iter_mut().find(is_new)?;
        if !self.clocks.want_more(uptime()) || !self.questions.take(now) {
            return None;
        }
        known.was_asked = true;
        self.stats.clock_questions += 1;
        Some(*peer)
    }
}

impl Driver {
    /// Says once when the clock turns out to be wrong, and when it is right again; looks for others where too few can tell.
    pub(super) fn look_at_clock(&mut self, now: Instant) {
        if let Some(peer) = self.admission.who_to_ask(now) {
            tracing::debug!(%peer, "asked who else can tell the time");
            let own = *self.swarm.local_peer_id();
            self.kad().walk_through(peer, own);
        }
        let verdict = self.admission.clock_verdict();
        let is_right = matches!(verdict, ClockVerdict::Right(_));
        self.ends.peers_tx.send_if_modified(|set| std::mem::replace(&mut set.is_clock_right, is_right) != is_right);
        if is_right {
            let wall = self.admission.clock.now();
            self.kad().store_mut().records.clock_is_right(wall);
        }
        match verdict {
            ClockVerdict::Wrong(offset) if !self.admission.clock_is_wrong => {
                self.admission.clock_is_wrong = true;
                self.admission.stats.clock_alarms += 1;
                tracing::warn!("{}", NodeError::Clock(offset.0));
            }
            ClockVerdict::Right(_) if self.admission.clock_is_wrong => {
                self.admission.clock_is_wrong = false;
                tracing::info!("the clock of this machine is that of its peers again");
                self.part_from_undated();
            }
            _ => {}
        }
    }

    /// Those who were refused by the wrong clock are judged anew when they come again.
    fn part_from_undated(&mut self) {
        let refused = self.admission.peers.iter().filter(|(_, known)| known.is_undated());
        for peer in refused.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            // An error says that it has gone by itself.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }
}

/// The time since this machine was started, sleep included.
pub(super) fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}
