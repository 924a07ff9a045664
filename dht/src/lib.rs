// SPDX-License-Identifier: GPL-2.0-or-later
//! Where a signed statement lives: records, the store, resolution, and (feature `shell`) the Kademlia node.
//!
//! Every DHT key names its one legitimate writer, so nobody can fill a slot that is not theirs, and every copy of a
//! record proves itself: a hostile node can delay an answer or hide it, never change it. What follows from that:
//!
//! * [`record`]: keys, signed sections and bundles, each with exactly one encoding; [`record::verify`], which readers run
//!   on whatever a lookup brings;
//! * [`store`]: what a node keeps for others. It verifies before it stores, never goes back to an older sequence, and merges
//!   commutatively, so that partitions heal by exchanging bundles in any order;
//! * [`publish`]: building bundles with an operational key;
//! * [`resolve`]: from an EID to its mapping, or to the proof that there is none, by walking signed index pages from a trust
//!   anchor down;
//! * [`lookup`]: which copy of a record counts, and which nodes shall store one;
//! * [`handover`]: which records are handed to whom when peers come and go, and how fast;
//! * [`index`]: cutting what an authority delegates into such pages, and keeping them published;
//! * [`geo`]: places, directions, and links that both ends name;
//! * [`admit`]: who may be a place in the hash table, and whether our clock is right;
//! * [`block`]: which addresses count as one party;
//! * [`pause`]: a pace for what is logged;
//! * [`memory`]: a network of stores in one process, in the place of a real one in tests and simulations;
//! * [`sim`]: a model of thousands of nodes in virtual time.
//!
//! All of it is sans-IO: clocks and values are arguments. Only `shell` has sockets, threads and files.

pub mod admit;
pub mod block;
pub mod error;
pub mod geo;
pub mod handover;
pub mod index;
pub mod limits;
pub mod lookup;
pub mod memory;
pub mod pause;
pub mod publish;
pub mod record;
pub mod resolve;
#[cfg(feature = "shell")]
pub mod shell;
pub mod sim;
pub mod store;

pub use error::{Malformed, PublishError, Refusal};
