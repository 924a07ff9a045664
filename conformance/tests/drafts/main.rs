// SPDX-License-Identifier: GPL-2.0-or-later
//! The Internet-Drafts: they render, and their clauses, numbers, values and vectors are those of the code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../draft/mod.rs"]
mod draft;
#[path = "../draft_text/mod.rs"]
mod draft_text;

mod clauses;
mod numbers_cgeid;
mod rendered;
mod values_cgeid;
mod values_dht;
mod vectors_cgeid;
mod vectors_dht;
