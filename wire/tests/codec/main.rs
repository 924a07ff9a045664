// SPDX-License-Identifier: GPL-2.0-or-later
//! What the codec reads and writes, against vectors, recorded exchanges, rules one by one, and octets that are wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod bits;
mod captures;
mod lispsec;
mod mutations;
mod properties;
mod rules;
mod vectors;
mod versions;
