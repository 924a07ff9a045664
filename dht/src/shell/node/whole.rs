// SPDX-License-Identifier: GPL-2.0-or-later
//! A network that is small enough to be known as a whole. Whoever finds fewer nodes than shall keep a record has found all there
//! are, and for the next record would ask the same ones for the same answer: who publishes ten thousand would ask them as often.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use libp2p::PeerId;

use super::driver::Driver;
use crate::limits::{REPLICAS, SIZE_SAMPLES_LEAST};
use crate::shell::limits;

/// All nodes there are, and where they were found.
#[derive(Debug)]
pub(super) struct Whole {
    found: HashMap<PeerId, Option<IpAddr>>,
    until: Instant,
}

impl Driver {
    /// All nodes there are; `None` where they are too many, or nobody has looked lately.
    pub(super) fn whole(&self, now: Instant) -> Option<HashMap<PeerId, Option<IpAddr>>> {
        // Who has not looked at enough places yet looks at others with the next PUT.
        let has_looked = self.size.samples() >= SIZE_SAMPLES_LEAST;
        let whole = self.whole.as_ref().filter(|whole| has_looked && whole.until > now)?;
        Some(whole.found.clone())
    }

    /// These have answered a lookup that asked everybody whom it heard of. They are all there are if they are fewer than a lookup
    /// looks for, and each peer of the routing table is among them: one that was silent once is asked again.
    pub(super) fn learn_whole(&mut self, now: Instant, answered: HashMap<PeerId, Option<IpAddr>>) {
        let is_known = |peer: &PeerId| answered.contains_key(peer);
        let mut buckets = self.swarm.behaviour_mut().kad.kbuckets();
        let is_whole = !answered.is_empty()
            && answered.len() < REPLICAS
            && buckets.all(|bucket| bucket.iter().all(|entry| is_known(entry.node.key.preimage())));
        drop(buckets);
        self.whole = is_whole.then(|| Whole { found: answered, until: now + limits::WHOLE });
    }
}
