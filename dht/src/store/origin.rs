// SPDX-License-Identifier: GPL-2.0-or-later
//! Where a value comes from.

use std::net::IpAddr;

/// Who offers a value to a store: what one block of addresses fills must stay a small part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This node itself.
    Own,
    /// A peer at this address.
    Peer(IpAddr),
    /// A peer at this address that has a place in the routing table: it solved the puzzle, and hands on what others have put.
    Member(IpAddr),
    /// Nobody knows, as of what comes from disk.
    Unknown,
}
