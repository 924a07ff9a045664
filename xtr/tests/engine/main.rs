// SPDX-License-Identifier: GPL-2.0-or-later
//! Control half and packet half without I/O, in virtual time, with all that is round them played by the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../double/mod.rs"]
mod double;
#[path = "../../../conformance/tests/draft/mod.rs"]
#[allow(dead_code, reason = "each test reads what it needs of a draft")]
mod draft;
#[path = "../../../program/tests/support/log.rs"]
mod log;
#[path = "../../../conformance/captures/read.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod recorded;

mod captures;
mod control;
mod data_plane;
mod draft_values;
mod lispsec;
#[cfg(feature = "shell")]
mod listing;
mod logged;
mod nat;
mod peers;
mod reach;
mod subscribe;
mod vectors;
mod with_peers;
