// SPDX-License-Identifier: GPL-2.0-or-later
//! Measurements between hosts of a lab, made by ourselves: pings, transfers, floods, captures, the kernel's counters.

pub mod capture;
pub mod counters;
pub mod crossing;
pub mod datagrams;
pub mod iperf3;
pub mod load;
pub mod ping;
pub mod tcp;
