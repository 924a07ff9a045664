// SPDX-License-Identifier: GPL-2.0-or-later
//! Locators that come and go, as those of a cable with a bad contact do. Each change is a Map-Register to each Map-Server, a version of the
//! mapping and an SMR to each ITR, so those that do it again and again are made to wait (RFC 9301, section 8.2).
//!
//! That a locator has gone is told at once: packets for it are lost. So is that it is back, for the first time. If it goes again soon, it
//! has to have been there for a second the next time, and each time for twice as long as before. Where there is no other one that could be
//! preferred to it, it is one at once also for the second time, and after a second from then on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Locators, Machine, Wanted};

/// How long a locator has to have been there that is back for the second time; doubles with each time that it goes.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest time that it has to have been there.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// So often one that has no other beside it is back at once; after more losses it has to have been there for [`FIRST_WAIT`].
const LOSSES_ALONE: u32 = 2;
/// So long after it was last seen to go, it is a locator as any other.
const QUIET: Duration = Duration::from_secs(30);
/// Addresses of which it is known that they have gone; what else goes within [`QUIET`] waits for nothing.
const FLAPPING: usize = 64;

/// Which locators have gone lately.
#[derive(Debug, Default)]
pub struct Damper {
    flaps: BTreeMap<IpAddr, Flaps>,
    /// When the next one that waits has been there for long enough.
    due: Option<Instant>,
    /// What the operator wanted at the last look.
    wanted: Option<Wanted>,
}

/// Those of one address.
#[derive(Debug, Clone, Copy)]
struct Flaps {
    /// How often it has gone that was told to be there.
    losses: u32,
    /// When it was last seen to go, whether that was told or not.
    last: Instant,
    /// Since when it is there, if it is there and waits.
    since: Option<Instant>,
}

impl Damper {
    /// The locators of this node, which had those of `before`, as [`Machine::locators`] has them, without those that have to wait: as if
    /// their addresses were not there yet.
    pub fn locators(&mut self, now: Instant, machine: Machine, wanted: &Wanted, before: &Locators) -> Locators {
        self.flaps.retain(|_, flaps| now.saturating_duration_since(flaps.last) < QUIET);
        self.due = None;
        let served = before.reachable();
        let look = (machine.clone(), wanted, before);
        let (mut found, mut waiting) = self.without_those_that_wait(now, look, Flaps::wait);
        if found.reachable().is_empty() && !waiting.is_empty() {
            // Without any locator the site is out of reach.
            self.due = None;
            (found, waiting) = self.without_those_that_wait(now, (machine, wanted, before), Flaps::wait_alone);
        }
        let there = found.reachable();
        for (address, flaps) in &mut self.flaps {
            if flaps.since.is_some() && !waiting.contains(address) {
                flaps.since = None;
                flaps.last = if there.contains(address) { flaps.last } else { now };
            }
        }
        // What the operator takes away is not what goes by itself.
        if self.wanted.as_ref().is_none_or(|former| former == wanted) {
            served.into_iter().filter(|address| !there.contains(address)).for_each(|address| self.lost(now, address));
        }
        self.wanted = Some(wanted.clone());
        found
    }

    /// The locators without those that have to wait, and these.
    fn without_those_that_wait(
        &mut self,
        now: Instant,
        (mut machine, wanted, before): (Machine, &Wanted, &Locators),
        wait: fn(&Flaps) -> Duration,
    ) -> (Locators, Vec<IpAddr>) {
        let (served, mut waiting) = (before.reachable(), Vec::new());
        loop {
            let found = machine.locators(wanted, before);
            let come = found.reachable().into_iter().filter(|address| !served.contains(address));
            let to_wait: Vec<_> = come.filter(|address| self.has_to_wait(now, *address, wait)).collect();
            if to_wait.is_empty() {
                return (found, waiting);
            }
            // Others may take their place.
            machine.set_aside(&to_wait);
            waiting.extend(to_wait);
        }
    }

    /// When [`Self::locators`] has something else to say though nothing has changed.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    fn has_to_wait(&mut self, now: Instant, address: IpAddr, wait: fn(&Flaps) -> Duration) -> bool {
        let Some(flaps) = self.flaps.get_mut(&address) else { return false };
        let until = *flaps.since.get_or_insert(now) + wait(flaps);
        if until <= now {
            return false;
        }
        self.due = Some(self.due.map_or(until, |due| due.min(until)));
        true
    }

    fn lost(&mut self, now: Instant, address: IpAddr) {
        let has_room = self.flaps.len() < FLAPPING;
        match self.flaps.get_mut(&address) {
            Some(flaps) => *flaps = Flaps { losses: flaps.losses.saturating_add(1), last: now, since: None },
            None if has_room => {
                self.flaps.insert(address, Flaps { losses: 1, last: now, since: None });
            }
            None => {}
        }
    }
}

impl Flaps {
    fn wait(&self) -> Duration {
        match self.losses.checked_sub(2) {
            None => Duration::ZERO,
            Some(doubled) => FIRST_WAIT.saturating_mul(1 << doubled.min(5)).min(LONGEST_WAIT),
        }
    }

    /// Where there is no other one. Each return is a map-version, of which there are 4095 (RFC 9302, section 6), and is written to disk.
    fn wait_alone(&self) -> Duration {
        if self.losses > LOSSES_ALONE { FIRST_WAIT } else { Duration::ZERO }
    }
}
