// SPDX-License-Identifier: GPL-2.0-or-later
//! The two modes of a tunnel ingress (RFC 6040, sections 4.1 and 4.3): in normal mode the outer ECN field is that of the inner header, in
//! compatibility mode it is 00, for an egress of before ECN does not carry congestion over from it. A mapping does not tell what its ETR
//! makes of ECN, and nothing asks it: the operator says so.

use std::net::IpAddr;

/// Where packets go in compatibility mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EcnCompatibility {
    /// To these RLOCs; to none of them = normal mode is all there is.
    To(Vec<IpAddr>),
    /// To all.
    ToAll,
}

impl Default for EcnCompatibility {
    fn default() -> Self {
        Self::To(Vec::new())
    }
}

impl EcnCompatibility {
    /// Whether packets to this RLOC have an outer ECN field of 00, whatever theirs is.
    pub fn is_for(&self, rloc: IpAddr) -> bool {
        match self {
            Self::To(rlocs) => rlocs.contains(&rloc),
            Self::ToAll => true,
        }
    }
}
