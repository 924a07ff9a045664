// SPDX-License-Identifier: GPL-2.0-or-later
//! The EID-prefixes of which an RTR knows the way to their xTR, each until its end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::Nonce;
use wire::record::MappingRecord;

use crate::map_cache::{Binding, FromPort};

/// An EID-prefix from behind a NAT, for `show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The prefix.
    pub prefix: EidPrefix,
    /// Address and port that its NAT shows.
    pub at: SocketAddr,
    /// The address of the other family that its NAT shows, if this xTR has registered by that too within
    /// [`limits::BINDING`](crate::nat::limits::BINDING), and the end of that: what it sends may come from there.
    pub(super) other: Option<(IpAddr, Instant)>,
    /// The address of ours that it is reached from.
    pub local: IpAddr,
    /// The address of its xTR behind the NAT.
    pub private: IpAddr,
    /// When it ends unless it is registered again.
    pub expires: Instant,
    /// Its mapping, as its xTR has registered it. None of what is not the whole of it: of an xTR that merges with others, with locators
    /// that are no addresses, or more than [`limits::LOCATORS`](crate::nat::limits::LOCATORS).
    pub mapping: Option<MappingRecord>,
    /// The xTR-ID of its xTR, if it gave one.
    pub(super) xtr_id: Option<[u8; 16]>,
    /// The nonces of the last Map-Registers for it that were accepted, of whatever xTR, and where each came from; oldest first.
    pub(super) accepted: Vec<(Nonce, SocketAddr)>,
}

impl Bound {
    /// The way to it.
    pub fn binding(&self) -> Binding {
        Binding { address: self.at.ip(), port: self.at.port(), from: FromPort::Control, source: self.local }
    }

    /// The addresses that its packets come from.
    pub(super) fn nats(&self) -> [Option<IpAddr>; 2] {
        [Some(self.at.ip()), self.other.map(|(address, _)| address)]
    }

    /// The address that its packets come from when they come by the other family than this one's, and the end of that.
    pub(super) fn beside(&self, now: Instant, at: IpAddr) -> Option<(IpAddr, Instant)> {
        let both = [Some((self.at.ip(), self.expires)), self.other];
        both.into_iter().flatten().find(|(address, end)| address.is_ipv4() != at.is_ipv4() && *end > now)
    }

    /// Whether a Map-Register with this nonce was accepted.
    pub(super) fn was_accepted(&self, nonce: Nonce) -> bool {
        self.accepted.iter().any(|(known, _)| *known == nonce)
    }

    /// Whether a Map-Register with this nonce was accepted that came from elsewhere.
    pub(super) fn was_accepted_from_elsewhere(&self, nonce: Nonce, at: SocketAddr) -> bool {
        self.accepted.iter().any(|(known, from)| *known == nonce && *from != at)
    }

    /// Whether it is of this xTR, which has this address behind its NAT; zero is the xTR-ID of one that gave none.
    pub(super) fn is_of(&self, xtr_id: [u8; 16], private: IpAddr) -> bool {
        self.private == private && self.xtr_id.unwrap_or_default() == xtr_id
    }
}

/// One way for each EID-prefix.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    all: BTreeMap<EidPrefix, Bound>,
    ends: BTreeSet<(Instant, EidPrefix)>,
    /// How many of them lead to each address and port.
    places: HashMap<SocketAddr, usize>,
}

impl Bindings {
    pub(super) fn insert(&mut self, bound: Bound) {
        self.remove(&bound.prefix);
        self.ends.insert((bound.expires, bound.prefix));
        *self.places.entry(bound.at).or_default() += 1;
        self.all.insert(bound.prefix, bound);
    }

    pub(super) fn remove(&mut self, prefix: &EidPrefix) -> Option<Bound> {
        let bound = self.all.remove(prefix)?;
        self.ends.remove(&(bound.expires, bound.prefix));
        if let Some(count) = self.places.get_mut(&bound.at) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(&bound.at);
            }
        }
        Some(bound)
    }

    /// Those that lead to this address and port end no sooner than then.
    pub(super) fn renew(&mut self, at: SocketAddr, expires: Instant) {
        if !self.has_place(at) {
            return;
        }
        for bound in self.all.values_mut().filter(|bound| bound.at == at) {
            self.ends.remove(&(bound.expires, bound.prefix));
            bound.expires = bound.expires.max(expires);
            self.ends.insert((bound.expires, bound.prefix));
        }
    }

    /// Those of this xTR that led to one address and port lead to another.
    pub(super) fn follow(&mut self, xtr_id: Option<[u8; 16]>, from: SocketAddr, to: SocketAddr) {
        if !self.has_place(from) {
            return;
        }
        let followed = self.all.values().filter(|bound| bound.at == from && bound.xtr_id == xtr_id);
        for bound in followed.cloned().collect::<Vec<_>>() {
            self.insert(Bound { at: to, ..bound });
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Bound> {
        self.all.values()
    }

    pub(super) fn get(&self, prefix: &EidPrefix) -> Option<&Bound> {
        self.all.get(prefix)
    }

    /// The longest one of those that are wanted that covers this prefix.
    pub(super) fn covering(&self, prefix: &EidPrefix, is_wanted: impl Fn(&Bound) -> bool) -> Option<&Bound> {
        self.all_covering(*prefix).find(|bound| is_wanted(bound))
    }

    /// Those that cover this prefix, the longest first.
    pub(super) fn all_covering(&self, prefix: EidPrefix) -> impl Iterator<Item = &Bound> {
        let lengths = (0..=prefix.net.prefix_len()).rev();
        let covering = lengths.filter_map(move |length| EidPrefix::new(prefix.iid, prefix.net.addr(), length));
        covering.filter_map(|prefix| self.all.get(&prefix))
    }

    /// How many lead to this address and port.
    pub(super) fn count_at(&self, at: SocketAddr) -> usize {
        self.places.get(&at).copied().unwrap_or_default()
    }

    pub(super) fn has_place(&self, at: SocketAddr) -> bool {
        self.places.contains_key(&at)
    }

    /// One whose end has come.
    pub(super) fn ended(&self, now: Instant) -> Option<EidPrefix> {
        self.ends.first().filter(|(end, _)| *end <= now).map(|(_, prefix)| *prefix)
    }

    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }
}
