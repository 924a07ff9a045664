// SPDX-License-Identifier: GPL-2.0-or-later
//! Which locator is probed next. When all are to be looked at, since our own locators are others now, there are more probes than may be
//! sent at once: those come first that packets go to and nothing comes back from, as they are being lost.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use super::limits;

/// When something is due for each locator.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    suspected: BTreeSet<(Instant, IpAddr)>,
    others: BTreeSet<(Instant, IpAddr)>,
    /// Suspected ones that were probed since one of the others was.
    in_a_row: u32,
}

impl Schedule {
    /// Something is due for `rloc` then, and not before; whether it is suspected.
    pub(super) fn insert(&mut self, due: Instant, rloc: IpAddr, is_suspected: bool) {
        let set = if is_suspected { &mut self.suspected } else { &mut self.others };
        set.insert((due, rloc));
    }

    pub(super) fn remove(&mut self, due: Instant, rloc: IpAddr) {
        let at = (due, rloc);
        if !self.others.remove(&at) {
            self.suspected.remove(&at);
        }
    }

    /// The next one for which something is due, of those of one kind that which is due longest. The others have their share, however many
    /// are suspected: to some packets may go for ever without an answer.
    pub(super) fn due(&self, now: Instant) -> Option<(Instant, IpAddr)> {
        let due = |set: &BTreeSet<_>| set.first().copied().filter(|(due, _)| *due <= now);
        let (suspected, other) = (due(&self.suspected), due(&self.others));
        if self.in_a_row < limits::SUSPECTED_IN_A_ROW { suspected.or(other) } else { other.or(suspected) }
    }

    /// One was probed.
    pub(super) fn probed(&mut self, is_suspected: bool) {
        self.in_a_row = if is_suspected { self.in_a_row.saturating_add(1) } else { 0 };
    }

    /// When something is due for any.
    pub(super) fn next(&self) -> Option<Instant> {
        [&self.suspected, &self.others].into_iter().filter_map(|set| Some(set.first()?.0)).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn suspected_ones_come_first_and_the_others_have_a_share() {
        let (start, mut schedule) = (Instant::now(), Schedule::default());
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let at = |last: u8| start + Duration::from_millis(last.into());
        (0..100).for_each(|last| schedule.insert(at(last), address(last), last >= 50));
        assert_eq!((schedule.due(start), schedule.next()), (Some((start, address(0))), Some(start)));
        let mut probed = Vec::new();
        while let Some((due, rloc)) = schedule.due(at(200)) {
            schedule.remove(due, rloc);
            let last = u8::try_from((due - start).as_millis()).unwrap();
            schedule.probed(last >= 50);
            probed.push(last);
        }
        assert_eq!(probed[..8], [50, 51, 52, 0, 53, 54, 55, 1]);
        assert_eq!((probed.len(), schedule.next()), (100, None));
    }
}
