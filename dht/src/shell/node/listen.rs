// SPDX-License-Identifier: GPL-2.0-or-later
//! The node's sockets, which may become others while it runs.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use libp2p::core::transport::ListenerId;
use libp2p::swarm::behaviour::NetworkBehaviour;
use libp2p::{Multiaddr, Swarm, TransportError};

use super::addresses::{listening, socket};
use super::driver::Driver;
use super::{NodeConfig, NodeError, Transport};

/// Linux: somebody else has the port.
const EADDRINUSE: i32 = 98;
/// Linux: the machine runs without this address family; std has no name for it.
const EAFNOSUPPORT: i32 = 97;

/// The sockets that are open.
#[derive(Debug)]
pub(super) struct Sockets {
    transport: Transport,
    port: u16,
    open: Vec<(IpAddr, ListenerId)>,
    /// One that is wanted could not be opened, or has closed by itself: it is tried again.
    is_missing: bool,
}

impl Sockets {
    /// None yet.
    pub(super) fn new(config: &NodeConfig) -> Self {
        Self { transport: config.transport.clone(), port: config.port, open: Vec::new(), is_missing: false }
    }

    /// Opens the first ones. Of the addresses that stand for all of a family, one may be missing: a machine may be without IPv6.
    ///
    /// # Errors
    /// When an address that was asked for cannot be had, or its port is taken.
    fn open<B: NetworkBehaviour>(&mut self, swarm: &mut Swarm<B>, addresses: &[IpAddr]) -> Result<(), NodeError> {
        let (mut missing, port) = (None, self.port);
        for &address in addresses {
            match swarm.listen_on(listening(&self.transport, address, port)) {
                Ok(id) => self.open.push((address, id)),
                Err(error) => {
                    let failure = NodeError::Listen { address, port, reason: reason(&error) };
                    if !address.is_unspecified() || !is_family_missing(&error) {
                        return Err(failure);
                    }
                    tracing::info!(%address, port, "this machine is without the address family");
                    missing = Some(failure);
                }
            }
        }
        match missing {
            Some(failure) if self.open.is_empty() => Err(failure),
            _ => Ok(()),
        }
    }

    /// Has sockets at these addresses and at no others, as far as they can be had; whether that changes anything, and what cannot be had. What
    /// is new comes first, so that whoever is dialled meanwhile is dialled from there.
    fn set<B: NetworkBehaviour>(
        &mut self,
        swarm: &mut Swarm<B>,
        addresses: &[IpAddr],
        port: u16,
    ) -> (bool, Vec<NodeError>) {
        let (before, mut missing) = (self.open.len(), Vec::new());
        for &address in addresses {
            if self.open.iter().any(|(open, _)| *open == address) {
                continue;
            }
            match swarm.listen_on(listening(&self.transport, address, port)) {
                Ok(id) => self.open.push((address, id)),
                Err(error) if address.is_unspecified() && is_family_missing(&error) => {}
                Err(error) => missing.push(NodeError::Listen { address, port, reason: reason(&error) }),
            }
        }
        self.is_missing = !missing.is_empty();
        let opened = self.open.len() - before;
        let (stay, go): (Vec<_>, Vec<_>) = self.open.drain(..).partition(|(address, _)| addresses.contains(address));
        self.open = stay;
        for (_, id) in &go {
            swarm.remove_listener(*id);
        }
        (opened > 0 || !go.is_empty(), missing)
    }

    /// A socket has closed; the one of an address that is wanted is missed.
    pub(super) fn closed(&mut self, id: ListenerId) {
        let before = self.open.len();
        self.open.retain(|(_, open)| *open != id);
        self.is_missing |= self.open.len() < before;
    }
}

impl Driver {
    /// Opens the sockets.
    ///
    /// # Errors
    /// When an address cannot be had, or its port is taken.
    pub(super) fn listen(&mut self) -> Result<(), NodeError> {
        let addresses = self.ends.listen_rx.borrow_and_update().clone();
        self.sockets.open(&mut self.swarm, &addresses)
    }

    /// Opens those sockets that can be had, for a node that goes on; what could not be had.
    pub(super) fn listen_where_it_can(&mut self) -> Vec<NodeError> {
        let addresses = self.ends.listen_rx.borrow_and_update().clone();
        let port = self.sockets.port;
        self.sockets.set(&mut self.swarm, &addresses, port).1
    }

    /// Whether a socket is open.
    pub(super) fn has_socket(&self) -> bool {
        !self.sockets.open.is_empty()
    }

    /// Listens where it is told to by now. Connections that came to, or left from, an address that is none any more end at once: this
    /// node dials its peers again, who learn by it where it is.
    pub(super) fn listen_elsewhere(&mut self, now: Instant) {
        let addresses = self.ends.listen_rx.borrow_and_update().clone();
        // Where it took any port at its start it keeps that one.
        let port = if self.sockets.port == 0 { same_port(&self.ends.listening_tx.borrow()) } else { None };
        let was_missing = self.sockets.is_missing;
        let (changes, missing) = self.sockets.set(&mut self.swarm, &addresses, port.unwrap_or(self.sockets.port));
        if !was_missing {
            say_missing(&missing);
        }
        if changes {
            tracing::info!(?addresses, "the DHT node listens elsewhere");
            self.visit_all(now);
        }
    }

    /// Opens what could not be opened before.
    pub(super) fn listen_again(&mut self, now: Instant) {
        if self.sockets.is_missing {
            self.listen_elsewhere(now);
        }
    }

    /// The swarm has begun to listen at an address, which others are told of.
    pub(super) fn on_listening(&mut self, address: Multiaddr) {
        tracing::debug!(%address, "listening");
        if self.ways.is_anycast(&address) {
            return;
        }
        self.swarm.add_external_address(address.clone());
        self.moved();
        self.ends.listening_tx.send_modify(|known| known.push(address));
    }

    /// The swarm listens at an address no longer.
    pub(super) fn on_deaf(&mut self, address: &Multiaddr) {
        tracing::debug!(%address, "listening no longer");
        self.swarm.remove_external_address(address);
        self.moved();
        self.ends.listening_tx.send_modify(|known| known.retain(|other| other != address));
    }
}

/// Tells the operator where the node does not listen though it is to.
pub(super) fn say_missing(missing: &[NodeError]) {
    missing.iter().for_each(|error| tracing::warn!(%error, "the DHT node does not listen there yet"));
}

/// The port, if it is the same one everywhere.
pub(super) fn same_port(listening: &[Multiaddr]) -> Option<u16> {
    let mut ports = listening.iter().filter_map(socket).map(|(_, port)| port);
    let first = ports.next()?;
    ports.all(|port| port == first).then_some(first)
}

/// What the system said, and what helps. libp2p's error of the transport has no text of its own, what is in it has.
fn reason(error: &TransportError<io::Error>) -> String {
    match error {
        TransportError::Other(error) if code(error) == Some(EADDRINUSE) => {
            format!("{error}: choose a free port with --port (lisp-dht) or --dht-port (lisp-mapsys, lisp-xtr)")
        }
        TransportError::Other(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn is_family_missing(error: &TransportError<io::Error>) -> bool {
    matches!(error, TransportError::Other(error) if code(error) == Some(EAFNOSUPPORT))
}

/// The system's error code. libp2p wraps the system's error in transparent ones of types that have no public name, so that
/// neither `source()` nor a downcast comes to it: the code is in the text only.
fn code(error: &io::Error) -> Option<i32> {
    let text = error.to_string();
    let (_, tail) = text.rsplit_once("(os error ")?;
    tail.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(code: i32) -> TransportError<io::Error> {
        TransportError::Other(io::Error::other(io::Error::from_raw_os_error(code)))
    }

    #[test]
    fn only_a_family_that_the_machine_lacks_may_be_missing() {
        assert!(is_family_missing(&wrapped(EAFNOSUPPORT)));
        for other in [1, 13, EADDRINUSE, 99] {
            assert!(!is_family_missing(&wrapped(other)), "{other}");
            assert!(!reason(&wrapped(other)).is_empty(), "{other}");
        }
        assert_eq!(io::Error::from_raw_os_error(EADDRINUSE).kind(), io::ErrorKind::AddrInUse);
        assert!(reason(&wrapped(EADDRINUSE)).contains("--port"));
        assert!(!reason(&wrapped(99)).contains("--port"));
    }
}
