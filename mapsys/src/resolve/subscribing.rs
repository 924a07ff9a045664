// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Requests with the N-bit (RFC 9437): answered by a Map-Notify where there can be a subscription, else as without it.

use wire::address::EidPrefix;
use wire::control::{Ecm, EidRequest, MapRequest};
use wire::record::{Action, MappingRecord, Ttl};

use super::ask::{Ask, ReplyTo, inner_request};
use super::found::{Found, negative};
use super::waiting::Slot;
use super::{Context, Resolver};
use crate::limits::LOOKUPS;
use crate::refusal::Refusal;
use crate::subscribe::answer::{self, Target};
use crate::subscribe::subscriber::{Arrival, Denial, Request, Wish};
use crate::subscribe::{Allowance, Offer};
use crate::transport::Via;

/// A record with the N-bit about an EID that is not registered here, until it is looked up.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// Of an xTR that may subscribe.
    Admitted(EidPrefix, Box<Wish>),
    /// Of another one, which this Map-Resolver must not send on.
    Unknown(EidPrefix),
}

/// TTL of the answer to what is against the configuration.
const DENIED: Ttl = Ttl(1);

impl Resolver {
    /// Decides a record with the N-bit.
    pub(super) fn notify_slot(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        request: &MapRequest,
        (prefix, inner): (EidPrefix, std::net::SocketAddr),
    ) -> Result<Slot, Refusal> {
        let Via::Socket { local, remote: outer } = ask.via else { return self.slot(cx, ask, request, prefix) };
        let (octets, target, now) = (self.notify_octets(ask), ask.target(), cx.now.monotonic);
        let limiter = &mut self.limiter;
        let mut spend = |octets| target.map_or(Ok(()), |target| limiter.spend_octets(now, target, octets));
        let mut allowance = Allowance { octets, spend: &mut spend };
        let (arrival, with) =
            (Arrival { local, outer, inner }, Request { message: request, brought: ask.brought.as_ref() });
        let subscribed = cx.subscriptions.admit(arrival, with, prefix).and_then(|wish| {
            if wish.is_leaving && is_elsewhere(cx, &wish) {
                return Ok(Some(wish));
            }
            if wish.is_leaving {
                cx.subscriptions.leave(cx.now, cx.server, &wish, &mut allowance)?;
                return Ok(None);
            }
            match cx.subscriptions.target(cx.server, &prefix, &allowance)? {
                Some(target) => {
                    cx.subscriptions.subscribe(cx.now, &wish, Offer::own(target), &mut allowance).map(|()| None)
                }
                None => Ok(Some(wish)),
            }
        });
        match subscribed {
            Ok(None) if ask.ddt => self.acknowledge(cx, ask, EidPrefix::host(prefix.iid, prefix.net.addr())),
            Ok(None) => Ok(Slot::Silent),
            // A DDT client that has lost the Map-Referral asks again with the nonce of the xTR.
            Err(Denial::Silent(refusal)) if ask.ddt => {
                cx.tally.count(refusal);
                self.acknowledge(cx, ask, EidPrefix::host(prefix.iid, prefix.net.addr()))
            }
            Ok(Some(wish)) => {
                ask.wanted.push(Wanted::Admitted(EidPrefix::host(prefix.iid, prefix.net.addr()), Box::new(wish)));
                self.slot(cx, ask, request, prefix)
            }
            Err(denial) => self.denied(cx, ask, request, prefix, denial),
        }
    }

    /// What all Map-Notifies may have together that one record brings about until it is proven, as by
    /// [`Allowance`]: a record's part of what a reply may have.
    fn notify_octets(&self, ask: &Ask) -> Option<usize> {
        self.allowed_octets(ask).map(|octets| octets / ask.records.max(1))
    }

    /// The answer where there is no subscription (RFC 9437, section 5).
    fn denied(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        request: &MapRequest,
        prefix: EidPrefix,
        denial: Denial,
    ) -> Result<Slot, Refusal> {
        match denial {
            Denial::Silent(refusal) => Err(refusal),
            Denial::Policy(refusal) | Denial::Authentication(refusal) => {
                cx.tally.count(refusal);
                let host = EidPrefix::host(prefix.iid, prefix.net.addr());
                if ask.ddt && cx.server.sites().find(&host).is_some() {
                    self.acknowledge(cx, ask, host)?;
                }
                Ok(said_of(denial, prefix).unwrap_or(Slot::Silent))
            }
            Denial::Plain(refusal) if ask.is_leaving => Err(refusal),
            Denial::Plain(refusal) => {
                cx.tally.count(refusal);
                ask.wanted.push(Wanted::Unknown(EidPrefix::host(prefix.iid, prefix.net.addr())));
                self.slot(cx, ask, request, prefix)
            }
        }
    }

    /// What was looked up for a record with the N-bit; `None` if it is answered as without it.
    pub(super) fn subscribe_found(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        host: EidPrefix,
        found: &Found,
    ) -> Option<Slot> {
        let wanted = ask.wanted.iter().position(|wanted| wanted.host() == host)?;
        let wanted = ask.wanted.swap_remove(wanted);
        let is_sent_on = matches!(found, Found::Mapping(mapping) if !mapping.proxy);
        let wish = match wanted {
            // RFC 9437, section 1.1: Map-Resolvers verify that an xTR is allowed to set the N-bit.
            Wanted::Unknown(_) if is_sent_on => {
                return Some(Slot::Records(vec![negative(host, Action::DropPolicyDenied, DENIED)]));
            }
            Wanted::Admitted(_, wish) if !is_sent_on => wish,
            _ => return None,
        };
        let offer = if wish.is_leaving { None } else { Some(self.offer(cx, ask, &host, found)?) };
        let (octets, target, now) = (self.notify_octets(ask), ask.target(), cx.now.monotonic);
        let limiter = &mut self.limiter;
        let mut spend = |octets| target.map_or(Ok(()), |target| limiter.spend_octets(now, target, octets));
        let mut allowance = Allowance { octets, spend: &mut spend };
        let Some(offer) = offer else {
            // Without an answer of the DHT it is asked again.
            if matches!(found, Found::Unknown(_)) {
                return Some(Slot::Silent);
            }
            let denial = cx.subscriptions.leave(cx.now, cx.server, &wish, &mut allowance).err();
            denial.into_iter().for_each(|denial| cx.tally.count(denial.refusal()));
            return Some(denial.and_then(|denial| said_of(denial, wish.asked)).unwrap_or(Slot::Silent));
        };
        match cx.subscriptions.subscribe(cx.now, &wish, offer, &mut allowance) {
            Ok(()) => Some(Slot::Silent),
            Err(denial) => {
                cx.tally.count(denial.refusal());
                said_of(denial, wish.asked)
            }
        }
    }

    /// What a subscription to a found EID would be, if there can be one.
    fn offer(&self, cx: &Context<'_>, ask: &Ask, host: &EidPrefix, found: &Found) -> Option<Offer> {
        let (is_present, lifetime) = match found {
            Found::Mapping(mapping) => (true, mapping.ttl),
            Found::Hole(_) | Found::Unregistered(_) | Found::CgeidAbsent(_) => (false, cx.subscriptions.temporary()),
            Found::Refused(_) | Found::Unknown(_) => return None,
        };
        let Slot::Records(mut records) = self.found_records(cx, ask, host, found) else { return None };
        if !is_present {
            records.iter_mut().for_each(|record: &mut MappingRecord| record.ttl = lifetime);
        }
        let prefix = records.first()?.eid.ip_prefix()?;
        let digest = answer::digest(&records, lifetime);
        let target = Target { prefix, records, rest: Vec::new(), is_present };
        Some(Offer { target, is_foreign: true, lifetime: found.lifetime(cx.now.monotonic), digest })
    }

    /// Looks up again what is subscribed to.
    pub(super) fn read_again(&mut self, cx: &mut Context<'_>) {
        loop {
            if self.lookups.len() >= LOOKUPS / 2 {
                // What is asked for now goes first; the rest stays where it is.
                return cx.subscriptions.pause_watches(cx.now);
            }
            let Some(host) = cx.subscriptions.poll_watch(cx.now) else { return };
            // Where there is no room it is tried again in its turn.
            let _ = self.lookups.start(cx.now, host);
        }
    }

    /// Where the answer to a Map-Request without an ITR-RLOC goes that ends a subscription: to its source (RFC 9437, section 5).
    pub(super) fn reply_to_source(via: Via, request: &MapRequest, port: u16) -> Option<ReplyTo> {
        let Via::Socket { local, remote } = via else { return None };
        let ends = is_leaving(request) && port != 0;
        ends.then_some(ReplyTo::Udp { local, remote: std::net::SocketAddr::new(remote.ip(), port) })
    }
}

/// The answer to what is refused, whatever there is to say of the EID-prefix; `None` if it is that which is said.
fn said_of(denial: Denial, prefix: EidPrefix) -> Option<Slot> {
    let action = match denial {
        Denial::Silent(_) => return Some(Slot::Silent),
        Denial::Policy(_) => Action::DropPolicyDenied,
        Denial::Authentication(_) => Action::DropAuthFailure,
        Denial::Plain(_) => return None,
    };
    Some(Slot::Records(vec![negative(prefix, action, DENIED)]))
}

/// Whether what is to end may be a subscription at another Map-Server, to which it was sent on.
fn is_elsewhere(cx: &Context<'_>, wish: &Wish) -> bool {
    let concerns = |prefix: &EidPrefix| prefix.covers(&wish.asked) || wish.asked.covers(prefix);
    let host = EidPrefix::host(wish.asked.iid, wish.asked.net.addr());
    let is_here = || {
        let mut known = cx.subscriptions.iter();
        known.any(|(key, known)| key.xtr == wish.xtr && concerns(&key.prefix) && !known.is_memory())
    };
    cx.server.sites().find(&host).is_none() && !is_here()
}

/// Clears the N-bits in what may be sent on, unless the xTR may set them in each record: Map-Resolvers verify that (RFC 9437,
/// section 1.1), whoever the records go to.
pub(super) fn verify(
    cx: &Context<'_>,
    ask: &mut Ask,
    request: &MapRequest,
    inner: std::net::SocketAddr,
) -> Result<(), Refusal> {
    // The node's own xTR.
    let Via::Socket { local, remote: outer } = ask.via else { return Ok(()) };
    let arrival = Arrival { local, outer, inner };
    let is_admitted = |record: &EidRequest| {
        let with = Request { message: request, brought: ask.brought.as_ref() };
        record.eid.ip_prefix().is_some_and(|prefix| cx.subscriptions.admit(arrival, with, prefix).is_ok())
    };
    if request.records.iter().all(|record| !record.notify || is_admitted(record)) {
        return Ok(());
    }
    let outer = Ecm::decode(&ask.ecm).map_err(|_| Refusal::Malformed)?;
    let mut request = inner_request(&outer)?;
    request.records.iter_mut().for_each(|record| record.notify = false);
    let message = request.encode().map_err(|_| Refusal::NotEncodable)?;
    ask.ecm = Ecm { message, ..outer }.encode().map_err(|_| Refusal::NotEncodable)?;
    Ok(())
}

/// Whether a Map-Request does nothing but end subscriptions.
pub(super) fn is_leaving(request: &MapRequest) -> bool {
    let has_no_rloc = request.itr_rlocs == [wire::address::Address::None];
    has_no_rloc && request.xtr_identity.is_some() && request.records.iter().all(|record| record.notify)
}

impl Wanted {
    fn host(&self) -> EidPrefix {
        match self {
            Self::Admitted(host, _) | Self::Unknown(host) => *host,
        }
    }
}
