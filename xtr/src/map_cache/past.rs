// SPDX-License-Identifier: GPL-2.0-or-later
//! What was sent to addresses that packets no longer go to. Who monitors takes a counter that falls for one that has begun anew, and adds up
//! what was counted before.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::limits;

/// What was sent somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sent {
    pub(super) packets: u64,
    /// Without the headers put in front.
    pub(super) octets: u64,
}

impl Sent {
    pub(super) fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.octets += other.octets;
    }
}

/// The addresses, of which the one that is given up longest makes room.
#[derive(Debug, Default)]
pub(super) struct Past {
    sent: HashMap<IpAddr, (u64, Sent)>,
    /// By when they were given up.
    order: BTreeMap<u64, IpAddr>,
    given_up: u64,
}

impl Past {
    /// Keeps what was sent to an address, which has nothing here.
    pub(super) fn keep(&mut self, address: IpAddr, sent: Sent) {
        if sent == Sent::default() {
            return;
        }
        self.given_up += 1;
        self.sent.insert(address, (self.given_up, sent));
        self.order.insert(self.given_up, address);
        if self.sent.len() > limits::PAST_RLOCS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.sent.remove(&oldest);
        }
    }

    /// What was sent to an address, which is counted elsewhere from now on.
    pub(super) fn take(&mut self, address: IpAddr) -> Sent {
        if self.sent.is_empty() {
            return Sent::default();
        }
        let Some((given_up, sent)) = self.sent.remove(&address) else { return Sent::default() };
        self.order.remove(&given_up);
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_the_oldest_is_forgotten() {
        let address = |number: usize| IpAddr::V4((0x0a00_0000 + u32::try_from(number).unwrap_or_default()).into());
        let sent = |packets| Sent { packets, octets: 100 };
        let mut past = Past::default();
        past.keep(address(0), Sent::default());
        (1..=limits::PAST_RLOCS).for_each(|number| past.keep(address(number), sent(1)));
        assert_eq!(past.take(address(1)), sent(1));
        past.keep(address(1), sent(2));
        past.keep(address(limits::PAST_RLOCS + 1), sent(3));
        assert_eq!([0, 2].map(|number| past.take(address(number))), [Sent::default(); 2]);
        assert_eq!([1, 3].map(|number| past.take(address(number))), [sent(2), sent(1)]);
        assert_eq!((past.sent.len(), past.order.len()), (limits::PAST_RLOCS - 2, limits::PAST_RLOCS - 2));
    }
}
