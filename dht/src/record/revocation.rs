// SPDX-License-Identifier: GPL-2.0-or-later
//! REVOCATION: a statement of the identity key, made at birth and published when the key is lost or stolen.
//!
//! The section is another encoding of [`cgeid::Revocation`], and its signature is that statement's: whoever has the file
//! can make the section, and nobody needs the key. What the statement does not sign has one value only, so that one
//! statement is one section: epoch 0 (no operational key has a part in it) and a lifetime of
//! [`limits::REVOCATION_LIFETIME`], which counts from the latest PUT and not from the signing.

use std::time::{Duration, UNIX_EPOCH};

use cgeid::{IdentityCertificate, Reason};

use super::mapping::once;
use super::section::{Body, Class, Flags, Section, Version};
use super::tlv::Tlv;
use crate::error::{Malformed, Refusal};
use crate::limits;

/// TLV types of REVOCATION.
mod kind {
    pub(super) const REASON: u16 = 0x0501;
    pub(super) const CERTIFICATE: u16 = 0x0502;
}

/// The body of a REVOCATION section. It keeps no unknown elements: nobody has signed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Why: TLV 0501, one octet.
    pub reason: Reason,
    /// The identity certificate, DER: TLV 0502. Its dates do not matter.
    pub certificate: Box<[u8]>,
}

impl Revocation {
    /// The one section of a statement; `None` if its issue time does not fit.
    pub fn section(statement: &cgeid::Revocation) -> Option<Section> {
        let issued = statement.issued().duration_since(UNIX_EPOCH).ok()?.as_millis();
        let certificate = statement.certificate();
        Some(Section {
            flags: Flags { by_identity: true, withdrawn: false },
            cn: statement.cn(),
            version: Version { epoch: 0, sequence: u64::try_from(issued).ok()? },
            lifetime: limits::REVOCATION_LIFETIME,
            body: Body::Revocation(Self { reason: statement.reason(), certificate: certificate.der().into() }),
            algorithm: certificate.algorithm(),
            signature: statement.signature().into(),
        })
    }

    pub(crate) fn tlvs(&self) -> Vec<Tlv> {
        vec![Tlv::new(kind::REASON, [self.reason.0]), Tlv::new(kind::CERTIFICATE, self.certificate.clone())]
    }

    pub(crate) fn from_tlvs(tlvs: Vec<Tlv>) -> Result<Self, Malformed> {
        let (mut reason, mut certificate) = (None, None);
        for tlv in tlvs {
            match tlv.kind {
                kind::REASON => {
                    let [octet] = *tlv.value else { return Err(Malformed::Length("reason", tlv.value.len())) };
                    once(&mut reason, "reason", Reason(octet))?;
                }
                kind::CERTIFICATE => once(&mut certificate, "identity certificate", tlv.value)?,
                other => return Err(Malformed::Value("element of a REVOCATION", other.into())),
            }
        }
        let reason = reason.ok_or(Malformed::Missing("reason"))?;
        Ok(Self { reason, certificate: certificate.ok_or(Malformed::Missing("identity certificate"))? })
    }
}

/// What the statement does not sign has the one value that it may have.
pub(crate) fn check_fixed(section: &Section) -> Result<(), Refusal> {
    let class = Class::Revocation;
    if section.flags != (Flags { by_identity: true, withdrawn: false }) {
        return Err(Refusal::Flags(class));
    }
    if section.version.epoch != 0 {
        return Err(Refusal::Epoch(class, section.version.epoch));
    }
    if section.lifetime != limits::REVOCATION_LIFETIME {
        return Err(Refusal::Lifetime(class, section.lifetime));
    }
    Ok(())
}

/// Whether the section's signature is that of the statement that it says to be.
pub(crate) fn holds(section: &Section, body: &Revocation, identity: &IdentityCertificate) -> bool {
    let issued = UNIX_EPOCH.checked_add(Duration::from_millis(section.version.sequence));
    section.algorithm == identity.algorithm()
        && issued.is_some_and(|issued| {
            cgeid::Revocation::from_parts(identity.clone(), issued, body.reason, &section.signature).is_ok()
        })
}
