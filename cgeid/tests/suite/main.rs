// SPDX-License-Identifier: GPL-2.0-or-later
//! What must hold of identities, seen from outside the crate: published vectors, `openssl` as a witness, bad input.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

mod certificates;
#[cfg(feature = "shell")]
mod cli;
mod common;
mod containers;
mod openssl;
mod operational;
mod properties;
mod schedule;
mod temporary;
mod vectors;
