// SPDX-License-Identifier: GPL-2.0-or-later
//! DHT keys: each names its only legitimate writer.
//!
//! ```text
//! prefix32 4 | type 1 ('C', 'P', 'I') | writer CN 12 [ | IID 4 | AFI 2 | plen 1 | address octets ]
//! ```
//! The bracket is there for `P` and `I`; it has ⌈plen/8⌉ address octets, whose bits beyond plen are zero.

use std::fmt;

use cgeid::{Cn, Network};
use sha2::{Digest, Sha256};
use wire::address::EidPrefix;

use super::reader::{Reader, write_prefix};
use super::section::Class;
use crate::error::Malformed;

/// Type octet of a node's own bundle.
const NODE: u8 = b'C';
/// Type octet of a registrar's statement about a prefix.
const PREFIX: u8 = b'P';
/// Type octet of an index page.
const INDEX: u8 = b'I';

/// What a key is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// `C`: the writer itself, and the mapping of its CGEID.
    Node,
    /// `P`: the mapping of a prefix, as this registrar says.
    Prefix(EidPrefix),
    /// `I`: the index page of a covering prefix.
    Index(EidPrefix),
}

/// A DHT key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// The network, so that two networks cannot mix.
    pub network: Network,
    /// The only one whose signature counts under this key.
    pub writer: Cn,
    /// What it is about.
    pub subject: Subject,
}

impl RecordKey {
    /// The key of a node's own bundle.
    pub fn node(network: Network, writer: Cn) -> Self {
        Self { network, writer, subject: Subject::Node }
    }

    /// The key of a prefix's mapping at one registrar.
    pub fn prefix(network: Network, writer: Cn, prefix: EidPrefix) -> Self {
        Self { network, writer, subject: Subject::Prefix(prefix) }
    }

    /// The key of an index page.
    pub fn index(network: Network, writer: Cn, covering: EidPrefix) -> Self {
        Self { network, writer, subject: Subject::Index(covering) }
    }

    /// The octets of the key, 17 to 40.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, prefix) = match &self.subject {
            Subject::Node => (NODE, None),
            Subject::Prefix(prefix) => (PREFIX, Some(prefix)),
            Subject::Index(prefix) => (INDEX, Some(prefix)),
        };
        let mut out = Vec::with_capacity(40);
        out.extend_from_slice(&self.network.0);
        out.push(kind);
        out.extend_from_slice(&self.writer.0);
        if let Some(prefix) = prefix {
            write_prefix(&mut out, prefix);
        }
        out
    }

    /// Reads a key; any bytes are either one key or an error.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`RecordKey::encode`] gives.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let network = Network(reader.array("key network")?);
        let kind = reader.u8("key type")?;
        let writer = Cn(reader.array("key writer")?);
        let subject = match kind {
            NODE => Subject::Node,
            PREFIX => Subject::Prefix(reader.prefix("key prefix")?),
            INDEX => Subject::Index(reader.prefix("key prefix")?),
            other => return Err(Malformed::Value("key type", other.into())),
        };
        reader.finish("key")?;
        Ok(Self { network, writer, subject })
    }

    /// The class without which a bundle under this key says nothing; none under a node's own key, where the IDENTITY
    /// alone is of use.
    pub fn statement(&self) -> Option<Class> {
        match self.subject {
            Subject::Node => None,
            Subject::Prefix(_) => Some(Class::Prefix),
            Subject::Index(_) => Some(Class::Index),
        }
    }

    /// The place of the key in the Kademlia space: SHA-256, as libp2p does.
    pub fn point(&self) -> [u8; 32] {
        Sha256::digest(self.encode()).into()
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Node => write!(f, "C:{}", self.writer),
            Subject::Prefix(prefix) => write!(f, "P:{}:{prefix}", self.writer),
            Subject::Index(prefix) => write!(f, "I:{}:{prefix}", self.writer),
        }
    }
}
