// SPDX-License-Identifier: GPL-2.0-or-later
//! Which members have a place in the routing table, and at which addresses.

use std::net::IpAddr;

use libp2p::{Multiaddr, PeerId};

use crate::admit::diversity;
use crate::shell::node::addresses::split_peer;
use crate::shell::node::driver::Driver;

impl Driver {
    /// A peer has said where it listens. Who does not speak Kademlia is no place in it, whatever it presented.
    pub(in crate::shell::node) fn on_addresses(&mut self, peer: PeerId, addresses: Option<Vec<Multiaddr>>) {
        let Some(known) = self.admission.peers.get_mut(&peer) else { return };
        known.serves = addresses.is_some();
        match addresses {
            Some(addresses) => {
                // Where it said to listen and no longer does it cannot be reached any more; where it never said so, it still may.
                let has_left = |reached: &Multiaddr| known.addresses.contains(reached) && !addresses.contains(reached);
                if known.reached.as_ref().is_some_and(has_left) {
                    known.reached = None;
                }
                known.addresses = addresses;
                self.place(peer);
            }
            None => self.is_client(peer),
        }
    }

    /// Puts a member where it belongs, if it was found at one of its addresses and its bucket has room for its block.
    pub(in crate::shell::node) fn place(&mut self, peer: PeerId) {
        let Some(known) = self.admission.peers.get(&peer) else { return };
        if known.member.is_none() || !known.serves {
            return;
        }
        let at = known.at;
        let reached = known.reached.clone().filter(|reached| !self.ways.is_anycast(reached));
        let claimed = known.addresses.clone();
        let has_said = !claimed.is_empty();
        let mut addresses = self.proven(peer, claimed);
        if let Some(reached) = reached.filter(|reached| !addresses.contains(reached)) {
            addresses.push(reached);
        }
        if addresses.is_empty() {
            return;
        }
        let before = self.addresses_of(&peer);
        if before.is_empty()
            && let Err(crowded) = self.room(&peer, at)
        {
            *self.admission.stats.crowded.entry(crowded).or_default() += 1;
            return;
        }
        for address in &addresses {
            self.kad().add_address(&peer, address.clone());
        }
        if has_said {
            // Where it was reached, it can be reached, whatever it says: it may not know of the router in front of it.
            let seen_at = self.seen.at(&peer).map(|seen_at| split_peer(seen_at).0);
            for old in before.into_iter().filter(|old| !addresses.contains(old) && Some(old) != seen_at.as_ref()) {
                self.kad().remove_address(&peer, &old);
            }
        }
    }

    /// Whether the bucket of a peer has room for one more at this address. Where a transport has no addresses, there are no
    /// blocks.
    fn room(&mut self, peer: &PeerId, at: Option<IpAddr>) -> Result<(), &'static str> {
        let Some(at) = at else { return Ok(()) };
        let mut members = Vec::new();
        if let Some(bucket) = self.kad().kbucket(*peer) {
            members.extend(bucket.iter().map(|entry| *entry.node.key.preimage()).filter(|other| other != peer));
        }
        let places = members.iter().filter_map(|member| self.admission.peers.get(member)?.at);
        diversity::room(at, places).map_err(|crowded| match crowded {
            diversity::Crowded::Block => "block",
            diversity::Crowded::Provider => "provider",
        })
    }

    /// Where a peer is seen, which decides whose share of a bucket it has.
    pub(in crate::shell::node) fn is_seen_at(&mut self, peer: PeerId, at: Option<IpAddr>) {
        let Some(known) = self.admission.peers.get_mut(&peer) else { return };
        let has_moved = std::mem::replace(&mut known.at, at) != at;
        if has_moved && !self.addresses_of(&peer).is_empty() {
            self.on_placed(peer);
            self.peers_changed();
        }
    }

    /// A peer has taken a place that was pending, or is seen elsewhere: meanwhile others of its block may have come, or its
    /// admission ended.
    pub(in crate::shell::node) fn on_placed(&mut self, peer: PeerId) {
        let known = self.admission.peers.get(&peer).filter(|known| known.member.is_some());
        let Some(at) = known.map(|known| known.at) else {
            self.unplace(&peer);
            return;
        };
        if let Err(crowded) = self.room(&peer, at) {
            *self.admission.stats.crowded.entry(crowded).or_default() += 1;
            self.unplace(&peer);
        }
    }

    /// A place in some bucket has become free.
    pub(in crate::shell::node) fn on_vacancy(&mut self) {
        self.admission.has_vacancy = true;
    }

    /// Ends an admission.
    pub(super) fn end(&mut self, peer: PeerId, why: &'static str) {
        let Some(known) = self.admission.peers.get_mut(&peer) else { return };
        if known.member.take().is_none() {
            return;
        }
        *self.admission.stats.ended.entry(why).or_default() += 1;
        tracing::debug!(%peer, why, "admission ended");
        if !known.counts_for_clock {
            self.admission.clocks.forget(&peer);
        }
        if self.unplace(&peer) {
            self.on_vacancy();
            self.peers_changed();
        }
    }
}
