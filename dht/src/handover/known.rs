// SPDX-License-Identifier: GPL-2.0-or-later
//! What a node knows of a record that it holds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Version;
use crate::limits;
use crate::lookup::{Distance, distance};

/// A record that this node holds.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) point: Distance,
    pub(super) version: Version,
    pub(super) heard_at: Instant,
    /// Who has it, as far as is known; none before peers are known, after a restart.
    pub(super) holders: Option<Vec<Distance>>,
    /// Peers that offered something older and were given this.
    pub(super) answered: Vec<Distance>,
    /// The same of those who were in no table then, the last [`limits::GUESTS_ANSWERED`] of them.
    pub(super) guests: VecDeque<Distance>,
    /// Peers that had no time for this, and how often in a row.
    pub(super) busy: Vec<(Distance, u32)>,
    /// Whether this node was one of its region when that was last looked at.
    pub(super) is_inside: bool,
    /// Whether halves have found each other, and there may be something newer.
    pub(super) is_doubted: bool,
    /// How long nothing is heard of it before it is repaired.
    pub(super) patience: Duration,
}

impl Known {
    pub(super) fn new(point: Distance, version: Version, heard_at: Instant) -> Self {
        Self {
            point,
            version,
            heard_at,
            holders: None,
            answered: Vec::new(),
            guests: VecDeque::new(),
            busy: Vec::new(),
            is_inside: true,
            is_doubted: false,
            patience: limits::REPAIR_INTERVAL,
        }
    }

    /// Counts that a peer had no time for this; whether it may be tried again.
    pub(super) fn is_busy_again(&mut self, peer: &Distance) -> bool {
        match self.busy.iter_mut().find(|(busy, _)| busy == peer) {
            Some((_, times)) => {
                *times += 1;
                *times < limits::HANDOVER_BUSY
            }
            None => {
                self.busy.push((*peer, 1));
                true
            }
        }
    }

    /// Whether a peer that offered something older was given this already.
    pub(super) fn was_answered(&self, peer: &Distance) -> bool {
        self.answered.contains(peer) || self.guests.contains(peer)
    }

    /// Remembers a guest that is given this.
    pub(super) fn answer_guest(&mut self, guest: Distance) {
        if self.guests.len() >= limits::GUESTS_ANSWERED {
            self.guests.pop_front();
        }
        self.guests.push_back(guest);
    }

    /// A peer was not reached: it is given this when it offers something older again.
    pub(super) fn not_answered(&mut self, peer: &Distance) {
        self.answered.retain(|answered| answered != peer);
        self.guests.retain(|guest| guest != peer);
    }

    pub(super) fn is_held_at(&self, peer: &Distance) -> bool {
        self.holders.as_ref().is_some_and(|holders| holders.contains(peer))
    }
}

/// How many of `others` lie nearer to a point than `here`.
pub(super) fn rank(here: &Distance, point: &Distance, others: &[Distance]) -> usize {
    let own = distance(point, here);
    others.iter().filter(|other| distance(point, other) < own).count()
}

/// Part of a minute by which a node's repairs of a record come later than another's, so that the first is heard of by the others.
pub(super) fn spread(here: &Distance, point: &Distance) -> Duration {
    let [first, second, ..] = distance(here, point);
    Duration::from_millis(u64::from(u16::from_be_bytes([first, second])) % 60_000) * 5
}
