// SPDX-License-Identifier: GPL-2.0-or-later
//! Map systems that meet in the DHT only: several engines on one in-memory network of stores, in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod aggregate;
mod answers;
mod behind_nat;
#[path = "../common/mod.rs"]
mod common;
mod forgery;
mod forwarding;
mod lispsec;
#[path = "../../../program/tests/support/log.rs"]
mod log;
mod publishing;
mod referrals;
mod reload;
mod strangers;
mod subscribing;
mod waiting;
mod world;
