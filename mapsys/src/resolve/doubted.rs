// SPDX-License-Identifier: GPL-2.0-or-later
//! What the node's own xTR was told by an SMR to be outdated, while the DHT has nothing newer: a Map-Server confirms a change before it has
//! published it. It is looked up again for a while.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use wire::address::EidPrefix;

use super::found::Found;
use crate::limits::{DOUBTED, LOOKED_UP_AGAIN, LOOKUP_TIMEOUT, SMR_PAUSE};

/// The EIDs, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Doubted {
    hosts: HashMap<EidPrefix, Doubt>,
    due: BTreeSet<(Instant, EidPrefix)>,
}

#[derive(Debug)]
struct Doubt {
    /// What the xTR was told last; `None` while it waits for that.
    said: Option<Found>,
    /// An SMR for it has come to the xTR by then, of others or ours: it takes no other one for a while.
    solicited: Instant,
    /// Whether that one was ours.
    by_us: bool,
    due: Instant,
    /// How often it was looked up again.
    again: usize,
    /// Whether it is looked up once more than that, since the last news came when the xTR did not listen.
    is_extended: bool,
}

impl Doubted {
    /// The xTR has asked because of an SMR, and is told what was `said` before, or waits. A doubt begins, or begins anew unless the SMR was
    /// ours: what we say leads to no more than three lookups. Where there is no room nothing is looked up again.
    pub(super) fn note(&mut self, now: Instant, host: EidPrefix, said: Option<&Found>) {
        if let Some(doubt) = self.hosts.get_mut(&host).filter(|doubt| doubt.by_us && now < doubt.solicited + SMR_PAUSE)
        {
            doubt.said = said.cloned();
            return;
        }
        if let Some(former) = self.hosts.remove(&host) {
            self.due.remove(&(former.due, host));
        }
        if self.hosts.len() < DOUBTED {
            let due = now + LOOKED_UP_AGAIN[0];
            self.due.insert((due, host));
            self.hosts.insert(
                host,
                Doubt { said: said.cloned(), solicited: now, by_us: false, due, again: 0, is_extended: false },
            );
        }
    }

    /// The next EID to be looked up.
    pub(super) fn poll(&mut self, now: Instant) -> Option<EidPrefix> {
        while let Some((due, host)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, host));
            let Some(doubt) = self.hosts.get_mut(&host) else { continue };
            if doubt.again == LOOKED_UP_AGAIN.len() {
                self.hosts.remove(&host);
                continue;
            }
            doubt.again += 1;
            // Behind the last one it is waited for the end of that.
            doubt.due = now + LOOKED_UP_AGAIN.get(doubt.again).copied().unwrap_or(LOOKUP_TIMEOUT);
            self.due.insert((doubt.due, host));
            return Some(host);
        }
        None
    }

    /// When [`Self::poll`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A lookup has ended, and the xTR is told what it found if it waits for that. Otherwise: whether it has to hear that it is something
    /// else than what it was told. It need not be the last change.
    pub(super) fn hears(&mut self, now: Instant, host: EidPrefix, found: &Found, is_waiting: bool) -> bool {
        let Some(doubt) = self.hosts.get_mut(&host) else { return false };
        if is_waiting {
            doubt.said = Some(found.clone());
            return false;
        }
        if !doubt.said.as_ref().is_some_and(|said| found.is_news_after(said)) {
            return false;
        }
        let takes_smrs = doubt.solicited + SMR_PAUSE;
        if now < takes_smrs {
            // It is looked up once more when the xTR listens.
            self.due.remove(&(doubt.due, host));
            doubt.due = takes_smrs;
            if doubt.again == LOOKED_UP_AGAIN.len() && !doubt.is_extended {
                (doubt.again, doubt.is_extended) = (doubt.again - 1, true);
            }
            self.due.insert((takes_smrs, host));
            return false;
        }
        (doubt.said, doubt.solicited, doubt.by_us) = (Some(found.clone()), now, true);
        true
    }
}
