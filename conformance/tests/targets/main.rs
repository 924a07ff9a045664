// SPDX-License-Identifier: GPL-2.0-or-later
//! Implementations that the suites judge: the files that describe them, and some that lie, stall or say too much.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../fakes/mod.rs"]
mod fakes;

mod files;
mod hostile;
