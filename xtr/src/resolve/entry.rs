// SPDX-License-Identifier: GPL-2.0-or-later
//! From a record to what the packet half does.

use std::time::Instant;

use super::policy::Accepted;
use crate::map_cache::{Entry, Forwarding, Locator};

/// The map-cache entry of an accepted record.
pub(super) fn entry(now: Instant, accepted: &Accepted<'_>) -> Entry {
    let forwarding = if accepted.is_negative() {
        Forwarding::Negative(accepted.action)
    } else {
        Forwarding::Locators(accepted.locators.iter().filter_map(|(_, locator)| Locator::usable(locator)).collect())
    };
    Entry { forwarding, expires: now + accepted.lifetime }
}
