// SPDX-License-Identifier: GPL-2.0-or-later
//! dht
#[cfg(feature = "shell")]
pub mod shell;
