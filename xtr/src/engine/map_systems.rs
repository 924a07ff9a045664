// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Servers and Map-Resolvers that change while the node runs: all that speaks to them hears of it.

use std::time::Instant;

use super::Control;
use crate::register::{self, Server};
use crate::resolve;
use crate::subscribe::Association;
use crate::transport::MapSystem;

impl Control {
    pub(super) fn on_map_systems(
        &mut self,
        now: Instant,
        servers: Vec<Server>,
        resolvers: Vec<MapSystem>,
        subscriptions: &[Association],
    ) {
        self.set_nat_servers(now, &servers);
        self.subscriber.set_keys(now, subscriptions);
        if let Some(pitr) = &mut self.pitr {
            pitr.set_resolvers(resolvers.clone());
        }
        self.registrar.handle(now, register::Input::Servers(servers));
        self.resolver.handle(now, resolve::Input::Resolvers(resolvers));
        self.lead_packets();
    }
}
