// SPDX-License-Identifier: GPL-2.0-or-later
//! The Delegated Database Tree (RFC 8111): how EIDs are found that the signed DHT knows nothing of, and how others find ours.
//!
//! * [`node`]: what this node says when it is asked with a DDT Map-Request: a DDT node with delegations, a DDT Map-Server for
//!   its sites (sections 7.1 and 7.2);
//! * [`client`]: follows referrals from the root to the Map-Server of a foreign EID (section 7.3);
//! * [`referrals`]: the client's referral cache; [`ranked`]: whom of a Referral Set it asks first.
//!
//! * [`keys`] and [`signer`]: a node with keys signs what it says, and names the keys of those it refers to (section 10);
//! * [`chain`]: a client with trust anchors takes only what a chain of keys from these verifies.
//!
//! With or without signatures nothing but a configured root is trusted, a referral counts only inside the prefix that its sender was
//! referred to for, and nothing is cached that a nonce of ours does not vouch for. A key that has revoked itself (section 10.2.1) proves
//! nothing any more, and what it proved before is forgotten.

pub mod chain;
pub mod client;
pub mod keys;
pub mod node;
mod pending;
pub mod ranked;
pub mod referrals;
mod revoked;
mod secret;
pub mod signer;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use wire::address::EidPrefix;

use crate::limits::{DDT_KEYS, DELEGATED_SERVERS, DELEGATIONS, MESSAGE_OCTETS, SIGNING_KEYS};
use crate::register::site::SiteTable;
use keys::{SigningKey, VerifyingKey};
use signer::Signing;

pub use secret::NonceSecret;

/// What is configured of DDT, and of other ways to foreign EIDs.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where the search for foreign EIDs begins; without any there is none.
    pub roots: Vec<SocketAddr>,
    /// Conventional Map-Resolvers for foreign EIDs; where one is configured the tree is not asked.
    pub resolvers: Vec<ForeignResolver>,
    /// XEID-prefixes that were delegated to this node, beside those of its sites.
    pub authoritative: Vec<EidPrefix>,
    /// What this node delegates to others, or knows of their delegations (hints).
    pub delegations: Vec<Delegation>,
    /// The other Map-Servers of the same sites.
    pub peers: Vec<IpAddr>,
    /// Whether those are all (RFC 8111, section 6.3).
    pub is_complete: bool,
    /// Makes nonces that nobody can guess.
    pub secret: NonceSecret,
    /// What this node signs with.
    pub signing: Signing,
    /// The public keys of the roots; with any of them only what is signed counts (RFC 8111, section 10.4).
    pub anchors: Vec<VerifyingKey>,
}

/// Map-Resolvers for the EIDs inside a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignResolver {
    /// The prefix.
    pub prefix: EidPrefix,
    /// Their addresses, asked in turn.
    pub addresses: Vec<SocketAddr>,
}

/// An XEID-prefix, and who has more detailed knowledge of it (RFC 8111, section 4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// The prefix.
    pub prefix: EidPrefix,
    /// What they are.
    pub kind: Kind,
    /// Where they are.
    pub servers: Vec<Server>,
}

/// What a delegation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DDT nodes, which delegate further.
    Node,
    /// At least one DDT Map-Server among them (RFC 8111, section 7.1.1).
    MapServer,
}

/// A DDT node that is referred to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its locator, never an EID (RFC 8111, section 1).
    pub address: IpAddr,
    /// Lower is better, 255 = never.
    pub priority: u8,
    /// Share among those of one priority.
    pub weight: u8,
    /// Its public keys, which a signed referral names.
    pub keys: Vec<VerifyingKey>,
}

/// A configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DdtError {
    /// Two delegations of one prefix.
    #[error("{0} is delegated twice")]
    DelegatedTwice(EidPrefix),
    /// What a site registers here cannot be delegated to others.
    #[error("{0} is delegated, and an eid-prefix of a site")]
    DelegatedSite(EidPrefix),
    /// More of them than are kept.
    #[error("more than {DELEGATIONS} delegations")]
    TooManyDelegations,
    /// Nobody, or too many to name in one Map-Referral.
    #[error("the delegation of {prefix} has {count} servers: give one to {DELEGATED_SERVERS}")]
    Servers {
        /// The delegation.
        prefix: EidPrefix,
        /// How many it has.
        count: usize,
    },
    /// An address to which nothing can be sent.
    #[error("{address} of the delegation of {prefix} is no address of a node")]
    Address {
        /// The delegation.
        prefix: EidPrefix,
        /// The address.
        address: IpAddr,
    },
    /// Map-Resolvers without an address.
    #[error("the resolver of {0} has no address")]
    NoResolver(EidPrefix),
    /// A signed referral has to name the keys of whom it refers to (RFC 8111, section 10.1).
    #[error("{address} of the delegation of {prefix} has {count} keys: a node that signs gives one to {DDT_KEYS}")]
    Keys {
        /// The delegation.
        prefix: EidPrefix,
        /// The server.
        address: IpAddr,
        /// How many keys it has.
        count: usize,
    },
    /// A key for what is not this node's to sign.
    #[error(
        "the key of tag {tag} is for {prefix}, which is neither in authoritative nor a site's: name what was delegated to this node"
    )]
    KeyPrefix {
        /// Its Key Tag.
        tag: u16,
        /// The prefix.
        prefix: EidPrefix,
    },
    /// More keys to sign one record with than there can be.
    #[error("{0} keys to sign with: give at most {SIGNING_KEYS}")]
    TooManySigningKeys(usize),
    /// More revoked keys than there can have been to sign with.
    #[error("{0} revoked keys: give at most {SIGNING_KEYS}")]
    TooManyRevokedKeys(usize),
    /// A key that signs and does not count.
    #[error("the key of tag {0} is revoked, and signs: name it in revoked-key alone")]
    RevokedKeySigns(u16),
    /// Revoked keys of a node that is asked for nothing of which it would say so.
    #[error(
        "revoked-key without authoritative and without a site: of what this node says nothing is its own, and nobody is told"
    )]
    RevokedKeyUntold,
    /// More trust anchors than are tried.
    #[error("{0} trust anchors: give at most {DDT_KEYS}")]
    TooManyAnchors(usize),
    /// Trust anchors, and nobody to ask whom they could verify.
    #[error("trust anchors without roots verify nothing")]
    AnchorsWithoutRoots,
    /// Servers with so many and long keys that no message holds them.
    #[error("the keys of the delegation of {prefix} have {octets} octets: no more than {} fit", MESSAGE_OCTETS / 2)]
    KeyOctets {
        /// The delegation.
        prefix: EidPrefix,
        /// How long they are.
        octets: usize,
    },
    /// More peers than one Map-Referral names.
    #[error("{0} peers: give at most {DELEGATED_SERVERS}")]
    TooManyPeers(usize),
}

impl Config {
    /// Checks it against the sites.
    ///
    /// # Errors
    /// Names the first contradiction.
    pub fn check(&self, sites: &SiteTable) -> Result<(), DdtError> {
        if self.delegations.len() > DELEGATIONS {
            return Err(DdtError::TooManyDelegations);
        }
        let mut prefixes: Vec<EidPrefix> = self.delegations.iter().map(|delegation| delegation.prefix).collect();
        prefixes.sort_unstable();
        if let Some(pair) = prefixes.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(DdtError::DelegatedTwice(pair[0]));
        }
        for delegation in &self.delegations {
            delegation.check(sites)?;
            if self.signing.keys_for(&delegation.prefix).next().is_some() {
                delegation.check_keys()?;
            }
        }
        self.check_keys(sites)?;
        let has_sites = sites.iter().any(|(id, site)| !sites.is_pipe(id) && !site.prefixes.is_empty());
        if !self.signing.revoked.is_empty() && self.authoritative.is_empty() && !has_sites {
            return Err(DdtError::RevokedKeyUntold);
        }
        if self.peers.len() > DELEGATED_SERVERS {
            return Err(DdtError::TooManyPeers(self.peers.len()));
        }
        match self.resolvers.iter().find(|resolver| resolver.addresses.is_empty()) {
            Some(resolver) => Err(DdtError::NoResolver(resolver.prefix)),
            None => Ok(()),
        }
    }
}

impl Config {
    fn check_keys(&self, sites: &SiteTable) -> Result<(), DdtError> {
        let Signing { keys, revoked, .. } = &self.signing;
        let is_ours =
            |prefix: &EidPrefix| self.authoritative.contains(prefix) || sites.prefixes().any(|site| site == *prefix);
        for key in keys.iter().chain(revoked) {
            if let Some(prefix) = key.prefixes().iter().find(|prefix| !is_ours(prefix)) {
                return Err(DdtError::KeyPrefix { tag: key.tag(), prefix: *prefix });
            }
        }
        // As many as sign one record.
        let together = |all: &[Arc<SigningKey>]| {
            let general = all.iter().filter(|key| key.prefixes().is_empty()).count();
            let prefixes = all.iter().flat_map(|key| key.prefixes());
            prefixes.map(|prefix| all.iter().filter(|key| key.is_for(prefix)).count()).fold(general, usize::max)
        };
        let (signing, ended) = (together(keys), together(revoked));
        if let Some(key) = keys.iter().find(|key| revoked.iter().any(|revoked| revoked.public() == key.public())) {
            return Err(DdtError::RevokedKeySigns(key.tag()));
        }
        match (signing, self.anchors.len()) {
            _ if ended > SIGNING_KEYS => Err(DdtError::TooManyRevokedKeys(ended)),
            (keys, _) if keys > SIGNING_KEYS => Err(DdtError::TooManySigningKeys(keys)),
            (_, anchors) if anchors > DDT_KEYS => Err(DdtError::TooManyAnchors(anchors)),
            (_, anchors) if anchors > 0 && self.roots.is_empty() => Err(DdtError::AnchorsWithoutRoots),
            _ => Ok(()),
        }
    }
}

impl Delegation {
    fn check_keys(&self) -> Result<(), DdtError> {
        let prefix = self.prefix;
        let wrong = |server: &&Server| server.keys.is_empty() || server.keys.len() > DDT_KEYS;
        if let Some(server) = self.servers.iter().find(wrong) {
            return Err(DdtError::Keys { prefix, address: server.address, count: server.keys.len() });
        }
        let octets = self.servers.iter().flat_map(|server| &server.keys).map(|key| key.material().len()).sum();
        if octets > MESSAGE_OCTETS / 2 { Err(DdtError::KeyOctets { prefix, octets }) } else { Ok(()) }
    }

    fn check(&self, sites: &SiteTable) -> Result<(), DdtError> {
        let prefix = self.prefix;
        if sites.prefixes().any(|site| site == prefix) {
            return Err(DdtError::DelegatedSite(prefix));
        }
        let count = self.servers.len();
        if count == 0 || count > DELEGATED_SERVERS {
            return Err(DdtError::Servers { prefix, count });
        }
        let nowhere = |address: &IpAddr| address.is_unspecified() || address.is_multicast();
        match self.servers.iter().map(|server| server.address).find(nowhere) {
            Some(address) => Err(DdtError::Address { prefix, address }),
            None => Ok(()),
        }
    }
}
