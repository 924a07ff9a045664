// SPDX-License-Identifier: GPL-2.0-or-later
//! Benches: our programs in a lab, under a load, with figures side by side.

pub mod dht_flood;
pub mod flood;
pub mod initial;
