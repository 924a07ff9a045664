// SPDX-License-Identifier: GPL-2.0-or-later
//! The Map-Resolver: encapsulated Map-Requests answered from the sites, the cache or the DHT (RFC 9301, section 8.4).

pub mod cache;
pub mod found;
pub mod lispsec;
pub mod lookup;
pub mod own;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use wire::address::{Address, EidPrefix};
use wire::control::{ControlMessage, Ecm, EidRequest, MapReply, MapRequest, Nonce};
use wire::record::MappingRecord;

use crate::engine::Output;
use crate::limit::Limiter;
use crate::limits::{AMPLIFICATION, ANSWER_WITHIN, LISP_SEC_OCTETS, REQUEST_RECORDS, WAITING_REQUESTS};
use crate::refusal::{Refusal, Tally};
use crate::register::MapServer;
use crate::transport::{Now, Sockets, Via, may_send_to};
use cache::{Cache, Hit};
use found::{Audience, Found, ask_again};
use lispsec::{Associations, Protection};
use lookup::{Ended, Lookups};
use own::Own;

/// The Map-Resolver's state.
#[derive(Debug)]
pub struct Resolver {
    sockets: Sockets,
    limiter: Limiter,
    cache: Cache,
    lookups: Lookups,
    associations: Associations,
    waiting: BTreeMap<u64, Waiting>,
    /// Who waits for the lookup of a host. Entries end with the lookup.
    waiters: HashMap<EidPrefix, Vec<u64>>,
    next_id: u64,
    /// Whether the node's own xTR has ever asked.
    has_pipe: bool,
}

/// What the rest of the engine lends for one input.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time.
    pub now: Now,
    /// What is registered here.
    pub server: &'a MapServer,
    /// Where refusals are counted.
    pub tally: &'a mut Tally,
    /// Where outputs go.
    pub outputs: &'a mut VecDeque<Output>,
}

/// A request and what is known of its records so far.
#[derive(Debug)]
struct Waiting {
    ask: Ask,
    slots: Vec<Slot>,
    deadline: Instant,
}

/// Who asked, and where the answer goes.
#[derive(Debug, Clone)]
struct Ask {
    via: Via,
    reply_to: ReplyTo,
    nonce: Nonce,
    /// The whole ECM, for forwarding.
    ecm: Vec<u8>,
    /// D of the ECM: a DDT resolver, which takes no Map-Reply from us.
    ddt: bool,
    /// Next hops it went to already.
    forwarded: Vec<SocketAddr>,
    /// What a LISP-SEC answer is made with (RFC 9303).
    protection: Option<Protection>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplyTo {
    Pipe,
    Udp { local: SocketAddr, remote: SocketAddr },
}

/// What one record of a request is answered with.
#[derive(Debug)]
enum Slot {
    /// A lookup runs for this host.
    Waiting(EidPrefix),
    /// These.
    Records(Vec<MappingRecord>),
    /// Nothing from us: forwarded, or refused.
    Silent,
}

impl Resolver {
    /// A resolver that sends from `sockets`.
    pub fn new(sockets: Sockets, limiter: Limiter, lookups: Lookups, associations: Associations) -> Self {
        let (cache, waiting, waiters) = (Cache::default(), BTreeMap::new(), HashMap::new());
        Self { sockets, limiter, cache, lookups, associations, waiting, waiters, next_id: 0, has_pipe: false }
    }

    /// Takes an ECM; `bytes` is the whole message.
    ///
    /// # Errors
    /// The reason for which it is dropped.
    pub fn ask(&mut self, cx: &mut Context<'_>, via: Via, bytes: &[u8], ecm: &Ecm) -> Result<(), Refusal> {
        let request = inner_request(ecm)?;
        let protection = self.associations.open(cx.now.monotonic, via, ecm.security.as_deref(), &request)?;
        let reply_to = self.reply_to(via, &request, ecm.source.port())?;
        self.has_pipe |= reply_to == ReplyTo::Pipe;
        if let ReplyTo::Udp { remote, .. } = reply_to {
            self.limiter.received(cx.now.monotonic, remote.ip(), bytes.len());
        }
        let forwarded = Vec::new();
        let (nonce, ecm, ddt) = (request.nonce, bytes.to_vec(), ecm.ddt);
        let mut ask = Ask { via, reply_to, nonce, ecm, ddt, forwarded, protection };
        let mut slots = Vec::with_capacity(request.records.len());
        for record in &request.records {
            let slot = record.eid.ip_prefix().ok_or(Refusal::RequestEidNotIp);
            let slot = slot.and_then(|prefix| self.slot(cx, &mut ask, &request, prefix));
            slots.push(slot.unwrap_or_else(|refusal| {
                cx.tally.count(refusal);
                Slot::Silent
            }));
        }
        self.next_id += 1;
        for slot in &slots {
            if let Slot::Waiting(host) = slot {
                self.waiters.entry(*host).or_default().push(self.next_id);
            }
        }
        let deadline = cx.now.monotonic + ANSWER_WITHIN;
        self.waiting.insert(self.next_id, Waiting { ask, slots, deadline });
        self.finish(cx, self.next_id);
        self.pump(cx);
        Ok(())
    }

    /// Takes what the DHT has under a key; `None` if it did not answer.
    ///
    /// # Errors
    /// `ValuesUnasked`.
    pub fn values(
        &mut self,
        cx: &mut Context<'_>,
        key: dht::record::RecordKey,
        values: Option<Vec<Vec<u8>>>,
    ) -> Result<(), Refusal> {
        let taken = self.lookups.values(cx.now, key, values);
        self.pump(cx);
        if taken { Ok(()) } else { Err(Refusal::ValuesUnasked) }
    }

    /// Takes what the DHT has under a key after it answered: what was concluded from that answer is concluded anew.
    pub fn newer(&mut self, cx: &mut Context<'_>, key: dht::record::RecordKey, values: Vec<Vec<u8>>) {
        self.lookups.newer(cx.now, key, values);
        self.pump(cx);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        self.lookups.expire(cx.now);
        self.pump(cx);
        let now = cx.now.monotonic;
        let late: Vec<u64> =
            self.waiting.iter().filter(|(_, waiting)| waiting.deadline <= now).map(|(id, _)| *id).collect();
        for id in late {
            self.give_up(cx, id);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let waiting = self.waiting.values().map(|waiting| waiting.deadline).min();
        [waiting, self.lookups.next_deadline()].into_iter().flatten().min()
    }

    /// Forgets what the DHT said about a prefix that is registered here now.
    pub fn forget(&mut self, prefix: &EidPrefix) {
        self.cache.forget(prefix);
    }

    /// Number of cached answers.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// To the pipe, or to the first ITR-RLOC that can be sent to, at the inner source port (RFC 9301, section 5.5).
    fn reply_to(&self, via: Via, request: &MapRequest, port: u16) -> Result<ReplyTo, Refusal> {
        let Via::Socket { local, .. } = via else { return Ok(ReplyTo::Pipe) };
        let rlocs = request.itr_rlocs.iter().filter_map(|rloc| rloc.ip());
        rlocs
            .filter(|rloc| port != 0 && may_send_to(*rloc, Some(local)))
            .find_map(|rloc| {
                let local = self.sockets.towards(rloc, Some(local))?;
                Some(ReplyTo::Udp { local, remote: SocketAddr::new(rloc, port) })
            })
            .ok_or(Refusal::RequestNoItrRloc)
    }

    /// Admits a question about an EID not registered here. An ITR that asks from one of its ITR-RLOCs is answered there: to
    /// name itself second must not aim our answers at whom it names first.
    fn admit_foreign(&mut self, cx: &Context<'_>, ask: &mut Ask, itr_rlocs: &[Address]) -> Result<(), Refusal> {
        let Via::Socket { local: asked, remote: source } = ask.via else { return Ok(()) };
        self.limiter.admit_foreign(source.ip(), itr_rlocs)?;
        let ReplyTo::Udp { local, remote } = &mut ask.reply_to else { return Ok(()) };
        if remote.ip() != source.ip() && itr_rlocs.iter().any(|rloc| rloc.ip() == Some(source.ip())) {
            remote.set_ip(source.ip());
            *local = asked;
            self.limiter.received(cx.now.monotonic, source.ip(), ask.ecm.len());
        }
        Ok(())
    }

    /// Decides one record of a request.
    fn slot(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        request: &MapRequest,
        prefix: EidPrefix,
    ) -> Result<Slot, Refusal> {
        let host = EidPrefix::host(prefix.iid, prefix.net.addr());
        if ask.protection.is_none() {
            lispsec::admit_unprotected(cx.server, ask.via, &host)?;
        }
        let octets = self.reply_octets(ask);
        let asked = ask.local();
        let sendable = |address: IpAddr| self.sockets.towards(address, asked).is_some();
        if let Some(own) = own::find(cx.server, &host, octets, sendable) {
            return self.own_slot(cx, ask, own, host);
        }
        if ask.ddt {
            return Err(Refusal::ReferralNotServed);
        }
        self.admit_foreign(cx, ask, &request.itr_rlocs)?;
        let now = cx.now.monotonic;
        match self.cache.get(now, &host) {
            // In the own process absence is asked again, so that start order does not matter.
            Some(Hit::Fresh(Found::CgeidAbsent(_)) | Hit::Refresh(Found::CgeidAbsent(_)))
                if ask.audience() == Audience::Pipe => {}
            Some(Hit::Fresh(found)) => return self.conclude(cx, ask, host, &found),
            Some(Hit::Refresh(found)) => {
                // A refresh that finds no room is no loss yet.
                let _ = self.lookups.start(cx.now, host);
                return self.conclude(cx, ask, host, &found);
            }
            Some(Hit::Stale(_)) | None => {}
        }
        if let Via::Socket { remote, .. } = ask.via
            && !self.lookups.runs(&host)
        {
            self.limiter.spend_miss(now, remote.ip())?;
        }
        if self.waiting.len() >= WAITING_REQUESTS {
            return Err(Refusal::RequestTableFull);
        }
        self.lookups.start(cx.now, host)?;
        Ok(Slot::Waiting(host))
    }

    fn own_slot(&mut self, cx: &mut Context<'_>, ask: &mut Ask, own: Own, host: EidPrefix) -> Result<Slot, Refusal> {
        match own {
            Own::Records(records) if ask.ddt && records.iter().all(|record| record.locators.is_empty()) => {
                Err(Refusal::ReferralNotServed)
            }
            Own::Records(records) => Ok(Slot::Records(records)),
            Own::ForwardTo(_) | Own::ForwardToPipe | Own::Unreachable if ask.protection.is_some() => {
                self.forward_protected(cx, ask, host)
            }
            Own::ForwardTo(next_hop) => self.forward(cx, ask, next_hop, host),
            Own::ForwardToPipe => {
                self.admit_forward(cx, ask, host)?;
                cx.outputs.push_back(Output::Pipe { bytes: ask.ecm.clone() });
                Ok(Slot::Silent)
            }
            Own::Unreachable => Err(Refusal::NoAddressOfFamily),
            Own::CgeidAbsent => Ok(self.found_records(cx, ask, &host, &Found::CgeidAbsent(host))),
        }
    }

    /// Answers with what was found, or forwards to the Map-Server of a site that wants to answer itself.
    fn conclude(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        host: EidPrefix,
        found: &Found,
    ) -> Result<Slot, Refusal> {
        if let Found::Mapping(mapping) = found
            && !mapping.proxy
        {
            if mapping.map_servers.iter().any(|server| self.sockets.has_address(*server)) {
                // Published by this node in an earlier life, and not registered since.
                return Ok(self.found_records(cx, ask, &host, &Found::Unregistered(mapping.prefix)));
            }
            let sendable = |server: &&IpAddr| self.sockets.towards(**server, ask.local()).is_some();
            let server = mapping.map_servers.iter().find(sendable).ok_or(Refusal::NoAddressOfFamily)?;
            // Behind an aggregate are many sites, of which an ITR may ask for several at once.
            let about = if mapping.locators.is_empty() { host } else { mapping.prefix };
            return self.forward_to_map_server(cx, ask, *server, (about, host));
        }
        Ok(self.found_records(cx, ask, &host, found))
    }

    /// The DHT knows nothing of the sites that are configured here: no answer covers one of them.
    fn found_records(&self, cx: &Context<'_>, ask: &Ask, host: &EidPrefix, found: &Found) -> Slot {
        let record = found.record(cx.now.monotonic, ask.audience());
        let eid = own::narrowed(cx.server, &found.prefix(), host).into();
        Slot::Records(vec![MappingRecord { eid, ..record }])
    }

    /// Sends the ECM on, its inner message unchanged (RFC 9301, section 8.3); once to each next hop.
    fn forward(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        next_hop: SocketAddr,
        about: EidPrefix,
    ) -> Result<Slot, Refusal> {
        self.forward_octets(cx, ask, next_hop, about, ask.ecm.clone())
    }

    /// Sends these octets on in its place.
    fn forward_octets(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        next_hop: SocketAddr,
        about: EidPrefix,
        bytes: Vec<u8>,
    ) -> Result<Slot, Refusal> {
        let local = self.sockets.towards(next_hop.ip(), ask.local()).ok_or(Refusal::NoAddressOfFamily)?;
        if self.sockets.0.contains(&next_hop) || !may_send_to(next_hop.ip(), Some(local)) {
            return Err(Refusal::NextHopUnusable);
        }
        if !ask.forwarded.contains(&next_hop) {
            self.admit_forward(cx, ask, about)?;
            ask.forwarded.push(next_hop);
            cx.outputs.push_back(Output::Send { local, remote: next_hop, bytes });
        }
        Ok(Slot::Silent)
    }

    /// A forwarded request is answered by another node to the same target, so it counts as a reply. Two Map-Servers whose
    /// sites name each other as ETR would send it to and fro for ever: it goes out once.
    fn admit_forward(&mut self, cx: &Context<'_>, ask: &Ask, about: EidPrefix) -> Result<(), Refusal> {
        let ReplyTo::Udp { remote, .. } = ask.reply_to else { return Ok(()) };
        let now = cx.now.monotonic;
        if ask.forwarded.is_empty() {
            self.limiter.admit_forward(now, &ask.ecm)?;
        }
        if !self.is_client(ask) {
            self.limiter.spend_reply(now, remote.ip(), about, ask.ecm.len())?;
        }
        Ok(())
    }

    /// Hands the lookups' questions out, and what they found to those who wait.
    fn pump(&mut self, cx: &mut Context<'_>) {
        while let Some(key) = self.lookups.poll_get() {
            cx.outputs.push_back(Output::DhtGet { key });
        }
        cx.outputs.extend(self.lookups.take_marks().map(Output::Persist));
        for _ in 0..self.lookups.take_refused() {
            cx.tally.count(Refusal::RecordRefused);
        }
        while let Some(Ended { host, found, is_repeat }) = self.lookups.poll_ended() {
            self.cache.put(cx.now.monotonic, found.clone());
            if is_repeat && self.has_pipe {
                cx.outputs.extend(solicit(host).map(|bytes| Output::Pipe { bytes }));
            }
            let found = self.with_stale(cx, host, found);
            for id in self.waiters.remove(&host).unwrap_or_default() {
                self.settle(cx, id, host, &found);
            }
        }
    }

    /// When the DHT does not answer, what it said before is served a while longer.
    fn with_stale(&mut self, cx: &Context<'_>, host: EidPrefix, found: Found) -> Found {
        match (found, self.cache.get(cx.now.monotonic, &host)) {
            (Found::Unknown(_), Some(Hit::Stale(old) | Hit::Refresh(old) | Hit::Fresh(old))) => {
                tracing::warn!(eid = %host, "the DHT does not answer: serving what it said before");
                old
            }
            (found, _) => found,
        }
    }

    fn settle(&mut self, cx: &mut Context<'_>, id: u64, host: EidPrefix, found: &Found) {
        let Some(mut waiting) = self.waiting.remove(&id) else { return };
        for index in 0..waiting.slots.len() {
            if matches!(waiting.slots[index], Slot::Waiting(eid) if eid == host) {
                waiting.slots[index] = self.conclude(cx, &mut waiting.ask, host, found).unwrap_or_else(|refusal| {
                    cx.tally.count(refusal);
                    Slot::Silent
                });
            }
        }
        self.waiting.insert(id, waiting);
        self.finish(cx, id);
    }

    /// Tells the asker of a slow lookup to ask again; the lookup goes on.
    fn give_up(&mut self, cx: &mut Context<'_>, id: u64) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            for slot in &mut waiting.slots {
                if let Slot::Waiting(host) = *slot {
                    *slot = Slot::Records(vec![ask_again(host)]);
                }
            }
        }
        self.finish(cx, id);
    }

    /// Sends the reply of a request none of whose records waits any more.
    fn finish(&mut self, cx: &mut Context<'_>, id: u64) {
        if self.waiting.get(&id).is_none_or(|w| w.slots.iter().any(|slot| matches!(slot, Slot::Waiting(_)))) {
            return;
        }
        let Some(Waiting { ask, slots, .. }) = self.waiting.remove(&id) else { return };
        let mut records: Vec<MappingRecord> = Vec::new();
        for record in
            slots.into_iter().flat_map(|slot| if let Slot::Records(records) = slot { records } else { vec![] })
        {
            if !records.iter().any(|known| known.eid == record.eid) {
                records.push(record);
            }
        }
        if let Err(refusal) = self.reply(cx, &ask, records) {
            cx.tally.count(refusal);
        }
    }

    fn reply(&mut self, cx: &mut Context<'_>, ask: &Ask, records: Vec<MappingRecord>) -> Result<(), Refusal> {
        let Some(first) = records.first() else { return Ok(()) };
        let about = first.eid.ip_prefix().ok_or(Refusal::NotEncodable)?;
        let reply = MapReply { nonce: ask.nonce, records, ..MapReply::default() };
        let encoded = match &ask.protection {
            Some(protection) => protection.seal(&reply),
            None => reply.encode(),
        };
        let bytes = encoded.map_err(|_| Refusal::NotEncodable)?;
        match ask.reply_to {
            ReplyTo::Pipe => cx.outputs.push_back(Output::Pipe { bytes }),
            ReplyTo::Udp { local, remote } => {
                if !self.is_client(ask) {
                    self.limiter.spend_reply(cx.now.monotonic, remote.ip(), about, bytes.len())?;
                }
                cx.outputs.push_back(Output::Send { local, remote, bytes });
            }
        }
        Ok(())
    }

    /// What a reply to `ask` may have.
    fn reply_octets(&self, ask: &Ask) -> usize {
        if ask.audience() == Audience::Pipe || self.is_client(ask) {
            return usize::MAX;
        }
        let octets = ask.ecm.len().saturating_mul(usize::try_from(AMPLIFICATION).unwrap_or(1));
        if ask.protection.is_some() { octets.saturating_sub(LISP_SEC_OCTETS) } else { octets }
    }

    /// Whether the limits of replies are lifted: for clients that ask for themselves. Anyone can put a client's address into
    /// the source of a datagram, so what goes to others is limited.
    fn is_client(&self, ask: &Ask) -> bool {
        match (ask.via, ask.reply_to) {
            (Via::Socket { remote: source, .. }, ReplyTo::Udp { remote: target, .. }) => {
                self.limiter.is_client(source.ip()) && self.limiter.is_client(target.ip())
            }
            _ => false,
        }
    }
}

impl Ask {
    fn audience(&self) -> Audience {
        match self.via {
            Via::Pipe => Audience::Pipe,
            Via::Socket { .. } => Audience::Network,
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        match self.via {
            Via::Pipe => None,
            Via::Socket { local, .. } => Some(local),
        }
    }
}

/// Tells the node's own xTR that what it was told of an EID is outdated, so that it asks again (RFC 9301, section 6.1): the
/// answer is in the cache. Others ask when theirs expires; to send them what they did not ask for would help attackers only.
fn solicit(host: EidPrefix) -> Option<Vec<u8>> {
    let request = MapRequest {
        smr: true,
        source_eid: host.net.addr().into(),
        // Nobody answers an SMR, but the message has no form without one.
        itr_rlocs: vec![IpAddr::from(std::net::Ipv6Addr::LOCALHOST).into()],
        records: vec![EidRequest { notify: false, eid: host.into() }],
        ..MapRequest::default()
    };
    request.encode().ok()
}

/// The Map-Request of an ECM, if it is one that a Map-Resolver answers.
fn inner_request(ecm: &Ecm) -> Result<MapRequest, Refusal> {
    let request = match ControlMessage::decode(&ecm.message) {
        Ok(ControlMessage::MapRequest(request)) => request,
        Ok(_) => return Err(Refusal::EcmNotMapRequest),
        Err(_) => return Err(Refusal::Malformed),
    };
    if request.probe {
        return Err(Refusal::ProbeInEcm);
    }
    if request.dont_map_reply {
        return Err(Refusal::RequestWantsNoReply);
    }
    match request.records.len() {
        0 => Err(Refusal::RequestEmpty),
        1..=REQUEST_RECORDS => Ok(request),
        _ => Err(Refusal::RequestTooManyRecords),
    }
}
