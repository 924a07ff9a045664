// SPDX-License-Identifier: GPL-2.0-or-later
//! The last nonce of the unsolicited Map-Notifies of each Map-Server (RFC 9301, section 5.7), over restarts and while a server is not
//! configured: one that was taken once could otherwise be sent again by anybody who has seen it go by.

use std::collections::BTreeMap;

use wire::control::Nonce;

use super::limits;
use crate::transport::MapSystem;

/// What was heard last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    last: BTreeMap<MapSystem, Nonce>,
}

impl Heard {
    /// What the last run has left.
    pub(super) fn of(kept: impl IntoIterator<Item = (MapSystem, Nonce)>) -> Self {
        Self { last: kept.into_iter().collect() }
    }

    /// The last nonce of this server; 0 = none yet.
    pub(super) fn last(&self, server: MapSystem) -> Nonce {
        self.last.get(&server).copied().unwrap_or_default()
    }

    /// Notes a nonce: all that is to be kept on disk. Of those who are not `is_served` some are forgotten
    /// when there are too many.
    pub(super) fn note(
        &mut self,
        server: MapSystem,
        nonce: Nonce,
        is_served: impl Fn(&MapSystem) -> bool,
    ) -> Vec<(MapSystem, Nonce)> {
        self.last.insert(server, nonce);
        while self.last.len() > limits::HEARD {
            let Some(gone) = self.last.keys().copied().find(|known| !is_served(known)) else { break };
            self.last.remove(&gone);
        }
        self.last.iter().map(|(server, nonce)| (*server, *nonce)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn those_who_are_served_are_never_forgotten_and_of_others_not_all_are_kept() {
        let server = |number: u32| MapSystem::Node(IpAddr::V4(Ipv4Addr::from_bits(number)));
        let mut heard = Heard::of([(server(1), Nonce(5))]);
        for number in 2..500 {
            let kept = heard.note(server(number), Nonce(u64::from(number)), |known| *known == server(1));
            assert!(kept.len() <= limits::HEARD);
        }
        assert_eq!((heard.last(server(1)), heard.last(server(499))), (Nonce(5), Nonce(499)));
        assert_eq!(heard.last(server(2)), Nonce(0));
    }
}
