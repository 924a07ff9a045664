// SPDX-License-Identifier: GPL-2.0-or-later
//! Our own locators and EID-prefixes, as they change while the node runs: all that has them hears of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use wire::address::EidPrefix;

use super::{Control, Output};
use crate::database::OwnLocator;
use crate::limits;
use crate::map_cache::Update;
use crate::refusal::Refusal;
use crate::register;
use crate::resolve;

impl Control {
    pub(super) fn on_locators(&mut self, now: Instant, locators: Vec<OwnLocator>, unreachable: Vec<IpAddr>) {
        let database = self.database.with_locators(locators).with_unreachable(unreachable);
        let database = database.succeeding(&self.database, self.trust.status_bits());
        if database == self.database {
            return;
        }
        self.own.changed(now, &self.database, &database);
        self.database = database;
        // After a sleep, or without an uplink for a while, nobody has sent to us lately.
        self.solicitor.cached(now, self.prober.answered());
        self.solicitor.changed(now, self.database.prefixes().to_vec());
        self.prober.set_rlocs(now, self.database.preferred_rlocs());
        self.resolver.handle(now, resolve::Input::Locators(self.database.rlocs()));
        self.subscriber.set_rlocs(now, self.database.rlocs());
        if let Some(pitr) = &mut self.pitr {
            pitr.set_rlocs(self.database.rlocs());
        }
        self.lead_packets();
        self.registrar.handle(now, register::Input::Locators(self.database.clone()));
        self.replier.set_database(self.database.clone());
        self.outputs.push_back(Output::Update(Update::LocalRlocs(self.database.preferred_rlocs())));
        // Numbers of the packet half are of the list that it has now.
        let from = self.prober.sources().map(|(rloc, source)| Output::Update(Update::From { rloc, source }));
        self.outputs.extend(from);
        self.set_nat_rlocs(now);
    }

    pub(super) fn on_interface_mtus(&mut self, now: Instant, mtus: BTreeMap<IpAddr, u16>) {
        self.prober.set_mtus(now, mtus.clone());
        self.outputs.push_back(Output::Update(Update::InterfaceMtus(mtus)));
    }

    pub(super) fn add_eid(&mut self, now: Instant, prefix: EidPrefix) {
        if self.database.prefixes().contains(&prefix) {
            return;
        }
        if self.database.prefixes().len() >= limits::EID_PREFIXES {
            self.tally.count(Refusal::EidTableFull);
            return;
        }
        self.database = self.database.with_prefix(prefix);
        self.registrar.handle(now, register::Input::Add { prefix, database: self.database.clone() });
        self.on_eids(now);
    }

    pub(super) fn remove_eid(&mut self, now: Instant, prefix: EidPrefix) {
        if !self.database.prefixes().contains(&prefix) {
            return;
        }
        self.database = self.database.without_prefix(&prefix);
        self.registrar.handle(now, register::Input::Remove { prefix, database: self.database.clone() });
        // Where it goes from here its next xTR tells the Map-Servers; who sends to us has to ask them.
        self.solicitor.changed(now, [prefix]);
        self.on_eids(now);
    }

    /// What a Map-Server has said of an EID-prefix of ours is looked into.
    pub(super) fn ask_who_has(&mut self, now: Instant, prefix: EidPrefix) {
        if !self.can_ask_who_has() {
            return;
        }
        tracing::info!(%prefix, "asks the mapping system whether another xTR has it, as a Map-Server has said");
        self.resolver.handle(now, resolve::Input::Refresh { prefix });
    }

    /// To behind a NAT no answer comes.
    pub(super) fn can_ask_who_has(&self) -> bool {
        !self.resolver.resolvers().is_empty() && !self.is_behind()
    }

    fn on_eids(&mut self, now: Instant) {
        let prefixes = self.database.prefixes().to_vec();
        self.resolver.handle(now, resolve::Input::Own(prefixes.clone()));
        self.subscriber.set_own(prefixes.clone());
        self.set_nat_eid(&prefixes);
        self.replier.set_database(self.database.clone());
        self.outputs.push_back(Output::Update(Update::LocalEids(prefixes)));
        self.lead_packets();
    }
}
