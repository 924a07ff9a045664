// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions (RFC 9437) as an xTR, a site and an attacker see them, in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod any;
mod asking;
mod associations;
mod attacks;
#[path = "../common/mod.rs"]
mod common;
mod configured;
mod ending;
#[path = "../../../program/tests/support/log.rs"]
mod log;
mod publishing;
mod restart;
mod xtr;
