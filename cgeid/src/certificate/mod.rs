// SPDX-License-Identifier: GPL-2.0-or-later
//! The two certificates. Values of these types exist only verified; they keep their parsed key, so that checking many
//! signatures costs no second parse.

mod frame;
mod identity;
mod operational;
mod profile;

pub use identity::IdentityCertificate;
pub(crate) use identity::{Life, issue as issue_identity};
pub use operational::OperationalCertificate;
pub(crate) use operational::{Delegation, issue as issue_operational};
pub use profile::{EPOCH_OID, OPERATIONAL_USAGE_OID};

use crate::cn::Cn;
use crate::error::CertificateError;

/// What a certificate calls itself, with the name in it, before anything is verified: enough to say which kind of file
/// one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No epoch: if anything, an identity certificate.
    Identity(Cn),
    /// With an epoch: if anything, an operational certificate.
    Operational(Cn),
}

/// Tells the kind of a certificate. Nothing is verified but its syntax.
///
/// # Errors
/// As [`IdentityCertificate::verify`] for syntax and keys.
pub fn kind(der: &[u8]) -> Result<Kind, CertificateError> {
    let parsed = frame::parse(der)?;
    let operational = parsed.extension(&profile::epoch_id()?).is_some();
    Ok(if operational { Kind::Operational(parsed.subject) } else { Kind::Identity(parsed.subject) })
}

/// The DER SubjectPublicKeyInfo in a certificate of which nothing is verified but its syntax.
pub(crate) fn unverified_spki(der: &[u8]) -> Result<Vec<u8>, CertificateError> {
    Ok(frame::parse(der)?.key.spki().to_vec())
}
