// SPDX-License-Identifier: GPL-2.0-or-later
//! Measurements between hosts of a lab, made by ourselves: pings, a bulk transfer, captures.

pub mod capture;
pub mod ping;
pub mod tcp;
