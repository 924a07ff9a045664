// SPDX-License-Identifier: GPL-2.0-or-later
//! What must hold of identities, seen from outside the crate: published vectors, `openssl` as a witness, bad input.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

mod bad_input;
mod certificates;
#[cfg(feature = "shell")]
mod cli;
mod common;
mod containers;
#[cfg(feature = "shell")]
#[path = "../../../program/tests/support/documents.rs"]
mod documents;
mod exchange;
#[cfg(feature = "shell")]
mod exchange_cli;
mod import;
mod openssl;
mod operational;
#[cfg(feature = "shell")]
mod pages;
mod pins;
mod properties;
mod schedule;
mod statements;
mod temporary;
mod vectors;
#[cfg(feature = "shell")]
mod verbs;
