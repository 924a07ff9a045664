// SPDX-License-Identifier: GPL-2.0-or-later
//! EIDs that no trust anchor covers: a conventional Map-Resolver, or the tree of RFC 8111, knows of them, if anybody does.
//!
//! Either way somebody else answers the ITR. What is not there is answered here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::{Ecm, EidRequest, MapRequest, Nonce};
use wire::record::MappingRecord;

use super::ask::{Ask, ReplyTo, asking_for};
use super::found::Found;
use super::own;
use super::referral::DDT;
use super::waiting::Slot;
use super::{Context, Resolver};
use crate::ddt::Config;
use crate::ddt::chain::Received;
use crate::ddt::client::{Asker, Client, Step};
use crate::ddt::node::Node;
use crate::ddt::signer::Signer;
use crate::engine::Output;
use crate::refusal::{Refusal, Served};
use crate::table::PrefixTable;
use crate::transport::{Sockets, Via, unspecified};

/// This node in the tree.
#[derive(Debug)]
pub struct Ddt {
    pub(super) node: Node,
    pub(super) signer: Signer,
    client: Client<Ask>,
    resolvers: PrefixTable<Vec<SocketAddr>>,
    /// Whose turn it is among several resolvers.
    turn: usize,
    pub(super) figures: Figures,
}

/// What goes on in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// XEIDs that are searched for.
    pub searches: usize,
    /// Referrals in the cache.
    pub cached: usize,
    /// Keys of DDT nodes that are known to be revoked.
    pub revoked: usize,
    /// DDT Map-Requests sent.
    pub requests: u64,
    /// Map-Referrals sent.
    pub referrals: u64,
    /// Map-Requests handed on to conventional Map-Resolvers.
    pub forwarded: u64,
}

impl Ddt {
    /// As configured; DDT Map-Requests leave from `sockets`.
    pub fn new(config: &Config, sockets: &Sockets) -> Self {
        let mut resolvers = PrefixTable::default();
        for resolver in &config.resolvers {
            resolvers.insert(resolver.prefix, resolver.addresses.clone());
        }
        let client = Client::new(config, sockets.clone());
        let signer = Signer::new(config.signing.clone());
        Self { node: Node::new(config), signer, client, resolvers, turn: 0, figures: Figures::default() }
    }

    pub(super) fn readdress(&mut self, sockets: &Sockets) {
        self.client.readdress(sockets.clone());
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.client.next_deadline()
    }

    /// The Map-Resolver for `host` that is to be asked: each in its turn, so that what an ITR repeats goes to another one.
    fn resolver(&mut self, host: &EidPrefix) -> Option<SocketAddr> {
        let (_, addresses) = self.resolvers.longest(host)?;
        self.turn = self.turn.wrapping_add(1);
        addresses.get(self.turn % addresses.len().max(1)).copied()
    }

    /// The part of `within` round `host` for which nobody else is known here: no conventional Map-Resolver is configured for any of it,
    /// and this node delegates nothing of it.
    pub(super) fn known_to_nobody(&self, within: &EidPrefix, host: &EidPrefix) -> EidPrefix {
        let beside_resolvers = self.resolvers.hole(within, host).unwrap_or(*host);
        self.node.undelegated(&beside_resolvers, host)
    }
}

impl Asker for Ask {
    fn nonce(&self) -> Nonce {
        self.nonce
    }

    fn is_same(&self, other: &Self) -> bool {
        self.reply_to == other.reply_to
    }
}

impl Resolver {
    /// With this place in the tree.
    #[must_use]
    pub fn with_ddt(self, ddt: Ddt) -> Self {
        Self { ddt, ..self }
    }

    /// Another place in the tree; who waits for what is searched for asks again.
    pub fn reconfigure_ddt(&mut self, config: &Config) {
        let former = std::mem::replace(&mut self.ddt, Ddt::new(config, &self.sockets));
        self.ddt.figures = former.figures;
        self.ddt.signer = former.signer.reconfigured(&config.signing);
        self.ddt.client.remember(former.client);
    }

    /// What goes on in the tree.
    pub fn ddt_figures(&self) -> Figures {
        let client = &self.ddt.client;
        Figures { searches: client.len(), cached: client.cached(), revoked: client.revoked(), ..self.ddt.figures }
    }

    /// Asks others for an EID that no trust anchor covers; `None` if one does, or nobody else is configured.
    pub(super) fn foreign_slot(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        host: EidPrefix,
    ) -> Result<Option<Slot>, Refusal> {
        let has_resolver = self.ddt.resolvers.longest(&host).is_some();
        if !has_resolver && !self.ddt.client.has_roots() || self.lookups.unanchored(cx.now, host).is_none() {
            return Ok(None);
        }
        if let Via::Socket { remote, .. } = ask.via
            && !self.ddt.client.is_pending(&host)
        {
            self.limiter.spend_miss(cx.now.monotonic, remote.ip())?;
        }
        if let Some(next_hop) = self.ddt.resolver(&host) {
            let slot = self.forward_to_map_server(cx, ask, next_hop, (host, host))?;
            self.ddt.figures.forwarded += 1;
            return Ok(Some(slot));
        }
        // It waits for one EID: what goes to others is kept by `ask` alone.
        let (parts, forwarded) = (Vec::new(), Vec::new());
        let asker = Ask { ecm: ddt_request(ask, &host)?, parts, forwarded, ..ask.clone() };
        let known = self.ddt.client.ask(cx.now.monotonic, host, asker)?;
        self.pump_searches(cx);
        // A search that has led to a Map-Server at once has withheld what the other EIDs of the request are answered with too.
        self.release(cx, ask);
        ask.is_searched |= known.is_none();
        Ok(Some(match known {
            Some(found) => Slot::Records(vec![self.foreign_record(cx, ask, host, &found)]),
            None => Slot::Silent,
        }))
    }

    /// Takes a Map-Referral.
    ///
    /// # Errors
    /// As [`Client::take`].
    pub fn referral(&mut self, cx: &mut Context<'_>, via: Via, received: Received<'_>) -> Result<(), Refusal> {
        let Via::Socket { remote, .. } = via else { return Err(Refusal::ReferralUnasked) };
        let taken = self.ddt.client.take(cx.now.monotonic, remote.ip(), received);
        self.pump_searches(cx);
        taken
    }

    /// Takes a Map-Reply, which no map system asks for.
    ///
    /// # Errors
    /// As [`Client::take_reply`].
    pub fn replied(&mut self, cx: &mut Context<'_>, via: Via, nonce: Nonce) -> Result<(), Refusal> {
        let Via::Socket { remote, .. } = via else { return Err(Refusal::NotForMapSystem) };
        let taken = self.ddt.client.take_reply(cx.now.monotonic, remote.ip(), nonce);
        self.pump_searches(cx);
        taken
    }

    /// Asks again where no answer came.
    pub(super) fn search_timeout(&mut self, cx: &mut Context<'_>) {
        self.ddt.client.handle_timeout(cx.now.monotonic);
        self.pump_searches(cx);
    }

    /// Does what the DDT client wants.
    fn pump_searches(&mut self, cx: &mut Context<'_>) {
        while let Some(step) = self.ddt.client.poll() {
            let done = match step {
                Step::Probe { to, host, nonce } => self.probe(cx, to, host, nonce),
                Step::Deliver { to, host, asker } => {
                    self.release(cx, &asker);
                    let done = self.deliver(cx, to, host, &asker);
                    self.withhold(cx, &asker);
                    done
                }
                Step::Negative { host, asker, found } => {
                    let record = self.foreign_record(cx, &asker, host, &found);
                    self.release(cx, &asker);
                    let done = self.reply(cx, &asker, vec![record]);
                    self.withhold(cx, &asker);
                    done
                }
                Step::Refused(refusal) => Err(refusal),
            };
            if let Err(refusal) = done {
                cx.tally.count(refusal);
            }
        }
    }

    fn probe(&mut self, cx: &mut Context<'_>, to: SocketAddr, host: EidPrefix, nonce: Nonce) -> Result<(), Refusal> {
        let local = self.sockets.named_towards(to.ip()).ok_or(Refusal::NoAddressOfFamily)?;
        let request = OwnRequest { local, remote: to, host, nonce };
        let output = match self.sockets.0.contains(&unspecified(local)) {
            true => Output::SendOwn(request),
            false => request.leaving(local.ip()).ok_or(Refusal::NotEncodable)?,
        };
        self.ddt.figures.requests += 1;
        cx.outputs.push_back(output);
        Ok(())
    }

    /// Whoever gets the request answers the ITR, so that it counts as a reply to it.
    fn deliver(&mut self, cx: &mut Context<'_>, to: SocketAddr, host: EidPrefix, asker: &Ask) -> Result<(), Refusal> {
        if let Err(refusal) = asker.may_be_sent_on() {
            self.ddt.client.let_go(host, asker);
            return Err(refusal);
        }
        let local = self.sockets.towards(to.ip(), None).ok_or(Refusal::NoAddressOfFamily)?;
        let Some(bytes) = self.ecm_for(asker, to.ip())? else {
            let is_left_over = self.ddt.client.undeliverable(cx.now.monotonic, host, to, asker);
            return if is_left_over { self.tell_unsigned(cx, asker, host) } else { Ok(()) };
        };
        if let ReplyTo::Udp { remote, .. } = asker.reply_to
            && !self.is_client(asker)
        {
            self.limiter.spend_reply(cx.now.monotonic, remote.ip(), host, bytes.len())?;
        }
        self.ddt.figures.requests += 1;
        cx.tally.serve(Served::RequestForwarded);
        cx.outputs.push_back(Output::Send { local, remote: to, bytes, counts: None });
        Ok(())
    }

    /// A negative answer out of the tree covers neither what is configured here nor what the DHT, or a Map-Resolver for it, may know.
    fn foreign_record(&mut self, cx: &Context<'_>, ask: &Ask, host: EidPrefix, found: &Found) -> MappingRecord {
        let record = found.record(cx.now.monotonic, ask.audience());
        let within = self.ddt.known_to_nobody(&found.prefix(), &host);
        let beside_sites = own::narrowed(cx.server, &within, &host);
        let beside_anchors = self.lookups.unanchored(cx.now, host).unwrap_or(host);
        let prefix = if beside_anchors.covers(&beside_sites) { beside_sites } else { beside_anchors };
        MappingRecord { eid: prefix.into(), ..record }
    }
}

/// An ITR's request as a DDT Map-Request (RFC 8111, section 7.3.1): octet for octet what it sent, with D. Of several
/// records the one for `host`.
fn ddt_request(ask: &Ask, host: &EidPrefix) -> Result<Vec<u8>, Refusal> {
    let mut bytes = if ask.records == 1 { ask.ecm.clone() } else { asking_for(&ask.ecm, &[*host])? };
    if let Some(first) = bytes.first_mut() {
        *first |= DDT;
    }
    Ok(bytes)
}

/// A DDT Map-Request of our own, which names the address that it leaves from: should its receiver be a Map-Server, the mapping comes
/// there, which is of no use to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnRequest {
    /// The port of the socket, and an address of ours, if one is known, for when nothing else says which leads there.
    pub local: SocketAddr,
    /// The receiver.
    pub remote: SocketAddr,
    /// What it asks for.
    pub host: EidPrefix,
    /// Its nonce.
    pub nonce: Nonce,
}

impl OwnRequest {
    /// The datagram that leaves from this address of ours; `None` if it has no encoding.
    pub fn leaving(&self, from: IpAddr) -> Option<Output> {
        let local = SocketAddr::new(from, self.local.port());
        let request = MapRequest {
            nonce: self.nonce,
            itr_rlocs: vec![from.into()],
            records: vec![EidRequest { notify: false, eid: self.host.into() }],
            ..MapRequest::default()
        };
        // Both inner addresses are of the EID's family; nobody looks at the source.
        let source = match (from, self.host.net.addr()) {
            (IpAddr::V4(from), IpAddr::V6(_)) => from.to_ipv6_mapped().into(),
            (IpAddr::V6(_), IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (from, _) => from,
        };
        let destination = SocketAddr::new(self.host.net.addr(), wire::CONTROL_PORT);
        let ecm = Ecm::wrap(SocketAddr::new(source, local.port()), destination, request.encode().ok()?);
        let bytes = Ecm { ddt: true, ..ecm }.encode().ok()?;
        Some(Output::Send { local, remote: self.remote, bytes, counts: None })
    }
}
