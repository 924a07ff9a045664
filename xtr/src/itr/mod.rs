// SPDX-License-Identifier: GPL-2.0-or-later
//! The ITR (RFC 9300, section 4): packets from the site, encapsulated to the locators of their mapping.
//!
//! Sans-IO, and without allocation for a packet whose mapping is known: [`Itr::handle`] returns the outer header and the
//! borrowed inner packet, for a gathering write. What is rarer (a flushed queue, fragments, ICMP errors) is owned and
//! comes from [`Itr::poll`], which a driver drains after each call and before the next packet: so nothing overtakes.
//!
//! The hop of the ITR has been counted before: the kernel routes packets into the TUN device, and takes one from TTL or
//! hop limit as it does. Neither is changed here; the outer header copies what is left.

mod engine;
mod miss_queue;
#[cfg(test)]
mod nat_tests;
mod own;
mod peer;
#[cfg(test)]
mod peer_tests;
mod proven;
mod quoted;
mod rate;
#[cfg(test)]
mod tests;

pub use engine::{Itr, ItrConfig, Output, Verdict};
