// SPDX-License-Identifier: GPL-2.0-or-later
//! A prefix authority: from a list of delegations to the pages that say so.
//!
//! A [`Plan`] is the list cut into pages that each fit one INDEX section, along the bits of the prefixes, so that a change of
//! one delegation changes the pages on its way and no others. A [`Round`] compares a plan with the [`Ledger`] of what was
//! published before, and gives out what is to be signed and put: children before those that point to them, so that no reader
//! meets a page whose sub-page is older than it.

mod ledger;
mod plan;
mod round;

pub use ledger::{Ledger, LedgerError, Published};
pub use plan::{Plan, PlanError, PlannedPage};
pub use round::{Round, Status};
