// SPDX-License-Identifier: GPL-2.0-or-later
//! The I/O of this crate: the Kademlia node in its own thread, the database under the store, the program `lisp-dht`.

pub mod database;
pub mod limits;
pub mod node;
pub mod shelf;
