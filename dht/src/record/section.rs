// SPDX-License-Identifier: GPL-2.0-or-later
//! A section: the unit that is signed.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------------------------------------------------------+
//! |                        magic "CGE1"                           |
//! +---------------+---------------+---------------------------+-+-+
//! |  version (1)  |     class     |        flags, rsvd 0      |W|I|
//! +---------------+---------------+---------------------------+-+-+
//! |                       CN of the writer, 12                    |
//! +---------------------------------------------------------------+
//! |                            epoch                              |
//! +---------------------------------------------------------------+
//! |              sequence, 8: signing time in ms                  |
//! +---------------------------------------------------------------+
//! |                     lifetime in seconds                       |
//! +-------------------------------+-------------------------------+
//! |     signature algorithm       |          body length          |
//! +-------------------------------+-------------------------------+
//! |  body: TLVs, strictly ascending by (type, value) ...          |
//! +-------------------------------+-------------------------------+
//! |       signature length        |  signature ...                |
//! +-------------------------------+-------------------------------+
//! ```
//! I: signed by the identity key, not the operational one. W: withdrawn. A REVOCATION has the signature of the statement
//! in it, see [`Revocation`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::{Cn, SignatureAlgorithm};
use wire::EncodeError;

use super::identity::Identity;
use super::index::Index;
use super::key::RecordKey;
use super::mapping::Mapping;
use super::prefix::Prefix;
use super::reader::Reader;
use super::revocation::Revocation;
use super::service::Service;
use super::tlv::{self, Tlv};
use super::topology::{Geo, Topology};
use crate::error::Malformed;
use crate::limits;

const MAGIC: [u8; 4] = *b"CGE1";
const VERSION: u8 = 1;
/// What a record signature signs, and no other signature of ours.
const CONTEXT: &[u8] = b"IPv6MESH-record-v1\0";
/// Octets of the length before a signature.
const SIGNATURE_LENGTH: usize = 2;

/// What a section is about, in the order of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Who the writer is.
    Identity = 1,
    /// Where its CGEID is reached.
    Mapping = 2,
    /// Who its neighbours are.
    Topology = 3,
    /// What it does for others.
    Service = 4,
    /// That its key is not to be trusted any more.
    Revocation = 5,
    /// Where a prefix is reached that it is the registrar of.
    Prefix = 6,
    /// What it knows or delegates inside a prefix.
    Index = 7,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 7] =
        [Self::Identity, Self::Mapping, Self::Topology, Self::Service, Self::Revocation, Self::Prefix, Self::Index];

    /// The class of a number on the wire.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.number() == number)
    }

    /// Its number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Largest section, in octets with header and signature.
    pub fn max_size(self) -> usize {
        match self {
            // Of a REVOCATION the certificate of an RSA-4096 identity, which IDENTITY carries too, and its signature.
            Self::Identity | Self::Revocation => 4096,
            Self::Topology => 2048,
            Self::Index => 5120,
            Self::Mapping | Self::Service | Self::Prefix => 1024,
        }
    }

    /// Longest lifetime.
    pub fn max_lifetime(self) -> Duration {
        match self {
            Self::Identity => limits::IDENTITY_LIFETIME,
            Self::Mapping | Self::Prefix => limits::MAPPING_LIFETIME,
            Self::Topology => limits::TOPOLOGY_LIFETIME,
            Self::Service => limits::SERVICE_LIFETIME,
            Self::Revocation => limits::REVOCATION_LIFETIME,
            Self::Index => limits::INDEX_LIFETIME,
        }
    }
}

/// What orders the statements of one writer: the epoch of its operational key, then the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Version {
    /// Epoch of the operational certificate; 0 without one.
    pub epoch: u32,
    /// Sequence: milliseconds since 1970 at signing, or the previous one plus 1.
    pub sequence: u64,
}

impl Version {
    /// When it was signed.
    pub fn signed_at(self) -> SystemTime {
        // A time that the clock cannot tell counts as long past, so that nothing signed then is ever taken.
        UNIX_EPOCH.checked_add(Duration::from_millis(self.sequence)).unwrap_or(UNIX_EPOCH)
    }
}

/// The content of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Class 1.
    Identity(Identity),
    /// Class 2.
    Mapping(Mapping),
    /// Class 3.
    Topology(Topology),
    /// Class 4.
    Service(Service),
    /// Class 5.
    Revocation(Revocation),
    /// Class 6.
    Prefix(Prefix),
    /// Class 7.
    Index(Index),
}

impl Body {
    /// The class.
    pub fn class(&self) -> Class {
        match self {
            Self::Identity(_) => Class::Identity,
            Self::Mapping(_) => Class::Mapping,
            Self::Topology(_) => Class::Topology,
            Self::Service(_) => Class::Service,
            Self::Revocation(_) => Class::Revocation,
            Self::Prefix(_) => Class::Prefix,
            Self::Index(_) => Class::Index,
        }
    }

    /// Where the writer is, if this says so.
    pub fn geo(&self) -> Option<&Geo> {
        match self {
            Self::Topology(topology) => topology.geo.as_ref(),
            _ => None,
        }
    }

    fn tlvs(&self) -> Result<Vec<Tlv>, EncodeError> {
        match self {
            Self::Identity(body) => body.tlvs(),
            Self::Mapping(body) => body.tlvs(),
            Self::Topology(body) => body.tlvs(),
            Self::Service(body) => body.tlvs(),
            Self::Revocation(body) => Ok(body.tlvs()),
            Self::Prefix(body) => body.tlvs(),
            Self::Index(body) => body.tlvs(),
        }
    }

    fn from_tlvs(class: Class, tlvs: Vec<Tlv>) -> Result<Self, Malformed> {
        match class {
            Class::Identity => Identity::from_tlvs(tlvs).map(Self::Identity),
            Class::Mapping => Mapping::from_tlvs(tlvs).map(Self::Mapping),
            Class::Topology => Topology::from_tlvs(tlvs).map(Self::Topology),
            Class::Service => Service::from_tlvs(tlvs).map(Self::Service),
            Class::Revocation => Revocation::from_tlvs(tlvs).map(Self::Revocation),
            Class::Prefix => Prefix::from_tlvs(tlvs).map(Self::Prefix),
            Class::Index => Index::from_tlvs(tlvs).map(Self::Index),
        }
    }
}

/// Flags of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// I: the identity key signed.
    pub by_identity: bool,
    /// W: the statement is that there is none any more.
    pub withdrawn: bool,
}

impl Flags {
    const BY_IDENTITY: u16 = 1 << 0;
    const WITHDRAWN: u16 = 1 << 1;

    fn bits(self) -> u16 {
        (u16::from(self.by_identity) * Self::BY_IDENTITY) | (u16::from(self.withdrawn) * Self::WITHDRAWN)
    }

    fn from_bits(bits: u16) -> Option<Self> {
        (bits & !(Self::BY_IDENTITY | Self::WITHDRAWN) == 0)
            .then_some(Self { by_identity: bits & Self::BY_IDENTITY != 0, withdrawn: bits & Self::WITHDRAWN != 0 })
    }
}

/// One signed statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// How it was signed, and whether it withdraws.
    pub flags: Flags,
    /// The writer.
    pub cn: Cn,
    /// Its place among the writer's statements.
    pub version: Version,
    /// How long it holds from signing, whole seconds.
    pub lifetime: Duration,
    /// What it says.
    pub body: Body,
    /// The kind of signature.
    pub algorithm: SignatureAlgorithm,
    /// The signature over [`Section::signed_bytes`]; of a REVOCATION that of its statement.
    pub signature: Box<[u8]>,
}

impl Section {
    /// The class.
    pub fn class(&self) -> Class {
        self.body.class()
    }

    /// When it ceases to hold; a REVOCATION does when nobody has put it for its lifetime, of which this knows nothing.
    pub fn expires_at(&self) -> SystemTime {
        self.version.signed_at().checked_add(self.lifetime).unwrap_or(UNIX_EPOCH)
    }

    /// What is signed under `key`: the context, the network, the key, and the section up to the end of its body.
    ///
    /// # Errors
    /// When the body has no encoding.
    pub fn signed_bytes(&self, key: &RecordKey) -> Result<Vec<u8>, EncodeError> {
        let mut out = signed_head(key, self.class().max_size());
        self.write_unsigned(&mut out)?;
        Ok(out)
    }

    /// The same, of the octets of this section as they were read: it need not be encoded again.
    pub(crate) fn signed_of(&self, key: &RecordKey, octets: &[u8]) -> Vec<u8> {
        let unsigned = octets.len().saturating_sub(SIGNATURE_LENGTH + self.signature.len());
        let mut out = signed_head(key, unsigned);
        out.extend_from_slice(octets.get(..unsigned).unwrap_or_default());
        out
    }

    /// The octets of the section.
    ///
    /// # Errors
    /// When the body or the signature is longer than its length field can say, or breaks a limit of its class.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        self.encode_within(self.class().max_size())
    }

    /// The same, with room for so many octets to begin with.
    fn encode_within(&self, octets: usize) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::with_capacity(octets);
        self.write_unsigned(&mut out)?;
        out.extend_from_slice(&tlv::length("signature length", self.signature.len())?);
        out.extend_from_slice(&self.signature);
        Ok(out)
    }

    /// Reads one section that fills `bytes`.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`Section::encode`] gives.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let (section, _) = Self::read(&mut reader)?;
        reader.finish("section")?;
        Ok(section)
    }

    /// Reads one section, and says which octets it has.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>) -> Result<(Self, &'a [u8]), Malformed> {
        let start = reader.0;
        let section = Self::read_fields(reader)?;
        let consumed = &start[..start.len() - reader.0.len()];
        // One statement, one encoding: otherwise two stores could hold the same statement under two hashes.
        match section.encode_within(consumed.len()) {
            Ok(canonical) if canonical == consumed => Ok((section, consumed)),
            _ => Err(Malformed::NotCanonical("section")),
        }
    }

    fn read_fields(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.array("magic")? != MAGIC {
            return Err(Malformed::Value("magic", 0));
        }
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(Malformed::Value("version", version.into()));
        }
        let number = reader.u8("class")?;
        let class = Class::from_number(number).ok_or(Malformed::Value("class", number.into()))?;
        let bits = reader.u16("flags")?;
        let flags = Flags::from_bits(bits).ok_or(Malformed::Value("flags", bits.into()))?;
        let cn = Cn(reader.array("CN")?);
        let version = Version { epoch: reader.u32("epoch")?, sequence: reader.u64("sequence")? };
        let lifetime = Duration::from_secs(reader.u32("lifetime")?.into());
        let number = reader.u16("signature algorithm")?;
        let algorithm =
            SignatureAlgorithm::from_number(number).ok_or(Malformed::Value("signature algorithm", number.into()))?;
        let length = reader.u16("body length")?;
        let body = Body::from_tlvs(class, tlv::decode(reader.take("body", length.into())?)?)?;
        let length = reader.u16("signature length")?;
        let signature = reader.take("signature", length.into())?.into();
        Ok(Self { flags, cn, version, lifetime, body, algorithm, signature })
    }

    fn write_unsigned(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let body = tlv::encode(self.body.tlvs()?)?;
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.push(self.class().number());
        out.extend_from_slice(&self.flags.bits().to_be_bytes());
        out.extend_from_slice(&self.cn.0);
        out.extend_from_slice(&self.version.epoch.to_be_bytes());
        out.extend_from_slice(&self.version.sequence.to_be_bytes());
        let lifetime = u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX);
        out.extend_from_slice(&lifetime.to_be_bytes());
        out.extend_from_slice(&self.algorithm.number().to_be_bytes());
        out.extend_from_slice(&tlv::length("body length", body.len())?);
        out.extend_from_slice(&body);
        Ok(())
    }
}

/// What is signed before the octets of a section, with room for so many of them.
fn signed_head(key: &RecordKey, octets: usize) -> Vec<u8> {
    let name = key.encode();
    let mut out = Vec::with_capacity(CONTEXT.len() + key.network.0.len() + 1 + name.len() + octets);
    out.extend_from_slice(CONTEXT);
    out.extend_from_slice(&key.network.0);
    // A key has at most 40 octets.
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(&name);
    out
}
