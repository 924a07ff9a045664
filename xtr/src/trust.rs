// SPDX-License-Identifier: GPL-2.0-or-later
//! Whose nonces, locator-status-bits and map-versions count. All three are for closed networks whose members trust each other, and
//! never for the public Internet (RFC 9300, sections 4.1, 10, 10.1 and 16; RFC 9302, section 8): by default nobody is trusted.

use std::net::IpAddr;

use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};

use crate::eid_set::EidSet;

/// RLOCs belong to no instance.
const NO_INSTANCE: InstanceId = InstanceId(0);

/// The RLOCs of trusted peers, and what is used with them. Map-versions are used with all of them as soon as our own mappings have
/// one.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    rlocs: EidSet,
    echo_nonce: bool,
    status_bits: bool,
}

impl Trust {
    /// Trusts those whose RLOCs lie in these networks.
    pub fn of(networks: &[IpNet]) -> Self {
        let networks: Vec<_> = networks.iter().map(|net| EidPrefix { iid: NO_INSTANCE, net: *net }).collect();
        Self { rlocs: EidSet::new(&networks), ..Self::default() }
    }

    /// Whether nonces are echoed, and echoes asked for (RFC 9300, section 10.1).
    #[must_use]
    pub fn with_echo_nonce(self, echo_nonce: bool) -> Self {
        Self { echo_nonce, ..self }
    }

    /// Whether locator-status-bits are sent and obeyed (RFC 9300, section 10).
    #[must_use]
    pub fn with_status_bits(self, status_bits: bool) -> Self {
        Self { status_bits, ..self }
    }

    /// Whether anybody is trusted.
    pub fn is_on(&self) -> bool {
        !self.rlocs.prefixes().is_empty()
    }

    /// Whether whoever sends from this RLOC is.
    #[inline]
    pub fn is_trusted(&self, rloc: IpAddr) -> bool {
        self.rlocs.contains(NO_INSTANCE, rloc)
    }

    /// Whether nonces are echoed with somebody.
    pub fn echo_nonce(&self) -> bool {
        self.echo_nonce && self.is_on()
    }

    /// Whether locator-status-bits are used with somebody.
    pub fn status_bits(&self) -> bool {
        self.status_bits && self.is_on()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nobody_is_trusted_who_is_not_named() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let trust = Trust::of(&["192.0.2.0/24".parse().unwrap(), "2001:db8::7/128".parse().unwrap()]);
        for (rloc, trusted) in
            [("192.0.2.255", true), ("192.0.3.0", false), ("2001:db8::7", true), ("2001:db8::8", false)]
        {
            assert_eq!(trust.is_trusted(ip(rloc)), trusted, "{rloc}");
        }
        let nobody = Trust::default().with_echo_nonce(true).with_status_bits(true);
        assert!(!nobody.is_on() && !nobody.is_trusted(ip("192.0.2.1")));
        assert!(!nobody.echo_nonce() && !nobody.status_bits());
        assert!(!trust.echo_nonce() && trust.with_echo_nonce(true).echo_nonce());
    }
}
