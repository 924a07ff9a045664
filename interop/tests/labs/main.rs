// SPDX-License-Identifier: GPL-2.0-or-later
//! Labs in which real programs run: network namespaces that each test makes for itself. Most of them wait for timers, and do so beside each
//! other, which is why they are one program; what fills the processors, or measures them, has the machine for itself. They need root, say so
//! and pass without, unless `CI` is set.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod alone;
mod booted;
mod hold;
mod interwork;
mod lispsec;
mod mobility;
mod nat;
mod oracle;
mod peers;
mod sites;
#[path = "../support/mod.rs"]
mod support;
mod uplinks;
