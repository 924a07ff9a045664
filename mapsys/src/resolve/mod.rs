// SPDX-License-Identifier: GPL-2.0-or-later
//! The Map-Resolver: encapsulated Map-Requests answered from the sites, the cache or the DHT (RFC 9301, section 8.4).

mod answering;
mod ask;
pub mod cache;
mod doubted;
pub mod foreign;
pub mod found;
mod label;
pub mod lispsec;
pub mod lookup;
pub mod own;
mod referral;
mod reply;
mod subscribing;
mod turns;
mod waiting;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use dht::resolve::TrustAnchor;
use ipnet::IpNet;
use wire::address::EidPrefix;
use wire::control::{ControlMessage, Ecm, EidRequest, MapRequest};
use wire::record::MappingRecord;

use crate::dropped::Dropped;
use crate::engine::Output;
use crate::limit::{Foreign, Limiter};
use crate::limits::{ANSWER_WITHIN, LATE_AT_ONCE, LOOKED_UP_LATELY, LOOKUPS, WAITING_REQUESTS};
use crate::refusal::{Refusal, Served, Tally};
use crate::register::MapServer;
use crate::subscribe::Subscriptions;
use crate::transport::{Now, Sockets, Via, is_private};
use ask::{Ask, ReplyTo, answerable};
use cache::{Cache, Hit};
use dht::pause::Pause;
use doubted::Doubted;
use foreign::Ddt;
use found::{Audience, Found, ask_again};
use lispsec::Associations;
use lookup::{Ended, Lookups};
use own::Own;
use subscribing::is_leaving;
use turns::Turns;
use waiting::{RequestId, Requests, Slot, Waiting};

/// The Map-Resolver's state.
#[derive(Debug)]
pub struct Resolver {
    sockets: Sockets,
    limiter: Limiter,
    cache: Cache,
    lookups: Lookups,
    stale_logged: Pause,
    doubted: Doubted,
    requests: Requests,
    associations: Associations,
    /// Whether the node's own xTR has ever asked.
    has_pipe: bool,
    /// Map-Requests so far.
    asked: u64,
    turns: Turns,
    ddt: Ddt,
}

/// What the rest of the engine lends for one input.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time.
    pub now: Now,
    /// What is registered here.
    pub server: &'a MapServer,
    /// Who has subscribed to what.
    pub subscriptions: &'a mut Subscriptions,
    /// Where refusals are counted.
    pub tally: &'a mut Tally,
    /// Where they are logged.
    pub(crate) dropped: &'a mut Dropped,
    /// Where outputs go.
    pub outputs: &'a mut VecDeque<Output>,
}

impl Resolver {
    /// A resolver that sends from `sockets`.
    pub fn new(sockets: Sockets, limiter: Limiter, lookups: Lookups, associations: Associations) -> Self {
        let ddt = Ddt::new(&crate::ddt::Config::default(), &sockets);
        Self {
            sockets,
            limiter,
            cache: Cache::default(),
            lookups,
            stale_logged: Pause::default(),
            doubted: Doubted::default(),
            requests: Requests::default(),
            associations,
            has_pipe: false,
            asked: 0,
            turns: Turns::default(),
            ddt,
        }
    }

    /// Takes an ECM, decoded and whole.
    ///
    /// # Errors
    /// The reason for which it is dropped.
    pub fn ask(&mut self, cx: &mut Context<'_>, via: Via, bytes: Vec<u8>, ecm: &Ecm) -> Result<(), Refusal> {
        let inner = ControlMessage::decode(&ecm.message)
            .map_err(|error| cx.dropped.malformed(cx.now.monotonic, via, &error))?;
        let request = answerable(inner)?;
        let protection = self.associations.open(cx.now.monotonic, via, ecm.security.as_deref(), &request)?;
        let reply_to = self
            .reply_to(via, &request, ecm.source.port())
            .or_else(|refusal| Self::reply_to_source(via, &request, ecm.source.port()).ok_or(refusal))
            .or_else(|refusal| self.reply_to_nat(cx, via, ecm, &request).ok_or(refusal))?;
        self.has_pipe |= reply_to == ReplyTo::Pipe;
        let (forwarded, parts, wanted, is_leaving) = (Vec::new(), Vec::new(), Vec::new(), is_leaving(&request));
        let (nonce, ddt) = (request.nonce, ecm.ddt);
        let (about, records) = (None, request.records.len());
        let is_subscribing = request.records.iter().any(|record| record.notify);
        let brings = protection.as_ref().filter(|_| is_subscribing);
        let brought = brings.map(|with| cx.subscriptions.brought(&with.itr_otk, with.wrap, nonce, with.by.clone()));
        self.asked = self.asked.wrapping_add(1);
        let mut ask = Ask {
            number: self.asked,
            via,
            reply_to,
            is_behind_nat: false,
            nonce,
            ecm: bytes,
            records,
            ddt,
            forwarded,
            counted: Vec::new(),
            is_searched: false,
            parts,
            wanted,
            is_leaving,
            about,
            brought,
            protection,
        };
        // What comes and goes is not counted where no limit holds: for the answers to clients.
        if let Some(target) = ask.target().filter(|_| ddt || is_subscribing || !self.are_clients(via, reply_to)) {
            self.count(cx, &mut ask, target);
        }
        if ddt {
            self.admit_ddt(cx, &mut ask, &request)?;
        }
        subscribing::verify(cx, &mut ask, &request, ecm.source)?;
        let mut slots = Vec::with_capacity(request.records.len());
        for record in &request.records {
            let slot = match record.eid.ip_prefix() {
                Some(prefix) if record.notify => self.notify_slot(cx, &mut ask, &request, (prefix, ecm.source)),
                Some(prefix) => self.slot(cx, &mut ask, &request, prefix),
                None => self.label_slot(cx, &mut ask, &request, record),
            };
            slots.push(slot.unwrap_or_else(|refusal| {
                cx.tally.count(refusal);
                cx.dropped.refused(cx.now.monotonic, via, refusal);
                Slot::Silent
            }));
        }
        let deadline = cx.now.monotonic + ANSWER_WITHIN;
        self.finish(cx, Waiting { ask, slots, deadline });
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
        while let Some(host) = self.doubted.poll(cx.now.monotonic) {
            // Where there is no room it is tried again in its turn.
            let _ = self.lookups.start(cx.now, host);
        }
        self.read_again(cx);
        self.pump(cx);
        self.search_timeout(cx);
        for _ in 0..LATE_AT_ONCE {
            let Some(waiting) = self.requests.pop_late(cx.now.monotonic) else { break };
            self.give_up(cx, waiting);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.requests.next_deadline(), self.lookups.next_deadline(), self.doubted.next_deadline()];
        deadlines.into_iter().chain([self.ddt.next_deadline()]).flatten().min()
    }

    /// Forgets what the DHT said about a prefix that is registered here now.
    pub fn forget(&mut self, prefix: &EidPrefix) {
        self.cache.forget(prefix);
    }

    /// Serves `clients` and trusts `anchors` from now on. Answers of those that were trusted before are forgotten.
    pub fn reconfigure(
        &mut self,
        clients: Vec<IpNet>,
        foreign: Foreign,
        anchors: impl IntoIterator<Item = TrustAnchor>,
    ) {
        self.limiter.reconfigure(clients, foreign);
        if self.lookups.trust(anchors) {
            self.cache.clear();
        }
    }

    /// Exchanges one-time keys of LISP-SEC with others from now on.
    pub fn associate(&mut self, associations: Associations) {
        self.associations = associations;
    }

    /// Sends from, and names, other addresses from now on.
    pub fn readdress(&mut self, sockets: &Sockets) {
        self.sockets = sockets.clone();
        self.ddt.readdress(sockets);
    }

    /// Number of cached answers.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// Counts the octets of a request for what may be sent to `target` because of it.
    fn count(&mut self, cx: &Context<'_>, ask: &mut Ask, target: IpAddr) {
        self.limiter.received(cx.now.monotonic, target, ask.ecm.len());
        ask.counted.push(target);
    }

    /// Keeps the octets of a request that is to wait until it is answered.
    fn withhold(&mut self, cx: &Context<'_>, ask: &Ask) {
        for target in &ask.counted {
            self.limiter.withhold(cx.now.monotonic, ask.number, *target, ask.ecm.len());
        }
    }

    /// Counts them again.
    fn release(&mut self, cx: &Context<'_>, ask: &Ask) {
        for target in &ask.counted {
            self.limiter.release(cx.now.monotonic, ask.number, *target);
        }
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
        // Who walks the tree hears that it has come to its end (see `own_referral`).
        if ask.protection.is_none() && !ask.ddt {
            lispsec::admit_unprotected(cx.server, ask.via, &host)?;
        }
        let octets = self.reply_octets(ask);
        let asked = ask.local();
        let sendable = |address: IpAddr| self.sockets.towards(address, asked).is_some();
        if ask.ddt {
            if let Some(slot) = self.referral_slot(cx, ask, prefix, host)? {
                return Ok(slot);
            }
        } else if let Some(own) = own::find(cx.server, &host, octets, sendable) {
            return self.own_slot(cx, ask, own, host);
        } else {
            self.admit_foreign(cx, ask, request)?;
            if let Some(slot) = self.foreign_slot(cx, ask, host)? {
                return Ok(slot);
            }
        }
        let now = cx.now.monotonic;
        let hit = self.cache.get(now, &host);
        if request.smr_invoked && ask.audience() == Audience::Pipe {
            self.doubted.note(now, host, hit.as_ref().map(Hit::found));
        }
        match hit {
            // In the own process absence is asked again, so that start order does not matter.
            Some(Hit::Fresh(Found::CgeidAbsent(_)) | Hit::Refresh(Found::CgeidAbsent(_)))
                if ask.audience() == Audience::Pipe => {}
            Some(Hit::Fresh(_) | Hit::Refresh(_)) if request.smr_invoked && self.look_anew(cx, ask, host) => {
                return Ok(Slot::Waiting(host));
            }
            Some(Hit::Fresh(found)) => return self.conclude(cx, ask, host, &found),
            Some(Hit::Refresh(found)) => {
                // A refresh that finds no room is no loss yet.
                let _ = self.lookups.start(cx.now, host);
                return self.conclude(cx, ask, host, &found);
            }
            Some(Hit::Stale(_)) | None => {}
        }
        self.admit_miss(now, ask.via, &host)?;
        self.lookups.start(cx.now, host)?;
        Ok(Slot::Waiting(host))
    }

    /// Whoever was told by an SMR that a mapping has changed is not told what was said before, unless that was just looked up, or there is
    /// no room: anybody can send an SMR, so that these lookups leave places to what is not known at all. (Strangers alone have half of them.)
    fn look_anew(&mut self, cx: &Context<'_>, ask: &Ask, host: EidPrefix) -> bool {
        let now = cx.now.monotonic;
        if !self.lookups.runs(&host) && self.lookups.len() >= LOOKUPS * 3 / 4 {
            return false;
        }
        if now.checked_sub(LOOKED_UP_LATELY).is_some_and(|then| self.cache.is_from_after(then, &host)) {
            return false;
        }
        self.admit_miss(now, ask.via, &host).is_ok() && self.lookups.start(cx.now, host).is_ok()
    }

    /// A lookup in the DHT costs others more than it costs who asks for it: strangers get few, and never more than half of the
    /// places, so that a flood of theirs keeps no client out.
    fn admit_miss(&mut self, now: Instant, via: Via, host: &EidPrefix) -> Result<(), Refusal> {
        let stranger = match via {
            Via::Socket { remote, .. } => Some(remote.ip()).filter(|source| !self.limiter.is_client(*source)),
            Via::Pipe => None,
        };
        let places = if stranger.is_some() { 2 } else { 1 };
        let runs = self.lookups.runs(host);
        if self.requests.len() >= WAITING_REQUESTS / places || (!runs && self.lookups.len() >= LOOKUPS / places) {
            return Err(Refusal::RequestTableFull);
        }
        match stranger {
            Some(source) if !runs => self.limiter.spend_miss(now, source),
            _ => Ok(()),
        }
    }

    fn own_slot(&mut self, cx: &mut Context<'_>, ask: &mut Ask, own: Own, host: EidPrefix) -> Result<Slot, Refusal> {
        match own {
            Own::Records(records) => Ok(Slot::Records(records)),
            Own::ForwardTo(_) | Own::ForwardToPipe | Own::Unreachable if ask.protection.is_some() => {
                self.forward_protected(cx, ask, host)
            }
            Own::ForwardTo(next_hop) => self.forward(cx, ask, next_hop, host),
            Own::ForwardToPipe => {
                self.admit_forward(cx, ask, host)?;
                cx.tally.serve(Served::RequestForwarded);
                cx.outputs.push_back(Output::Pipe { bytes: ask.ecm.clone() });
                Ok(Slot::Silent)
            }
            Own::Unreachable => Err(Refusal::NoAddressOfFamily),
            Own::CgeidAbsent => Ok(self.found_records(cx, ask, &host, &Found::CgeidAbsent(host))),
        }
    }

    /// Answers with what was found.
    fn conclude(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        host: EidPrefix,
        found: &Found,
    ) -> Result<Slot, Refusal> {
        if let Some(slot) = self.subscribe_found(cx, ask, host, found) {
            if ask.ddt {
                self.acknowledge(cx, ask, host)?;
            }
            return Ok(slot);
        }
        if ask.ddt { self.found_referral(cx, ask, host, found) } else { self.found_slot(cx, ask, host, found) }
    }

    /// Answers with what was found, or forwards to the Map-Server of a site that wants to answer itself.
    fn found_slot(
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
            let server = self.map_server(cx, ask, &mapping.map_servers, host).ok_or(Refusal::NoAddressOfFamily)?;
            // Behind an aggregate are many sites, of which an ITR may ask for several at once.
            let about = if mapping.locators.is_empty() { host } else { mapping.prefix };
            return self.forward_to_map_server(cx, ask, SocketAddr::new(server, wire::CONTROL_PORT), (about, host));
        }
        Ok(self.found_records(cx, ask, &host, found))
    }

    /// Which of the addresses that a Map-Server has published is asked: of those that can be sent to, and can read the one-time key if
    /// there is one, a public one before one behind some NAT, and the next one each time the asker repeats himself.
    fn map_server(&mut self, cx: &Context<'_>, ask: &Ask, published: &[IpAddr], host: EidPrefix) -> Option<IpAddr> {
        let is_sendable = |server: &IpAddr| self.sockets.towards(*server, ask.local()).is_some();
        let mut servers: Vec<IpAddr> = published.iter().copied().filter(is_sendable).collect();
        let is_open_to = |server: &IpAddr| self.associations.is_open_to(*server);
        if ask.protection.is_some() && servers.iter().any(is_open_to) {
            servers.retain(is_open_to);
        }
        servers.sort_by_key(|server| is_private(*server));
        let turn = self.turns.next(cx.now.monotonic, ask, host).checked_rem(servers.len())?;
        servers.get(turn).copied()
    }

    /// The DHT knows nothing of the sites that are configured here: no answer covers one of them. Nor does a hole cover what others
    /// are asked about.
    fn found_records(&self, cx: &Context<'_>, ask: &Ask, host: &EidPrefix, found: &Found) -> Slot {
        let record = found.record(cx.now.monotonic, ask.audience());
        let within = match found {
            Found::Hole(prefix) => self.ddt.known_to_nobody(prefix, host),
            found => found.prefix(),
        };
        let eid = own::narrowed(cx.server, &within, host).into();
        Slot::Records(vec![MappingRecord { eid, ..record }])
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
        while let Some(Ended { host, found, is_repeat, said }) = self.lookups.poll_ended() {
            self.cache.put(cx.now.monotonic, found.clone());
            cx.subscriptions.heard(cx.now, &found);
            let is_news = said.is_some_and(|said| found.is_news_after(&said));
            let waiters = self.requests.waiters(&host);
            let found = self.with_stale(cx, host, found);
            let is_waiting = waiters.iter().any(|id| self.requests.audience(*id) == Some(Audience::Pipe));
            let has_changed = self.doubted.hears(cx.now.monotonic, host, &found, is_waiting);
            if (is_repeat || is_news || has_changed) && self.has_pipe {
                cx.outputs.extend(solicit(host).map(|bytes| Output::Pipe { bytes }));
            }
            for id in waiters {
                self.settle(cx, id, host, &found);
            }
        }
    }

    /// When the DHT does not answer, what it said before is served a while longer, for a minute each time.
    fn with_stale(&mut self, cx: &Context<'_>, host: EidPrefix, found: Found) -> Found {
        match (found, self.cache.get(cx.now.monotonic, &host)) {
            (Found::Unknown(_), Some(Hit::Stale(old))) => {
                self.stale_logged.line(cx.now.monotonic, |left_out| {
                    tracing::warn!(eid = %host, left_out, "the DHT does not answer: serving what it said before");
                });
                old.for_a_minute()
            }
            (Found::Unknown(_), Some(Hit::Refresh(old) | Hit::Fresh(old))) => old,
            (found, _) => found,
        }
    }

    fn settle(&mut self, cx: &mut Context<'_>, id: RequestId, host: EidPrefix, found: &Found) {
        let Some(mut waiting) = self.requests.take(id) else { return };
        self.release(cx, &waiting.ask);
        for index in 0..waiting.slots.len() {
            if matches!(waiting.slots[index], Slot::Waiting(eid) if eid == host) {
                waiting.slots[index] = self.conclude(cx, &mut waiting.ask, host, found).unwrap_or_else(|refusal| {
                    cx.tally.count(refusal);
                    Slot::Silent
                });
            }
        }
        if waiting.is_complete() {
            self.finish(cx, waiting);
        } else {
            self.withhold(cx, &waiting.ask);
            self.requests.put_back(id, waiting);
        }
    }

    /// Answers the asker of a slow lookup with what was said before, or tells him to ask again; the lookup goes on.
    fn give_up(&mut self, cx: &mut Context<'_>, mut waiting: Waiting) {
        self.release(cx, &waiting.ask);
        for index in 0..waiting.slots.len() {
            if let Slot::Waiting(host) = waiting.slots[index] {
                waiting.slots[index] = self.late(cx, &mut waiting.ask, host).unwrap_or_else(|refusal| {
                    cx.tally.count(refusal);
                    Slot::Silent
                });
            }
        }
        self.finish(cx, waiting);
    }

    /// What is said of an EID whose lookup takes too long. A silent DHT is known to be so only when each GET has had its time, which is
    /// longer than an asker waits.
    fn late(&mut self, cx: &mut Context<'_>, ask: &mut Ask, host: EidPrefix) -> Result<Slot, Refusal> {
        // An xTR that ends a subscription waits for a Map-Notify, and takes no Map-Reply.
        if ask.is_leaving {
            return Ok(Slot::Silent);
        }
        match self.cache.get(cx.now.monotonic, &host) {
            Some(hit) => {
                let said = match hit {
                    Hit::Stale(said) => said.for_a_minute(),
                    Hit::Refresh(said) | Hit::Fresh(said) => said,
                };
                if ask.audience() == Audience::Pipe {
                    self.lookups.told(&host, said.clone());
                }
                self.conclude(cx, ask, host, &said)
            }
            // A DDT client asks again by itself, and takes no Map-Reply.
            None if ask.ddt => Ok(Slot::Silent),
            None => Ok(Slot::Records(vec![ask_again(host)])),
        }
    }

    /// Sends the replies of a request none of whose records waits any more; the others are put down to wait.
    fn finish(&mut self, cx: &mut Context<'_>, mut waiting: Waiting) {
        self.send_parts(cx, &mut waiting.ask);
        if !waiting.is_complete() {
            self.withhold(cx, &waiting.ask);
            self.requests.insert(waiting);
            return;
        }
        let Waiting { ask, slots, .. } = waiting;
        // What a search in the tree has led to already may have left it withheld.
        self.release(cx, &ask);
        for answer in reply::divided(&ask, slots) {
            if let Err(refusal) = self.reply(cx, &ask, answer) {
                cx.tally.count(refusal);
            }
        }
        if ask.is_searched {
            self.withhold(cx, &ask);
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
