// SPDX-License-Identifier: GPL-2.0-or-later
//! The map-cache (RFC 9300, section 6): which locators packets for an EID go to.
//!
//! The packet thread owns it: no lock, no copy. Control changes it by [`Update`]s that are applied between batches and
//! hears of misses and of entries about to expire by [`Event`]s.

mod cache;
mod pool;
mod table;
mod types;

pub use cache::{Hit, MapCache, Next};
pub use pool::Families;
pub use table::PrefixTable;
pub use types::{Entry, Event, Forwarding, Locator, Update, is_unicast, usable_locators};
