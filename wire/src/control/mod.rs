// SPDX-License-Identifier: GPL-2.0-or-later
//! Control messages (RFC 9301, section 5): one file a message.
//!
//! All decoders ignore octets behind the last field that the message says it has (later RFCs put tails there), ignore
//! reserved bits, and refuse the whole message when a field does not fit.

mod display;
mod ecm;
mod info;
mod map_notify;
mod map_referral;
mod map_register;
mod map_reply;
mod map_request;
mod message;
mod referral_signature;
mod security;
mod shared;

pub mod auth;
pub mod lispsec;
pub mod rtr;

pub use ecm::{Ecm, InnerHeader};
pub use info::Info;
pub use map_notify::MapNotify;
pub use map_referral::{MapReferral, Referral, ReferralAction};
pub use map_register::MapRegister;
pub use map_reply::MapReply;
pub use map_request::{EidRequest, MapRequest};
pub use message::{ControlMessage, message_type};
pub use referral_signature::{ReferralSignature, SignatureTime};
pub use shared::SharedExtension;

use std::fmt;

use crate::error::{DecodeError, EncodeError, Problem};
use crate::reader::Reader;
use crate::writer::{Writer, to_u8};

/// A nonce: ties a reply to its request, and orders Map-Registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Nonce(pub u64);

impl Nonce {
    /// Those that the Map-Notifies of a subscription may need.
    pub const SUBSCRIPTION: u64 = 1 << 20;

    /// Whether a subscription can begin with it (RFC 9437): each Map-Notify has the next, and 2^20 follow. Where operators agree on the
    /// first, the Map-Server and the xTR have to be of one mind.
    pub const fn begins_subscription(self) -> bool {
        self.0 <= u64::MAX - Self::SUBSCRIPTION
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// xTR-ID and Site-ID, the tail of a Map-Register (RFC 9301, section 5.6) or of a subscribing Map-Request (RFC 9437).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct XtrIdentity {
    /// Unique among the xTRs of a site.
    pub xtr_id: [u8; 16],
    /// Names the site.
    pub site_id: u64,
}

impl XtrIdentity {
    /// Octets of the tail.
    pub(crate) const LENGTH: usize = 24;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { xtr_id: reader.array("xTR-ID")?, site_id: reader.u64("Site-ID")? })
    }

    fn write(&self, writer: &mut Writer) {
        writer.put(&self.xtr_id);
        writer.u64(self.site_id);
    }
}

/// Record Count: the last octet of the first word of every message that has records.
const RECORD_COUNT: usize = 3;

/// The message type is the top nibble of the first word.
const TYPE_SHIFT: u32 = 28;

/// Reads the first word of a message of type `expected`.
fn open(bytes: &[u8], expected: u8) -> Result<(Reader<'_>, u32), DecodeError> {
    let mut reader = Reader::new(bytes);
    let word = reader.u32("message header")?;
    let kind = word >> TYPE_SHIFT;
    if kind == u32::from(expected) {
        Ok((reader, word))
    } else {
        Err(reader.error_behind("message type", 4, Problem::Value(kind.into())))
    }
}

/// The first word of a message: its type, its bits and how many records follow.
fn first_word(kind: u8, bits: u32, records: usize) -> Result<u32, EncodeError> {
    let count = to_u8("Record Count", records)?;
    Ok(u32::from(kind) << TYPE_SHIFT | bits | u32::from(count))
}

/// Record Count of a first word.
fn record_count(word: u32) -> u8 {
    word.to_be_bytes()[RECORD_COUNT]
}

/// `mask` if `set`.
fn bit(set: bool, mask: u32) -> u32 {
    if set { mask } else { 0 }
}
