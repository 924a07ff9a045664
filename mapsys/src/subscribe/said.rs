// SPDX-License-Identifier: GPL-2.0-or-later
//! The last word on parts of what is subscribed to in the DHT: each lookup of a part finds it anew, and it is told once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::queue::Receiver;
use crate::limits::SAID_PARTS;

/// Digests of what was told last, by receiver; no more than [`SAID_PARTS`].
#[derive(Debug, Default)]
pub struct Said(BTreeMap<Receiver, u64>);

impl Said {
    /// Whether that was the last word to a receiver.
    pub fn is_last(&self, receiver: &Receiver, digest: u64) -> bool {
        self.0.get(receiver) == Some(&digest)
    }

    /// Notes the last word. Where there is no room all is forgotten, and told once more when it is found the next time.
    pub fn note(&mut self, receiver: Receiver, digest: u64) {
        if self.0.len() >= SAID_PARTS && !self.0.contains_key(&receiver) {
            self.0.clear();
        }
        self.0.insert(receiver, digest);
    }

    /// The receivers of `range` may not have heard it.
    pub fn forget(&mut self, range: RangeInclusive<Receiver>) {
        let gone: Vec<Receiver> = self.0.range(range).map(|(receiver, _)| *receiver).collect();
        for receiver in gone {
            self.0.remove(&receiver);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use wire::address::{EidPrefix, InstanceId};
    use wire::control::XtrIdentity;

    use super::super::subscription::SubscriptionKey;
    use super::*;

    fn receiver(xtr: u8, n: usize) -> Receiver {
        let host = |n| EidPrefix::host(InstanceId(0), std::net::Ipv4Addr::from(u32::try_from(n).unwrap()).into());
        let xtr = XtrIdentity { xtr_id: [xtr; 16], site_id: 0 };
        Receiver { key: SubscriptionKey { xtr, prefix: host(0) }, about: host(n) }
    }

    #[test]
    fn what_was_said_last_is_known_until_it_is_forgotten_or_too_much() {
        let mut said = Said::default();
        said.note(receiver(1, 1), 5);
        said.note(receiver(2, 1), 5);
        assert!(said.is_last(&receiver(1, 1), 5) && !said.is_last(&receiver(1, 1), 6));
        said.forget(Receiver::all(receiver(1, 1).key));
        assert!(!said.is_last(&receiver(1, 1), 5) && said.is_last(&receiver(2, 1), 5));
        for n in 0..SAID_PARTS + 9 {
            said.note(receiver(3, n), 7);
            assert!(said.0.len() <= SAID_PARTS);
        }
        assert!(said.is_last(&receiver(3, SAID_PARTS + 8), 7));
    }
}
