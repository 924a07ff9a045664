// SPDX-License-Identifier: GPL-2.0-or-later
//! Authentication of Map-Register, Map-Notify and Map-Notify-Ack (RFC 9301, sections 5.6 and 5.7).
//!
//! Three places of the RFC can be read in more than one way. What we do:
//!
//! * **Key derivation** of algorithm 3 (section 5.6, step 4): HKDF-SHA256 with IKM = nonce (8 octets) followed by the
//!   secret, salt = the message's string without a NUL, empty info, 32 octets out.
//! * **Coverage** (step 5): the whole UDP payload, xTR-ID and Site-ID included, because they index the replay state and
//!   because every deployed program does so. [`Accept::narrow_coverage`] takes the letter of the RFC too.
//! * **Length**: from our table, never from the message. [`Accept::untruncated`] takes what deployed programs send.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{ControlMessage, Info, MapNotify, MapRegister, message_type};
use crate::error::{DecodeError, EncodeError};
use crate::reader::Reader;
use crate::record::read_records;
use crate::writer::Writer;

/// Algorithm ID (RFC 9301, section 12.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct AlgorithmId(pub u8);

/// The authentication fields as they stand in a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authentication {
    /// Which of the site's keys.
    pub key_id: u8,
    /// How the tag is computed.
    pub algorithm: AlgorithmId,
    /// The tag.
    pub tag: Vec<u8>,
}

/// The algorithms that we compute. Algorithm 0 (no authentication) is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// 1: HMAC-SHA-1-96, which RFC 9301 keeps off the public Internet.
    HmacSha1,
    /// 2: HMAC-SHA-256-128.
    HmacSha256,
    /// 3: HMAC-SHA-256-128 with a key per message from HKDF-SHA256.
    HkdfSha256,
}

/// A key that a site and its Map-Server share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthKey {
    /// Key ID.
    pub id: u8,
    /// What the key is used with, and nothing else.
    pub algorithm: Algorithm,
    /// The key itself.
    pub secret: Secret,
}

/// A shared secret: wiped when dropped, never printed, compared by value only in tests and configuration checks.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// How much of the HMAC a tag carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TagForm {
    /// As the algorithm's name says: 12 octets of algorithm 1, 16 of 2 and 3.
    #[default]
    Truncated,
    /// All: 20 octets of algorithm 1, 32 of 2 and 3, as deployed programs send.
    Untruncated,
}

/// Which deviations from our reading a receiver takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accept {
    /// Tags of the length of the whole HMAC.
    pub untruncated: bool,
    /// Tags over the records only, without xTR-ID and Site-ID (RFC 9301, section 5.6, step 5). Whoever takes them must
    /// not trust these two: anyone on the path may have changed them. Without this flag they are part of what is tagged.
    pub narrow_coverage: bool,
}

/// Why a message is not authentic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Messages of this type carry no tag that we can check.
    #[error("message type {0} carries no tag of this algorithm")]
    MessageType(u8),
    /// The message cannot be decoded.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// Made with another key.
    #[error("Key ID {found}, ours is {ours}")]
    KeyId {
        /// Of the message.
        found: u8,
        /// Of the key.
        ours: u8,
    },
    /// Made with another algorithm; 0 is none at all.
    #[error("Algorithm ID {0} is not the key's")]
    Algorithm(u8),
    /// A tag of a length that the algorithm does not have, or that is not accepted.
    #[error("tag of {0} octets")]
    TagLength(usize),
    /// The tag is not that of this message under this key.
    #[error("wrong tag")]
    Tag,
}

/// Offset of the authentication fields: they follow the first word and the nonce.
const FIELDS_OFFSET: usize = 12;
/// Offset of the tag: behind Key ID, Algorithm ID and length.
const TAG_OFFSET: usize = FIELDS_OFFSET + 4;
/// Octets of a derived key.
const DERIVED_KEY: usize = 32;

/// Encodes `message` with the key's ID, its algorithm and a tag over the whole payload; what stands in its own
/// [`Authentication`] is not looked at.
///
/// # Errors
/// When the message has no encoding, or no authentication fields.
pub fn seal(message: &ControlMessage, key: &AuthKey, form: TagForm) -> Result<Vec<u8>, EncodeError> {
    let length = key.algorithm.tag_length(form);
    let mut message = message.clone();
    let kind = message.kind();
    let no_tag = EncodeError { field: "Authentication Data of message type", count: kind.into(), limit: 0 };
    let Some(auth) = message.authentication_mut() else { return Err(no_tag) };
    *auth = Authentication { key_id: key.id, algorithm: key.algorithm.id(), tag: vec![0; length] };
    let mut payload = message.encode()?;
    let tag = Hasher::new(key, &payload).ok_or(no_tag)?.over(&payload).tag();
    payload[TAG_OFFSET..TAG_OFFSET + length].copy_from_slice(&tag[..length]);
    Ok(payload)
}

/// Checks that whoever made `payload` has `key`, in constant time.
///
/// # Errors
/// Says what is wrong; to be counted and logged, not to be told to the sender.
pub fn verify(payload: &[u8], key: &AuthKey, accept: Accept) -> Result<(), AuthError> {
    let message = ControlMessage::decode(payload)?;
    let kind = message.kind();
    let found = message.authentication().ok_or(AuthError::MessageType(kind))?;
    if found.key_id != key.id {
        return Err(AuthError::KeyId { found: found.key_id, ours: key.id });
    }
    if found.algorithm != key.algorithm.id() {
        return Err(AuthError::Algorithm(found.algorithm.0));
    }
    let tag_length = found.tag.len();
    let truncated = tag_length == key.algorithm.tag_length(TagForm::Truncated);
    let untruncated = tag_length == key.algorithm.tag_length(TagForm::Untruncated);
    if !(truncated || accept.untruncated && untruncated) {
        return Err(AuthError::TagLength(tag_length));
    }
    let mut zeroed = payload.to_vec();
    zeroed[TAG_OFFSET..TAG_OFFSET + tag_length].fill(0);
    let is_over = |covered: &[u8]| match Hasher::new(key, payload) {
        Some(hasher) => Ok(hasher.over(covered).matches(&found.tag)),
        None => Err(AuthError::MessageType(kind)),
    };
    let mut valid = is_over(&zeroed)?;
    if !valid && accept.narrow_coverage {
        valid = match records_end(payload, &message) {
            Some(end) => is_over(&zeroed[..end])?,
            None => false,
        };
    }
    if valid { Ok(()) } else { Err(AuthError::Tag) }
}

/// The tag of a message that does not carry it: nothing of it is zeroed. `None` if the algorithm has no key for its type, or it is too
/// short to be a message.
pub(super) fn detached(message: &[u8], key: &AuthKey, form: TagForm) -> Option<Vec<u8>> {
    let mut tag = Hasher::new(key, message)?.over(message).tag();
    tag.truncate(key.algorithm.tag_length(form));
    Some(tag)
}

/// Whether it is the tag of [`detached`], in constant time.
pub(super) fn is_detached(message: &[u8], key: &AuthKey, found: &Authentication) -> Result<(), AuthError> {
    if found.key_id != key.id {
        return Err(AuthError::KeyId { found: found.key_id, ours: key.id });
    }
    if found.algorithm != key.algorithm.id() {
        return Err(AuthError::Algorithm(found.algorithm.0));
    }
    if found.tag.len() != key.algorithm.tag_length(TagForm::Truncated) {
        return Err(AuthError::TagLength(found.tag.len()));
    }
    let kind = message_type(message).unwrap_or_default();
    let hasher = Hasher::new(key, message).ok_or(AuthError::MessageType(kind))?;
    if hasher.over(message).matches(&found.tag) { Ok(()) } else { Err(AuthError::Tag) }
}

/// Where the records of a Map-Register, Map-Notify or Map-Notify-Ack end, if xTR-ID and Site-ID follow them.
fn records_end(payload: &[u8], message: &ControlMessage) -> Option<usize> {
    let records = match message {
        ControlMessage::MapRegister(message) if message.xtr_identity.is_some() => &message.records,
        ControlMessage::MapNotify(message) | ControlMessage::MapNotifyAck(message)
            if message.xtr_identity.is_some() =>
        {
            &message.records
        }
        _ => return None,
    };
    let mut reader = Reader::new(payload);
    reader.take("header", FIELDS_OFFSET).ok()?;
    Authentication::read(&mut reader).ok()?;
    read_records(&mut reader, u8::try_from(records.len()).ok()?).ok()?;
    Some(reader.offset())
}

impl Authentication {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [key_id, algorithm] = reader.array("Key ID")?;
        let length = reader.u16("Authentication Data Length")?;
        let tag = reader.take("Authentication Data", length.into())?.to_vec();
        Ok(Self { key_id, algorithm: AlgorithmId(algorithm), tag })
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.put(&[self.key_id, self.algorithm.0]);
        writer.counted_octets("Authentication Data Length", &self.tag)
    }
}

impl Algorithm {
    /// Its number on the wire.
    pub const fn id(self) -> AlgorithmId {
        match self {
            Self::HmacSha1 => AlgorithmId(1),
            Self::HmacSha256 => AlgorithmId(2),
            Self::HkdfSha256 => AlgorithmId(3),
        }
    }

    /// The algorithm of a number, if we compute it.
    pub const fn from_id(id: AlgorithmId) -> Option<Self> {
        match id.0 {
            1 => Some(Self::HmacSha1),
            2 => Some(Self::HmacSha256),
            3 => Some(Self::HkdfSha256),
            _ => None,
        }
    }

    /// Octets of a tag.
    pub const fn tag_length(self, form: TagForm) -> usize {
        match (self, form) {
            (Self::HmacSha1, TagForm::Truncated) => 12,
            (Self::HmacSha1, TagForm::Untruncated) => 20,
            (Self::HmacSha256 | Self::HkdfSha256, TagForm::Truncated) => 16,
            (Self::HmacSha256 | Self::HkdfSha256, TagForm::Untruncated) => 32,
        }
    }
}

impl Accept {
    /// Only what we send ourselves.
    pub const STRICT: Self = Self { untruncated: false, narrow_coverage: false };
    /// What deployed programs send, too.
    pub const INTEROP: Self = Self { untruncated: true, narrow_coverage: true };
}

impl Secret {
    /// Takes the octets over.
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(octets.into()))
    }

    /// The octets, for whoever computes with them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl ControlMessage {
    /// The authentication fields, of messages that have them.
    pub fn authentication(&self) -> Option<&Authentication> {
        match self {
            Self::MapRegister(message) => Some(&message.auth),
            Self::MapNotify(message) | Self::MapNotifyAck(message) => Some(&message.auth),
            Self::Info(message) => Some(&message.auth),
            _ => None,
        }
    }

    fn authentication_mut(&mut self) -> Option<&mut Authentication> {
        match self {
            Self::MapRegister(message) => Some(&mut message.auth),
            Self::MapNotify(message) | Self::MapNotifyAck(message) => Some(&mut message.auth),
            Self::Info(message) => Some(&mut message.auth),
            _ => None,
        }
    }
}

/// An HMAC under the key of one message.
enum Hasher {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
}

impl Hasher {
    /// `None` if the algorithm has no key for messages of this type. `payload` must have been decoded.
    fn new(key: &AuthKey, payload: &[u8]) -> Option<Self> {
        const ANY_LENGTH: &str = "HMAC takes keys of any length";
        let secret = key.secret.expose();
        Some(match key.algorithm {
            Algorithm::HmacSha1 => Self::Sha1(Hmac::new_from_slice(secret).expect(ANY_LENGTH)),
            Algorithm::HmacSha256 => Self::Sha256(Hmac::new_from_slice(secret).expect(ANY_LENGTH)),
            Algorithm::HkdfSha256 => {
                let message_key = derive(secret, salt(message_type(payload)?)?, payload.get(4..FIELDS_OFFSET)?);
                Self::Sha256(Hmac::new_from_slice(message_key.as_slice()).expect(ANY_LENGTH))
            }
        })
    }

    fn over(mut self, covered: &[u8]) -> Self {
        match &mut self {
            Self::Sha1(hmac) => hmac.update(covered),
            Self::Sha256(hmac) => hmac.update(covered),
        }
        self
    }

    fn tag(self) -> Vec<u8> {
        match self {
            Self::Sha1(hmac) => hmac.finalize().into_bytes().to_vec(),
            Self::Sha256(hmac) => hmac.finalize().into_bytes().to_vec(),
        }
    }

    /// Constant time in the octets of the tag; its length was checked against our table.
    fn matches(self, tag: &[u8]) -> bool {
        match self {
            Self::Sha1(hmac) => hmac.verify_truncated_left(tag).is_ok(),
            Self::Sha256(hmac) => hmac.verify_truncated_left(tag).is_ok(),
        }
    }
}

/// The string of a message type in the key derivation (RFC 9301, section 5.6, step 4).
fn salt(kind: u8) -> Option<&'static [u8]> {
    match kind {
        MapRegister::TYPE => Some(b"Map-Register Authentication"),
        MapNotify::TYPE => Some(b"Map-Notify Authentication"),
        MapNotify::ACK_TYPE => Some(b"Map-Notify-Ack Authentication"),
        // The NAT traversal draft is older than algorithm 3; the string is ours, made as the others are.
        Info::TYPE => Some(b"Info-Request Authentication"),
        _ => None,
    }
}

/// The key of one message; `nonce` as it stands in the message.
fn derive(secret: &[u8], salt: &[u8], nonce: &[u8]) -> Zeroizing<[u8; DERIVED_KEY]> {
    let input = Zeroizing::new([nonce, secret].concat());
    let mut key = Zeroizing::new([0; DERIVED_KEY]);
    Hkdf::<Sha256>::new(Some(salt), &input).expand(&[], key.as_mut_slice()).expect("one block of HKDF output");
    key
}
