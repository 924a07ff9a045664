// SPDX-License-Identifier: GPL-2.0-or-later
//! The map-cache (RFC 9300, section 6): which locators packets for an EID go to.
//!
//! The packet thread owns it: no lock, no copy. Control changes it by [`Update`]s that are applied between batches and
//! hears of misses, of entries about to expire and of silent locators by [`Event`]s.
//!
//! An entry says when it ends and which locator-set it has, or which locator if that is alone; sets and locators are in tables of
//! their own, since thousands of entries have the same. No step takes long, whatever the number of entries: tables grow in parts,
//! what has expired is invisible at once and removed little by little, and shares are weighed anew when they are next used.

mod cache;
mod clock;
mod expiries;
mod locators;
#[cfg(test)]
mod model_tests;
mod past;
mod peers;
mod sets;
mod shards;
mod slab;
mod table;
mod types;

pub use cache::MapCache;
pub(crate) use cache::Way;
pub(crate) use clock::Tick;
pub(crate) use locators::{Form, InterfaceMtus, Learned, LocatorIndex, smallest_path_mtu};
pub(crate) use peers::PeerIndex;
pub(crate) use sets::SetIndex;
pub use sets::{Families, Share};
pub(crate) use table::PrefixTable;
pub use types::{
    Binding, Entry, Event, Forwarding, FromPort, Locator, OwnMapping, SourceVerdict, Update, is_unicast,
    usable_locators,
};
