// SPDX-License-Identifier: GPL-2.0-or-later
//! What the kernel is to lead into the TUN device beside what the operator says: packets to EID-prefixes of others, if this node is a
//! PITR (RFC 6832, section 5), and to those of ours that have moved; whoever sends them.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use wire::address::EidPrefix;

use super::Failure;
use super::clock;
use super::netlink::Netlink;
use crate::config::Config;

/// After this time what the kernel has refused is tried again.
const RETRY: Duration = Duration::from_secs(5);

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
    wanted: Vec<IpNet>,
    /// Both differ, or may; then it is told.
    due: Option<Instant>,
}

impl Led {
    /// None yet.
    pub fn new(why: Why, config: &Config) -> Self {
        Self { why, tun: config.tun.clone(), leads: Vec::new(), wanted: Vec::new(), due: None }
    }

    /// These, and no others, from the next [`Self::apply`] on.
    pub(super) fn want(&mut self, prefixes: &[EidPrefix]) {
        self.wanted = prefixes.iter().map(|prefix| prefix.net).collect();
        self.due = Some(clock::now());
    }

    /// Somebody may have taken the routes away: from the next [`Self::apply`] on there are all again.
    pub(super) fn again(&mut self) {
        // One that is not wanted any more is gone, or is removed.
        self.leads.retain(|net| !self.wanted.contains(net));
        self.due = Some(clock::now());
    }

    /// When [`Self::apply`] has to do something.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Tells the kernel, if it is time. What it refuses is tried again after a while.
    pub(super) async fn apply(&mut self, netlink: &mut Netlink) {
        if self.due.is_none_or(|due| due > clock::now()) {
            return;
        }
        netlink.revive();
        let mut leads = Vec::with_capacity(self.wanted.len());
        for net in &self.wanted {
            let led = if self.leads.contains(net) { Ok(()) } else { self.add(netlink, *net).await };
            match led {
                Ok(()) => leads.push(*net),
                Err(error) => tracing::error!(prefix = %net, %error, "its packets are not led into the tunnel"),
            }
        }
        let is_whole = leads.len() == self.wanted.len();
        for net in std::mem::take(&mut self.leads).into_iter().filter(|net| !self.wanted.contains(net)) {
            if let Err(error) = self.remove(netlink, net).await {
                tracing::error!(prefix = %net, %error, "its packets are led into the tunnel as before");
                leads.push(net);
            }
        }
        let is_done = is_whole && leads.len() == self.wanted.len();
        (self.leads, self.due) = (leads, (!is_done).then(|| clock::now() + RETRY));
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
