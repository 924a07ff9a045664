// SPDX-License-Identifier: GPL-2.0-or-later
//! The packet half, as the control half sees it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::mpsc;
use wire::address::EidPrefix;
use wire::data::overhead;

use super::Failure;
use super::control_sockets::ControlSockets;
use super::data_plane::{DataPlane, Options};
use super::data_socket::receiver;
use crate::config::{Config, Mapping, Tier};
use crate::counters::LocatorCount;
use crate::database::Database;
use crate::ecn::EcnCompatibility;
use crate::etr::{EtrConfig, SourcePolicy};
use crate::itr::ItrConfig;
use crate::limits;
use crate::map_cache::{Event, Update};

/// The packet thread.
#[derive(Debug)]
pub struct Packets {
    thread: DataPlane,
    itr: ItrConfig,
    petr_for: Vec<EidPrefix>,
    ecn: EcnCompatibility,
    tun_mtu: u16,
    events: mpsc::Receiver<Event>,
}

impl Packets {
    /// Opens what [`Self::start`] opens, and closes it again.
    ///
    /// # Errors
    /// What the machine lacks, and what to do.
    pub fn probe(config: &Config, rlocs: &[IpAddr]) -> Result<(), Failure> {
        DataPlane::probe(config.tier, &config.tun, rlocs).map_err(|error| Failure::Machine(error.to_string()))
    }

    /// Whether a packet thread that has no socket on this address could have one: its port may be another program's, or the
    /// address too new. The threads say in the log alone what they could not open.
    pub fn can_receive(rloc: IpAddr) -> bool {
        match receiver(rloc) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%rloc, %error, "no packets are received there yet");
                false
            }
        }
    }

    /// Starts the thread, in the network namespace of the caller.
    ///
    /// # Errors
    /// What the machine lacks, and what to do.
    pub fn start(config: &Config, database: &Database) -> Result<Self, Failure> {
        let (sender, events) = mpsc::channel(limits::EVENTS);
        let itr = ItrConfig {
            iid: config.iid,
            icmp_sources: own_addresses(database),
            core_mtu: limits::USUAL_MTU.into(),
            gpe_peers: config.gpe_peers.clone(),
        };
        let options = Options {
            tier: config.tier,
            tun: config.tun.clone(),
            mtu: config.mtu,
            itr: itr.clone(),
            ecn: config.ecn.clone(),
            etr: EtrConfig {
                sources: SourcePolicy {
                    mode: config.source_check,
                    cgeid_network: matches!(config.mapping, Mapping::Embedded(_)).then(|| config.cgeid_network.into()),
                    pitrs: config.pitrs.clone(),
                },
                trust: config.trust.clone(),
                petr_for: config.interworking.petr_for.clone(),
                relays: config.nat.rtr,
                gpe_peers: config.gpe_peers.clone(),
            },
            rlocs: database.rlocs(),
        };
        let thread = DataPlane::start(options, sender).map_err(|error| Failure::Machine(error.to_string()))?;
        let petr_for = config.interworking.petr_for.clone();
        Ok(Self { thread, itr, petr_for, ecn: config.ecn.clone(), tun_mtu: config.mtu, events })
    }

    /// The next event; `None` when the thread is gone.
    pub async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Tells the packet thread.
    pub fn update(&mut self, update: Update) {
        self.thread.update(update);
    }

    /// Sends a control message from the data port, through the NAT that answers come back by.
    pub fn send_from_data_port(&self, local: IpAddr, remote: SocketAddr, bytes: &[u8]) {
        if let Err(error) = self.thread.ports().send(SocketAddr::new(local, wire::DATA_PORT), remote, bytes) {
            tracing::debug!(%local, %remote, %error, "not sent");
        }
    }

    /// Packets to those behind NATs leave from the control port: its sockets, whenever they have changed.
    pub fn lend_control_port(&self, sockets: &ControlSockets) {
        self.thread.ports().lend(wire::CONTROL_PORT, sockets.descriptors());
    }

    /// All counters by name.
    pub fn counters(&self) -> Value {
        self.thread.count_losses();
        self.thread.counters().snapshot().into_iter().map(|(key, value)| (key, Value::from(value))).collect()
    }

    /// The RLOCs that have sent to us within the last minute, and when they last did, to a second.
    pub fn senders(&self, now: Instant) -> Vec<(IpAddr, Instant)> {
        self.thread.counters().senders_lately(now)
    }

    /// The RLOCs that have sent to an EID-prefix behind a NAT within the last minute, and how often each is to hear about it or a part of
    /// it. If about all of it they are forgotten by that.
    pub fn senders_to(&self, now: Instant, bound: &EidPrefix, about: &EidPrefix) -> Vec<(IpAddr, usize)> {
        self.thread.counters().senders_to(now, bound, about)
    }

    /// What was sent to each locator.
    pub fn locators(&self) -> Vec<LocatorCount> {
        self.thread.counters().locators()
    }

    /// The ITR as it was started.
    pub fn itr(&self) -> &ItrConfig {
        &self.itr
    }

    /// The sites that it is PETR for.
    pub fn petr_for(&self) -> &[EidPrefix] {
        &self.petr_for
    }

    /// Where its packets go in the compatibility mode of ECN.
    pub fn ecn(&self) -> &EcnCompatibility {
        &self.ecn
    }

    /// MTU of the TUN device, octets.
    pub fn tun_mtu(&self) -> u16 {
        self.tun_mtu
    }

    /// The longest packet that is encapsulated, octets: what comes out of the TUN device, and at an RTR what it relays, which has come out of as
    /// long a packet as is usual.
    pub fn longest(config: &Config) -> u16 {
        let headers = overhead(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let relayed = usize::from(limits::USUAL_MTU).saturating_sub(headers);
        let relayed = u16::try_from(relayed).unwrap_or(limits::USUAL_MTU);
        if config.nat.rtr { config.mtu.max(relayed) } else { config.mtu }
    }

    /// Which way packets go through the kernel.
    pub fn tier(&self) -> Tier {
        self.thread.tier()
    }

    /// Ends the thread and removes the device.
    pub fn stop(&mut self) {
        self.thread.stop();
    }
}

/// IPv6 host prefixes of ours, which are addresses of this node or of a host behind it. An IPv4 one is of no use as the
/// source of what comes out of the TUN device: Linux drops what seems to come from itself.
fn own_addresses(database: &Database) -> Vec<IpAddr> {
    let hosts = database.prefixes().iter().filter(|prefix| prefix.net.prefix_len() == 128);
    hosts.map(|prefix| prefix.net.addr()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_locator_whose_port_another_program_has_takes_no_packets_until_it_is_free() {
        let rloc: IpAddr = "127.43.41.1".parse().unwrap();
        let other = std::net::UdpSocket::bind((rloc, wire::DATA_PORT)).unwrap();
        assert!(!Packets::can_receive(rloc));
        drop(other);
        assert!(Packets::can_receive(rloc));
        assert!(!Packets::can_receive("192.0.2.1".parse().unwrap()), "no interface has that address");
    }
}
