// SPDX-License-Identifier: GPL-2.0-or-later
//! From which RLOCs packets have come: noted by the ETR, asked by the ITR, without a lock and without a search.
//!
//! A table of fixed size; two RLOCs that fall into one place displace each other. Then one of them may seem silent, which makes
//! control look, and no more. So does a forged source: what it proves is as little as data that comes back proves.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wire::address::{InstanceId, Keys};

use crate::limits;
use crate::map_cache::Tick;

/// The low half of a place is the tick, the upper half tells the RLOC.
const TICK_BITS: u32 = 32;

/// When each RLOC was last heard.
#[derive(Debug)]
pub(crate) struct Heard {
    keys: Keys,
    now: AtomicU32,
    places: Box<[AtomicU64; limits::HEARD_RLOCS]>,
}

impl Default for Heard {
    fn default() -> Self {
        let places = Box::new([const { AtomicU64::new(0) }; limits::HEARD_RLOCS]);
        Self { keys: Keys::default(), now: AtomicU32::new(0), places }
    }
}

impl Heard {
    /// The ITR tells the time.
    pub(crate) fn set_time(&self, now: Tick) {
        self.now.store(now.0, Ordering::Relaxed);
    }

    /// The ETR has decapsulated a packet from this RLOC.
    pub(crate) fn note(&self, rloc: IpAddr) {
        let (place, mark) = self.find(rloc);
        let new = mark | u64::from(self.now.load(Ordering::Relaxed));
        // Most packets come in the same tick as the one before: then nobody's cache line changes.
        if place.load(Ordering::Relaxed) != new {
            place.store(new, Ordering::Relaxed);
        }
    }

    /// When this RLOC was last heard; [`Tick::NONE`] if that is not known.
    pub(crate) fn last(&self, rloc: IpAddr) -> Tick {
        let (place, mark) = self.find(rloc);
        let tick = place.load(Ordering::Relaxed) ^ mark;
        // What is left above is the difference of two marks.
        u32::try_from(tick).map_or(Tick::NONE, Tick)
    }

    fn find(&self, rloc: IpAddr) -> (&AtomicU64, u64) {
        let hash = self.keys.hash(InstanceId(0), rloc);
        let place = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() % limits::HEARD_RLOCS;
        (&self.places[place], hash >> TICK_BITS << TICK_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_moment_of_each_rloc_is_known() {
        let heard = Heard::default();
        let [one, other]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert_eq!(heard.last(one), Tick::NONE);
        heard.set_time(Tick(7));
        heard.note(one);
        heard.set_time(Tick(9));
        assert_eq!((heard.last(one), heard.last(other)), (Tick(7), Tick::NONE));
        heard.note(one);
        assert_eq!(heard.last(one), Tick(9));
    }
}
