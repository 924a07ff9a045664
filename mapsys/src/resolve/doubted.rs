// SPDX-License-Identifier: GPL-2.0-or-later
//! What the node's own xTR was told by an SMR to be outdated, while the DHT has nothing newer: a Map-Server confirms a change before it has
//! published it. It is looked up again for a while.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use wire::address::EidPrefix;

use super::found::Found;
use crate::limits::{DOUBTED, LOOKED_UP_AGAIN, LOOKUP_TIMEOUT};

/// The EIDs, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Doubted {
    hosts: HashMap<EidPrefix, Doubt>,
    due: BTreeSet<(Instant, EidPrefix)>,
}

#[derive(Debug)]
struct Doubt {
    said: Found,
    due: Instant,
    /// How often it was looked up again.
    again: usize,
}

impl Doubted {
    /// `said` is in doubt from now on; what is so already begins anew. Where there is no room nothing is looked up again.
    pub(super) fn note(&mut self, now: Instant, host: EidPrefix, said: &Found) {
        if let Some(former) = self.hosts.remove(&host) {
            self.due.remove(&(former.due, host));
        }
        if self.hosts.len() < DOUBTED {
            let due = now + LOOKED_UP_AGAIN[0];
            self.due.insert((due, host));
            self.hosts.insert(host, Doubt { said: said.clone(), due, again: 0 });
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

    /// Whether this is something else than what was said. It need not be the last change.
    pub(super) fn is_news(&mut self, host: &EidPrefix, found: &Found) -> bool {
        let news = self.hosts.get_mut(host).filter(|doubt| found.is_news_after(&doubt.said));
        news.map(|doubt| doubt.said = found.clone()).is_some()
    }
}
