// SPDX-License-Identifier: GPL-2.0-or-later
//! The swarm: QUIC, Kademlia, identify and the limits, with our settings.

use std::num::NonZeroUsize;
use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::{Keypair, ed25519};
use libp2p::request_response;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, identify, kad, quic};

use super::admission::{self, Codec};
use super::kademlia::Kademlia;
use super::records::{KadRecords, Records};
use super::{NodeConfig, NodeError, Role};
use crate::shell::limits;

/// The Kademlia protocol of this DHT, which meets no other.
pub(super) const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/ipv6mesh/kad/1");
/// What identify says the peer speaks.
pub(super) const IDENTIFY_PROTOCOL: &str = "/ipv6mesh/1";

/// What runs on every connection.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
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
        .with_quic_config(quic_config)
        .with_behaviour(|keypair| Behaviour {
            limits: connection_limits::Behaviour::new(connection_limits()),
            identify: identify::Behaviour::new(identify_config(keypair)),
            kad: Kademlia::new(kademlia(keypair, role, KadRecords::new(records, clock)), is_closed),
            admit: admission::behaviour(),
        })
        .map_err(|error| failed(&error))?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(limits::CONNECTION_UNUSED)
                .with_per_connection_event_buffer_size(4)
                .with_max_negotiating_inbound_streams(16)
        })
        .build();
    Ok(swarm)
}

fn quic_config(mut config: quic::Config) -> quic::Config {
    config.handshake_timeout = limits::QUIC_HANDSHAKE;
    config.max_idle_timeout = u32::try_from(limits::QUIC_IDLE.as_millis()).unwrap_or(u32::MAX);
    config.keep_alive_interval = limits::QUIC_KEEP_ALIVE;
    config.max_concurrent_stream_limit = limits::QUIC_STREAMS;
    config.max_stream_data = limits::QUIC_STREAM_DATA;
    config.max_connection_data = limits::QUIC_CONNECTION_DATA;
    config
}

fn connection_limits() -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_established(Some(limits::CONNECTIONS))
        .with_max_established_incoming(Some(limits::CONNECTIONS_INCOMING))
        .with_max_established_per_peer(Some(limits::CONNECTIONS_PER_PEER))
        .with_max_pending_incoming(Some(limits::PENDING_CONNECTIONS))
        .with_max_pending_outgoing(Some(limits::PENDING_CONNECTIONS))
}

fn identify_config(keypair: &Keypair) -> identify::Config {
    identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), keypair.public())
        .with_agent_version(concat!("lisp-dht/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_interval(limits::IDENTIFY)
        .with_push_listen_addr_updates(true)
        .with_cache_size(0)
}

/// Kademlia that stores only what `records` takes, acknowledges nothing else, republishes nothing by itself, and lets nobody
/// into its routing table who was not admitted.
fn kademlia(keypair: &Keypair, role: Role, records: KadRecords) -> kad::Behaviour<KadRecords> {
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
        .set_parallelism(NonZeroUsize::new(limits::PARALLELISM).unwrap_or(NonZeroUsize::MIN))
        .set_substreams_timeout(limits::REQUEST)
        .set_query_timeout(limits::QUERY)
        .set_periodic_bootstrap_interval(Some(limits::REFRESH));
    let peer = keypair.public().to_peer_id();
    let mut kad = kad::Behaviour::with_config(peer, records, config);
    kad.set_mode(Some(match role {
        Role::Server => kad::Mode::Server,
        Role::Client => kad::Mode::Client,
    }));
    kad
}
