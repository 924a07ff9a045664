// SPDX-License-Identifier: GPL-2.0-or-later
//! One temporary CGEID on its way: prepared, in use, relieved.

use std::time::Duration;

use super::clock::{Day, Moment, Now};
use super::key::TemporaryKey;
use super::lifetimes::Lifetimes;
use crate::limits::{
    MAX_DESYNC, PUBLICATION_LEAD, PUBLICATION_WINDOW, TEMPORARY_MAX_USE, TEMPORARY_OVERLAP, TEMPORARY_PREFERRED,
    TEMPORARY_VALID,
};

/// A key and what became of it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) key: TemporaryKey,
    /// Out of 2³² that came with the key: where in a span its random moments lie.
    pub(super) chance: u32,
    pub(super) publication: Publication,
    /// `None` while it is only prepared.
    pub(super) usage: Option<Usage>,
}

/// Whether others can find it.
#[derive(Debug, Default)]
pub(super) struct Publication {
    /// It could be found once; a restart does not change that.
    pub(super) known: bool,
    /// When to ask for it, the next time.
    pub(super) due: Option<Moment>,
    /// When it was asked for first.
    pub(super) asked: Option<Moment>,
    pub(super) failed: bool,
}

/// An address on the interface.
#[derive(Debug)]
pub(super) struct Usage {
    /// The day of UTC for which it is used; `None` if timers decide.
    pub(super) day: Option<Day>,
    /// When its lives began: the midnight before, also for a node that was started later.
    pub(super) since: Moment,
    /// When it came to the interface.
    pub(super) started: Moment,
    /// When the next one relieves it.
    pub(super) switch: Moment,
    /// When to put it on the interface, the next time.
    pub(super) assign: Option<Moment>,
    /// The end of its preferred life that the kernel was told last.
    pub(super) told: Moment,
}

impl Held {
    pub(super) fn new(key: TemporaryKey, chance: u32, now: Moment) -> Held {
        let publication = Publication { due: Some(now), ..Publication::default() };
        Held { key, chance, publication, usage: None }
    }

    /// When its successor is to be made and published.
    pub(super) fn prepare(&self) -> Option<Moment> {
        let usage = self.usage.as_ref()?;
        if usage.day.is_none() {
            return Some(usage.switch.before(TEMPORARY_OVERLAP));
        }
        // Never together with its own first publication: one who sees both would know that they belong together.
        let begin = usage.switch.before(PUBLICATION_WINDOW).max(usage.started);
        let end = usage.switch.before(PUBLICATION_LEAD);
        Some(begin.after(part(end.since(begin), self.chance)))
    }

    /// Puts it to use: `relieved` is the day of the one before it.
    pub(super) fn begin_use(&mut self, now: &Now, relieved: Option<Day>) {
        let today = now.today();
        // After a clock was set back: the midnight that it passes again was changed at already.
        let day =
            today.map(|today| if relieved == Some(today.saturating_add(1)) { today.saturating_add(1) } else { today });
        let since = day.and_then(|day| now.midnight(day)).map_or(now.at, |midnight| midnight.min(now.at));
        let desync = part(MAX_DESYNC, self.chance);
        let timer = now.at.after(TEMPORARY_PREFERRED - TEMPORARY_OVERLAP).before(desync);
        let switch = day.and_then(|day| now.midnight(day.saturating_add(1))).unwrap_or(timer);
        let switch = switch.min(since.after(TEMPORARY_MAX_USE));
        let told = switch.after(TEMPORARY_OVERLAP);
        self.usage = Some(Usage { day, since, started: now.at, switch, assign: Some(now.at), told });
    }
}

impl Usage {
    /// The last moment at which it is an address.
    pub(super) fn end(&self) -> Moment {
        self.since.after(TEMPORARY_VALID)
    }

    /// The last moment at which new connections begin with it.
    pub(super) fn preferred_end(&self) -> Moment {
        self.switch.after(TEMPORARY_OVERLAP).min(self.end())
    }

    /// Looks where midnight is now, and says whether it moved.
    pub(super) fn retime(&mut self, now: &Now) -> bool {
        let Some(today) = now.today() else { return false };
        let day = match self.day {
            // By less than a day a clock is set back to the time before a change that was made: once is enough.
            Some(day) if day <= today.saturating_add(1) => day,
            _ => today,
        };
        let Some(midnight) = now.midnight(day.saturating_add(1)) else { return false };
        let before = (self.day, self.switch);
        self.day = Some(day);
        self.switch = midnight.min(self.since.after(TEMPORARY_MAX_USE));
        before.0 != self.day || before.1.distance(self.switch) >= crate::limits::LIFETIME_TOLERANCE
    }

    pub(super) fn lifetimes(&self, now: Moment, preferred: bool) -> Lifetimes {
        let preferred = if preferred { self.preferred_end().since(now) } else { Duration::ZERO };
        Lifetimes { preferred, valid: Some(self.end().since(now)) }
    }
}

/// The share of a span that a chance gives.
fn part(span: Duration, chance: u32) -> Duration {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
    Duration::from_millis((ms * u64::from(chance)) >> 32)
}
