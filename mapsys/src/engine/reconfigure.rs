// SPDX-License-Identifier: GPL-2.0-or-later
//! Another configuration while the map system runs: what is registered, and may be, stays.

use dht::resolve::TrustAnchor;
use ipnet::IpNet;

use super::Engine;
use crate::limit::Foreign;
use crate::register::site::{Site, SiteError, SiteTable};
use crate::transport::Now;

/// What can change without a restart.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Sites that register over the network.
    pub sites: Vec<Site>,
    /// Who delegates what.
    pub trust_anchors: Vec<TrustAnchor>,
    /// Sources for whom no limit holds.
    pub clients: Vec<IpNet>,
    /// Who on the network may ask for EIDs that are not registered here.
    pub foreign: Foreign,
}

/// What a new policy has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconfigured {
    /// Sites that are configured now.
    pub sites: usize,
    /// Registered EID-prefixes that stay.
    pub kept: usize,
    /// Registered EID-prefixes that ended: no site of the name that registered them may have them any more.
    pub ended: usize,
}

impl Engine {
    /// Takes another policy, whole or not at all. Nonces are remembered, also of sites that are gone: should they come back, what
    /// was recorded before is still a replay.
    ///
    /// # Errors
    /// Names the contradiction in the sites; nothing has changed then.
    pub fn reconfigure(&mut self, now: Now, policy: Policy) -> Result<Reconfigured, SiteError> {
        let pipe = self.server.sites().pipe_site().cloned();
        let sites = SiteTable::new(self.network, policy.sites, pipe)?;
        let configured = sites.iter().filter(|(id, _)| !sites.is_pipe(*id)).count();
        let ended = self.server.reconfigure(now, sites, &mut self.tally);
        self.publisher.reconfigure(now.monotonic, policy.trust_anchors.clone(), &self.server, &ended);
        let anchors = policy.trust_anchors.into_iter().chain(self.publisher.own_anchors());
        self.resolver.reconfigure(policy.clients, policy.foreign, anchors);
        let kept = self.server.registrations().len();
        tracing::info!(sites = configured, kept, ended = ended.len(), "another configuration");
        self.handle_timeout(now);
        Ok(Reconfigured { sites: configured, kept, ended: ended.len() })
    }
}
