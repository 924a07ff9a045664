// SPDX-License-Identifier: GPL-2.0-or-later
//! Up to which nonce each Map-Server has told something of its own accord about each EID-prefix, and where that went. It outlives the
//! bindings: what was told before one began is as old as what was told since.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use wire::address::EidPrefix;
use wire::control::Nonce;

use crate::nat::limits;

/// A Map-Server, and what it tells about.
pub(super) type Subject = (IpAddr, EidPrefix);

/// What was told about one.
#[derive(Debug, Default)]
struct Told {
    newest: Nonce,
    /// The last ones, oldest first.
    nonces: Vec<Nonce>,
    /// The last one for each place: two xTRs may hear of the same EID-prefix, each under a nonce of its own.
    sent: Vec<(Nonce, SocketAddr)>,
}

/// All of them. The one with the lowest nonce makes room, and nothing up to that is heard of its Map-Server any more: nonces of a
/// Map-Server are its clock, and one that has been drawn lately is above it.
#[derive(Debug, Default)]
pub(super) struct Tolds {
    all: BTreeMap<Subject, Told>,
    order: BTreeSet<(Nonce, Subject)>,
    floors: HashMap<IpAddr, Nonce>,
}

impl Tolds {
    /// Whether nothing as new was told about that.
    pub(super) fn is_news(&self, subject: &Subject, nonce: Nonce) -> bool {
        let floor = self.floors.get(&subject.0).copied().unwrap_or_default();
        nonce > self.all.get(subject).map_or(floor, |told| told.newest.max(floor))
    }

    /// Whether it is the last one that went there.
    pub(super) fn went(&self, subject: &Subject, nonce: Nonce, to: SocketAddr) -> bool {
        self.all.get(subject).is_some_and(|told| told.sent.contains(&(nonce, to)))
    }

    /// Whether it is one of the last ones, wherever it went.
    pub(super) fn has(&self, subject: &Subject, nonce: Nonce) -> bool {
        self.all.get(subject).is_some_and(|told| told.nonces.contains(&nonce))
    }

    /// It goes there.
    pub(super) fn note(&mut self, subject: Subject, nonce: Nonce, to: SocketAddr) {
        let told = self.all.entry(subject).or_default();
        told.sent.retain(|(_, at)| *at != to);
        if told.sent.len() >= limits::TOLD_AT {
            told.sent.remove(0);
        }
        told.sent.push((nonce, to));
        if !told.nonces.contains(&nonce) {
            let excess = (told.nonces.len() + 1).saturating_sub(limits::NONCES);
            told.nonces.drain(..excess);
            told.nonces.push(nonce);
        }
        self.order.remove(&(told.newest, subject));
        told.newest = told.newest.max(nonce);
        self.order.insert((told.newest, subject));
        while self.all.len() > limits::TOLD
            && let Some((oldest, subject)) = self.order.pop_first()
        {
            self.all.remove(&subject);
            let floor = self.floors.entry(subject.0).or_default();
            *floor = (*floor).max(oldest);
        }
    }

    /// The xTR that was reached there for `prefix` is reached elsewhere now: what this Map-Server has told it about that and its parts
    /// went there. Others behind the same NAT may have got its former port for theirs.
    pub(super) fn follow(&mut self, (server, prefix): Subject, from: SocketAddr, to: SocketAddr) {
        let parts = self.all.range_mut((server, prefix)..);
        let parts = parts.take_while(|((of, about), _)| *of == server && prefix.covers(about));
        let places = parts.flat_map(|(_, told)| told.sent.iter_mut());
        places.filter(|(_, at)| *at == from).for_each(|(_, at)| *at = to);
    }

    /// Who is reached there has it anew: what he heard of it before is not for him any more.
    pub(super) fn forget_at(&mut self, subject: &Subject, to: SocketAddr) {
        if let Some(told) = self.all.get_mut(subject) {
            told.sent.retain(|(_, at)| *at != to);
        }
    }

    /// Remembers no bound of other Map-Servers.
    pub(super) fn keep_servers(&mut self, is_known: impl Fn(&IpAddr) -> bool) {
        self.floors.retain(|server, _| is_known(server));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wire::address::InstanceId;

    #[test]
    fn what_makes_room_is_the_oldest_and_stays_old() {
        let (mut tolds, server, other) = (Tolds::default(), [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let at = SocketAddr::new([192, 0, 2, 9].into(), 50_001);
        let about = |number: u32| EidPrefix::host(InstanceId(0), IpAddr::V4(number.into()));
        let count = u32::try_from(limits::TOLD).unwrap();
        for number in 0..=count {
            tolds.note((server, about(number)), Nonce(1000 + u64::from(number)), at);
        }
        assert_eq!((tolds.all.len(), tolds.order.len()), (limits::TOLD, limits::TOLD));
        assert!(!tolds.is_news(&(server, about(0)), Nonce(1000)) && !tolds.went(&(server, about(0)), Nonce(1000), at));
        assert!(tolds.is_news(&(server, about(0)), Nonce(1001)) && tolds.is_news(&(other, about(0)), Nonce(1)));
        assert!(tolds.went(&(server, about(1)), Nonce(1001), at) && !tolds.is_news(&(server, about(1)), Nonce(1001)));
    }
}
