// SPDX-License-Identifier: GPL-2.0-or-later
//! The RLOCs that packets have come from within the last minute: written by the ETR, read by whoever tells them of changes
//! (RFC 9301, section 6.1). An RTR has them for each EID-prefix that it has a binding for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, TryLockError};
use std::time::Instant;

use wire::address::EidPrefix;

use crate::limits;
use crate::reach::limits::TIMES_TOLD;

/// When packets last came from each RLOC, to a second.
#[derive(Debug, Default)]
pub(crate) struct Senders(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    rlocs: HashMap<IpAddr, Instant>,
    swept: Option<Instant>,
}

impl Senders {
    /// Notes an RLOC, unless somebody reads: then it is noted a second later. One that finds no room hears of no change.
    pub(crate) fn note(&self, now: Instant, rloc: IpAddr) {
        let mut table = match self.0.try_lock() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if table.rlocs.len() >= limits::SENDERS && !table.rlocs.contains_key(&rloc) {
            let is_old = |at: Instant| now.saturating_duration_since(at) >= limits::SENDERS_SWEPT;
            if table.swept.is_none_or(is_old) {
                table.swept = Some(now);
                table.rlocs.retain(|_, at| now.saturating_duration_since(*at) < limits::SENDER_RECENT);
            }
            if table.rlocs.len() >= limits::SENDERS {
                return;
            }
        }
        table.rlocs.insert(rloc, now);
    }

    /// Those of the last minute, and when packets last came from each.
    pub(crate) fn lately(&self, now: Instant) -> Vec<(IpAddr, Instant)> {
        let table = match self.0.lock() {
            Ok(table) => table,
            Err(poisoned) => poisoned.into_inner(),
        };
        let recent = table.rlocs.iter().filter(|(_, at)| now.saturating_duration_since(**at) < limits::SENDER_RECENT);
        recent.map(|(rloc, at)| (*rloc, *at)).collect()
    }
}

/// Which RLOCs have sent to an EID-prefix behind a NAT, each in how many seconds for which nobody has solicited it yet.
#[derive(Debug, Default)]
pub(crate) struct BoundSenders(Mutex<BoundTable>);

#[derive(Debug, Default)]
struct BoundTable {
    prefixes: HashMap<EidPrefix, HashMap<IpAddr, (Instant, usize)>>,
    /// RLOCs of all of them.
    count: usize,
    swept: Option<Instant>,
}

impl BoundSenders {
    /// As [`Senders::note`].
    pub(crate) fn note(&self, now: Instant, prefix: EidPrefix, rloc: IpAddr) {
        let mut table = match self.0.try_lock() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Some((at, seconds)) = table.prefixes.get_mut(&prefix).and_then(|known| known.get_mut(&rloc)) {
            // Another host of the prefix, in the same second.
            if *at != now {
                let is_old = now.saturating_duration_since(*at) >= limits::SENDER_RECENT;
                (*at, *seconds) = (now, if is_old { 1 } else { seconds.saturating_add(1) });
            }
        } else if table.has_room(now, &prefix) {
            table.prefixes.entry(prefix).or_default().insert(rloc, (now, 1));
            table.count += 1;
        }
    }

    /// Those that have sent to `bound` within the last minute, and how often each is to hear: as others of a change, but in all no
    /// oftener than in how many seconds it has sent, so that who writes a source of his choice brings no more upon it than he sends. When
    /// they are to hear about all of it they are forgotten by that; of a part they still send to the rest, and hear when the next part
    /// moves, as long as they go on.
    pub(crate) fn to_hear(&self, now: Instant, bound: &EidPrefix, about: &EidPrefix) -> Vec<(IpAddr, usize)> {
        let mut table = match self.0.lock() {
            Ok(table) => table,
            Err(poisoned) => poisoned.into_inner(),
        };
        let is_recent = |at: Instant| now.saturating_duration_since(at) < limits::SENDER_RECENT;
        let Some(mut known) = table.prefixes.remove(bound) else { return Vec::new() };
        table.count -= known.len();
        let recent = known.iter_mut().filter(|(_, (at, _))| is_recent(*at)).map(|(rloc, (_, seconds))| {
            let times = TIMES_TOLD.min(*seconds);
            *seconds -= times;
            (*rloc, times)
        });
        let to_hear = recent.collect();
        if about != bound {
            known.retain(|_, (at, seconds)| is_recent(*at) && *seconds > 0);
            table.count += known.len();
            table.prefixes.insert(*bound, known);
        }
        to_hear
    }
}

impl BoundTable {
    fn has_room(&mut self, now: Instant, prefix: &EidPrefix) -> bool {
        let is_full = |table: &Self| {
            let of_prefix = table.prefixes.get(prefix).map_or(0, HashMap::len);
            table.count >= limits::BOUND_SENDERS || of_prefix >= limits::SENDERS_OF_BINDING
        };
        let is_old = |at: Instant, age| now.saturating_duration_since(at) >= age;
        if is_full(self) && self.swept.is_none_or(|at| is_old(at, limits::SENDERS_SWEPT)) {
            self.swept = Some(now);
            self.prefixes.values_mut().for_each(|rlocs| rlocs.retain(|_, (at, _)| !is_old(*at, limits::SENDER_RECENT)));
            self.prefixes.retain(|_, rlocs| !rlocs.is_empty());
            self.count = self.prefixes.values().map(HashMap::len).sum();
        }
        !is_full(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;
    use wire::address::InstanceId;

    fn rloc(number: u32) -> IpAddr {
        IpAddr::V4((0xc633_0000 + number).into())
    }

    #[test]
    fn who_has_sent_within_a_minute_is_known_and_nobody_else() {
        let (senders, now) = (Senders::default(), Instant::now());
        senders.note(now, rloc(1));
        senders.note(now + Duration::from_secs(30), rloc(2));
        assert_eq!(senders.lately(now + Duration::from_secs(61)), [(rloc(2), now + Duration::from_secs(30))]);
    }

    #[test]
    fn invented_senders_fill_the_table_and_no_more() {
        let (senders, now) = (Senders::default(), Instant::now());
        for number in 0..10_000 {
            senders.note(now, rloc(number));
        }
        assert_eq!(senders.lately(now).len(), limits::SENDERS);
        let later = now + limits::SENDER_RECENT;
        senders.note(later, rloc(20_000));
        assert_eq!(senders.lately(later), [(rloc(20_000), later)]);
    }

    fn prefix(number: u8) -> EidPrefix {
        EidPrefix::new(InstanceId(0), [10, number, 0, 0].into(), 16).unwrap()
    }

    fn taken(senders: &BoundSenders, now: Instant, number: u8) -> Vec<(IpAddr, usize)> {
        senders.to_hear(now, &prefix(number), &prefix(number))
    }

    #[test]
    fn who_has_sent_to_a_binding_hears_of_each_part_that_moves_and_no_oftener_than_it_has_sent() {
        let (senders, now) = (BoundSenders::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        for second in [0, 1, 1, 2, 3] {
            senders.note(later(second), prefix(1), rloc(1));
        }
        senders.note(later(3), prefix(1), rloc(3));
        senders.note(now, prefix(2), rloc(2));
        let hear_of = |part: &str| {
            let part = EidPrefix { iid: InstanceId(0), net: part.parse().unwrap() };
            let mut hear = senders.to_hear(later(3), &prefix(1), &part);
            hear.sort();
            hear
        };
        assert_eq!(hear_of("10.1.0.0/24"), [(rloc(1), 2), (rloc(3), 1)]);
        assert_eq!(hear_of("10.1.1.0/24"), [(rloc(1), 2)], "the other one has sent one packet, and heard of one");
        assert_eq!(hear_of("10.1.2.0/24"), []);
        assert_eq!(senders.0.lock().unwrap().count, 1, "what has heard of all makes room");
        senders.note(later(4), prefix(1), rloc(1));
        assert_eq!(hear_of("10.1.2.0/24"), [(rloc(1), 1)], "it goes on");
        senders.note(later(5), prefix(1), rloc(1));
        assert_eq!(taken(&senders, later(5), 1), [(rloc(1), 1)]);
        assert_eq!(taken(&senders, later(5), 1), []);
        senders.note(later(61), prefix(2), rloc(2));
        assert_eq!(taken(&senders, later(61), 2), [(rloc(2), 1)], "what was a minute ago does not count");
        senders.note(later(61), prefix(2), rloc(2));
        assert_eq!(taken(&senders, later(121), 2), [], "a minute ago");
        assert_eq!(senders.0.lock().unwrap().count, 0);
    }

    #[test]
    fn invented_senders_fill_the_share_of_one_binding_and_what_is_old_gives_way() {
        let (senders, now) = (BoundSenders::default(), Instant::now());
        for number in 0..10_000 {
            senders.note(now, prefix(1), rloc(number));
        }
        senders.note(now, prefix(2), rloc(1));
        assert_eq!(taken(&senders, now, 2), [(rloc(1), 1)], "another binding has its own share");
        for binding in 0..=u8::MAX {
            (0..100).for_each(|number| senders.note(now, prefix(binding), rloc(number)));
        }
        let count = || senders.0.lock().unwrap().count;
        assert!(count() == limits::BOUND_SENDERS, "{}", count());
        let later = now + limits::SENDER_RECENT;
        senders.note(later, prefix(9), rloc(20_000));
        assert_eq!((count(), taken(&senders, later, 9)), (1, vec![(rloc(20_000), 1)]));
    }
}
