// SPDX-License-Identifier: GPL-2.0-or-later
//! Control messages of others, each to the engine that it concerns.

use std::net::SocketAddr;
use std::time::Instant;

use wire::control::{ControlMessage, Ecm, MapReply, MapRequest, message_type};

use super::{Control, Output};
use crate::refusal::Refusal;
use crate::register;
use crate::reply::{Protection, Request};
use crate::resolve;
use crate::transport::{MapSystem, Via};

impl Control {
    /// Has a message judged, counts what is refused of it, and names it in the log.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        (via, bytes): (Via, &[u8]),
        judge: impl FnOnce(&mut Self) -> Result<(), Refusal>,
    ) {
        let before = self.tally();
        if let Err(refusal) = judge(self) {
            self.tally.count(refusal);
        }
        let after = self.tally();
        self.dropped.log(now, via, bytes, (&before, &after));
    }

    pub(super) fn on_datagram(&mut self, now: Instant, via: Via, bytes: &[u8]) -> Result<(), Refusal> {
        match ControlMessage::decode(bytes) {
            Err(_) => Err(undecodable(bytes)),
            Ok(ControlMessage::MapRequest(message)) => {
                self.on_map_request(now, via, None, &message, None);
                Ok(())
            }
            Ok(ControlMessage::MapReply(message)) if message.probe => self.on_probe_reply(now, via, &message),
            Ok(ControlMessage::MapReply(message)) if self.subscriber.reply(now, &message, bytes) => Ok(()),
            Ok(ControlMessage::MapReply(message)) => {
                if let Some(pitr) = &mut self.pitr
                    && pitr.answer(now, &message, bytes)?
                {
                    return Ok(());
                }
                self.resolver.handle(now, resolve::Input::Reply { via, message: &message, payload: bytes });
                Ok(())
            }
            Ok(ControlMessage::MapNotify(message))
                if self.subscriber.takes(&message, self.registrar.has_used(message.nonce)) =>
            {
                self.subscriber.notify(now, via, &message, bytes);
                Ok(())
            }
            Ok(ControlMessage::MapNotify(message)) => {
                let from = match via {
                    Via::Pipe => MapSystem::Pipe,
                    Via::Socket { remote, .. } => MapSystem::Node(remote.ip()),
                };
                let notify = register::Input::Notify { from, by: None, message: &message, payload: bytes };
                self.registrar.handle(now, notify);
                Ok(())
            }
            // Around a Map-Request the bit is reserved, and ignored (RFC 9301, section 5.8).
            Ok(ControlMessage::Ecm(ecm)) if ecm.for_rtr && message_type(&ecm.message) != Some(MapRequest::TYPE) => {
                self.on_relay(now, via, &ecm)
            }
            Ok(ControlMessage::Ecm(ecm)) => self.on_ecm(now, via, &ecm),
            Ok(ControlMessage::Info(message)) => self.on_info(now, via, bytes, &message),
            Ok(ControlMessage::Shared(_)) => Err(Refusal::UnknownType),
            Ok(_) => Err(Refusal::NotForXtr),
        }
    }

    /// A Map-Server forwards what it does not answer itself (RFC 9301, section 8.3), from any port.
    pub(super) fn on_ecm(&mut self, now: Instant, via: Via, ecm: &Ecm) -> Result<(), Refusal> {
        match ControlMessage::decode(&ecm.message) {
            Err(_) => Err(Refusal::Malformed),
            Ok(ControlMessage::MapRequest(message)) if !message.smr => {
                let protection = self.protection(now, via, ecm, &message)?;
                self.on_map_request(now, via, Some(ecm.source), &message, protection.as_ref());
                Ok(())
            }
            Ok(_) => Err(Refusal::EcmNotMapRequest),
        }
    }

    fn on_map_request(
        &mut self,
        now: Instant,
        via: Via,
        inner_source: Option<SocketAddr>,
        message: &MapRequest,
        protection: Option<&Protection>,
    ) {
        if message.smr {
            self.smrs_received += 1;
            self.resolver.handle(now, resolve::Input::Smr(message));
            return;
        }
        let from = if let Via::Socket { remote, .. } = via { Some(remote.ip()) } else { None };
        let request = Request { via, inner_source, message, protection, rtr: self.rtr.as_ref() };
        let Some(reply) = self.replier.handle(now, request) else { return };
        // A source can be forged: only a probe that is answered, about an EID-prefix of ours, says something of who sends it.
        if let Some(probing) = from.filter(|_| message.probe && !reply.prefixes.is_empty()) {
            self.prober.heard(now, probing);
            for other in self.resolver.no_worse_than(now, probing) {
                self.prober.doubt(now, other, probing);
            }
        }
        self.solicitor.heard(now, reply.itr, &reply.prefixes, self.prober.has_answered(reply.itr));
        self.outputs.push_back(Output::Send(reply.outgoing));
    }

    fn on_probe_reply(&mut self, now: Instant, via: Via, message: &MapReply) -> Result<(), Refusal> {
        let probed = self.prober.answer(now, via, message)?;
        // Of other Map-Replies E says nothing about a locator: whoever has a mapping may write those of others into it.
        self.echo.set_capable(now, probed.rloc, message.echo_nonce);
        // What a PETR is asked about is no mapping.
        if self.petrs.addresses().any(|petr| petr == probed.rloc) && probed.prefix.net.prefix_len() == 0 {
            return Ok(());
        }
        let records = message.records.as_slice();
        self.resolver.handle(now, resolve::Input::Probed { prefix: probed.prefix, records });
        Ok(())
    }
}

/// Types that RFC 9301 leaves unassigned are dropped as such (section 5.1); whatever else is not decodable is malformed.
fn undecodable(bytes: &[u8]) -> Refusal {
    match message_type(bytes) {
        Some(0 | 9..=14) => Refusal::UnknownType,
        _ => Refusal::Malformed,
    }
}
