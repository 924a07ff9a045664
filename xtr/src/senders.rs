// SPDX-License-Identifier: GPL-2.0-or-later
//! The RLOCs that packets have come from within the last minute: written by the ETR, read by whoever tells them of changes
//! (RFC 9301, section 6.1).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, TryLockError};
use std::time::Instant;

use crate::limits;

/// When packets last came from each RLOC, to a second.
#[derive(Debug, Default)]
pub(crate) struct Senders(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    rlocs: HashMap<IpAddr, Instant>,
    swept: Option<Instant>,
}

impl Senders {
    /// Notes an RLOC, unless somebody reads: then it is noted a second later. One that finds no room hears of no change.
    pub(crate) fn note(&self, now: Instant, rloc: IpAddr) {
        let mut table = match self.0.try_lock() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if table.rlocs.len() >= limits::SENDERS && !table.rlocs.contains_key(&rloc) {
            let is_old = |at: Instant| now.saturating_duration_since(at) >= limits::SENDERS_SWEPT;
            if table.swept.is_none_or(is_old) {
                table.swept = Some(now);
                table.rlocs.retain(|_, at| now.saturating_duration_since(*at) < limits::SENDER_RECENT);
            }
            if table.rlocs.len() >= limits::SENDERS {
                return;
            }
        }
        table.rlocs.insert(rloc, now);
    }

    /// Those of the last minute.
    pub(crate) fn lately(&self, now: Instant) -> Vec<IpAddr> {
        let table = match self.0.lock() {
            Ok(table) => table,
            Err(poisoned) => poisoned.into_inner(),
        };
        let recent = table.rlocs.iter().filter(|(_, at)| now.saturating_duration_since(**at) < limits::SENDER_RECENT);
        recent.map(|(rloc, _)| *rloc).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn rloc(number: u32) -> IpAddr {
        IpAddr::V4((0xc633_0000 + number).into())
    }

    #[test]
    fn who_has_sent_within_a_minute_is_known_and_nobody_else() {
        let (senders, now) = (Senders::default(), Instant::now());
        senders.note(now, rloc(1));
        senders.note(now + Duration::from_secs(30), rloc(2));
        assert_eq!(senders.lately(now + Duration::from_secs(61)), [rloc(2)]);
    }

    #[test]
    fn invented_senders_fill_the_table_and_no_more() {
        let (senders, now) = (Senders::default(), Instant::now());
        for number in 0..10_000 {
            senders.note(now, rloc(number));
        }
        assert_eq!(senders.lately(now).len(), limits::SENDERS);
        let later = now + limits::SENDER_RECENT;
        senders.note(later, rloc(20_000));
        assert_eq!(senders.lately(later), [rloc(20_000)]);
    }
}
