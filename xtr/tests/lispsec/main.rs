// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC (RFC 9303) as ITR and as ETR, against a map system that fits in here, and whoever sits on the way to it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../double/mod.rs"]
mod double;
#[path = "../../../program/tests/support/log.rs"]
mod log;

mod demands;
mod etr;
mod hostile;
mod itr;
#[path = "../subscribe/node.rs"]
#[allow(dead_code, reason = "the tests of subscriptions use the rest of it")]
mod node;
mod proof;
mod sites;
mod subscribing;
mod unsigned;
