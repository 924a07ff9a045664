// SPDX-License-Identifier: GPL-2.0-or-later
//! What the control half shows of itself.

use std::net::IpAddr;
use std::time::Instant;

use wire::address::{EidPrefix, InstanceId};

use super::Control;
use crate::database::Database;
use crate::interwork::{Aggregate, NO_PETRS, Petrs, Pitr};
use crate::limits;
use crate::map_cache::Entry;
use crate::reach::{Counts, EchoState, ProbedLocator};
use crate::refusal::Tally;
use crate::register::Registration;
use crate::resolve::Installed;
use crate::transport::MapSystem;

impl Control {
    /// Whether every registration was taken back after [`super::Input::Shutdown`].
    pub fn is_withdrawn(&self) -> bool {
        self.registrar.is_withdrawn()
    }

    /// Everything refused so far.
    pub fn tally(&self) -> Tally {
        let (resolver, registrar, replier) = (self.resolver.tally(), self.registrar.tally(), self.replier.tally());
        let reach = [self.prober.tally(), self.solicitor.tally(), self.status_bits.tally(), self.subscriber.tally()];
        let parts = [resolver, registrar, replier].into_iter().chain(reach);
        parts.chain(self.nat_tallies()).fold(self.tally.clone(), Tally::plus)
    }

    /// Probes and SMRs so far.
    pub fn counts(&self) -> Counts {
        let received = Counts { smrs_received: self.smrs_received, ..Counts::default() };
        self.prober.counts().plus(self.solicitor.counts()).plus(self.echo.counts()).plus(received)
    }

    /// Whether ITRs are still to be told of a change of ours.
    pub fn is_soliciting(&self) -> bool {
        self.solicitor.is_telling()
    }

    /// The locators of others that are probed.
    pub fn probed_locators(&self, now: Instant) -> impl Iterator<Item = ProbedLocator> + '_ {
        self.prober.locators(now)
    }

    /// The locator of ours that packets to one of others leave from, if that is not the preferred one.
    pub fn source_towards(&self, rloc: IpAddr) -> Option<IpAddr> {
        self.prober.source(rloc)
    }

    /// The path MTU that packets to a locator of others keep to, in octets, if it has been found, or if that is one that is probed and the
    /// interface says it.
    pub fn path_mtu(&self, rloc: IpAddr) -> Option<u16> {
        let usual = || Some(self.prober.interface_mtu(rloc)?.min(limits::USUAL_MTU));
        self.prober.path_mtu(rloc).or_else(usual)
    }

    /// Whether packets may go to a locator of others, as far as probes have shown.
    pub fn is_usable(&self, rloc: IpAddr) -> bool {
        self.prober.is_usable(rloc)
    }

    /// How echoes stand with a locator of others; none if they are not used with it.
    pub fn echo_state(&self, rloc: IpAddr) -> Option<EchoState> {
        self.echo.state(rloc)
    }

    /// The locator-status-bits that trusted peers are sent, if they are sent any now.
    pub fn status_bits(&self) -> Option<u32> {
        self.own.status_bits()
    }

    /// The locators of a mapping that packets do not go to, by its locator-status-bits.
    pub fn down_by_status_bits(&self, prefix: &EidPrefix, installed: &Installed) -> Vec<IpAddr> {
        self.status_bits.down(prefix, installed)
    }

    /// What the packet half was told to do with packets for a mapping.
    pub fn entry_of(&self, prefix: &EidPrefix, installed: &Installed) -> Entry {
        let mut entry = installed.entry();
        self.status_bits.apply(prefix, installed, &mut entry);
        entry
    }

    /// The state of every registration.
    pub fn registrations(&self, now: Instant) -> impl Iterator<Item = Registration> + '_ {
        let can_ask = self.can_ask_who_has();
        let registrations = self.registrar.registrations(now);
        registrations.map(move |row| Registration { asks_in: row.asks_in.filter(|_| can_ask), ..row })
    }

    /// The EID-prefixes of ours, and parts of them, that another xTR has now, ascending.
    pub fn all_moved(&self) -> &[EidPrefix] {
        self.registrar.all_moved()
    }

    /// The Map-Resolvers, in the order in which they are asked first.
    pub fn map_resolvers(&self) -> &[MapSystem] {
        self.resolver.resolvers()
    }

    /// The mappings in use.
    pub fn map_cache(&self, now: Instant) -> impl Iterator<Item = (&EidPrefix, &Installed)> {
        self.resolver.installed(now)
    }

    /// The mappings behind `after` in order of prefix, or all, round `within` or inside it, if that is given; also those that have expired since.
    pub fn map_cache_behind(
        &self,
        within: Option<EidPrefix>,
        after: Option<EidPrefix>,
    ) -> impl Iterator<Item = (&EidPrefix, &Installed)> {
        self.resolver.installed_behind(within, after)
    }

    /// The mapping that packets to an address meet.
    pub fn mapping_for(&self, now: Instant, iid: InstanceId, address: IpAddr) -> Option<(EidPrefix, &Installed)> {
        self.resolver.mapping_for(now, iid, address)
    }

    /// The PETRs that packets to this EID-prefix leave by where it is no LISP site. Of what is ours, and has moved to another xTR, there are
    /// none: who has registered it no more is no reason to send its packets out.
    pub fn petrs_for(&self, prefix: &EidPrefix) -> &Petrs {
        let has_moved = self.all_moved().iter().any(|moved| moved.covers(prefix));
        if has_moved { &NO_PETRS } else { &self.petrs }
    }

    /// The EID-prefixes of others that this node is PITR for, ascending.
    pub fn pitr_for(&self) -> &[EidPrefix] {
        self.pitr.as_ref().map_or(&[], Pitr::leads)
    }

    /// The aggregates that a PITR looks for sites in, and what it has found.
    pub fn aggregates(&self) -> &[Aggregate] {
        self.pitr.as_ref().map_or(&[], Pitr::aggregates)
    }

    /// Our prefixes and locators.
    pub fn database(&self) -> &Database {
        &self.database
    }
}
