// SPDX-License-Identifier: GPL-2.0-or-later
//! Info-Request and Info-Reply, type 7 (draft-ermagan-lisp-nat-traversal).

use super::auth::Authentication;
use super::{Nonce, bit, first_word, open};
use crate::address::{Address, Eid};
use crate::error::{DecodeError, EncodeError};
use crate::record::Ttl;
use crate::writer::Writer;

/// What a NATed xTR asks, and what a Map-Server or RTR answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// R: this is a reply.
    pub reply: bool,
    /// Ties the reply to the request.
    pub nonce: Nonce,
    /// Key, algorithm and tag.
    pub auth: Authentication,
    /// How long the answer holds.
    pub ttl: Ttl,
    /// The EID-prefix, or a name.
    pub eid: Eid,
    /// AFI 0 in a request, a NAT LCAF in a reply.
    pub address: Address,
}

/// R of the first word.
const REPLY: u32 = 0x0800_0000;

impl Info {
    /// Message type.
    pub const TYPE: u8 = 7;

    /// Decodes a UDP payload.
    ///
    /// # Errors
    /// Names the first field that is not as the draft says.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (mut reader, word) = open(bytes, Self::TYPE)?;
        let reader = &mut reader;
        let nonce = Nonce(reader.u64("Nonce")?);
        let auth = Authentication::read(reader)?;
        let ttl = Ttl(reader.u32("TTL")?);
        let [_reserved, mask_len] = reader.array("EID mask-len")?;
        let eid = Eid::read(reader, mask_len)?;
        Ok(Self { reply: word & REPLY != 0, nonce, auth, ttl, eid, address: Address::read(reader)? })
    }

    /// Encodes to a UDP payload with the tag that stands in `auth`.
    ///
    /// # Errors
    /// When a length or a value exceeds its field.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::new();
        writer.u32(first_word(Self::TYPE, bit(self.reply, REPLY), 0)?);
        writer.u64(self.nonce.0);
        self.auth.write(&mut writer)?;
        writer.u32(self.ttl.0);
        writer.put(&[0, self.eid.mask_len]);
        self.eid.write(&mut writer)?;
        self.address.write(&mut writer)?;
        Ok(writer.finish())
    }
}
