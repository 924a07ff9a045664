// SPDX-License-Identifier: GPL-2.0-or-later
//! The Map-Requests of an ITR.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wire::EncodeError;
use wire::address::{Address, EidPrefix};
use wire::control::{ControlMessage, Ecm, EidRequest, MapRequest, Nonce};

use super::limits;
use crate::transport::{MapSystem, Outgoing};

/// What a Map-Request asks, and for whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// The EID-prefix.
    pub(super) asked: EidPrefix,
    /// Source of the packet that caused the request; none for a refresh.
    pub(super) source: Option<IpAddr>,
    /// s: an SMR caused it.
    pub(super) smr_invoked: bool,
    /// p: a PITR asks (RFC 9301, section 5.2). The source is no EID then, and is not said to be one.
    pub(super) pitr: bool,
    /// Echoed by the answer.
    pub(super) nonce: Nonce,
    /// Where the answer may be sent, IPv4 first.
    pub(super) itr_rlocs: &'a [IpAddr],
}

/// The request inside an ECM, as Map-Resolvers take it, with LISP-SEC data or without. Both source ports are 4342: some answer to
/// the inner one.
pub(super) fn encapsulated(question: Question<'_>, security: Option<Vec<u8>>) -> Result<Vec<u8>, EncodeError> {
    let message = ControlMessage::from(map_request(question)).encode()?;
    let destination = question.asked.net.addr();
    let source = inner_source(question, destination);
    let ecm = Ecm::wrap(
        SocketAddr::new(source, wire::CONTROL_PORT),
        SocketAddr::new(destination, wire::CONTROL_PORT),
        message,
    );
    ControlMessage::from(Ecm { security, ..ecm }).encode()
}

/// The question of a PITR about one EID, to this map system, with LISP-SEC data or without; `None` if it cannot be put.
pub(crate) fn asking(
    asked: EidPrefix,
    nonce: Nonce,
    to: MapSystem,
    itr_rlocs: &[IpAddr],
    security: Option<Vec<u8>>,
) -> Option<Outgoing> {
    let question = Question { asked, source: None, smr_invoked: false, pitr: true, nonce, itr_rlocs };
    let to = to.destination(itr_rlocs)?;
    Some(Outgoing { to, bytes: encapsulated(question, security).ok()? })
}

fn map_request(question: Question<'_>) -> MapRequest {
    let rlocs = question.itr_rlocs.iter().take(limits::ITR_RLOCS);
    MapRequest {
        smr_invoked: question.smr_invoked,
        pitr: question.pitr,
        nonce: question.nonce,
        source_eid: question.source.filter(|_| !question.pitr).map_or(Address::None, Address::from),
        itr_rlocs: rlocs.map(|rloc| Address::from(*rloc)).collect(),
        records: vec![EidRequest { notify: false, eid: question.asked.into() }],
        ..MapRequest::default()
    }
}

/// The inner headers have the family of the EID. Nobody answers to the inner address, so when no locator has that family
/// the source of the packet, or no address, will do.
fn inner_source(question: Question<'_>, destination: IpAddr) -> IpAddr {
    let mut candidates = question.itr_rlocs.iter().copied().chain(question.source);
    candidates.find(|address| address.is_ipv4() == destination.is_ipv4()).unwrap_or(match destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    })
}
