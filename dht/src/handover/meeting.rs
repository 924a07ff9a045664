// SPDX-License-Identifier: GPL-2.0-or-later
//! How a node sees that halves of the network have found each other: many peers come at once.

use std::time::Instant;

use crate::limits;

/// The peers that came within [`limits::MEETING`], and when what is held at the rim of its region is offered because of them.
#[derive(Debug)]
pub(super) struct Meeting {
    /// Until then this node has just come itself.
    settled_at: Instant,
    since: Instant,
    came: usize,
    pub(super) due_at: Option<Instant>,
}

impl Meeting {
    pub(super) fn new(now: Instant) -> Self {
        Self { settled_at: now, since: now, came: 0, due_at: None }
    }

    /// So many peers have come to so many that were known.
    pub(super) fn came(&mut self, now: Instant, count: usize, known: usize) {
        if known == 0 {
            self.settled_at = now + limits::MEETING;
        }
        if now < self.settled_at {
            return;
        }
        if self.since + limits::MEETING <= now {
            (self.since, self.came) = (now, 0);
        }
        self.came += count;
        if count > 0 && self.came * limits::MEETING_PART >= known + count {
            self.due_at.get_or_insert(now + limits::MEETING_WAIT);
        }
    }

    /// Whether it is time, once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.due_at.take_if(|at| *at <= now).is_some()
    }
}
