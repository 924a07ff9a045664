// SPDX-License-Identifier: GPL-2.0-or-later
//! The Delegated Database Tree (RFC 8111): how EIDs are found that the signed DHT knows nothing of, and how others find ours.
//!
//! * [`node`]: what this node says when it is asked with a DDT Map-Request: a DDT node with delegations, a DDT Map-Server for
//!   its sites (sections 7.1 and 7.2);
//! * [`client`]: follows referrals from the root to the Map-Server of a foreign EID (section 7.3);
//! * [`referrals`]: the client's referral cache.
//!
//! Signatures (sections 6.4.1 and 10) are left out: nothing but a configured root is trusted, a referral counts only inside
//! the prefix that its sender was referred to for, and nothing is cached that a nonce of ours does not vouch for.

pub mod client;
pub mod node;
mod pending;
pub mod referrals;
mod secret;

use std::net::{IpAddr, SocketAddr};

use wire::address::EidPrefix;

use crate::limits::{DELEGATED_SERVERS, DELEGATIONS};
use crate::register::site::SiteTable;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Its locator, never an EID (RFC 8111, section 1).
    pub address: IpAddr,
    /// Lower is better, 255 = never.
    pub priority: u8,
    /// Share among those of one priority.
    pub weight: u8,
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

impl Delegation {
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
