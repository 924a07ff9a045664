// SPDX-License-Identifier: GPL-2.0-or-later
//! What Map-Servers tell without a Map-Request: of what the operator has subscribed this node to, and of their own accord (RFC 9437,
//! section 5).

use wire::address::EidPrefix;

use crate::transport::MapSystem;

/// A subscription that the operators of both ends have made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configured {
    /// What it is to.
    pub prefix: EidPrefix,
    /// The first nonce: Map-Notifies are above it.
    pub nonce: u64,
    /// The place of its association among those of [`Config`](super::Config).
    pub association: usize,
}

/// What is told unasked: by whom, under which key, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// The Map-Resolver of the association.
    pub server: MapSystem,
    /// Number of its key: under another one nonces begin anew.
    pub key_id: u8,
    /// The EID-prefix of the subscription.
    pub prefix: EidPrefix,
}
