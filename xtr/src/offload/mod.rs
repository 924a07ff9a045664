// SPDX-License-Identifier: GPL-2.0-or-later
//! Super-packets: many segments of one flow that cross the border to the kernel as one packet.
//!
//! Towards the core the kernel hands over what TCP or a UDP sender has put into one packet of up to 64 KB; [`segment`] makes
//! the headers of its segments, [`batch`] puts them into groups that the kernel sends with one call. From the core come many
//! segments; [`coalesce`] puts those that follow each other into one packet again.
//!
//! Sans-IO. The payload is summed, never copied: segments are ranges of the memory that a driver reads into.
//!
//! A packet that the kernel is told to be a super-packet gets new checksums for each of its segments. So nothing is merged
//! whose checksums have not been verified: the damage would no longer be seen by its receiver.

pub mod batch;
pub mod checksum;
pub mod coalesce;
pub mod segment;
#[cfg(test)]
pub(crate) mod tests;
pub mod vnet_header;

pub use batch::{Batch, Message};
pub use coalesce::Coalescer;
pub use segment::{SuperPacket, complete};
pub use vnet_header::{Gso, GsoKind, Partial, VnetHeader};

/// A vnet header, or the packet behind it, that cannot be meant: the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} does not fit the packet")]
pub struct Malformed(pub &'static str);
