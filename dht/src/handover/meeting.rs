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
    /// Meetings that may be called still, and when there is one more.
    left: u32,
    more_at: Instant,
    pub(super) due_at: Option<Instant>,
}

impl Meeting {
    pub(super) fn new(now: Instant) -> Self {
        Self { settled_at: now, since: now, came: 0, left: limits::MEETINGS, more_at: now, due_at: None }
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
        let is_meeting = count > 0 && self.came * limits::MEETING_PART >= known + count;
        if is_meeting && self.due_at.is_none() && self.may_call(now) {
            self.due_at = Some(now + limits::MEETING_WAIT);
        }
    }

    /// Whether one more is within the rate. A place that leaves and comes again counts each time.
    fn may_call(&mut self, now: Instant) -> bool {
        if self.left == limits::MEETINGS {
            self.more_at = now + limits::MEETING_PAUSE;
        }
        while self.left < limits::MEETINGS && self.more_at <= now {
            self.left += 1;
            self.more_at += limits::MEETING_PAUSE;
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }

    /// Whether it is time, once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.due_at.take_if(|at| *at <= now).is_some()
    }
}
