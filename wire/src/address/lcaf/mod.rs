// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP Canonical Address Format (RFC 8060, RFC 9306).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           AFI = 16387         |     Rsvd1     |     Flags     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Type      |     Rsvd2     |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//! Length counts the octets after itself.

mod codec;
mod parts;

pub use parts::{NatTraversal, PathHop, Replication};

use super::{Address, GeoCoordinates, InstanceId};

/// LCAF types (RFC 8060, section 7; RFC 9306, section 6).
mod kind {
    pub(super) const NULL: u8 = 0;
    pub(super) const AFI_LIST: u8 = 1;
    pub(super) const INSTANCE_ID: u8 = 2;
    pub(super) const AS_NUMBER: u8 = 3;
    pub(super) const GEO_COORDINATES: u8 = 5;
    pub(super) const NAT_TRAVERSAL: u8 = 7;
    pub(super) const MULTICAST_INFO: u8 = 9;
    pub(super) const EXPLICIT_LOCATOR_PATH: u8 = 10;
    pub(super) const SECURITY_KEY: u8 = 11;
    pub(super) const SOURCE_DEST_KEY: u8 = 12;
    pub(super) const REPLICATION_LIST: u8 = 13;
    pub(super) const JSON: u8 = 14;
    pub(super) const VENDOR: u8 = 255;

    pub(super) const DECODED: [u8; 12] = [
        NULL,
        AFI_LIST,
        INSTANCE_ID,
        AS_NUMBER,
        GEO_COORDINATES,
        NAT_TRAVERSAL,
        MULTICAST_INFO,
        EXPLICIT_LOCATOR_PATH,
        SECURITY_KEY,
        SOURCE_DEST_KEY,
        REPLICATION_LIST,
        JSON,
    ];
}

/// An LCAF. The types that the requirement tables name are decoded; the others are kept whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lcaf {
    /// Type 0: no address (RFC 8060, section 3).
    Null,
    /// Type 1: several addresses that belong together (RFC 8060, section 4.10).
    AfiList(Vec<Address>),
    /// Type 2: an address in an instance (RFC 8060, section 4.1).
    InstanceId {
        /// The instance.
        iid: InstanceId,
        /// Significant bits of the instance ID; only meaningful without an address.
        iid_mask_len: u8,
        /// The address in it.
        address: Address,
    },
    /// Type 3: an address and the autonomous system it belongs to (RFC 8060, section 4.2).
    AsNumber {
        /// The autonomous system.
        asn: u32,
        /// The address in it.
        address: Address,
    },
    /// Type 5: where the address is (RFC 8060, section 4.3).
    Geo {
        /// The place.
        place: GeoCoordinates,
        /// The address that is there.
        address: Address,
    },
    /// Type 7: what an xTR behind a NAT is told (RFC 8060, section 4.4).
    NatTraversal(NatTraversal),
    /// Type 9: a multicast (S, G) key (RFC 8060, section 4.5).
    MulticastInfo {
        /// The instance.
        iid: InstanceId,
        /// Significant bits of the source.
        source_mask_len: u8,
        /// Significant bits of the group.
        group_mask_len: u8,
        /// S.
        source: Address,
        /// G.
        group: Address,
    },
    /// Type 10: re-encapsulating hops, in order (RFC 8060, section 4.6).
    ExplicitLocatorPath(Vec<PathHop>),
    /// Type 11: keys of a locator (RFC 8060, section 4.7; RFC 8061, section 6).
    SecurityKey {
        /// Key Algorithm: the cipher suite in RFC 8061.
        algorithm: u8,
        /// R: the key is revoked.
        revoked: bool,
        /// The keys, at most 255.
        keys: Vec<Vec<u8>>,
        /// The locator that they belong to.
        address: Address,
    },
    /// Type 12: a key of a source and a destination prefix (RFC 8060, section 4.8).
    SourceDestKey {
        /// Significant bits of the source.
        source_mask_len: u8,
        /// Significant bits of the destination.
        dest_mask_len: u8,
        /// The source prefix.
        source: Address,
        /// The destination prefix.
        dest: Address,
    },
    /// Type 13: whom to replicate to, and at which level (RFC 8060, section 4.9).
    ReplicationList(Vec<Replication>),
    /// Type 14: a JSON text and the address it tells about (RFC 8060, section 5.4).
    Json {
        /// B: binary JSON.
        binary: bool,
        /// The text, unchecked.
        text: Vec<u8>,
        /// The address.
        address: Address,
    },
    /// A type that is not decoded further. Never one of the above, nor type 255: a vendor's LCAF of an OUI that we do
    /// not know voids the message that carries it (RFC 9306, section 4), and we know none.
    Opaque {
        /// Flags octet.
        flags: u8,
        /// Type octet.
        kind: u8,
        /// Rsvd2 octet, which several types give a meaning.
        rsvd2: u8,
        /// What follows the Length field.
        body: Box<[u8]>,
    },
}

impl Lcaf {
    /// The Type octet.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Null => kind::NULL,
            Self::AfiList(_) => kind::AFI_LIST,
            Self::InstanceId { .. } => kind::INSTANCE_ID,
            Self::AsNumber { .. } => kind::AS_NUMBER,
            Self::Geo { .. } => kind::GEO_COORDINATES,
            Self::NatTraversal(_) => kind::NAT_TRAVERSAL,
            Self::MulticastInfo { .. } => kind::MULTICAST_INFO,
            Self::ExplicitLocatorPath(_) => kind::EXPLICIT_LOCATOR_PATH,
            Self::SecurityKey { .. } => kind::SECURITY_KEY,
            Self::SourceDestKey { .. } => kind::SOURCE_DEST_KEY,
            Self::ReplicationList(_) => kind::REPLICATION_LIST,
            Self::Json { .. } => kind::JSON,
            Self::Opaque { kind, .. } => *kind,
        }
    }
}
