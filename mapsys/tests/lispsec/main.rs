// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC (RFC 9303), one test a rule: the test is ITR and ETR, the engine Map-Resolver and Map-Server between them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answering;
#[path = "../common/mod.rs"]
mod common;
mod keys;
#[path = "../../../program/tests/support/log.rs"]
mod log;
mod refusing;
mod stage;
mod tree;
