// SPDX-License-Identifier: GPL-2.0-or-later
//! Any control message, told apart by its type.

use super::{Ecm, Info, MapNotify, MapReferral, MapRegister, MapReply, MapRequest, SharedExtension};
use crate::error::{DecodeError, EncodeError, Problem};
use crate::reader::Reader;

/// Any control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlMessage {
    /// Type 1.
    MapRequest(MapRequest),
    /// Type 2.
    MapReply(MapReply),
    /// Type 3.
    MapRegister(MapRegister),
    /// Type 4.
    MapNotify(MapNotify),
    /// Type 5: same fields as a Map-Notify.
    MapNotifyAck(MapNotify),
    /// Type 6 (RFC 8111).
    MapReferral(MapReferral),
    /// Type 7 (NAT traversal drafts).
    Info(Info),
    /// Type 8.
    Ecm(Ecm),
    /// Type 15 (RFC 9304).
    Shared(SharedExtension),
}

/// The type of a message: its top nibble. `None` if there is no octet.
pub fn message_type(bytes: &[u8]) -> Option<u8> {
    bytes.first().map(|octet| octet >> 4)
}

impl ControlMessage {
    /// Decodes a UDP payload.
    ///
    /// # Errors
    /// Names the first field that is not as its RFC says; unassigned types (0, 9 to 14) are an error too.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reader = Reader::new(bytes);
        let Some(kind) = message_type(bytes) else {
            return Err(reader.error("message type", Problem::Truncated { needed: 1, available: 0 }));
        };
        match kind {
            MapRequest::TYPE => MapRequest::decode(bytes).map(Self::MapRequest),
            MapReply::TYPE => MapReply::decode(bytes).map(Self::MapReply),
            MapRegister::TYPE => MapRegister::decode(bytes).map(Self::MapRegister),
            MapNotify::TYPE => MapNotify::decode(bytes).map(Self::MapNotify),
            MapNotify::ACK_TYPE => MapNotify::decode_ack(bytes).map(Self::MapNotifyAck),
            MapReferral::TYPE => MapReferral::decode(bytes).map(Self::MapReferral),
            Info::TYPE => Info::decode(bytes).map(Self::Info),
            Ecm::TYPE => Ecm::decode(bytes).map(Self::Ecm),
            SharedExtension::TYPE => SharedExtension::decode(bytes).map(Self::Shared),
            unassigned => Err(reader.error("message type", Problem::Value(unassigned.into()))),
        }
    }

    /// The Type field.
    pub fn kind(&self) -> u8 {
        match self {
            Self::MapRequest(_) => MapRequest::TYPE,
            Self::MapReply(_) => MapReply::TYPE,
            Self::MapRegister(_) => MapRegister::TYPE,
            Self::MapNotify(_) => MapNotify::TYPE,
            Self::MapNotifyAck(_) => MapNotify::ACK_TYPE,
            Self::MapReferral(_) => MapReferral::TYPE,
            Self::Info(_) => Info::TYPE,
            Self::Ecm(_) => Ecm::TYPE,
            Self::Shared(_) => SharedExtension::TYPE,
        }
    }

    /// Encodes to a UDP payload.
    ///
    /// # Errors
    /// When a count, a length or a value exceeds its field.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::MapRequest(message) => message.encode(),
            Self::MapReply(message) => message.encode(),
            Self::MapRegister(message) => message.encode(),
            Self::MapNotify(message) => message.encode(),
            Self::MapNotifyAck(message) => message.encode_ack(),
            Self::MapReferral(message) => message.encode(),
            Self::Info(message) => message.encode(),
            Self::Ecm(message) => message.encode(),
            Self::Shared(message) => message.encode(),
        }
    }
}

impl From<MapRequest> for ControlMessage {
    fn from(message: MapRequest) -> Self {
        Self::MapRequest(message)
    }
}

impl From<MapReply> for ControlMessage {
    fn from(message: MapReply) -> Self {
        Self::MapReply(message)
    }
}

impl From<MapRegister> for ControlMessage {
    fn from(message: MapRegister) -> Self {
        Self::MapRegister(message)
    }
}

/// The notification, not its acknowledgement.
impl From<MapNotify> for ControlMessage {
    fn from(message: MapNotify) -> Self {
        Self::MapNotify(message)
    }
}

impl From<MapReferral> for ControlMessage {
    fn from(message: MapReferral) -> Self {
        Self::MapReferral(message)
    }
}

impl From<Info> for ControlMessage {
    fn from(message: Info) -> Self {
        Self::Info(message)
    }
}

impl From<Ecm> for ControlMessage {
    fn from(message: Ecm) -> Self {
        Self::Ecm(message)
    }
}

impl From<SharedExtension> for ControlMessage {
    fn from(message: SharedExtension) -> Self {
        Self::Shared(message)
    }
}
