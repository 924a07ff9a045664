// SPDX-License-Identifier: GPL-2.0-or-later
//! The names by which nodes of this DHT know each other's protocols: part of the protocol, as the draft has them.

/// Kademlia of this DHT, which meets no other.
pub const KADEMLIA: &str = "/ipv6mesh/kad/1";
/// Presentations and answers at the beginning of a connection.
pub const ADMISSION: &str = "/ipv6mesh/admit/1";
/// What identify says that the peer speaks.
pub const IDENTIFY: &str = "/ipv6mesh/1";
