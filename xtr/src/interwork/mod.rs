// SPDX-License-Identifier: GPL-2.0-or-later
//! Interworking with hosts that know nothing of LISP (RFC 6832): three roles, each of which a node may have or not.
//!
//! * An ITR that *uses PETRs*: what its mappings say is no LISP site goes to one of them instead of leaving as it is (section 6.1).
//! * A *PETR*: takes such packets off the tunnel and lets the kernel forward them, of sites that may use it (section 6). That part is
//!   the ETR's.
//! * A *PITR*: packets of anybody to EIDs of others are led into the tunnel (section 5). The prefixes are given, or found by asking
//!   the mapping system what there is.

mod finder;
pub mod limits;
mod petrs;
mod pitr;

use wire::address::EidPrefix;

use crate::map_cache::Locator;

pub use finder::{Aggregate, Finder, Sites};
pub(crate) use petrs::NO_PETRS;
pub use petrs::Petrs;
pub use pitr::Pitr;

/// The roles of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interworking {
    /// PETRs to use, with their priorities and weights.
    pub petrs: Vec<Locator>,
    /// EID-prefixes of sites that may use this node as their PETR: what the ETR is told.
    pub petr_for: Vec<EidPrefix>,
    /// EID-prefixes of others whose packets are led into the tunnel, whoever sends them.
    pub pitr_for: Vec<EidPrefix>,
    /// Aggregates in which further ones are looked for.
    pub pitr_in: Vec<EidPrefix>,
}

impl Interworking {
    /// Whether the node is a PITR.
    pub fn is_pitr(&self) -> bool {
        !self.pitr_for.is_empty() || !self.pitr_in.is_empty()
    }

    /// Whether the node serves sites of others, and so needs none of its own.
    pub fn is_proxy(&self) -> bool {
        self.is_pitr() || !self.petr_for.is_empty()
    }

    /// The EID-prefixes of others whose packets it forwards.
    pub fn of_others(&self) -> impl Iterator<Item = &EidPrefix> {
        self.petr_for.iter().chain(&self.pitr_for).chain(&self.pitr_in)
    }
}
