// SPDX-License-Identifier: GPL-2.0-or-later
//! What is said of our EID-prefixes in a Map-Register, and whether a Map-Notify says the same.

use std::net::IpAddr;

use wire::address::{Address, EidPrefix};
use wire::control::auth;
use wire::control::{ControlMessage, MapRegister, Nonce};
use wire::record::{MappingRecord, Ttl};

use super::{Server, Through};
use crate::database::{Database, RecordForm, withdrawal};
use crate::register::through::Path;
use crate::transport::{MapSystem, Outgoing, turned};

/// Our EID-prefixes and locators, and the way of all messages, which may put others in the place of our locators.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) database: Database,
    pub(super) through: Through,
}

impl Contents {
    /// How a message gets to a Map-Server, by the locator of ours that has its turn; nowhere, where none has its family.
    pub(super) fn paths(&self, to: MapSystem, turn: usize) -> Vec<Path> {
        self.through.paths(to, &turned(&self.database.rlocs(), turn))
    }

    /// How an answer gets back to a Map-Server that has said something, by an RTR if one relayed that.
    pub(super) fn path_back(&self, to: MapSystem, by: Option<IpAddr>) -> Option<Path> {
        self.through.path_back(to, by, &self.database.rlocs())
    }

    /// Whether none of our locators has the family of the Map-Server, while there are some.
    pub(super) fn lacks_family(&self, to: MapSystem) -> bool {
        let is_open = !self.through.is_closed() && !self.database.rlocs().is_empty();
        is_open && self.paths(to, 0).is_empty()
    }

    /// How many of these, one at least, a message to this server has room for.
    pub(super) fn count_that_fits(&self, prefixes: &[EidPrefix], server: &Server) -> usize {
        if self.fits(prefixes, server) {
            return prefixes.len();
        }
        let (mut fits, mut too_many) = (1, prefixes.len());
        while too_many > fits + 1 {
            let middle = usize::midpoint(fits, too_many);
            if self.fits(&prefixes[..middle], server) {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        fits
    }

    fn fits(&self, prefixes: &[EidPrefix], server: &Server) -> bool {
        let sealed = self.sealed(prefixes, false, server, Nonce(0));
        sealed.is_some_and(|bytes| bytes.len() <= self.through.room(server.to))
    }

    /// Whether there is room for another prefix.
    pub(super) fn has_room(&self, prefixes: &[EidPrefix], another: EidPrefix, server: &Server) -> bool {
        self.fits(&[prefixes, &[another]].concat(), server)
    }

    /// The message that goes by this path; `None` if it cannot be.
    pub(super) fn sent(
        &self,
        (prefixes, withdrawing): (&[EidPrefix], bool),
        server: &Server,
        nonce: Nonce,
        path: &Path,
    ) -> Option<Outgoing> {
        self.sealed(prefixes, withdrawing, server, nonce).and_then(|bytes| path.message(bytes))
    }

    fn sealed(&self, prefixes: &[EidPrefix], withdrawing: bool, server: &Server, nonce: Nonce) -> Option<Vec<u8>> {
        let message = ControlMessage::from(self.message(prefixes, withdrawing, server, nonce));
        auth::seal(&message, &server.key, server.tag).ok()
    }

    fn message(&self, prefixes: &[EidPrefix], withdrawing: bool, server: &Server, nonce: Nonce) -> MapRegister {
        let record = |prefix: &EidPrefix| if withdrawing { withdrawal(*prefix) } else { self.record(*prefix) };
        let by_rtrs = self.through.is_by_rtrs();
        MapRegister {
            proxy_reply: server.proxy_reply || by_rtrs,
            // RFC 9303, section 6.3: an ETR that can says so.
            security_capable: true,
            through_rtr: by_rtrs,
            want_notify: true,
            nonce,
            records: prefixes.iter().map(record).collect(),
            xtr_identity: server.identity,
            ..MapRegister::default()
        }
    }

    fn record(&self, prefix: EidPrefix) -> MappingRecord {
        self.through.record(&self.database, prefix, RecordForm { authoritative: false, probed: None })
    }

    /// The first prefix of a message that these records do not say as it did.
    pub(super) fn lacking(
        &self,
        (prefixes, withdrawing): (&[EidPrefix], bool),
        records: &[MappingRecord],
    ) -> Option<EidPrefix> {
        let told = |prefix: &EidPrefix| records.iter().find(|record| record.eid.ip_prefix() == Some(*prefix));
        let has_taken =
            |prefix: &EidPrefix| told(prefix).is_some_and(|told| self.is_as_said(*prefix, withdrawing, told));
        prefixes.iter().find(|prefix| !has_taken(prefix)).copied()
    }

    /// Whether what a Map-Server says of an EID-prefix is what was said to it: a Map-Notify is a copy (RFC 9301, section 5.7), which may have
    /// locators of others too where registrations are merged. The tag alone proves no registration: deployed Map-Servers sign whatever
    /// somebody sends them, also what they have refused. Who has them sign our own locators under our nonce is not seen by that.
    fn is_as_said(&self, prefix: EidPrefix, withdrawing: bool, told: &MappingRecord) -> bool {
        let has = |rloc: &Address| told.locators.iter().any(|locator| locator.rloc == *rloc);
        let said = self.record(prefix).locators;
        match withdrawing {
            true => told.ttl == Ttl::WITHDRAWN || !said.iter().any(|locator| has(&locator.rloc)),
            false => said.iter().all(|locator| has(&locator.rloc)),
        }
    }
}
