// SPDX-License-Identifier: GPL-2.0-or-later
//! The routes of a PITR (RFC 6832, section 5): packets to EID-prefixes of others go into the TUN device, whoever sends them.

use ipnet::IpNet;
use wire::address::EidPrefix;

use super::netlink::Netlink;
use crate::config::Config;

/// What the kernel leads for us, and what it is to lead.
#[derive(Debug)]
pub struct PitrRoutes {
    tun: String,
    leads: Vec<IpNet>,
    wanted: Option<Vec<IpNet>>,
}

impl PitrRoutes {
    /// None yet.
    pub fn new(config: &Config) -> Self {
        Self { tun: config.tun.clone(), leads: Vec::new(), wanted: None }
    }

    /// These, and no others, from the next [`Self::apply`] on.
    pub(super) fn want(&mut self, prefixes: &[EidPrefix]) {
        self.wanted = Some(prefixes.iter().map(|prefix| prefix.net).collect());
    }

    /// Tells the kernel. What it refuses is tried again with the next change.
    pub(super) async fn apply(&mut self, netlink: &mut Netlink) {
        let Some(wanted) = self.wanted.take() else { return };
        netlink.revive();
        let is_new = |net: &&IpNet| !self.leads.contains(net);
        let mut leads: Vec<IpNet> = Vec::with_capacity(wanted.len());
        for net in wanted.iter().filter(is_new) {
            match netlink.add_pitr(&self.tun, *net).await {
                Ok(()) => leads.push(*net),
                Err(error) => tracing::error!(prefix = %net, %error, "its packets are not led into the tunnel"),
            }
        }
        for net in std::mem::take(&mut self.leads) {
            let goes = !wanted.contains(&net);
            match if goes { netlink.remove_pitr(&self.tun, net).await } else { Ok(()) } {
                Ok(()) if goes => {}
                Ok(()) => leads.push(net),
                Err(error) => {
                    tracing::error!(prefix = %net, %error, "its packets are led into the tunnel as before");
                    leads.push(net);
                }
            }
        }
        self.leads = leads;
    }
}
