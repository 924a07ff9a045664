// SPDX-License-Identifier: GPL-2.0-or-later
//! What a PITR leads into the tunnel (RFC 6832, section 5): what the operator gives, and what is found.

use std::net::IpAddr;
use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::MapReply;

use super::{Aggregate, Finder, Interworking, Sites, limits};
use crate::database::Database;
use crate::refusal::Refusal;
use crate::resolve::LispSec;
use crate::transport::{MapSystem, Outgoing};

/// A PITR, in the control half.
#[derive(Debug)]
pub struct Pitr {
    given: Vec<EidPrefix>,
    finder: Option<Finder>,
    /// What is led of both, ascending.
    leads: Vec<EidPrefix>,
}

impl Pitr {
    /// Of these roles. It asks the resolvers in turn, which answer to the locators; nonces are drawn from `seed`.
    pub fn new(
        now: Instant,
        roles: Interworking,
        (resolvers, rlocs): (Vec<MapSystem>, Vec<IpAddr>),
        seed: [u8; 32],
    ) -> Self {
        let finder = Finder::new(now, roles.pitr_in, resolvers, seed).map(|finder| finder.answered_at(rlocs));
        Self { given: roles.pitr_for, finder, leads: Vec::new() }
    }

    /// The EID-prefixes that it leads.
    pub fn leads(&self) -> &[EidPrefix] {
        &self.leads
    }

    /// Where it looks for sites, and what it has found.
    pub fn aggregates(&self) -> &[Aggregate] {
        self.finder.as_ref().map_or(&[], Finder::aggregates)
    }

    /// When [`Self::look`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.finder.as_ref().map(Finder::next_deadline)
    }

    /// Answers are sent to these locators from now on.
    pub fn set_rlocs(&mut self, rlocs: Vec<IpAddr>) {
        if let Some(finder) = &mut self.finder {
            finder.set_rlocs(rlocs);
        }
    }

    /// These resolvers are asked from now on.
    pub fn set_resolvers(&mut self, resolvers: Vec<MapSystem>) {
        if let Some(finder) = &mut self.finder {
            finder.set_resolvers(resolvers);
        }
    }

    /// What is asked from now on is protected so.
    pub fn protect(&mut self, settings: LispSec) {
        if let Some(finder) = &mut self.finder {
            finder.protect(settings);
        }
    }

    /// Takes a Map-Reply, of which `payload` is the whole; whether it was for the finder.
    ///
    /// # Errors
    /// If it was, and proves nothing where it has to.
    pub fn answer(&mut self, now: Instant, message: &MapReply, payload: &[u8]) -> Result<bool, Refusal> {
        self.finder.as_mut().map_or(Ok(false), |finder| finder.answer(now, message, payload))
    }

    /// What is to be asked now, and whether other sites are known than before.
    pub fn look(&mut self, now: Instant) -> (Vec<Outgoing>, bool) {
        let (mut questions, mut has_changed) = (Vec::new(), false);
        let Some(finder) = &mut self.finder else { return (questions, has_changed) };
        finder.handle_timeout(now);
        while let Some(output) = finder.poll() {
            match output {
                Sites::Ask(outgoing) => questions.push(outgoing),
                Sites::Changed => has_changed = true,
            }
        }
        (questions, has_changed)
    }

    /// Chooses what to lead; the list, if it is another one than before. What lies in an EID-prefix of the node is its own, and where
    /// one of its locators is, or a map system or RTR that is `spoken_to`, packets that are to leave the tunnel would enter it.
    pub fn choose(&mut self, database: &Database, spoken_to: &[IpAddr]) -> Option<Vec<EidPrefix>> {
        let outside: Vec<IpAddr> = database.rlocs().into_iter().chain(spoken_to.iter().copied()).collect();
        let is_of_others = |prefix: &EidPrefix| !database.prefixes().iter().any(|own| own.covers(prefix));
        let is_inside = |prefix: &EidPrefix| !outside.iter().any(|address| prefix.net.contains(address));
        let found = self.finder.iter().flat_map(Finder::sites).filter(|site| is_of_others(site) && is_inside(site));
        let mut leads: Vec<EidPrefix> = self.given.iter().copied().chain(found).collect();
        if leads.len() > limits::PITR_PREFIXES {
            tracing::warn!(sites = leads.len(), "more EID-prefixes than a PITR leads: some are left out");
            leads.truncate(limits::PITR_PREFIXES);
        }
        leads.sort_unstable();
        leads.dedup();
        let is_news = self.leads != leads;
        self.leads.clone_from(&leads);
        is_news.then_some(leads)
    }
}
