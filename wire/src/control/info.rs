// SPDX-License-Identifier: GPL-2.0-or-later
//! Info-Request and Info-Reply, type 7 (draft-ermagan-lisp-nat-traversal).

use std::net::{IpAddr, SocketAddr};

use super::auth::Authentication;
use super::{Nonce, bit, first_word, open};
use crate::address::{Address, Eid, Lcaf, NatTraversal};
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

    /// The answer to this request: it came from `seen` to `asked_at`, and `rtrs` may be used. The private address is not known (section
    /// 4.2 of the draft); who asks knows it.
    #[must_use]
    pub fn answer(&self, seen: SocketAddr, asked_at: SocketAddr, rtrs: &[IpAddr]) -> Self {
        let nat = NatTraversal {
            ms_port: asked_at.port(),
            etr_port: seen.port(),
            global_etr: seen.ip().into(),
            ms: asked_at.ip().into(),
            private_etr: Address::None,
            rtrs: rtrs.iter().map(|rtr| Address::from(*rtr)).collect(),
        };
        let address = Address::Lcaf(Box::new(Lcaf::NatTraversal(nat)));
        Self { reply: true, auth: Authentication::default(), address, ..self.clone() }
    }

    /// What a reply says of addresses; `None` of a request.
    pub fn nat(&self) -> Option<&NatTraversal> {
        match &self.address {
            Address::Lcaf(lcaf) => match lcaf.as_ref() {
                Lcaf::NatTraversal(nat) => Some(nat),
                _ => None,
            },
            _ => None,
        }
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
