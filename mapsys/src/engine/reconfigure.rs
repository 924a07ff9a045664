// SPDX-License-Identifier: GPL-2.0-or-later
//! Another configuration while the map system runs: what is registered, and may be, stays.

use std::net::{IpAddr, SocketAddr};

use dht::resolve::TrustAnchor;
use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};

use super::{ConfigError, Engine};
use crate::ddt;
use crate::limit::Foreign;
use crate::register::publisher::published_addresses;
use crate::register::site::{Site, SiteTable};
use crate::resolve::lispsec::{Association, Associations};
use crate::subscribe::subscriber::{Policy, Subscriber, Subscribers};
use crate::transport::{Now, Sockets};

/// What can change without a restart.
#[derive(Debug, Clone)]
pub struct Reconfiguration {
    /// Sites that register over the network.
    pub sites: Vec<Site>,
    /// Who delegates what.
    pub trust_anchors: Vec<TrustAnchor>,
    /// Sources for whom no limit holds.
    pub clients: Vec<IpNet>,
    /// Who on the network may ask for EIDs that are not registered here.
    pub foreign: Foreign,
    /// Who may subscribe to mappings.
    pub subscribers: Vec<Subscriber>,
    /// How subscriptions are dealt with.
    pub pubsub: Policy,
    /// Delegations, and where foreign EIDs are searched for (RFC 8111).
    pub ddt: ddt::Config,
    /// With whom one-time keys of LISP-SEC can be exchanged.
    pub lisp_sec: Vec<Association>,
}

/// What another configuration has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconfigured {
    /// Sites that are configured now.
    pub sites: usize,
    /// Registered EIDs that stay.
    pub kept: usize,
    /// Registered EIDs that ended: the site that registered them may not have them any more.
    pub ended: usize,
}

impl Engine {
    /// Takes another configuration, whole or not at all. Nonces are remembered, also of sites that are gone, or at least the highest of
    /// them: should they come back, what was recorded before is still a replay.
    ///
    /// # Errors
    /// Names the contradiction in it; nothing has changed then.
    pub fn reconfigure(&mut self, now: Now, newer: Reconfiguration) -> Result<Reconfigured, ConfigError> {
        let pipe = self.server.sites().pipe_site().cloned();
        let sites = SiteTable::new(self.network, newer.sites, pipe)?;
        newer.ddt.check(&sites)?;
        let associations = Associations::new(newer.lisp_sec, &sites)?;
        let subscribers = Subscribers::new(newer.subscribers)?;
        let configured = sites.iter().filter(|(id, _)| !sites.is_pipe(*id)).count();
        let (ended, labels) = self.server.reconfigure(now, sites, &mut self.tally);
        self.publisher.reconfigure(now.monotonic, newer.trust_anchors.clone(), &self.server, &ended);
        let anchors = newer.trust_anchors.into_iter().chain(self.publisher.own_anchors());
        self.resolver.reconfigure(newer.clients, newer.foreign, anchors);
        self.resolver.reconfigure_ddt(&newer.ddt);
        self.resolver.associate(associations);
        self.subscriptions.reconfigure(now, subscribers, newer.pubsub);
        for prefix in &ended {
            self.resolver.forget(prefix);
            self.subscriptions.changed(now, &self.server, *prefix);
        }
        let kept = self.server.registrations().len() + self.server.labels().len();
        let ended = ended.len() + labels.len();
        tracing::info!(sites = configured, kept, ended, "another configuration");
        self.handle_timeout(now);
        Ok(Reconfigured { sites: configured, kept, ended })
    }

    /// Can be reached at other addresses from now on: what is sent names them, and what is published leads to them. Sockets are what
    /// [`Config`](super::Config) says.
    pub fn readdress(&mut self, now: Now, sockets: Vec<SocketAddr>) {
        if sockets == self.sockets.0 {
            return;
        }
        self.sockets = Sockets(sockets);
        self.resolver.readdress(&self.sockets);
        self.subscriptions.readdress(&self.sockets);
        self.publisher.readdress(published_addresses(&self.sockets));
        self.handle_timeout(now);
    }

    /// Whether an address is an EID by what is configured here. A default route says nothing about an address.
    pub fn is_eid(&self, address: IpAddr) -> bool {
        let host = EidPrefix::host(InstanceId(0), address);
        let configured = self.server.sites().find(&host).map(|grant| grant.configured);
        self.server.is_cgeid(&host) || configured.is_some_and(|prefix| prefix.net.prefix_len() > 0)
    }
}
