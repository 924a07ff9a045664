// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions to mappings (RFC 9437) as an xTR has them, in virtual time; the test plays the Map-Server.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod beginning;
mod bounds;
#[path = "../double/mod.rs"]
mod double;
mod keeping;
#[path = "../../../program/tests/support/log.rs"]
mod log;
mod node;
mod unasked;
