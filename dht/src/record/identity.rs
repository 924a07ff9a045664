// SPDX-License-Identifier: GPL-2.0-or-later
//! IDENTITY: who the writer is, so that one GET brings all that a check needs.

use wire::EncodeError;

use super::mapping::once;
use super::tlv::Tlv;
use crate::error::Malformed;
use crate::limits;

/// TLV types of IDENTITY.
mod kind {
    pub(super) const CERTIFICATE: u16 = 0x0101;
    pub(super) const OPERATIONAL: u16 = 0x0102;
}

/// The body of an IDENTITY section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The identity certificate, DER: TLV 0101.
    pub certificate: Box<[u8]>,
    /// Operational certificates, DER, ascending: TLV 0102, one or two (this month's and the next one's).
    pub operational: Vec<Box<[u8]>>,
    /// Elements that are not known here, kept as they are.
    pub unknown: Vec<Tlv>,
}

impl Identity {
    pub(crate) fn tlvs(&self) -> Result<Vec<Tlv>, EncodeError> {
        let (count, limit) = (self.operational.len(), limits::OPERATIONAL_CERTIFICATES);
        if count > limit {
            return Err(EncodeError { field: "operational certificates", count, limit });
        }
        let mut tlvs = self.unknown.clone();
        tlvs.push(Tlv::new(kind::CERTIFICATE, self.certificate.clone()));
        tlvs.extend(self.operational.iter().map(|der| Tlv::new(kind::OPERATIONAL, der.clone())));
        Ok(tlvs)
    }

    pub(crate) fn from_tlvs(tlvs: Vec<Tlv>) -> Result<Self, Malformed> {
        let mut certificate = None;
        let mut operational = Vec::new();
        let mut unknown = Vec::new();
        for tlv in tlvs {
            match tlv.kind {
                kind::CERTIFICATE => once(&mut certificate, "identity certificate", tlv.value)?,
                kind::OPERATIONAL => operational.push(tlv.value),
                _ => unknown.push(tlv.kept()?),
            }
        }
        if operational.len() > limits::OPERATIONAL_CERTIFICATES {
            return Err(Malformed::TooMany("operational certificate"));
        }
        let certificate = certificate.ok_or(Malformed::Missing("identity certificate"))?;
        Ok(Self { certificate, operational, unknown })
    }
}
