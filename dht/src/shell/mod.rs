// SPDX-License-Identifier: GPL-2.0-or-later
//! The I/O of this crate: the Kademlia node in its own thread, the database under the store, the program `lisp-dht`.

pub mod cli;
pub mod control;
pub mod crawl;
pub mod database;
mod files;
pub mod http;
pub mod lab;
pub mod limits;
pub mod lookup;
pub mod metrics;
pub mod names;
pub mod network_key;
pub mod node;
pub mod pins;
mod process;
pub mod sequence;
pub mod shelf;

/// Log filter of libp2p for a program with a node in it: that a first node finds no peers, and that it has made itself a name,
/// is nothing to tell an operator. A program appends it to its own filter.
pub const LIBP2P_LOG: &str = "libp2p_kad=error,libp2p_swarm=warn";
