// SPDX-License-Identifier: GPL-2.0-or-later
//! `conformance` as a user has it: its verbs, a run that is interrupted, the page of a run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "what is judged here is the program, not whether a suite holds")]
mod common;

mod interrupted;
mod page;
mod verbs;
