// SPDX-License-Identifier: GPL-2.0-or-later
//! Which RLOCs send to us: written down once a second for each, so that control can tell them of changes (RFC 9301, section 6.1).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use wire::address::InstanceId;

use crate::limits;
use crate::map_cache::Keys;
use crate::senders::Senders;

/// How often an RLOC is written down.
const STEP: Duration = Duration::from_secs(1);

/// RLOCs that have been written down in the second that goes on; those that fall into one place displace each other.
#[derive(Debug)]
pub(super) struct Written {
    keys: Keys,
    places: Vec<(Option<IpAddr>, u32)>,
    began: Option<Instant>,
    step: u32,
}

impl Written {
    pub(super) fn new() -> Self {
        Self { keys: Keys::default(), places: vec![(None, 0); limits::SENDERS_WRITTEN], began: None, step: 0 }
    }

    pub(super) fn advance(&mut self, now: Instant) {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= STEP) {
            self.began = Some(now);
            self.step = self.step.wrapping_add(1);
        }
    }

    #[inline]
    pub(super) fn note(&mut self, rloc: IpAddr, senders: &Senders) {
        let Some(now) = self.began else { return };
        let hash = self.keys.hash(InstanceId(0), rloc);
        let place = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() % limits::SENDERS_WRITTEN;
        let new = (Some(rloc), self.step);
        if self.places[place] != new {
            self.places[place] = new;
            senders.note(now, rloc);
        }
    }
}
