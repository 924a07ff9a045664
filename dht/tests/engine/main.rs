// SPDX-License-Identifier: GPL-2.0-or-later
//! Records, the store and the lookups, in virtual time and without sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod admission;
mod alternates;
mod clauses;
mod handover;
mod index;
mod lookup;
mod mutations;
mod point;
mod record;
mod region;
mod renewal;
mod resolve;
mod revocation;
mod shares;
mod sim;
mod store;
