// SPDX-License-Identifier: GPL-2.0-or-later
//! What a Map-Server tells an xTR behind a NAT of its own accord: who has an EID-prefix of its, or a part of one, and that nobody else
//! has it any more. The RTR relays that by the way that the xTR has registered by, and the Map-Notify-Ack back, for nobody else.
//!
//! The xTR cannot have those asked again who send to it, since it sees the RTR alone: the RTR does that for it. An EID-prefix that has
//! moved away is led by no binding any more, but the way to its former xTR is kept, for it to hear when it may have it back.
//!
//! For whom it is the xTR-ID says that the Map-Server puts behind the records, as deployed ones do in their answers: the address of the xTR
//! behind its NAT, which the inner header has, two NATs may have. What has none answers a Map-Register, for which nobody waits any more.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::{Ecm, MapNotify};
use wire::record::MappingRecord;

use super::bindings::Bound;
use super::{Output, Rtr};
use crate::nat::limits;
use crate::refusal::Refusal;
use crate::transport::Via;

/// Where an EID-prefix is, as a Map-Server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whereabouts {
    /// Reached through this RTR, among others.
    Here,
    /// Reached otherwise.
    Elsewhere,
    /// Registered by nobody.
    Nowhere,
}

/// The way to the xTR that is told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiver {
    /// It has this EID-prefix.
    Has(EidPrefix),
    /// It had it.
    Had(EidPrefix),
}

impl Rtr {
    /// Takes a Map-Notify that answers no Map-Register that waits; its tag is good.
    pub(super) fn on_told(&mut self, now: Instant, via: Via, ecm: &Ecm, message: &MapNotify) -> Result<(), Refusal> {
        let ([record], Some(xtr), Via::Socket { remote: server, .. }) =
            (message.records.as_slice(), message.xtr_identity, via)
        else {
            return Err(Refusal::RelayNotifyUnasked);
        };
        let about = record.eid.ip_prefix().ok_or(Refusal::RelayNotifyUnasked)?;
        let whereabouts = self.whereabouts(record);
        let server = server.ip();
        let private = ecm.destination.ip();
        let xtr_id = self.meant((&about, whereabouts), xtr.xtr_id, private);
        let is_its = |bound: &Bound| bound.is_of(xtr_id, private);
        let receiver = self.receiver((&about, whereabouts), is_its).ok_or(Refusal::RelayNotifyUnasked)?;
        let bound = self.bound_of(receiver).ok_or(Refusal::RelayNotifyUnasked)?;
        let (local, at, private) = (bound.local, bound.at, bound.private);
        let subject = (server, about);
        // An answer that is late, or comes twice: its nonce is the xTR's, which may register under it again, and counts with others.
        if self.is_of_register(&subject, message.nonce) {
            return Err(Refusal::RelayNotifyUnasked);
        }
        let is_news = self.tolds.is_news(&subject, message.nonce);
        let is_again = self.tolds.went(&subject, message.nonce, at);
        if !(is_news || is_again) {
            return Err(Refusal::RelayNotifyUnasked);
        }
        // News are of the Map-Server, and never come twice; anybody can send once more what he has seen go by.
        if !is_news && !self.again_rate.allow(now, at, true) {
            return Err(Refusal::RelayRateLimited);
        }
        self.tolds.note(subject, message.nonce, at);
        self.hand_back(server, ecm, (local, at, private))?;
        if is_news {
            self.follow(now, via, (receiver, about), (whereabouts, record));
        }
        Ok(())
    }

    /// Takes a Map-Notify-Ack from behind a NAT: that of one of the last Map-Notifies about an EID-prefix that went there.
    pub(super) fn on_acknowledgement(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        ecm: &Ecm,
        message: &MapNotify,
    ) -> Result<(), Refusal> {
        let way = self.way_to_server(ecm)?;
        let [record] = message.records.as_slice() else { return Err(Refusal::RelayAckUnasked) };
        let about = record.eid.ip_prefix().ok_or(Refusal::RelayAckUnasked)?;
        if !self.tolds.went(&(way.1, about), message.nonce, remote) {
            return Err(Refusal::RelayAckUnasked);
        }
        if !self.acknowledgement_rate.allow(now, remote, self.is_known(remote)) {
            return Err(Refusal::RelayRateLimited);
        }
        self.relay(way, ecm)
    }

    /// Its way is kept, without packets, as long as it sends Info-Requests.
    pub(super) fn keep_former(&mut self, now: Instant, former: Bound) {
        let is_full = self.left.len() >= limits::LEFT || self.left.count_at(former.at) >= limits::LEFT_OF_BINDING;
        if is_full && self.left.get(&former.prefix).is_none() {
            return self.tally.count(Refusal::RelayTableFull);
        }
        self.left.insert(Bound { expires: now + limits::BINDING, mapping: None, ..former });
    }

    fn whereabouts(&self, record: &MappingRecord) -> Whereabouts {
        let is_ours = |rloc: IpAddr| self.rlocs.contains(&rloc);
        if record.locators.is_empty() {
            Whereabouts::Nowhere
        } else if record.locators.iter().any(|locator| locator.rloc.ip().is_some_and(is_ours)) {
            Whereabouts::Here
        } else {
            Whereabouts::Elsewhere
        }
    }

    /// The xTR-ID that the xTR has given here which a Map-Server means by this one. Where the tag of a site covers the records alone a Map-Server
    /// takes its xTRs for such without an xTR-ID: then it is the only one that it can be.
    fn meant(&self, (about, whereabouts): (&EidPrefix, Whereabouts), named: [u8; 16], private: IpAddr) -> [u8; 16] {
        if named != [0; 16] {
            return named;
        }
        // That it is here is no news to who has just that.
        let is_news = |bound: &&Bound| whereabouts != Whereabouts::Here || bound.prefix != *about;
        let all = self.bound.all_covering(*about).filter(is_news).chain(self.left.get(about));
        let all: BTreeSet<_> =
            all.filter(|one| one.private == private).map(|one| one.xtr_id.unwrap_or_default()).collect();
        all.first().copied().filter(|_| all.len() == 1).unwrap_or(named)
    }

    /// By which way it is told of `about`, of those that are its own.
    fn receiver(
        &self,
        (about, whereabouts): (&EidPrefix, Whereabouts),
        is_its: impl Fn(&Bound) -> bool,
    ) -> Option<Receiver> {
        let has = self.bound.covering(about, &is_its).map(|bound| Receiver::Has(bound.prefix));
        let had = self.left.get(about).filter(|left| is_its(left)).map(|left| Receiver::Had(left.prefix));
        match whereabouts {
            // Another xTR that this RTR reaches has it, or all that merge have it together.
            Whereabouts::Elsewhere | Whereabouts::Here => has.or(had),
            // Who has it hears nothing new by that.
            Whereabouts::Nowhere => had.or(has.filter(|has| *has != Receiver::Has(*about))),
        }
    }

    fn bound_of(&self, receiver: Receiver) -> Option<&Bound> {
        match receiver {
            Receiver::Has(prefix) => self.bound.get(&prefix),
            Receiver::Had(prefix) => self.left.get(&prefix),
        }
    }

    /// What has moved away is led there, and those who still send it here are made to ask. Of a part that is nobody's any more what is
    /// known ends, as what is around it is here.
    fn follow(
        &mut self,
        now: Instant,
        via: Via,
        (receiver, about): (Receiver, EidPrefix),
        (whereabouts, record): (Whereabouts, &MappingRecord),
    ) {
        let Receiver::Has(prefix) = receiver else { return };
        if whereabouts == Whereabouts::Here {
            return;
        }
        if prefix == about
            && let Some(former) = self.unbind(&prefix)
        {
            tracing::info!(%prefix, at = %former.at, "another xTR has it now, elsewhere");
            self.keep_former(now, former);
        }
        self.outputs.push_back(Output::Told { bound: prefix, via, record: record.clone() });
    }
}
