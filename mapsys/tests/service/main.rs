// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-mapsys` as a program, with real sockets, and as a service.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../program/tests/support/documents.rs"]
#[allow(dead_code, reason = "not every program has examples for every verb")]
mod documents;
#[path = "../../../program/tests/support/installed.rs"]
mod installed;
#[path = "../witness/mod.rs"]
mod witness;

#[cfg(target_os = "linux")]
mod addresses;
mod binary;
mod ddt_lab;
mod metrics;
mod pages;
mod service;

/// The unit file that is installed with it.
const UNIT: &str = include_str!("../../systemd/lisp-mapsys.service");
