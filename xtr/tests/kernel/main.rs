// SPDX-License-Identifier: GPL-2.0-or-later
//! Nodes that run over sockets, TUN devices and network namespaces: what the kernel has to do with a packet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../../program/tests/support/log.rs"]
mod log;
#[path = "../namespace/mod.rs"]
mod namespace;
#[path = "../two_nodes/mod.rs"]
mod two_nodes;

mod headers;
mod lacking;
mod misses;
mod packets;
mod paths;
