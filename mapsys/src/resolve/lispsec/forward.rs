// SPDX-License-Identifier: GPL-2.0-or-later
//! Protected Map-Requests that another node answers (RFC 9303, sections 6.6 and 6.7.1).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use wire::address::{Eid, EidPrefix};
use wire::control::lispsec::OneTimeKey;
use wire::record::{Action, MappingRecord, Ttl};

use crate::engine::Output;
use crate::refusal::{Refusal, Served};
use crate::register::label::{Label, Spelling};
use crate::register::registration::{Part, Registration};
use crate::resolve::ask::Ask;
use crate::resolve::found::negative;
use crate::resolve::reply::Answer;
use crate::resolve::waiting::Slot;
use crate::resolve::{Context, Resolver, own};

/// TTL of a negative answer for want of LISP-SEC: an ETR that learns it shall soon be found.
const SHORT: Ttl = Ttl(1);

/// Who answers for a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextHop {
    /// The node's own xTR.
    Pipe,
    /// An ETR, and the number of the key that it registered with.
    Etr(IpAddr, u8),
}

impl Resolver {
    /// A site that answers itself: rules 2 and 3 of RFC 9303, section 6.7.
    pub(in crate::resolve) fn forward_protected(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        host: EidPrefix,
    ) -> Result<Slot, Refusal> {
        let server = cx.server;
        let found = server.registrations().longest(&host).zip(ask.protection.clone());
        let ((prefix, registration), protection) = found.ok_or(Refusal::NextHopUnusable)?;
        let site = server.sites().get(registration.site);
        let signs = |part: &Part| part.security && site.secret(part.key_id).is_some();
        if !registration.parts().any(signs) {
            // Of an ETR that would sign the key is gone; what could hide this one from others on the way is not known.
            if let Some(part) = registration.parts().find(|part| part.security) {
                let etr = part.source.map(|source| source.ip());
                self.associations.warn_of_withheld(cx.now.monotonic, &prefix, etr);
            }
            return Ok(Slot::Unsigned(vec![unsigned(cx, &prefix, &host)]));
        }
        let local = ask.local();
        let sendable = |address: IpAddr| self.sockets.towards(address, local).is_some();
        let next_hop = |registration: &Registration| {
            let is_here = registration.parts().any(|part| part.source.is_none() && signs(part));
            let there = registration.forward_to_one(sendable, signs);
            if is_here { Some(NextHop::Pipe) } else { there.map(|(part, at)| NextHop::Etr(at, part.key_id)) }
        };
        let to = next_hop(registration).ok_or(Refusal::NoAddressOfFamily)?;
        // What of the request's other EIDs goes the same way; it is sent there once.
        let others = protection.hosts.iter().filter_map(|eid| server.registrations().longest(eid));
        let others = others.filter(|(_, other)| other.site == registration.site && !other.merged().proxy);
        let granted: BTreeSet<EidPrefix> =
            others.filter(|(_, other)| next_hop(other) == Some(to)).map(|(prefix, _)| prefix).collect();
        let granted = granted.into_iter().map(Eid::from).collect();
        let cant_sign = !registration.parts().all(signs);
        match to {
            NextHop::Pipe => {
                let bytes = protection.for_etr(&ask.ecm, granted, cant_sign, OneTimeKey::unencrypted)?;
                self.admit_forward(cx, ask, host)?;
                cx.tally.serve(Served::RequestForwarded);
                cx.outputs.push_back(Output::Pipe { bytes });
                Ok(Slot::Silent)
            }
            NextHop::Etr(address, key_id) => {
                let secret = site.secret(key_id).ok_or(Refusal::EcmSecurity)?;
                let wrap = |otk: &OneTimeKey| otk.wrap(key_id, secret, ask.nonce);
                let bytes = protection.for_etr(&ask.ecm, granted, cant_sign, wrap)?;
                self.forward_octets(cx, ask, SocketAddr::new(address, wire::CONTROL_PORT), host, bytes)
            }
        }
    }

    /// The same for a name, a MAC address or a pair (rule 2); `None` if no ETR of the site does LISP-SEC. An ETR answers for what was asked
    /// for first: an ITR asks for one EID at a time (RFC 9301, section 5.2).
    pub(in crate::resolve) fn forward_label_protected(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        (label, known): (Label, &Registration),
        spelling: Spelling,
    ) -> Result<Option<Slot>, Refusal> {
        let Some(protection) = ask.protection.clone() else { return Ok(None) };
        let site = cx.server.sites().get(known.site);
        let signs = |part: &Part| part.security && site.secret(part.key_id).is_some();
        if !known.parts().any(signs) {
            return Ok(None);
        }
        let local = ask.local();
        let sendable = |address: IpAddr| self.sockets.towards(address, local).is_some();
        let (part, address) = known.forward_to_one(sendable, signs).ok_or(Refusal::NoAddressOfFamily)?;
        let secret = site.secret(part.key_id).ok_or(Refusal::EcmSecurity)?;
        let wrap = |otk: &OneTimeKey| otk.wrap(part.key_id, secret, ask.nonce);
        let cant_sign = !known.parts().all(signs);
        let bytes = protection.for_etr(&ask.ecm, vec![label.eid(spelling)], cant_sign, wrap)?;
        self.forward_octets(cx, ask, SocketAddr::new(address, wire::CONTROL_PORT), label, bytes).map(Some)
    }

    /// A site of another Map-Server that answers itself. Without a secret that this node shares with that Map-Server, or a path
    /// that is protected otherwise, the one-time key would be readable on the way: the ITR is told, protected, that asking
    /// without LISP-SEC might reach the ETR.
    pub(in crate::resolve) fn forward_to_map_server(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        next_hop: SocketAddr,
        (about, host): (EidPrefix, EidPrefix),
    ) -> Result<Slot, Refusal> {
        ask.may_be_sent_on()?;
        let Some(bytes) = self.ecm_for(ask, next_hop.ip())? else {
            cx.tally.count(Refusal::SecNoPath);
            self.associations.warn_of_withheld(cx.now.monotonic, &about, Some(next_hop.ip()));
            return Ok(Slot::Unsigned(vec![unsigned(cx, &about, &host)]));
        };
        self.forward_part(cx, ask, next_hop, (about, host), bytes)
    }

    /// The ECM as the Map-Server at that address can read its one-time key; `None` if others could on the way. Of the tree
    /// security information goes to Map-Servers only, and to no node before them (RFC 8111, section 7.3.2).
    pub(in crate::resolve) fn ecm_for(&self, ask: &Ask, server: IpAddr) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(protection) = &ask.protection else { return Ok(Some(ask.ecm.clone())) };
        let otk = self.associations.wrap_for(server, &protection.itr_otk, ask.nonce);
        otk.map(|otk| protection.for_map_server(&ask.ecm, otk)).transpose()
    }

    /// Tells an ITR that its one-time key would be readable on the way to every Map-Server that the tree refers to.
    pub(in crate::resolve) fn tell_unsigned(
        &mut self,
        cx: &mut Context<'_>,
        ask: &Ask,
        host: EidPrefix,
    ) -> Result<(), Refusal> {
        cx.tally.count(Refusal::SecNoPath);
        self.associations.warn_of_withheld(cx.now.monotonic, &host, None);
        let record = unsigned(cx, &host, &host);
        self.reply(cx, ask, Answer::unsigned(vec![record]))
    }
}

/// The negative record of an answer with E: nobody can answer this with LISP-SEC (RFC 9303, section 6.7, rule 3). The EID exists, so
/// that forwarding natively would lead packets astray.
fn unsigned(cx: &Context<'_>, prefix: &EidPrefix, host: &EidPrefix) -> MappingRecord {
    negative(own::narrowed(cx.server, prefix, host), Action::DropNoReason, SHORT)
}
