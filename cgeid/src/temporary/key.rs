// SPDX-License-Identifier: GPL-2.0-or-later
//! The key of a temporary CGEID.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::clock::{self, Day};
use crate::cn::{Cn, Network};
use crate::error::CertificateError;
use crate::identity::Identity;
use crate::key::PrivateKey;

/// A key without a certificate: that is made where it is published, where the time is known best.
#[derive(Clone)]
pub struct TemporaryKey {
    secret: Zeroizing<[u8; 32]>,
    network: Network,
    cn: Cn,
    made: Option<Day>,
}

impl TemporaryKey {
    /// `None` for a secret that no identity may have.
    pub(super) fn new(secret: Zeroizing<[u8; 32]>, network: Network, made: Option<Day>) -> Option<TemporaryKey> {
        let cn = PrivateKey::from_seed(&secret).ok()?.public_key().ok()?.cn();
        (!cn.is_reserved()).then_some(TemporaryKey { secret, network, cn, made })
    }

    /// The name.
    pub fn cn(&self) -> Cn {
        self.cn
    }

    /// The address.
    pub fn address(&self) -> Ipv6Addr {
        self.cn.address(self.network)
    }

    /// The identity, with the certificate of the day on which the key was made, if it is valid at `now`, else with a
    /// new one: the same octets after every restart, whatever the clock showed when the key was made.
    ///
    /// # Errors
    /// [`CertificateError::Dates`] if no certificate can say `now`.
    pub fn identity(&self, now: SystemTime) -> Result<Identity, CertificateError> {
        if let Some(made) = self.made.and_then(clock::begin) {
            let first = Identity::temporary_from_seed(&self.secret, self.network, made)?;
            if first.certificate().check_dates(now).is_ok() {
                return Ok(first);
            }
        }
        Identity::temporary_from_seed(&self.secret, self.network, now)
    }

    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    pub(super) fn made(&self) -> Option<Day> {
        self.made
    }
}

impl fmt::Debug for TemporaryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TemporaryKey({}, secret)", self.cn)
    }
}
