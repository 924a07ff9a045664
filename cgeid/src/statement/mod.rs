// SPDX-License-Identifier: GPL-2.0-or-later
//! What identity keys sign beside certificates: that an identity is revoked, and that two identities have one owner.
//!
//! Each kind has a signing context of its own, so that no signature made for one purpose serves another, and names the
//! network, so that none serves in another network. A statement carries the certificates that it is verified with and
//! has exactly one encoding; as text it stands in PEM armour (RFC 7468).

mod link;
mod reader;
mod revocation;

pub use link::LinkProof;
pub use revocation::{Reason, Revocation, file_name as revocation_file_name};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::certificate::IdentityCertificate;
use crate::error::StatementError;

/// Milliseconds since 1970, as statements carry times.
fn milliseconds(time: SystemTime) -> Result<u64, StatementError> {
    let since_1970 = time.duration_since(UNIX_EPOCH).map_err(|_| StatementError::Time)?;
    u64::try_from(since_1970.as_millis()).map_err(|_| StatementError::Time)
}

/// The time of so many milliseconds since 1970.
fn time(milliseconds: u64) -> Result<SystemTime, StatementError> {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).ok_or(StatementError::Time)
}

/// The two octets that tell the length of a certificate.
fn length(certificate: &IdentityCertificate) -> [u8; 2] {
    let length = u16::try_from(certificate.der().len());
    length.expect("a verified certificate is no longer than MAX_CERTIFICATE").to_be_bytes()
}
