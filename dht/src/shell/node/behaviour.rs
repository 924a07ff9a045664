// SPDX-License-Identifier: GPL-2.0-or-later
//! The swarm: QUIC, Kademlia, identify and the limits, with our settings.

use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, Transport as _};
use libp2p::core::upgrade::Version;
use libp2p::identity::{Keypair, ed25519};
use libp2p::request_response;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, kad, noise, quic, yamux};

use super::admission::{self, Codec};
use super::fabric::FabricTransport;
use super::flood::Flood;
use super::kademlia::Kademlia;
use super::keep::Keep;
use super::records::{KadRecords, Records};
use super::{NodeConfig, NodeError, Paths, Role, Transport};
use crate::shell::{limits, names};

/// The Kademlia protocol of this DHT, which meets no other.
pub(in crate::shell) const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new(names::KADEMLIA);
/// What identify says the peer speaks.
pub(in crate::shell) const IDENTIFY_PROTOCOL: &str = names::IDENTIFY;

/// What runs on every connection.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) flood: Flood,
    pub(super) keep: Keep,
    pub(super) identify: identify::Behaviour,
    pub(super) kad: Kademlia,
    pub(super) admit: request_response::Behaviour<Codec>,
}

/// Builds the swarm; it listens nowhere yet.
pub(super) fn swarm(config: &NodeConfig, role: Role, records: Box<dyn Records>) -> Result<Swarm<Behaviour>, NodeError> {
    let failed = |error: &dyn std::fmt::Display| NodeError::Start(error.to_string());
    let mut seed = config.seed.clone();
    let (clock, is_closed) = (config.clock, config.rules.key.is_some());
    let secret = ed25519::SecretKey::try_from_bytes(seed.as_mut_slice()).map_err(|error| failed(&error))?;
    let keypair = Keypair::from(ed25519::Keypair::from(secret));
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|keypair| connections(keypair, &config.transport))
        .map_err(|error| failed(&error))?
        .with_behaviour(|keypair| Behaviour {
            limits: connection_limits::Behaviour::new(connection_limits()),
            flood: Flood::default(),
            keep: Keep::default(),
            identify: identify::Behaviour::new(identify_config(keypair)),
            kad: Kademlia::new(kademlia(keypair, role, config.paths, KadRecords::new(records, clock)), is_closed),
            admit: admission::behaviour(),
        })
        .map_err(|error| failed(&error))?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(limits::CONNECTION_UNUSED)
                // Without waiting for the protocol to be agreed on: that would be a second round trip for each request.
                .with_substream_upgrade_protocol_override(libp2p::core::upgrade::Version::V1Lazy)
                .with_per_connection_event_buffer_size(4)
                .with_max_negotiating_inbound_streams(16)
        })
        .build();
    Ok(swarm)
}

/// What carries the connections; the rest of a node does not see a difference.
pub(in crate::shell) fn connections(
    keypair: &Keypair,
    transport: &Transport,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn std::error::Error + Send + Sync>> {
    Ok(match transport {
        Transport::Quic => quic::tokio::Transport::new(quic_config(quic::Config::new(keypair)))
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed(),
        Transport::Memory(fabric) => FabricTransport::new(fabric.clone())
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(keypair)?)
            .multiplex(yamux::Config::default())
            .timeout(limits::QUIC_HANDSHAKE)
            .boxed(),
    })
}

fn quic_config(mut config: quic::Config) -> quic::Config {
    config.handshake_timeout = limits::QUIC_HANDSHAKE;
    config.max_idle_timeout = u32::try_from(limits::QUIC_IDLE.as_millis()).unwrap_or(u32::MAX);
    config.keep_alive_interval = limits::QUIC_KEEP_ALIVE;
    config.max_unproven_handshakes = limits::UNPROVEN_HANDSHAKES;
    config.max_incoming = limits::INITIALS_WAITING;
    config.max_concurrent_stream_limit = limits::QUIC_STREAMS;
    config.max_stream_data = limits::QUIC_STREAM_DATA;
    config.max_connection_data = limits::QUIC_CONNECTION_DATA;
    config
}

/// The bounds that no address changes; those on what others open are in [`Flood`].
fn connection_limits() -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_established(Some(limits::CONNECTIONS))
        .with_max_established_per_peer(Some(limits::CONNECTIONS_PER_PEER))
        .with_max_pending_outgoing(Some(limits::PENDING_CONNECTIONS))
}

fn identify_config(keypair: &Keypair) -> identify::Config {
    identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), keypair.public())
        .with_agent_version(concat!("lisp-dht/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_interval(limits::IDENTIFY)
        .with_push_listen_addr_updates(true)
        // What we announce are external addresses that the driver names: all that we listen on but the anycast ones.
        .with_hide_listen_addrs(true)
        .with_cache_size(0)
}

/// Kademlia that stores only what `records` takes, acknowledges nothing else, republishes nothing by itself, and lets nobody
/// into its routing table who was not admitted.
fn kademlia(keypair: &Keypair, role: Role, paths: Paths, records: KadRecords) -> kad::Behaviour<KadRecords> {
    let peer = keypair.public().to_peer_id();
    let mut kad = kad::Behaviour::with_config(peer, records, kademlia_config(paths));
    kad.set_mode(Some(match role {
        Role::Server => kad::Mode::Server,
        Role::Client => kad::Mode::Client,
    }));
    kad
}

fn kademlia_config(paths: Paths) -> kad::Config {
    let mut config = kad::Config::new(KAD_PROTOCOL);
    config
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::Unfiltered)
        .set_record_ttl(None)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_record_ttl(Some(Duration::ZERO))
        .set_provider_publication_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_parallelism(match paths {
            Paths::Joint(parallelism) | Paths::Disjoint(parallelism) => parallelism,
        })
        .disjoint_query_paths(matches!(paths, Paths::Disjoint(_)))
        .set_substreams_timeout(limits::REQUEST)
        .set_query_timeout(limits::QUERY)
        .set_periodic_bootstrap_interval(Some(limits::REFRESH));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By themselves they would be seen after an hour. libp2p shows them to nobody but in words.
    #[test]
    fn kademlias_own_replication_and_caching_are_off() {
        const OFF: [&str; 4] = [
            "record_replication_interval: None",
            "record_publication_interval: None",
            "provider_publication_interval: None",
            "caching: Disabled",
        ];
        let usual = format!("{:?}", kad::Config::new(KAD_PROTOCOL));
        let ours = format!("{:?}", kademlia_config(Paths::Disjoint(limits::PATHS)));
        for off in OFF {
            assert!(ours.contains(off) && !usual.contains(off), "{off}: {ours}");
        }
    }
}
