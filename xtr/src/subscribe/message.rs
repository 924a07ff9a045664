// SPDX-License-Identifier: GPL-2.0-or-later
//! The Map-Request that subscribes (RFC 9437, sections 4 and 5).

use std::net::{IpAddr, SocketAddr};

use wire::EncodeError;
use wire::address::{Address, EidPrefix};
use wire::control::{ControlMessage, Ecm, EidRequest, MapRequest, Nonce, XtrIdentity};

use crate::resolve::limits::ITR_RLOCS;
use crate::transport::same_family;

/// What it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    /// The EID-prefix.
    pub(super) prefix: EidPrefix,
    /// Above all that came before it.
    pub(super) nonce: u64,
    /// Who asks.
    pub(super) identity: XtrIdentity,
    /// Where Map-Notifies can be sent.
    pub(super) rlocs: &'a [IpAddr],
    /// Whether the subscription is to end: one ITR-RLOC of AFI 0 says so (RFC 9437, section 5).
    pub(super) is_leaving: bool,
}

/// The request inside an ECM, as Map-Resolvers take it: N on the record, I with xTR-ID and Site-ID behind it; with LISP-SEC data or without.
pub(super) fn encapsulated(wish: Wish<'_>, security: Option<Vec<u8>>) -> Result<Vec<u8>, EncodeError> {
    let rlocs = wish.rlocs.iter().take(ITR_RLOCS).map(|rloc| Address::from(*rloc));
    let message = MapRequest {
        nonce: Nonce(wish.nonce),
        source_eid: Address::None,
        itr_rlocs: if wish.is_leaving { vec![Address::None] } else { rlocs.collect() },
        records: vec![EidRequest { notify: true, eid: wish.prefix.into() }],
        xtr_identity: Some(wish.identity),
        ..MapRequest::default()
    };
    let message = ControlMessage::from(message).encode()?;
    let destination = wish.prefix.net.addr();
    let source = same_family(wish.rlocs, destination).unwrap_or(unspecified(destination));
    let port = wire::CONTROL_PORT;
    let ecm = Ecm::wrap(SocketAddr::new(source, port), SocketAddr::new(destination, port), message);
    ControlMessage::from(Ecm { security, ..ecm }).encode()
}

/// The inner headers have the family of the EID, whether a locator has it or not.
fn unspecified(destination: IpAddr) -> IpAddr {
    match destination {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}
