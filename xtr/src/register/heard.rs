// SPDX-License-Identifier: GPL-2.0-or-later
//! Up to which nonce each Map-Server has told something of its own accord about each EID-prefix (RFC 9301, section 5.7). What it tells of
//! two may arrive in either order; of one nothing is heard that is older. On disk there is one nonce for each Map-Server: after a restart
//! nothing is heard up to that.

use std::collections::BTreeMap;

use wire::address::EidPrefix;
use wire::control::Nonce;
use wire::record::MappingRecord;

use super::limits;
use crate::last_nonces::LastNonces;
use crate::transport::MapSystem;

/// A Map-Server, and what it tells about: names and MAC addresses are one.
type Subject = (MapSystem, Option<EidPrefix>);

#[derive(Debug)]
pub(super) struct Heard {
    /// The highest of each Map-Server, for the next run.
    highest: LastNonces<MapSystem>,
    /// Up to which nothing is heard, whatever it is about.
    floors: BTreeMap<MapSystem, Nonce>,
    last: BTreeMap<Subject, Nonce>,
}

impl Heard {
    pub(super) fn nothing() -> Self {
        Self { highest: LastNonces::new(limits::HEARD), floors: BTreeMap::new(), last: BTreeMap::new() }
    }

    /// What the last run has left.
    pub(super) fn restore(&mut self, kept: impl IntoIterator<Item = (MapSystem, Nonce)>) {
        self.highest.restore(kept);
        self.floors = self.highest.iter().collect();
    }

    /// The last nonce about any of these; 0 = none yet.
    pub(super) fn last(&self, server: MapSystem, records: &[MappingRecord]) -> Nonce {
        let floor = self.floors.get(&server).copied().unwrap_or_default();
        subjects(server, records).filter_map(|subject| self.last.get(&subject).copied()).fold(floor, Nonce::max)
    }

    /// Notes the nonce of what is told about these: all that is to be kept on disk. Of Map-Servers that are not `in_use` some are
    /// forgotten when there are too many.
    pub(super) fn note(
        &mut self,
        (server, nonce): (MapSystem, Nonce),
        records: &[MappingRecord],
        in_use: impl Fn(&MapSystem) -> bool,
    ) -> Vec<(MapSystem, Nonce)> {
        for subject in subjects(server, records) {
            self.last.insert(subject, nonce);
            if self.last.len() > limits::HEARD_ABOUT {
                self.forget_lowest();
            }
        }
        self.highest.note(server, nonce.max(self.highest.last(server)), in_use)
    }

    fn forget_lowest(&mut self) {
        let Some((lowest, nonce)) = self.last.iter().min_by_key(|(_, nonce)| **nonce).map(|(at, nonce)| (*at, *nonce))
        else {
            return;
        };
        self.last.remove(&lowest);
        let floor = self.floors.entry(lowest.0).or_default();
        *floor = (*floor).max(nonce);
    }
}

fn subjects(server: MapSystem, records: &[MappingRecord]) -> impl Iterator<Item = Subject> {
    records.iter().map(move |record| (server, record.eid.ip_prefix()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::database::withdrawal;
    use wire::address::InstanceId;

    #[test]
    fn each_prefix_has_its_own_nonces_and_what_makes_room_or_was_before_a_restart_stays_old() {
        let server = MapSystem::Pipe;
        let about = |number: u32| [withdrawal(EidPrefix::host(InstanceId(0), std::net::IpAddr::V4(number.into())))];
        let mut heard = Heard::nothing();
        heard.note((server, Nonce(20)), &about(1), |_| true);
        assert_eq!((heard.last(server, &about(1)), heard.last(server, &about(2))), (Nonce(20), Nonce(0)));
        assert_eq!(heard.note((server, Nonce(10)), &about(2), |_| true), [(server, Nonce(20))]);
        let most = u32::try_from(limits::HEARD_ABOUT).unwrap();
        for number in 1..most {
            heard.note((server, Nonce(100 + u64::from(number))), &about(10 + number), |_| true);
        }
        assert_eq!(heard.last.len(), limits::HEARD_ABOUT);
        assert_eq!((heard.last(server, &about(2)), heard.last(server, &about(1))), (Nonce(10), Nonce(20)));
        let mut next = Heard::nothing();
        next.restore([(server, Nonce(20))]);
        assert_eq!(next.last(server, &about(2)), Nonce(20));
    }
}
