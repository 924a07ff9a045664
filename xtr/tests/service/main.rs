// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-xtr` as a program and as a service, most of it in network namespaces. That needs root and `/dev/net/tun`; says so and passes without,
//! unless `CI` is set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../../program/tests/support/documents.rs"]
#[allow(dead_code, reason = "not every program has examples for every verb")]
mod documents;
#[path = "../../../program/tests/support/installed.rs"]
mod installed;
#[path = "../namespace/mod.rs"]
mod namespace;
#[path = "../namespace/program.rs"]
mod program;

mod binary;
mod changes;
mod locators;
mod metrics;
mod moved;
mod node;
mod pages;
mod refused;
mod reload;
mod repair;
mod restarts;
mod servers;
mod shown;
mod started;
mod temporary;
mod unit;

/// The unit file that is installed with it.
const UNIT: &str = include_str!("../../systemd/lisp-xtr.service");
