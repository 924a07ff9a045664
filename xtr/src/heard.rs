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
    places: Places,
    /// The same of packets of trusted peers, by the RLOC of ours that they came to.
    of_peers: Places,
}

type Places = Box<[AtomicU64; limits::HEARD_RLOCS]>;

impl Default for Heard {
    fn default() -> Self {
        let places = || Box::new([const { AtomicU64::new(0) }; limits::HEARD_RLOCS]);
        Self { keys: Keys::default(), now: AtomicU32::new(0), places: places(), of_peers: places() }
    }
}

impl Heard {
    /// The ITR tells the time.
    pub(crate) fn set_time(&self, now: Tick) {
        self.now.store(now.0, Ordering::Relaxed);
    }

    /// The ETR has decapsulated a packet from this RLOC.
    #[inline]
    pub(crate) fn note(&self, rloc: IpAddr) {
        self.write(&self.places, self.hash(rloc));
    }

    /// When this RLOC was last heard; [`Tick::NONE`] if that is not known.
    pub(crate) fn last(&self, rloc: IpAddr) -> Tick {
        read(&self.places, self.hash(rloc))
    }

    /// The packet is one of a trusted peer, and came to this RLOC of ours.
    pub(crate) fn note_peer(&self, rloc: IpAddr, ours: IpAddr) {
        self.write(&self.of_peers, self.hash_of_both(rloc, ours));
    }

    /// When this RLOC of a trusted peer was last heard at this one of ours; [`Tick::NONE`] if that is not known.
    pub(crate) fn last_of_peer(&self, rloc: IpAddr, ours: IpAddr) -> Tick {
        read(&self.of_peers, self.hash_of_both(rloc, ours))
    }

    fn hash(&self, rloc: IpAddr) -> u64 {
        self.keys.hash(InstanceId(0), rloc)
    }

    /// The number tells ours from the other.
    fn hash_of_both(&self, rloc: IpAddr, ours: IpAddr) -> u64 {
        self.hash(rloc) ^ self.keys.hash(InstanceId(1), ours)
    }

    #[inline]
    fn write(&self, places: &Places, hash: u64) {
        let (place, mark) = find(places, hash);
        let new = mark | u64::from(self.now.load(Ordering::Relaxed));
        // Most packets come in the same tick as the one before: then nobody's cache line changes.
        if place.load(Ordering::Relaxed) != new {
            place.store(new, Ordering::Relaxed);
        }
    }
}

fn read(places: &Places, hash: u64) -> Tick {
    let (place, mark) = find(places, hash);
    let tick = place.load(Ordering::Relaxed) ^ mark;
    // What is left above is the difference of two marks.
    u32::try_from(tick).map_or(Tick::NONE, Tick)
}

#[inline]
fn find(places: &Places, hash: u64) -> (&AtomicU64, u64) {
    let place = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() % limits::HEARD_RLOCS;
    (&places[place], hash >> TICK_BITS << TICK_BITS)
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

    #[test]
    fn of_a_peer_it_is_known_for_each_of_our_rlocs() {
        let (heard, one, other): (_, IpAddr, IpAddr) = (Heard::default(), [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        heard.set_time(Tick(7));
        heard.note_peer(one, other);
        assert_eq!(heard.last_of_peer(one, other), Tick(7));
        for (rloc, ours) in [(other, one), (one, one), (other, other)] {
            assert_eq!(heard.last_of_peer(rloc, ours), Tick::NONE);
        }
        assert_eq!(heard.last(one), Tick::NONE);
    }
}
