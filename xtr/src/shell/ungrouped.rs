// SPDX-License-Identifier: GPL-2.0-or-later
//! Locators that the kernel takes no groups of packets to: an IPsec policy wants each packet for itself, or the interface on the way
//! there computes no checksums.

use std::net::IpAddr;
use std::time::Instant;

use super::clock;
use crate::limits;

/// What is known of them, for a while: then groups are tried again, and what is refused then still leaves one by one.
#[derive(Debug, Default)]
pub struct Ungrouped {
    /// Where a group was refused last: if one packet alone is taken there, it was because it was a group.
    refused: Option<IpAddr>,
    known: Vec<IpAddr>,
    /// Until when they are known.
    until: Option<Instant>,
}

impl Ungrouped {
    /// The kernel has refused a group to this locator.
    pub fn on_refused(&mut self, locator: IpAddr) {
        self.refused = Some(locator);
    }

    /// The kernel has taken one packet alone to this locator. Whether something is learned from that.
    #[inline]
    pub fn on_taken(&mut self, locator: IpAddr) -> bool {
        self.refused == Some(locator) && self.learn(locator, clock::now())
    }

    #[cold]
    fn learn(&mut self, locator: IpAddr, now: Instant) -> bool {
        self.refused = None;
        if self.known.len() == limits::UNGROUPED || self.known.contains(&locator) {
            return false;
        }
        self.until.get_or_insert(now + limits::UNGROUPED_TIME);
        self.known.push(locator);
        true
    }

    /// The locators, for now.
    pub fn known(&mut self, now: Instant) -> &[IpAddr] {
        if self.until.is_some_and(|until| until <= now) {
            *self = Self::default();
        }
        &self.known
    }

    /// Whether there are so many that it has to be the interface: no group is made then.
    pub fn is_full(&self) -> bool {
        self.known.len() == limits::UNGROUPED
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn locator(host: u8) -> IpAddr {
        [192, 0, 2, host].into()
    }

    #[test]
    fn what_one_packet_is_taken_to_where_a_group_was_not_is_known_for_a_while() {
        let mut ungrouped = Ungrouped::default();
        assert!(!ungrouped.on_taken(locator(1)), "nothing was refused");
        ungrouped.on_refused(locator(1));
        assert!(!ungrouped.on_taken(locator(2)), "another");
        let before = Instant::now();
        assert!(ungrouped.on_taken(locator(1)) && !ungrouped.on_taken(locator(1)), "once");
        assert_eq!(ungrouped.known(before + limits::UNGROUPED_TIME - Duration::from_secs(1)), [locator(1)]);
        let after = Instant::now() + limits::UNGROUPED_TIME;
        assert!(ungrouped.known(after).is_empty());
        ungrouped.on_refused(locator(1));
        assert!(ungrouped.on_taken(locator(1)), "again");
    }

    #[test]
    fn so_many_are_known_and_then_it_is_the_interface() {
        let mut ungrouped = Ungrouped::default();
        for host in 0..=u8::MAX {
            assert_eq!(ungrouped.is_full(), usize::from(host) >= limits::UNGROUPED);
            ungrouped.on_refused(locator(host));
            ungrouped.on_taken(locator(host));
        }
        assert_eq!(ungrouped.known(Instant::now()).len(), limits::UNGROUPED);
        assert!(ungrouped.known(Instant::now() + limits::UNGROUPED_TIME).is_empty() && !ungrouped.is_full());
    }
}
