// SPDX-License-Identifier: GPL-2.0-or-later
//! Answering Map-Requests and RLOC-probes for our own EIDs, as an ETR does (RFC 9301, sections 5.3 to 5.5 and 7.1).

mod engine;
pub mod limits;
mod rate;
mod secured;

pub use engine::{Replier, Reply, Request};
pub(crate) use rate::RateTable;
pub use secured::{Opener, Protection};
