// SPDX-License-Identifier: GPL-2.0-or-later
//! The replying engine: a Map-Request in, at most one Map-Reply out.

use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::{MapReply, MapRequest};
use wire::record::{LocatorRecord, MappingRecord};

use super::limits;
use super::rate::RateTable;
use super::secured::Protection;
use crate::database::{Database, RecordForm};
use crate::map_cache::is_unicast;
use crate::nat::rtr::Rtr;
use crate::refusal::{Refusal, Tally};
use crate::transport::{Destination, Outgoing, Via, same_family};
use crate::trust::Trust;

/// A Map-Request as it reached us.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Where it, or the ECM round it, came in.
    pub via: Via,
    /// Source of the inner headers, if it came in an ECM.
    pub inner_source: Option<SocketAddr>,
    /// The message.
    pub message: &'a MapRequest,
    /// What LISP-SEC gives for its answer, if it is protected.
    pub protection: Option<&'a Protection>,
    /// What this node relays to, about which it answers probes.
    pub rtr: Option<&'a Rtr>,
}

/// An answer to send, and what it says to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The message.
    pub outgoing: Outgoing,
    /// The RLOC of the ITR that asked.
    pub itr: IpAddr,
    /// The EID-prefixes of ours that it contains.
    pub prefixes: Vec<EidPrefix>,
}

/// Answers for the EID-prefixes of this node.
#[derive(Debug)]
pub struct Replier {
    database: Database,
    /// What no Map-Server has from us any more is among these.
    moved: Vec<EidPrefix>,
    trust: Trust,
    replies: RateTable<(IpAddr, EidPrefix)>,
    /// By the address that a probe came from, the one it is answered to, and the locator of ours that it tests.
    probes: RateTable<(IpAddr, IpAddr, IpAddr)>,
    probes_from_elsewhere: RateTable<IpAddr>,
    /// Whether Map-Requests have to be protected.
    requires_protection: bool,
    tally: Tally,
}

impl Replier {
    /// Answers from `database`.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            moved: Vec::new(),
            trust: Trust::default(),
            replies: rate(limits::REPLIES),
            probes: rate(limits::PROBES),
            probes_from_elsewhere: rate(limits::PROBES_FROM_ELSEWHERE),
            requires_protection: false,
            tally: Tally::default(),
        }
    }

    /// Says to these peers, and to no other, that the site echoes nonces, if it does.
    pub fn trust(&mut self, trust: Trust) {
        self.trust = trust;
    }

    /// Answers from `database` from now on.
    pub fn set_database(&mut self, database: Database) {
        self.database = database;
    }

    /// These EID-prefixes, some of ours among them, are another xTR's now: nobody is told any more that they are behind us.
    pub fn set_moved(&mut self, moved: Vec<EidPrefix>) {
        self.moved = moved;
    }

    /// Whether Map-Requests other than probes are answered with LISP-SEC only (RFC 9301, section 9).
    pub fn require_protection(&mut self, required: bool) {
        self.requires_protection = required;
    }

    /// Takes a Map-Request that is not an SMR; the reply, if there is one to send.
    pub fn handle(&mut self, now: Instant, request: Request<'_>) -> Option<Reply> {
        match self.answer(now, request) {
            Ok(reply) => Some(reply),
            Err(refusal) => {
                self.tally.count(refusal);
                None
            }
        }
    }

    /// What was refused.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn answer(&mut self, now: Instant, request: Request<'_>) -> Result<Reply, Refusal> {
        let message = request.message;
        if message.records.is_empty() {
            return Err(Refusal::RequestWithoutRecord);
        }
        if message.dont_map_reply {
            return Err(Refusal::RequestWantsNoReply);
        }
        if message.probe && request.inner_source.is_some() {
            return Err(Refusal::ProbeInEcm);
        }
        if self.requires_protection && request.protection.is_none() && !message.probe {
            return Err(Refusal::SecRequired);
        }
        let to = self.destination(request)?;
        let Destination::Socket { local, remote } = to else { return Err(Refusal::RequestNoItrRloc) };
        let probed = message.probe.then(|| probed_locator(request.via, local));
        let way = Way { from: sender(request.via), receiver: remote.ip(), probed };
        let Allowed { ours, asked } = self.allowed(now, message, way)?;
        let form = RecordForm { authoritative: true, probed };
        let rtr = request.rtr.filter(|_| message.probe);
        let relayed = rtr.map(|rtr| rtr.mappings(now, asked.iter())).unwrap_or_default();
        let relayed = relayed.into_iter().map(|mapping| relayed_record(mapping, form));
        let records = ours.iter().map(|prefix| self.database.record(*prefix, form)).chain(relayed).collect();
        let bytes = self.encode(request, records, remote.ip())?;
        Ok(Reply { outgoing: Outgoing { to, bytes }, itr: remote.ip(), prefixes: ours })
    }

    /// To the first ITR-RLOC that we can reach, at the port that the request came from.
    fn destination(&self, request: Request<'_>) -> Result<Destination, Refusal> {
        let rlocs = self.database.rlocs();
        let (local, port) = match (request.via, request.inner_source) {
            (Via::Socket { local, .. }, Some(inner)) => (Some(local.ip()), inner.port()),
            (Via::Pipe, Some(inner)) => (None, inner.port()),
            (Via::Socket { local, remote }, None) => (Some(local.ip()), remote.port()),
            (Via::Pipe, None) => return Err(Refusal::NotForXtr),
        };
        let on_loopback = local.is_some_and(|address| address.is_loopback());
        let candidates = request.message.itr_rlocs.iter().filter_map(|rloc| rloc.ip());
        candidates
            .filter(|rloc| is_unicast(*rloc) || on_loopback && rloc.is_loopback())
            .find_map(|rloc| {
                let asked_at = local.filter(|address| address.is_ipv4() == rloc.is_ipv4());
                let local = asked_at.or_else(|| same_family(&rlocs, rloc))?;
                Some(Destination::Socket { local, remote: SocketAddr::new(rloc, port) })
            })
            .ok_or(Refusal::RequestNoItrRloc)
    }

    /// What was asked for and may be answered now.
    fn allowed(&mut self, now: Instant, message: &MapRequest, way: Way) -> Result<Allowed, Refusal> {
        let mut allowed = Allowed::default();
        let mut refused = Vec::new();
        for (index, record) in message.records.iter().enumerate() {
            match self.allowed_record(now, index, record.eid.ip_prefix(), way) {
                Ok((asked, ours)) => {
                    allowed.asked.push(asked);
                    allowed.ours.extend(ours);
                }
                Err(refusal) => refused.push(refusal),
            }
        }
        allowed.ours.sort_unstable();
        allowed.ours.dedup();
        // A request of which nothing is answered is one refusal; what is left out of an answer is counted on its own.
        let verdict = if allowed.asked.is_empty() { refused.pop() } else { None };
        refused.into_iter().for_each(|refusal| self.tally.count(refusal));
        verdict.map_or(Ok(allowed), Err)
    }

    fn allowed_record(
        &mut self,
        now: Instant,
        index: usize,
        asked: Option<EidPrefix>,
        way: Way,
    ) -> Result<(EidPrefix, Vec<EidPrefix>), Refusal> {
        if index >= limits::RECORDS {
            return Err(Refusal::RequestTooManyRecords);
        }
        let asked = asked.ok_or(Refusal::RecordNotIp)?;
        let mut prefixes = self.database.answer(&asked);
        prefixes.retain(|own| !self.moved.contains(own));
        if let Some(probed) = way.probed {
            // A probe asks whether the locator works, which it does also when the EID-prefix has left us: the answer then has
            // no record of it (RFC 9301, section 7.1: SHOULD contain), and the ITR's other mappings with it stay in use.
            return self.allow_probe(now, way, probed).then_some((asked, prefixes)).ok_or(Refusal::ProbeRateLimited);
        }
        let best = *prefixes.first().ok_or(Refusal::RequestNotOurs)?;
        self.replies.allow(now, (way.receiver, best)).then_some((asked, prefixes)).ok_or(Refusal::RequestRateLimited)
    }

    /// Who names others as receivers uses up what he has himself, and not what they have.
    fn allow_probe(&mut self, now: Instant, way: Way, probed: IpAddr) -> bool {
        let from = way.from.unwrap_or(way.receiver);
        let is_from_receiver = from == way.receiver;
        (is_from_receiver || self.probes_from_elsewhere.allow(now, way.receiver))
            && self.probes.allow(now, (from, way.receiver, probed))
    }

    /// As many records as fit a packet; the ITR asks for the others when it needs them.
    fn encode(&self, request: Request<'_>, records: Vec<MappingRecord>, receiver: IpAddr) -> Result<Vec<u8>, Refusal> {
        let limit = if receiver.is_ipv4() { limits::PAYLOAD_V4 } else { limits::PAYLOAD_V6 };
        let mut reply = MapReply {
            probe: request.message.probe,
            // E: the site does echo-nonce (RFC 9301, section 5.4).
            echo_nonce: self.trust.echo_nonce() && self.trust.is_trusted(receiver),
            nonce: request.message.nonce,
            records,
            ..MapReply::default()
        };
        loop {
            let encoded = request.protection.map_or_else(|| reply.encode(), |protection| protection.seal(&reply));
            let bytes = encoded.map_err(|_| Refusal::NotEncodable)?;
            if bytes.len() <= limit || reply.records.len() <= 1 {
                return Ok(bytes);
            }
            reply.records.pop();
        }
    }
}

/// From where to where an answer would go, and why.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// The source of the UDP packet with the request, if it came in one.
    from: Option<IpAddr>,
    /// The ITR-RLOC that is answered to.
    receiver: IpAddr,
    /// The locator that a probe tests.
    probed: Option<IpAddr>,
}

/// What was asked for and may be answered.
#[derive(Debug, Default)]
struct Allowed {
    /// The EID-prefixes in the message.
    asked: Vec<EidPrefix>,
    /// Those of ours that answer them.
    ours: Vec<EidPrefix>,
}

/// The mapping of a site that this node relays to, as its ETR.
fn relayed_record(mapping: &MappingRecord, form: RecordForm) -> MappingRecord {
    let locator = |locator: &LocatorRecord| {
        let is_probed = form.probed.is_some() && locator.rloc.ip() == form.probed;
        LocatorRecord { local: is_probed, probed: is_probed, ..locator.clone() }
    };
    let locators = mapping.locators.iter().map(locator).collect();
    MappingRecord { authoritative: form.authoritative, locators, ..mapping.clone() }
}

fn rate<K: Eq + Hash>(allowed: u32) -> RateTable<K> {
    RateTable::new(allowed, limits::WINDOW, limits::TRACKED).with_untracked(limits::UNTRACKED)
}

fn sender(via: Via) -> Option<IpAddr> {
    match via {
        Via::Socket { remote, .. } => Some(remote.ip()),
        Via::Pipe => None,
    }
}

/// The locator that a probe tests is the address it was sent to.
fn probed_locator(via: Via, answered_from: IpAddr) -> IpAddr {
    match via {
        Via::Socket { local, .. } => local.ip(),
        Via::Pipe => answered_from,
    }
}
