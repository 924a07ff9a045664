// SPDX-License-Identifier: GPL-2.0-or-later
//! What leaves the Map-Resolver: Map-Replies, and ECMs for those who answer themselves; each within the limits of its target.

use std::net::SocketAddr;

use wire::address::EidPrefix;
use wire::control::MapReply;
use wire::record::MappingRecord;

use super::ask::{Ask, Part, ReplyTo, asking_for};
use super::found::Audience;
use super::waiting::Slot;
use super::{Context, Resolver};
use crate::engine::Output;
use crate::limits::{AMPLIFICATION, LISP_SEC_OCTETS, PAYLOAD_V4, PAYLOAD_V6};
use crate::refusal::{Refusal, Served};
use crate::register::label::AnyEid;
use crate::transport::{Via, may_send_to};

impl Resolver {
    /// Sends the ECM on, its inner message unchanged (RFC 9301, section 8.3); once to each next hop.
    pub(super) fn forward(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        next_hop: SocketAddr,
        about: impl Into<AnyEid>,
    ) -> Result<Slot, Refusal> {
        self.forward_octets(cx, ask, next_hop, about, ask.ecm.clone())
    }

    /// Sends these octets on in its place.
    pub(super) fn forward_octets(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        next_hop: SocketAddr,
        about: impl Into<AnyEid>,
        bytes: Vec<u8>,
    ) -> Result<Slot, Refusal> {
        let local = self.way_to(ask, next_hop)?;
        if !ask.forwarded.contains(&next_hop) {
            self.admit_forward(cx, ask, about)?;
            ask.forwarded.push(next_hop);
            cx.tally.serve(Served::RequestForwarded);
            cx.outputs.push_back(Output::Send { local, remote: next_hop, bytes, counts: None });
        }
        Ok(Slot::Silent)
    }

    /// Puts the record about `host` down to be sent on in these octets, which are the whole ECM, with what else of the request goes to
    /// the same next hop: see [`Self::send_parts`].
    pub(super) fn forward_part(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        next_hop: SocketAddr,
        (about, host): (EidPrefix, EidPrefix),
        ecm: Vec<u8>,
    ) -> Result<Slot, Refusal> {
        if ask.records == 1 {
            return self.forward_octets(cx, ask, next_hop, about, ecm);
        }
        self.way_to(ask, next_hop)?;
        let is_open = |part: &&mut Part| part.next_hop == next_hop && part.ecm.is_some();
        if let Some(part) = ask.parts.iter_mut().find(is_open) {
            part.hosts.push(host);
            return Ok(Slot::Silent);
        }
        self.admit_once(cx, ask)?;
        ask.parts.push(Part { next_hop, ecm: Some(ecm), hosts: vec![host], about });
        Ok(Slot::Silent)
    }

    /// Sends the parts of a request that wait for what else goes to their next hops: what is known when it comes, and, after its last
    /// lookup, the rest. Each counts as a reply of its own octets.
    pub(super) fn send_parts(&mut self, cx: &mut Context<'_>, ask: &mut Ask) {
        for index in 0..ask.parts.len() {
            let part = &mut ask.parts[index];
            let Some(ecm) = part.ecm.take() else { continue };
            let (bytes, remote, about) = (asking_for(&ecm, &part.hosts), part.next_hop, part.about);
            let admitted = bytes.and_then(|bytes| {
                let local = self.way_to(ask, remote)?;
                self.spend_forward(cx, ask, about, bytes.len())?;
                Ok((bytes, local))
            });
            match admitted {
                Ok((bytes, local)) => {
                    cx.tally.serve(Served::RequestForwarded);
                    cx.outputs.push_back(Output::Send { local, remote, bytes, counts: None });
                }
                Err(refusal) => cx.tally.count(refusal),
            }
        }
    }

    /// Where what is sent on to `next_hop` leaves.
    fn way_to(&self, ask: &Ask, next_hop: SocketAddr) -> Result<SocketAddr, Refusal> {
        let local = self.sockets.towards(next_hop.ip(), ask.local()).ok_or(Refusal::NoAddressOfFamily)?;
        if self.sockets.0.contains(&next_hop) || !may_send_to(next_hop.ip(), Some(local)) {
            return Err(Refusal::NextHopUnusable);
        }
        Ok(self.sockets.onwards(local))
    }

    /// Admits that the whole request is sent on.
    pub(super) fn admit_forward(
        &mut self,
        cx: &Context<'_>,
        ask: &Ask,
        about: impl Into<AnyEid>,
    ) -> Result<(), Refusal> {
        self.admit_once(cx, ask)?;
        self.spend_forward(cx, ask, about, ask.ecm.len())
    }

    /// Two Map-Servers whose sites name each other as ETR would send a request to and fro for ever: it goes out once.
    fn admit_once(&mut self, cx: &Context<'_>, ask: &Ask) -> Result<(), Refusal> {
        ask.may_be_sent_on()?;
        let is_first = ask.reply_to != ReplyTo::Pipe && ask.forwarded.is_empty() && ask.parts.is_empty();
        if is_first { self.limiter.admit_forward(cx.now.monotonic, &ask.ecm) } else { Ok(()) }
    }

    /// A forwarded request is answered by another node to the same target, so it counts as a reply.
    fn spend_forward(
        &mut self,
        cx: &Context<'_>,
        ask: &Ask,
        about: impl Into<AnyEid>,
        octets: usize,
    ) -> Result<(), Refusal> {
        match ask.reply_to {
            ReplyTo::Udp { remote, .. } if !self.is_client(ask) => {
                self.limiter.spend_reply(cx.now.monotonic, remote.ip(), about, octets)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn reply(&mut self, cx: &mut Context<'_>, ask: &Ask, answer: impl Into<Answer>) -> Result<(), Refusal> {
        let Answer { records, cant_sign } = answer.into();
        let Some(first) = records.first() else { return Ok(()) };
        let first = AnyEid::of(&first.eid).ok_or(Refusal::NotEncodable)?;
        let about = ask.about.filter(|_| first.prefix().is_none()).unwrap_or(first);
        let is_negative = records.iter().all(|record| record.locators.is_empty());
        let reply = MapReply { nonce: ask.nonce, records, ..MapReply::default() };
        let encoded = match &ask.protection {
            Some(protection) => protection.seal(&reply, cant_sign),
            None => reply.encode(),
        };
        let bytes = encoded.map_err(|_| Refusal::NotEncodable)?;
        match ask.reply_to {
            ReplyTo::Pipe => cx.outputs.push_back(Output::Pipe { bytes }),
            ReplyTo::Udp { local, remote } => {
                if !self.is_client(ask) {
                    self.limiter.spend_reply(cx.now.monotonic, remote.ip(), about, bytes.len())?;
                }
                cx.outputs.push_back(Output::Send { local, remote, bytes, counts: None });
            }
        }
        cx.tally.serve(if is_negative { Served::RequestAnsweredNegative } else { Served::RequestAnswered });
        Ok(())
    }

    /// What a reply to `ask` may have, without LISP-SEC, so that it may be sent and fits a datagram.
    pub(super) fn reply_octets(&self, ask: &Ask) -> usize {
        let allowed = self.allowed_octets(ask).unwrap_or(usize::MAX);
        allowed.min(room(ask)).saturating_sub(if ask.protection.is_some() { LISP_SEC_OCTETS } else { 0 })
    }

    /// What a reply to `ask` may have by the limits of replies, if they hold for it.
    pub(super) fn allowed_octets(&self, ask: &Ask) -> Option<usize> {
        let is_limited = ask.audience() != Audience::Pipe && !self.is_client(ask);
        is_limited.then(|| ask.ecm.len().saturating_mul(usize::try_from(AMPLIFICATION).unwrap_or(1)))
    }

    /// Whether the limits of replies are lifted: for clients that ask for themselves. Anyone can put a client's address into
    /// the source of a datagram, so what goes to others is limited.
    pub(super) fn is_client(&self, ask: &Ask) -> bool {
        self.are_clients(ask.via, ask.reply_to)
    }

    /// The same of who asks and where the answer goes.
    pub(super) fn are_clients(&self, via: Via, reply_to: ReplyTo) -> bool {
        match (via, reply_to) {
            (Via::Socket { remote: source, .. }, ReplyTo::Udp { remote: target, .. }) => {
                self.limiter.is_client(source.ip()) && self.limiter.is_client(target.ip())
            }
            _ => false,
        }
    }
}

/// Octets of a Map-Reply to `ask`; one within this process has no bound.
fn room(ask: &Ask) -> usize {
    match ask.reply_to {
        ReplyTo::Pipe => usize::MAX,
        ReplyTo::Udp { remote, .. } if remote.is_ipv4() => PAYLOAD_V4,
        ReplyTo::Udp { .. } => PAYLOAD_V6,
    }
}

/// What a Map-Reply says.
#[derive(Debug)]
pub(super) struct Answer {
    records: Vec<MappingRecord>,
    /// E of a protected one: asking without LISP-SEC might reach an ETR that cannot sign.
    cant_sign: bool,
}

impl Answer {
    /// These, with E.
    pub(super) fn unsigned(records: Vec<MappingRecord>) -> Self {
        Self { records, cant_sign: true }
    }
}

impl From<Vec<MappingRecord>> for Answer {
    fn from(records: Vec<MappingRecord>) -> Self {
        Self { records, cant_sign: false }
    }
}

/// The records of the answered slots, by Map-Reply. Those of one slot stay in one: what is more specific belongs beside the best match
/// (RFC 9301, section 5.5), and the two have no more than [`Resolver::reply_octets`], or it is one record. What several EIDs of a
/// Map-Request are answered with goes into as few Map-Replies as it fits, apart by E, which is of a whole one.
pub(super) fn divided(ask: &Ask, slots: Vec<Slot>) -> Vec<Answer> {
    let mut replies: Vec<Reply> = Vec::new();
    for slot in slots {
        let mut answer = match slot {
            Slot::Records(records) => Answer::from(records),
            Slot::Unsigned(records) => Answer::unsigned(records),
            Slot::Waiting(_) | Slot::Silent => continue,
        };
        answer.records.retain(|record| !replies.iter().any(|reply| reply.has(record)));
        if answer.records.is_empty() {
            continue;
        }
        match replies.iter_mut().rfind(|reply| reply.answer.cant_sign == answer.cant_sign) {
            Some(last) if last.takes(ask, &answer.records) => last.add(answer.records),
            _ => replies.push(Reply { slots: 1, answer }),
        }
    }
    replies.into_iter().map(|reply| reply.answer).collect()
}

/// A Map-Reply that more records may come to.
struct Reply {
    slots: usize,
    answer: Answer,
}

impl Reply {
    fn has(&self, record: &MappingRecord) -> bool {
        self.answer.records.iter().any(|known| known.eid == record.eid)
    }

    fn takes(&self, ask: &Ask, more: &[MappingRecord]) -> bool {
        let security = if ask.protection.is_some() { LISP_SEC_OCTETS * (self.slots + 1) } else { 0 };
        octets(&[&self.answer.records, more].concat()).saturating_add(security) <= room(ask)
    }

    fn add(&mut self, more: Vec<MappingRecord>) {
        self.slots += 1;
        self.answer.records.extend(more);
    }
}

/// Octets of a Map-Reply with these records.
pub(super) fn octets(records: &[MappingRecord]) -> usize {
    let reply = MapReply { records: records.to_vec(), ..MapReply::default() };
    reply.encode().map_or(usize::MAX, |bytes| bytes.len())
}
