// SPDX-License-Identifier: GPL-2.0-or-later
//! The I/O of this crate: the Kademlia node in its own thread, the database under the store, the program `lisp-dht`.

pub mod cli;
pub mod control;
pub mod database;
pub mod limits;
pub mod lookup;
pub mod node;
pub mod sequence;
pub mod shelf;
