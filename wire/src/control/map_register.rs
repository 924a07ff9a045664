// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Register (RFC 9301, section 5.6).

use super::auth::Authentication;
use super::{Nonce, XtrIdentity, bit, first_word, open, record_count};
use crate::error::{DecodeError, EncodeError};
use crate::record::{MappingRecord, read_records};
use crate::writer::Writer;

/// Registers the mappings of a site with a Map-Server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapRegister {
    /// P: the Map-Server is to answer for the site.
    pub proxy_reply: bool,
    /// S: the ETR does LISP-SEC.
    pub security_capable: bool,
    /// E: registered on behalf of a mobile EID (EID-mobility draft).
    pub eid_notify: bool,
    /// T: the Map-Server times the registration out by the record TTL.
    pub use_ttl: bool,
    /// a: merge with the registrations of the site's other xTRs.
    pub merge: bool,
    /// R: sent through an RTR (NAT traversal drafts).
    pub through_rtr: bool,
    /// M: a Map-Notify is wanted.
    pub want_notify: bool,
    /// Rises with each Map-Register of an xTR.
    pub nonce: Nonce,
    /// Key, algorithm and tag.
    pub auth: Authentication,
    /// The mappings.
    pub records: Vec<MappingRecord>,
    /// I: the xTR and its site.
    pub xtr_identity: Option<XtrIdentity>,
}

/// Bits of the first word.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Type=3 |P|S|I|R|      Reserved       |E|T|a|r|M| Record Count  |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
/// R is the NAT traversal drafts' bit; RFC 9301 has it reserved, as it has the bit shown as r.
mod bits {
    pub(super) const PROXY_REPLY: u32 = 0x0800_0000;
    pub(super) const SECURITY_CAPABLE: u32 = 0x0400_0000;
    pub(super) const XTR_IDENTITY: u32 = 0x0200_0000;
    pub(super) const THROUGH_RTR: u32 = 0x0100_0000;
    pub(super) const EID_NOTIFY: u32 = 0x0000_1000;
    pub(super) const USE_TTL: u32 = 0x0000_0800;
    pub(super) const MERGE: u32 = 0x0000_0400;
    pub(super) const WANT_NOTIFY: u32 = 0x0000_0100;
}

impl MapRegister {
    /// Message type.
    pub const TYPE: u8 = 3;

    /// Decodes a UDP payload; the tag is not checked, [`verify`](super::auth::verify) does that.
    ///
    /// # Errors
    /// Names the first field that is not as its RFC says.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (mut reader, word) = open(bytes, Self::TYPE)?;
        let reader = &mut reader;
        let set = |mask: u32| word & mask != 0;
        let nonce = Nonce(reader.u64("Nonce")?);
        let auth = Authentication::read(reader)?;
        let records = read_records(reader, record_count(word))?;
        let xtr_identity = if set(bits::XTR_IDENTITY) { Some(XtrIdentity::read(reader)?) } else { None };
        Ok(Self {
            proxy_reply: set(bits::PROXY_REPLY),
            security_capable: set(bits::SECURITY_CAPABLE),
            eid_notify: set(bits::EID_NOTIFY),
            use_ttl: set(bits::USE_TTL),
            merge: set(bits::MERGE),
            through_rtr: set(bits::THROUGH_RTR),
            want_notify: set(bits::WANT_NOTIFY),
            nonce,
            auth,
            records,
            xtr_identity,
        })
    }

    /// Encodes to a UDP payload with the tag that stands in `auth`; [`seal`](super::auth::seal) computes one.
    ///
    /// # Errors
    /// When a count, a length or a value exceeds its field.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::new();
        writer.u32(first_word(Self::TYPE, self.bits(), self.records.len())?);
        writer.u64(self.nonce.0);
        self.auth.write(&mut writer)?;
        self.records.iter().try_for_each(|record| record.write(&mut writer))?;
        if let Some(identity) = &self.xtr_identity {
            identity.write(&mut writer);
        }
        Ok(writer.finish())
    }

    fn bits(&self) -> u32 {
        bit(self.proxy_reply, bits::PROXY_REPLY)
            | bit(self.security_capable, bits::SECURITY_CAPABLE)
            | bit(self.xtr_identity.is_some(), bits::XTR_IDENTITY)
            | bit(self.through_rtr, bits::THROUGH_RTR)
            | bit(self.eid_notify, bits::EID_NOTIFY)
            | bit(self.use_ttl, bits::USE_TTL)
            | bit(self.merge, bits::MERGE)
            | bit(self.want_notify, bits::WANT_NOTIFY)
    }
}
