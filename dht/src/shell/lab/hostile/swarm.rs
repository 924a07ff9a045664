// SPDX-License-Identifier: GPL-2.0-or-later
//! One hostile node: it is admitted as a server like anybody, and answers as its attitude wants.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use cgeid::OperationalKey;
use futures::StreamExt as _;
use libp2p::request_response::{self, Message as Exchange, ProtocolSupport, ResponseChannel};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, identify};

use super::{Attitude, Plot, Recruit, SLOW, keypair};
use crate::admit::message::Millis;
use crate::admit::{Answer, Credentials, Ends, Kind, Rules, present};
use crate::shell::lab::LabError;
use crate::shell::limits;
use crate::shell::node::protocol::{Codec, Message};
use crate::shell::node::{
    AdmissionCodec, IDENTIFY_PROTOCOL, KAD_PROTOCOL, NodeError, Transport, admission_behaviour, connections, listening,
};

/// Interval at which a hostile node dials whom it is not connected to.
const REDIAL: Duration = Duration::from_secs(5);
/// Interval at which it looks for answers that are due.
const TICK: Duration = Duration::from_millis(100);
/// Questions left without answer that are held open; the oldest is reset then.
const HELD: usize = 256;
/// How long it keeps connections: longer than any bench.
const UNUSED: Duration = Duration::from_secs(3600);

/// What a hostile node speaks: the same protocols by other code.
#[derive(NetworkBehaviour)]
pub(super) struct Liar {
    identify: identify::Behaviour,
    pub(super) kad: request_response::Behaviour<Codec>,
    admit: request_response::Behaviour<AdmissionCodec>,
}

/// Builds the swarm, listening at an address.
pub(super) fn build(
    transport: &Transport,
    key: &OperationalKey,
    address: Ipv4Addr,
    support: ProtocolSupport,
) -> Result<Swarm<Liar>, LabError> {
    let failed = |error: &dyn std::fmt::Display| LabError::Start(NodeError::Start(error.to_string()).into());
    let mut swarm = SwarmBuilder::with_existing_identity(keypair(key)?)
        .with_tokio()
        .with_other_transport(|keypair| connections(keypair, transport))
        .map_err(|error| failed(&error))?
        .with_behaviour(|keypair| {
            let config = request_response::Config::default().with_request_timeout(limits::REQUEST);
            Liar {
                identify: identify::Behaviour::new(
                    identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), keypair.public())
                        .with_push_listen_addr_updates(true),
                ),
                kad: request_response::Behaviour::new([(KAD_PROTOCOL, support)], config),
                admit: admission_behaviour(),
            }
        })
        .map_err(|error| failed(&error))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(UNUSED))
        .build();
    swarm.listen_on(listening(transport, IpAddr::V4(address), 0)).map_err(|error| failed(&error))?;
    Ok(swarm)
}

/// Dials whom it is not connected to.
pub(super) fn dial(swarm: &mut Swarm<Liar>, targets: &[Multiaddr]) {
    for target in targets {
        let Some(peer) = peer_of(target) else { continue };
        let condition = PeerCondition::DisconnectedAndNotDialing;
        let options = DialOpts::peer_id(peer).condition(condition).addresses(vec![target.clone()]).build();
        // Who is connected already, or cannot be reached, is tried again later.
        let _ = swarm.dial(options);
    }
}

/// The identity at the end of an address.
pub(super) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    address.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::P2p(peer) => Some(peer),
        _ => None,
    })
}

/// Presents a hostile node to whom it meets, truthfully: only who is admitted is asked.
fn present_to(swarm: &mut Swarm<Liar>, key: &OperationalKey, peer: PeerId) {
    let rules = Rules { network: key.identity_certificate().network(), ..Rules::default() };
    let (own, to) = (swarm.local_peer_id().to_bytes(), peer.to_bytes());
    let ends = Ends { from: &own, to: &to };
    let presentation = present(&rules, Kind::Server, Some(Credentials::of(key)), ends, SystemTime::now());
    swarm.behaviour_mut().admit.send_request(&peer, presentation.encode());
}

/// The life of one hostile node.
pub(super) async fn live(transport: &Transport, recruit: Recruit, plot: &Plot) {
    let Recruit { key, address, attitude, targets } = recruit;
    let mut swarm = match build(transport, &key, address, ProtocolSupport::Inbound) {
        Ok(swarm) => swarm,
        Err(error) => return tracing::error!(%error, "a hostile node does not start"),
    };
    let own = *swarm.local_peer_id();
    let mut held: VecDeque<(Instant, ResponseChannel<Message>, Message)> = VecDeque::new();
    let mut tick = tokio::time::interval(TICK);
    let mut redial = tokio::time::interval(REDIAL);
    let mut is_listening = false;
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::NewListenAddr { address, .. } => {
                    plot.joins(own, address);
                    is_listening = true;
                    dial(&mut swarm, &targets);
                }
                SwarmEvent::ConnectionEstablished { peer_id, num_established, .. } if num_established.get() == 1 => {
                    present_to(&mut swarm, &key, peer_id);
                }
                SwarmEvent::Behaviour(LiarEvent::Admit(request_response::Event::Message {
                    message: Exchange::Request { channel, .. },
                    ..
                })) => {
                    let answer = Answer { code: Answer::WELCOME, time: Millis::of(SystemTime::now()) };
                    // Who asked may have gone.
                    let _ = swarm.behaviour_mut().admit.send_response(channel, answer);
                }
                SwarmEvent::Behaviour(LiarEvent::Kad(request_response::Event::Message {
                    message: Exchange::Request { request, channel, .. },
                    ..
                })) => {
                    let answer = plot.answer(own, attitude, request);
                    if matches!(attitude, Attitude::Silent | Attitude::Slow) {
                        held.push_back((Instant::now() + SLOW, channel, answer));
                        if held.len() > HELD {
                            held.pop_front();
                        }
                    } else {
                        // Who asked may have gone.
                        let _ = swarm.behaviour_mut().kad.send_response(channel, answer);
                    }
                }
                _ => {}
            },
            _ = tick.tick(), if attitude == Attitude::Slow => {
                while held.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
                    if let Some((_, channel, answer)) = held.pop_front() {
                        let _ = swarm.behaviour_mut().kad.send_response(channel, answer);
                    }
                }
            }
            _ = redial.tick(), if is_listening => dial(&mut swarm, &targets),
        }
    }
}
