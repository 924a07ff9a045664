// SPDX-License-Identifier: GPL-2.0-or-later
//! What the log says of registrations that fell silent: a few by name, a mass of them as a number.

use std::fmt::Display;
use std::time::Instant;

use crate::limits::{LOG_PAUSE, NAMED_SILENT};

/// What was said lately, and what is to be said yet.
#[derive(Debug, Default)]
pub struct SilenceLog {
    since: Option<Instant>,
    named: usize,
    more: usize,
}

impl SilenceLog {
    /// Takes note of a registration that was withdrawn; whether it is named.
    pub fn note(&mut self, now: Instant, prefix: &impl Display) -> bool {
        self.handle_timeout(now);
        self.since.get_or_insert(now);
        if self.named >= NAMED_SILENT {
            self.more += 1;
            return false;
        }
        self.named += 1;
        tracing::info!(%prefix, "registration silent for too long: withdrawn");
        true
    }

    /// Says how many there were that were not named.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) < LOG_PAUSE) {
            return;
        }
        if self.more > 0 {
            tracing::info!(registrations = self.more, "more registrations silent for too long: withdrawn");
        }
        *self = Self::default();
    }

    /// When [`Self::handle_timeout`] has something to say.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.since.filter(|_| self.more > 0).map(|since| since + LOG_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::address::{EidPrefix, InstanceId};

    #[test]
    fn a_mass_of_them_is_a_few_names_and_a_number() {
        let prefix = EidPrefix::host(InstanceId(0), std::net::Ipv4Addr::LOCALHOST.into());
        let start = Instant::now();
        let mut log = SilenceLog::default();
        let named = (0..1000).filter(|_| log.note(start, &prefix)).count();
        assert_eq!((named, log.more), (NAMED_SILENT, 1000 - NAMED_SILENT));
        assert_eq!(log.next_deadline(), Some(start + LOG_PAUSE));
        log.handle_timeout(start + LOG_PAUSE);
        assert_eq!(log.next_deadline(), None);
        assert!(log.note(start + LOG_PAUSE, &prefix), "the next ones are named again");
    }
}
