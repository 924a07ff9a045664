// SPDX-License-Identifier: GPL-2.0-or-later
//! What the project says of itself: its pages, which of its packages and folders use which, which recorded exchanges are judged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../../program/tests/support/documents.rs"]
#[allow(dead_code, reason = "not every program has examples for every verb")]
mod documents;

mod captures;
mod layers;
mod pages;
