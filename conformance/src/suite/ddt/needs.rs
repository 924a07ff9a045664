// SPDX-License-Identifier: GPL-2.0-or-later
//! Which role of the tree a check judges, and what a target of others has to claim, or to be given, before it is made.

use super::hall::Hall;
use crate::suite::guest::Need;
use crate::target::{Claim, Lack};

/// A role of RFC 8111. Ours has the first two in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// DDT node: `[ddt-node]`.
    Node,
    /// DDT Map-Server: `[map-system]`.
    Server,
    /// DDT Map-Resolver: `[ddt-map-resolver]`.
    Resolver,
}

impl Role {
    pub(super) const ALL: [Self; 3] = [Self::Node, Self::Server, Self::Resolver];

    /// The role that a check judges.
    pub(super) fn of(id: &str) -> Self {
        match id {
            _ if id.starts_with("DT-1") => Self::Resolver,
            _ if id.starts_with("DT-04.") || id == "DT-05.1" => Self::Server,
            _ => Self::Node,
        }
    }

    /// Its table in a target file.
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Node => "ddt-node",
            Self::Server => "map-system",
            Self::Resolver => "ddt-map-resolver",
        }
    }
}

const KEYS: Need =
    Need::Ours("no RFC says what the key material of a Security Key LCAF is: lisp-mapsys has a form of its own");

pub(super) const NEEDS: &[(&str, Need)] = &[
    ("DT-01.2", Need::Given(Lack::Kinds)),
    ("DT-01.5", Need::Given(Lack::Hints)),
    ("DT-03.3", Need::Claim(Claim::InstanceId)),
    ("DT-04.1", Need::Claim(Claim::ProxyReply)),
    ("DT-05.1", Need::Claim(Claim::ProxyReply)),
    ("DT-05.4", Need::Ours("it measures limits that lisp-mapsys promises, and no standard does")),
    ("DT-06.1", KEYS),
    ("DT-06.2", KEYS),
    ("DT-06.3", KEYS),
    ("DT-14.1", KEYS),
    ("DT-14.2", KEYS),
    ("DT-14.3", KEYS),
    ("DT-14.4", KEYS),
    ("DT-14.5", KEYS),
    ("DT-14.6", KEYS),
];

/// The DDT node of the target cannot be given this.
pub(super) fn lacks(hall: &Hall, lack: Lack) -> bool {
    hall.deployed.as_ref().is_some_and(|deployed| deployed.cannot.contains(&lack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_something_is_a_check() {
        for (id, _) in NEEDS {
            assert!(super::super::probes().iter().any(|probe| probe.id == *id), "{id}");
        }
    }
}
