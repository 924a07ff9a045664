// SPDX-License-Identifier: GPL-2.0-or-later
//! The way of a Map-Register: straight to its Map-Server, or from behind a NAT through RTRs (draft-ermagan-lisp-nat-traversal,
//! section 5.1.1).

use std::net::{IpAddr, SocketAddr};

use wire::address::{Address, EidPrefix};
use wire::control::Ecm;
use wire::record::{LocatorRecord, MappingRecord};

use crate::database::{Database, RecordForm};
use crate::nat::natted::Way;
use crate::transport::{Destination, MapSystem, Outgoing, same_family};

/// The way of all Map-Registers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Through {
    /// To the Map-Servers.
    #[default]
    Nobody,
    /// None: nothing is sent until that changes.
    Closed,
    /// Through each of these RTRs, whose addresses are registered in the place of ours: each is to know the binding of the NAT.
    Rtrs(Vec<Way>),
}

/// The way of one.
#[derive(Debug)]
pub(super) enum Path<'a> {
    Straight(Destination),
    Relayed {
        rtrs: &'a [Way],
        /// Of ours, of the family of the Map-Server.
        local: IpAddr,
        server: IpAddr,
    },
}

impl Through {
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Nobody => false,
            Self::Closed => true,
            Self::Rtrs(rtrs) => rtrs.is_empty(),
        }
    }

    pub(super) fn is_by_rtrs(&self) -> bool {
        matches!(self, Self::Rtrs(_))
    }

    /// `None` when none of our locators has the family of the Map-Server.
    pub(super) fn way(&self, server: MapSystem, rlocs: &[IpAddr]) -> Option<Path<'_>> {
        match (self, server) {
            (Self::Rtrs(rtrs), MapSystem::Node(server)) => {
                Some(Path::Relayed { rtrs, local: same_family(rlocs, server)?, server })
            }
            _ => server.destination(rlocs).map(Path::Straight),
        }
    }

    /// What is registered of a prefix: the RTRs are no locators of ours (L is clear), and can be reached (R).
    pub(super) fn record(&self, database: &Database, prefix: EidPrefix, form: RecordForm) -> MappingRecord {
        let record = database.record(prefix, form);
        let Self::Rtrs(rtrs) = self else { return record };
        let locator = |way: &Way| LocatorRecord {
            priority: 1,
            weight: 100,
            mpriority: LocatorRecord::UNUSABLE,
            mweight: 0,
            local: false,
            probed: false,
            reachable: true,
            rloc: Address::from(way.rtr),
        };
        let mut locators: Vec<_> = rtrs.iter().map(locator).collect();
        locators.sort_unstable_by(|one, other| one.rloc.cmp(&other.rloc));
        MappingRecord { locators, ..record }
    }
}

impl Path<'_> {
    /// The messages that carry a sealed Map-Register; `None` if it does not fit one.
    pub(super) fn messages(&self, bytes: Vec<u8>) -> Option<Vec<Outgoing>> {
        let (rtrs, local, server) = match self {
            Self::Straight(to) => return Some(vec![Outgoing { to: *to, bytes }]),
            Self::Relayed { rtrs, local, server } => (rtrs, local, server),
        };
        let address = |ip: IpAddr| SocketAddr::new(ip, wire::CONTROL_PORT);
        let ecm = Ecm { for_rtr: true, ..Ecm::wrap(address(*local), address(*server), bytes) };
        let bytes = ecm.encode().ok()?;
        let message = |way: &Way| Outgoing {
            to: Destination::DataPort { local: way.local, remote: address(way.rtr) },
            bytes: bytes.clone(),
        };
        Some(rtrs.iter().map(message).collect())
    }
}
