// SPDX-License-Identifier: GPL-2.0-or-later
//! `interop` as a user has it, and the machine that it needs; `labs` has what runs in the labs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../../program/tests/support/documents.rs"]
#[allow(dead_code, reason = "not every program has examples for every verb")]
mod documents;
#[path = "../support/mod.rs"]
mod support;

mod machine;
mod pages;
mod verbs;
