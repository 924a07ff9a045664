// SPDX-License-Identifier: GPL-2.0-or-later
//! The way of a Map-Register: straight to its Map-Server, or from behind a NAT through RTRs (draft-ermagan-lisp-nat-traversal,
//! section 5.1.1).

use std::net::{IpAddr, SocketAddr};

use wire::address::{Address, EidPrefix};
use wire::control::Ecm;
use wire::record::{LocatorRecord, MappingRecord};

use super::limits;
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
    /// Through each of these RTRs, whose addresses are registered in the place of ours: each is to know the binding of the NAT, and has a
    /// message of its own, since two addresses may be of one RTR, which relays none for two.
    Rtrs(Vec<Way>),
}

/// The way of one message.
#[derive(Debug)]
pub(super) enum Path {
    Straight(Destination),
    Relayed {
        way: Way,
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

    /// Octets of a Map-Register that gets to its server in packets that RFC 9301, section 5, allows, with the ECM of the RTRs round it.
    pub(super) fn room(&self, server: MapSystem) -> usize {
        let payload = |is_v4| if is_v4 { limits::PAYLOAD_V4 } else { limits::PAYLOAD_V6 };
        match (self, server) {
            (_, MapSystem::Pipe) => payload(false),
            (Self::Rtrs(ways), MapSystem::Node(server)) if !ways.is_empty() => {
                let headers = if server.is_ipv4() { limits::RELAYED_V4 } else { limits::RELAYED_V6 };
                payload(ways.iter().any(|way| way.rtr.is_ipv4())) - headers
            }
            (_, MapSystem::Node(server)) => payload(server.is_ipv4()),
        }
    }

    /// None when none of our locators has the family of the Map-Server.
    pub(super) fn paths(&self, server: MapSystem, rlocs: &[IpAddr]) -> Vec<Path> {
        let (Self::Rtrs(ways), MapSystem::Node(server)) = (self, server) else {
            return server.destination(rlocs).map(Path::Straight).into_iter().collect();
        };
        let path = |way: &Way| {
            let local = Some(way.local).filter(|local| local.is_ipv4() == server.is_ipv4());
            Some(Path::Relayed { way: *way, local: local.or_else(|| same_family(rlocs, server))?, server })
        };
        ways.iter().filter_map(path).collect()
    }

    /// By which way a server is answered that has said something by an RTR, or straight.
    pub(super) fn path_back(&self, server: MapSystem, by: Option<IpAddr>, rlocs: &[IpAddr]) -> Option<Path> {
        let Some(rtr) = by else { return server.destination(rlocs).map(Path::Straight) };
        self.paths(server, rlocs).into_iter().find(|path| path.way().is_some_and(|way| way.rtr == rtr))
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

impl Path {
    /// By which RTR, from where.
    pub(super) fn way(&self) -> Option<Way> {
        match self {
            Self::Straight(_) => None,
            Self::Relayed { way, .. } => Some(*way),
        }
    }

    /// The message that carries a sealed one; `None` if it does not fit.
    pub(super) fn message(&self, bytes: Vec<u8>) -> Option<Outgoing> {
        let (way, local, server) = match self {
            Self::Straight(to) => return Some(Outgoing { to: *to, bytes }),
            Self::Relayed { way, local, server } => (way, local, server),
        };
        let address = |ip: IpAddr| SocketAddr::new(ip, wire::CONTROL_PORT);
        let ecm = Ecm { for_rtr: true, ..Ecm::wrap(address(*local), address(*server), bytes) };
        let to = Destination::DataPort { local: way.local, remote: address(way.rtr) };
        Some(Outgoing { to, bytes: ecm.encode().ok()? })
    }
}
