// SPDX-License-Identifier: GPL-2.0-or-later
//! What an RTR and a Map-Server add to the ECMs between them (draft-ermagan-lisp-nat-traversal, sections 4.3 to 4.5).
//!
//! The draft says of the tag only that "the entire Map-Notify payload is authenticated": we take it over the octets of the message
//! inside the ECM, as they are.

use super::auth::{AuthError, AuthKey, Authentication, TagForm, detached, is_detached};
use crate::address::InstanceId;
use crate::control::{Ecm, MapNotify, message_type};
use crate::data::LispHeader;
use crate::error::{DecodeError, EncodeError, Problem};
use crate::reader::Reader;
use crate::writer::Writer;

/// The instance of a Data-Map-Notify: a control message behind a LISP data header (section 4.5).
pub const CONTROL_INSTANCE: InstanceId = InstanceId(0x00ff_ffff);

/// First word of an ECM without flags, which stands where the LISP header of a Data-Map-Notify does.
const PLAIN_ECM: [u8; 4] = [Ecm::TYPE << 4, 0, 0, 0];

/// The authentication data with which a Map-Server shows an RTR that a Map-Notify is its own: ECM AD Type 2.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RtrAd {
    /// Key, algorithm and tag.
    pub auth: Authentication,
}

impl RtrAd {
    /// ECM AD Type.
    pub const TYPE: u8 = 2;

    /// What shows that `message`, which is to be put into an ECM, is of one who has `key`.
    ///
    /// # Errors
    /// When the algorithm has no key for messages of this type.
    pub fn seal(message: &[u8], key: &AuthKey) -> Result<Self, EncodeError> {
        let kind = message_type(message).unwrap_or_default();
        let no_tag = EncodeError { field: "Authentication Data of message type", count: kind.into(), limit: 0 };
        let tag = detached(message, key, TagForm::Truncated).ok_or(no_tag)?;
        Ok(Self { auth: Authentication { key_id: key.id, algorithm: key.algorithm.id(), tag } })
    }

    /// Checks that whoever put `message` into an ECM has `key`, in constant time.
    ///
    /// # Errors
    /// Says what is wrong; to be counted, not to be told to the sender.
    pub fn verify(&self, message: &[u8], key: &AuthKey) -> Result<(), AuthError> {
        is_detached(message, key, &self.auth)
    }

    /// Decodes what an ECM keeps whole.
    ///
    /// # Errors
    /// Names the first field that is not as the draft says; another AD Type is one.
    pub fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(octets))
    }

    /// Encodes to what an ECM keeps whole.
    ///
    /// # Errors
    /// When the tag exceeds its length field.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::new();
        writer.put(&[Self::TYPE, 0, 0, 0]);
        self.auth.write(&mut writer)?;
        Ok(writer.finish())
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.clone();
        let [kind, ..] = reader.array::<4>("ECM AD Type")?;
        if kind != Self::TYPE {
            return Err(start.error("ECM AD Type", Problem::Value(kind.into())));
        }
        Ok(Self { auth: Authentication::read(reader)? })
    }
}

/// Whether the payload of a datagram to the data port is a Data-Map-Notify, as its instance says.
pub fn is_data_map_notify(payload: &[u8]) -> bool {
    LispHeader::parse(payload).is_ok_and(|(header, _)| header.iid == Some(CONTROL_INSTANCE) && header.key_id == 0)
}

/// The payload of a Data-Map-Notify: the inner headers and the message of `ecm`, behind a LISP data header.
///
/// # Errors
/// As [`Ecm::encode`], and when `ecm` has authentication data, for which there is no room.
pub fn encode_data_map_notify(ecm: &Ecm) -> Result<Vec<u8>, EncodeError> {
    if let Some(security) = &ecm.security {
        return Err(EncodeError { field: "ECM AD of a Data-Map-Notify", count: security.len(), limit: 0 });
    }
    let encoded = ecm.encode()?;
    let (_, inner) = encoded.split_at(PLAIN_ECM.len());
    Ok([&LispHeader::plain(CONTROL_INSTANCE).emit()[..], inner].concat())
}

/// The message behind the LISP data header of a Data-Map-Notify, with its inner headers, which are checked as those of an ECM.
///
/// # Errors
/// Names the first field that is not as it should be; a message of another type is one.
pub fn decode_data_map_notify(payload: &[u8]) -> Result<Ecm, DecodeError> {
    let (_, inner) = LispHeader::parse(payload)?;
    let ecm = Ecm::decode(&[&PLAIN_ECM[..], inner].concat())?;
    match message_type(&ecm.message) {
        Some(MapNotify::TYPE) => Ok(ecm),
        other => {
            let kind = other.unwrap_or_default();
            Err(Reader::new(&ecm.message).error("message type", Problem::Value(kind.into())))
        }
    }
}
