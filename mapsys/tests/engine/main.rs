// SPDX-License-Identifier: GPL-2.0-or-later
//! The map system as an engine, in virtual time: the tests are xTRs, other map systems, the DHT and whoever attacks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../conformance/tests/draft/mod.rs"]
#[allow(dead_code, reason = "each test reads what it needs of a draft")]
mod draft;
#[path = "../../../program/tests/support/log.rs"]
mod log;
#[path = "../../../conformance/captures/read.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod recorded;
#[cfg(feature = "shell")]
#[path = "../witness/mod.rs"]
mod witness;

mod captures;
mod ddt;
mod dht;
mod draft_values;
mod hostile;
mod identities;
mod labels;
mod lispsec;
mod locators;
mod logged;
mod merging;
mod moving;
mod nat;
mod quirks;
mod register;
mod reload;
mod renaming;
mod restart;
mod subscriptions;
mod vectors;
mod with_peers;
