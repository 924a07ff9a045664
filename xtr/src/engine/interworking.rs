// SPDX-License-Identifier: GPL-2.0-or-later
//! PETRs and the PITR in the control half (RFC 6832).

use std::net::IpAddr;
use std::time::Instant;

use super::{Control, Output};
use crate::interwork::{Interworking, Petrs, Pitr};
use crate::map_cache::Update;
use crate::nat::natted::Natted;
use crate::transport::MapSystem;

impl Control {
    /// Takes these roles of RFC 6832. The finder of a PITR draws its nonces from `seed`, as [`Config::seed`].
    #[must_use]
    pub fn interworking(mut self, now: Instant, roles: Interworking, seed: [u8; 32]) -> Self {
        self.petrs = Petrs::new(roles.petrs.clone());
        self.prober.watch_petrs(now, self.petrs.addresses());
        if roles.is_pitr() {
            let resolvers = self.resolver.resolvers().to_vec();
            let mut pitr = Pitr::new(now, roles, (resolvers, self.database.rlocs()), seed);
            pitr.protect(self.resolver.protection().clone());
            self.pitr = Some(pitr);
            self.lead_packets();
        }
        self
    }

    /// What a PITR that looks for sites has to do.
    pub(super) fn look_for_sites(&mut self, now: Instant) {
        let Some(pitr) = &mut self.pitr else { return };
        let (questions, has_changed) = pitr.look(now);
        self.outputs.extend(questions.into_iter().map(Output::Send));
        if has_changed {
            self.lead_packets();
        }
    }

    /// Has packets to all that this node is PITR for led into the tunnel.
    pub(super) fn lead_packets(&mut self) {
        let spoken_to = self.spoken_to();
        let Some(pitr) = &mut self.pitr else { return };
        let news = pitr.choose(&self.database, &spoken_to);
        self.resolver.set_pitr_for(Some(pitr.leads().to_vec()));
        self.outputs.extend(news.map(|leads| Output::Update(Update::PitrFor(leads))));
    }

    /// Where what this node says to map systems and RTRs goes: none of it may enter the tunnel.
    fn spoken_to(&self) -> Vec<IpAddr> {
        let resolvers = self.resolver.resolvers().iter().copied();
        let systems = resolvers.chain(self.registrar.servers()).filter_map(|system| match system {
            MapSystem::Node(address) => Some(address),
            MapSystem::Pipe => None,
        });
        systems.chain(self.natted.iter().flat_map(Natted::asked)).collect()
    }
}
