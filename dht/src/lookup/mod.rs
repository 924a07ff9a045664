// SPDX-License-Identifier: GPL-2.0-or-later
//! What is decided round a lookup: which of several copies of a record counts ([`Reading`]), how large the network is
//! ([`NetworkSize`]), and which nodes shall store a record ([`choose`]). No sockets, no clock.

mod reading;
mod region;

pub use reading::{News, Reading};
pub use region::{Candidate, Distance, NetworkSize, choose, distance, is_worth_another_look, leaves_room, neighbours};
