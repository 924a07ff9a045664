// SPDX-License-Identifier: GPL-2.0-or-later
//! From an EID to its mapping, or to the proof that it has none.
//!
//! A CGEID takes one GET: its key is in the address. For each alternate CGEID that it names it takes one more. Any other EID
//! is looked up by longest match over signed index pages, from a trust anchor down: what a page does not list nobody has
//! been given, and the page proves it.
//!
//! A [`Resolution`] asks for keys ([`Resolution::poll`]) and is told what was found under them ([`Resolution::handle`]),
//! unverified; a key under which nothing could be found in time is answered with no values. The [`Resolver`] is what
//! resolutions share: trust anchors, pages and certificates seen before.

mod alternates;
mod anchors;
mod cover;
mod descend;
mod outcome;
mod pages;
mod select;
mod walk;

pub(crate) use anchors::parse_prefix;
pub use anchors::{AnchorError, Anchors, TrustAnchor};
pub use descend::Visit;
pub use outcome::{Failure, Found, Outcome};
pub use pages::PageCache;
pub use select::{Selection, newest};
pub use walk::Resolution;

use std::time::SystemTime;

use cgeid::pins::Sighting;
use cgeid::{Network, Pins};
use wire::address::{EidPrefix, InstanceId};

use crate::record::{CertificateCache, Class, RecordKey, Subject};

/// What resolutions share.
#[derive(Debug)]
pub struct Resolver {
    /// The network whose CGEIDs are found by their own key.
    pub network: Network,
    /// Whose word counts about other prefixes.
    pub anchors: Anchors,
    /// Index pages read before.
    pub pages: PageCache,
    /// Certificates verified before.
    pub certificates: CertificateCache,
    /// The first key seen of every writer: a second one under its name is a conflict, also when they are never seen
    /// together.
    pub pins: Pins,
}

impl Resolver {
    /// A resolver that has seen nothing yet.
    pub fn new(network: Network, anchors: Anchors) -> Self {
        let (pages, certificates, pins) = (PageCache::default(), CertificateCache::new(), Pins::default());
        Self { network, anchors, pages, certificates, pins }
    }

    /// Resolves with a function that answers GETs at once.
    pub fn resolve(
        &mut self,
        eid: EidPrefix,
        now: SystemTime,
        mut get: impl FnMut(&RecordKey) -> Vec<Vec<u8>>,
    ) -> (Outcome, usize) {
        let mut resolution = Resolution::new(self, eid, now);
        loop {
            if let Some(outcome) = resolution.outcome() {
                return (outcome.clone(), resolution.gets());
            }
            match resolution.poll() {
                Some(key) => resolution.handle(self, now, &key, &get(&key)),
                // Cannot be: a resolution without outcome waits for a key that it has asked for.
                None => return (Outcome::NotFound, resolution.gets()),
            }
        }
    }

    /// Takes what was found under a key after a resolution had used what was there first: resolutions from now on use the newer
    /// page. Nothing else is kept of a key.
    pub fn learn(&mut self, now: SystemTime, key: &RecordKey, values: &[Vec<u8>]) {
        if matches!(key.subject, Subject::Index(_))
            && let Err(Outcome::Revoked | Outcome::Conflict) = descend::read_page(self, now, key, 0, values)
        {
            self.pages.forget(now, key);
        }
    }

    /// [`newest`], if it is signed for by the first key that was seen of its writer.
    fn newest(&mut self, now: SystemTime, key: &RecordKey, class: Class, values: &[Vec<u8>]) -> Selection {
        let selection = newest(self.network, key, class, values, now, &mut self.certificates);
        let Selection::Newest(verified) = &selection else { return selection };
        match self.pins.see(verified.identity.fingerprint(), now) {
            Sighting::Collision { .. } => Selection::Conflict,
            // With no room for one more pin there is nothing to compare with, as at first sight.
            Sighting::First | Sighting::Known | Sighting::Unpinned => selection,
        }
    }

    /// Where the addresses of CGEIDs lie.
    fn cgeid_space(&self) -> EidPrefix {
        let space = cgeid::Cn([0; cgeid::Cn::LENGTH]).address(self.network);
        let host = EidPrefix::host(InstanceId(0), space.into());
        EidPrefix::new(InstanceId(0), space.into(), NETWORK_LENGTH).unwrap_or(host)
    }
}

/// Bits of a network prefix.
const NETWORK_LENGTH: u8 = 32;
