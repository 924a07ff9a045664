// SPDX-License-Identifier: GPL-2.0-or-later
//! Pairs of inner and outer ECN field that no way of encapsulating makes (RFC 6040, section 4.2). Each is counted by name, and said to
//! control at a pace that fills no log.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use wire::data::Ecn;

use crate::counters::{Count, Counters};
use crate::limits;
use crate::map_cache::Event;

/// The pairs, inner before outer, with their counters. What is dropped has one as a drop.
const UNUSED: [(Ecn, Ecn, Option<Count>); 5] = [
    (Ecn::NotEct, Ecn::Ect0, Some(Count::EcnEct0OverNotEct)),
    (Ecn::NotEct, Ecn::Ect1, Some(Count::EcnEct1OverNotEct)),
    (Ecn::NotEct, Ecn::Ce, None),
    (Ecn::Ect1, Ecn::Ect0, Some(Count::EcnEct0OverEct1)),
    (Ecn::Ce, Ecn::Ect1, Some(Count::EcnEct1OverCe)),
];

/// What has come of them.
#[derive(Debug)]
pub(super) struct UnusedEcn {
    now: Option<Instant>,
    seen: [Cell<Seen>; UNUSED.len()],
    counters: Arc<Counters>,
}

/// What has come of one of them.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Packets of which control has not heard.
    packets: u64,
    /// The RLOC that sent the last of them.
    rloc: Option<IpAddr>,
    /// When control heard of some.
    said: Option<Instant>,
}

impl UnusedEcn {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { now: None, seen: Default::default(), counters }
    }

    pub(super) fn advance(&mut self, now: Instant) {
        self.now = Some(now);
    }

    /// Looks at the fields of a packet.
    #[inline]
    pub(super) fn look(&self, rloc: IpAddr, inner: Ecn, outer: Ecn) {
        // Nearly all packets have the same field twice, or nothing but CE more.
        if inner != outer && Ecn::is_unused(inner, outer) {
            self.note(rloc, inner, outer);
        }
    }

    #[cold]
    fn note(&self, rloc: IpAddr, inner: Ecn, outer: Ecn) {
        for ((_, _, count), seen) in UNUSED.iter().zip(&self.seen).filter(|((i, o, _), _)| (*i, *o) == (inner, outer)) {
            let before = seen.get();
            seen.set(Seen { packets: before.packets.saturating_add(1), rloc: Some(rloc), ..before });
            if let Some(count) = count {
                self.counters.add(*count, 1);
            }
        }
    }

    pub(super) fn has_events(&self) -> bool {
        self.seen.iter().any(|seen| self.is_due(&seen.get()))
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        let due = self.seen.iter().position(|seen| self.is_due(&seen.get()))?;
        let Seen { packets, rloc, .. } = self.seen[due].replace(Seen { said: self.now, ..Seen::default() });
        let (inner, outer, _) = UNUSED[due];
        Some(Event::UnusedEcn { rloc: rloc?, inner, outer, packets })
    }

    /// Control had no room: it is said as soon as there is some, with what comes meanwhile.
    pub(super) fn event_lost(&mut self, rloc: IpAddr, (inner, outer): (Ecn, Ecn), packets: u64) {
        let of_pair = UNUSED.iter().zip(&self.seen).find(|((i, o, _), _)| (*i, *o) == (inner, outer));
        if let Some((_, seen)) = of_pair {
            let after = seen.get();
            let (packets, rloc) = (after.packets.saturating_add(packets), after.rloc.or(Some(rloc)));
            seen.set(Seen { packets, rloc, said: None });
        }
    }

    fn is_due(&self, seen: &Seen) -> bool {
        let is_over = |(now, said): (Instant, Instant)| now.saturating_duration_since(said) >= limits::ECN_SAID;
        seen.packets > 0 && self.now.zip(seen.said).is_none_or(is_over)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    const FIELDS: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce];

    fn rloc(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn events(unused: &mut UnusedEcn) -> Vec<(IpAddr, Ecn, Ecn, u64)> {
        let event = |event| match event {
            Event::UnusedEcn { rloc, inner, outer, packets } => (rloc, inner, outer, packets),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| unused.poll_event()).map(event).collect()
    }

    #[test]
    fn each_pair_that_nobody_makes_is_counted_by_name_and_no_other_is() {
        let counters = Arc::new(Counters::default());
        let mut unused = UnusedEcn::new(counters.clone());
        unused.advance(Instant::now());
        for (inner, outer) in FIELDS.into_iter().flat_map(|inner| FIELDS.map(|outer| (inner, outer))) {
            unused.look(rloc(1), inner, outer);
        }
        let counted: Vec<_> = counters.snapshot().into_iter().filter(|(_, count)| *count > 0).collect();
        let names = ["ect0-over-not-ect", "ect1-over-not-ect", "ect0-over-ect1", "ect1-over-ce"];
        assert_eq!(counted, names.map(|name| (format!("core-ecn-{name}"), 1)));
        let said: Vec<_> = events(&mut unused).into_iter().map(|(_, inner, outer, _)| (inner, outer)).collect();
        assert_eq!(said, UNUSED.map(|(inner, outer, _)| (inner, outer)), "with the one that is dropped");
    }

    #[test]
    fn a_flood_is_said_once_in_a_while_with_its_number_and_the_last_that_sent_it() {
        let (start, mut unused) = (Instant::now(), UnusedEcn::new(Arc::default()));
        unused.advance(start);
        let flood = |unused: &UnusedEcn, by: u8| (0..1000).for_each(|_| unused.look(rloc(by), Ecn::Ce, Ecn::Ect1));
        unused.look(rloc(1), Ecn::Ce, Ecn::Ect1);
        assert_eq!(events(&mut unused), [(rloc(1), Ecn::Ce, Ecn::Ect1, 1)]);
        flood(&unused, 2);
        unused.advance(start + limits::ECN_SAID / 2);
        flood(&unused, 3);
        assert!(!unused.has_events() && events(&mut unused).is_empty());
        unused.advance(start + limits::ECN_SAID);
        assert!(unused.has_events());
        assert_eq!(events(&mut unused), [(rloc(3), Ecn::Ce, Ecn::Ect1, 2000)]);
        unused.advance(start + limits::ECN_SAID * 9);
        assert!(!unused.has_events(), "nothing more has come");
    }

    #[test]
    fn what_control_had_no_room_for_is_said_again_with_what_came_meanwhile() {
        let mut unused = UnusedEcn::new(Arc::default());
        unused.advance(Instant::now());
        unused.look(rloc(1), Ecn::NotEct, Ecn::Ce);
        assert_eq!(events(&mut unused).len(), 1);
        unused.look(rloc(2), Ecn::NotEct, Ecn::Ce);
        unused.event_lost(rloc(1), (Ecn::NotEct, Ecn::Ce), 1);
        assert_eq!(events(&mut unused), [(rloc(2), Ecn::NotEct, Ecn::Ce, 2)]);
    }
}
