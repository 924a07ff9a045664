// SPDX-License-Identifier: GPL-2.0-or-later
//! The border node (xTR): a packet leaves a site, a packet enters it.
//!
//! Two halves, joined by a pair of bounded queues:
//!
//! * **Packets** never wait for the control plane. A miss becomes an event, the packet a guest in a queue.
//! * **Control** finds mappings ([`resolve`]), tells the mapping system of ours ([`register`]), answers other ITRs
//!   ([`reply`]), and sees which locators work and who has to hear of a change ([`reach`]); [`engine`] joins the four and is
//!   what a shell drives.
//!
//! All engines are sans-IO: the clock, the seed and the bytes are arguments, so a whole network runs in one test.
//! The library knows no map system: it meets one on the wire, or through a pipe that carries the same bytes.

#[cfg(feature = "shell")]
pub mod config;
pub mod counters;
pub mod database;
mod dropped;
pub mod ecn;
mod eid_set;
pub mod engine;
pub mod etr;
mod heard;
pub mod interwork;
pub mod itr;
mod last_nonces;
pub mod limits;
pub mod map_cache;
pub mod nat;
pub mod offload;
mod pause;
pub mod reach;
pub mod refusal;
pub mod register;
pub mod reply;
pub mod resolve;
mod senders;
#[cfg(feature = "shell")]
pub mod shell;
pub mod subscribe;
pub mod trace;
pub mod transport;
pub mod trust;
