// SPDX-License-Identifier: GPL-2.0-or-later
//! The ETR (RFC 9300, section 4): packets from the core, decapsulated for EIDs of ours and for no other.
//!
//! Sans-IO. The inner packet is corrected where it lies and borrowed out of the datagram.
//!
//! * N, E, L and V are parsed, and trusted of peers that the operator names: their use is for closed networks (RFC 9300, section 4.1).
//!   Of all others they change nothing but a counter.
//! * Bit 5 is R, to be ignored, or P of GPE; nobody can tell which a peer means. Unless GPE is configured it is R: the
//!   inner packet's own version decides. That also takes GPE packets with an IP payload.
//! * The inner source is checked against the mapping system as far as the operator wants ([`SourcePolicy`]).
//! * ECN is that of RFC 6040. Pairs of an inner and an outer field that nobody should make are counted, and said to control.
//! * An outer UDP checksum has been verified by the kernel if it was not zero.
//! * The hop of the ETR is counted after it, by the kernel: it forwards what is written to the TUN device, takes one from
//!   TTL or hop limit, and tells the source where none is left.

mod ecn;
mod engine;
mod letters;
#[cfg(test)]
mod nat_tests;
mod nonces;
#[cfg(test)]
mod peer_tests;
mod peers;
mod relays;
mod senders;
#[cfg(test)]
mod source_tests;
mod sources;
#[cfg(test)]
mod tests;
mod versions;

pub use engine::{Arrival, Decapsulated, Etr, EtrConfig, OuterInfo};
pub use relays::Relayed;
pub use sources::{SourceMode, SourcePolicy};
