// SPDX-License-Identifier: GPL-2.0-or-later
//! The node's sockets.

use std::io;
use std::net::IpAddr;

use libp2p::swarm::behaviour::NetworkBehaviour;
use libp2p::{Swarm, TransportError};

use super::addresses::listening;
use super::{NodeError, Transport};

/// Linux: somebody else has the port.
const EADDRINUSE: i32 = 98;
/// Linux: the machine runs without this address family; std has no name for it.
const EAFNOSUPPORT: i32 = 97;

/// Opens the sockets. Of the addresses that stand for all of a family, one may be missing: a machine may be without IPv6.
///
/// # Errors
/// When an address that was asked for cannot be had, or its port is taken.
pub(super) fn listen<B: NetworkBehaviour>(
    swarm: &mut Swarm<B>,
    transport: &Transport,
    addresses: &[IpAddr],
    port: u16,
) -> Result<(), NodeError> {
    let mut missing = None;
    let mut opened = 0;
    for &address in addresses {
        match swarm.listen_on(listening(transport, address, port)) {
            Ok(_) => opened += 1,
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
        Some(failure) if opened == 0 => Err(failure),
        _ => Ok(()),
    }
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
