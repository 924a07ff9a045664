// SPDX-License-Identifier: GPL-2.0-or-later
//! What the kernel is to lead into the TUN device beside what the operator says: packets to EID-prefixes of others, if this node is a
//! PITR (RFC 6832, section 5), and to those of ours that have moved; whoever sends them.

use ipnet::IpNet;
use wire::address::EidPrefix;

use super::Failure;
use super::netlink::Netlink;
use crate::config::Config;

/// Why packets to an EID-prefix are led.
#[derive(Debug, Clone, Copy)]
pub enum Why {
    /// It is one of others, and this node its PITR.
    Pitr,
    /// It is one of ours, or a part of one, and another xTR has it now.
    Moved,
}

/// What the kernel leads for us, and what it is to lead.
#[derive(Debug)]
pub struct Led {
    why: Why,
    tun: String,
    leads: Vec<IpNet>,
    wanted: Option<Vec<IpNet>>,
}

impl Led {
    /// None yet.
    pub fn new(why: Why, config: &Config) -> Self {
        Self { why, tun: config.tun.clone(), leads: Vec::new(), wanted: None }
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
            match self.add(netlink, *net).await {
                Ok(()) => leads.push(*net),
                Err(error) => tracing::error!(prefix = %net, %error, "its packets are not led into the tunnel"),
            }
        }
        for net in std::mem::take(&mut self.leads) {
            let goes = !wanted.contains(&net);
            match if goes { self.remove(netlink, net).await } else { Ok(()) } {
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

    async fn add(&self, netlink: &Netlink, net: IpNet) -> Result<(), Failure> {
        match self.why {
            Why::Pitr => netlink.add_pitr(&self.tun, net).await,
            Why::Moved => netlink.add_moved(net).await,
        }
    }

    async fn remove(&self, netlink: &Netlink, net: IpNet) -> Result<(), Failure> {
        match self.why {
            Why::Pitr => netlink.remove_pitr(&self.tun, net).await,
            Why::Moved => netlink.remove_moved(net).await,
        }
    }
}
