// SPDX-License-Identifier: GPL-2.0-or-later
//! What a DDT node, and a DDT Map-Server, says to a DDT Map-Request (RFC 8111, sections 6 and 7).

use std::net::IpAddr;

use wire::address::{Address, EidPrefix, Lcaf};
use wire::control::{Referral, ReferralAction, ReferralSignature};
use wire::record::{LocatorRecord, MapVersion, Ttl};

use super::keys::VerifyingKey;
use super::signer::Signing;
use super::{Config, Delegation, Kind, Server};
use crate::limits::DELEGATED_SERVERS;
use crate::register::MapServer;
use crate::register::site::SiteTable;
use crate::table::PrefixTable;

/// Default_DdtNode_Ttl and Default_Registered_Ttl (RFC 8111, section 8.3.1).
const REFERRED: Ttl = Ttl(1440);
/// Default_Negative_Referral_Ttl.
const HOLE: Ttl = Ttl(15);
/// Default_Configured_Not_Registered_Ttl.
const NOT_REGISTERED: Ttl = Ttl(1);
/// A NOT-AUTHORITATIVE is not kept (RFC 8111, section 6.1).
const NOT_AUTHORITATIVE: Ttl = Ttl(0);

/// The configured part of the tree.
#[derive(Debug, Default)]
pub struct Node {
    authoritative: PrefixTable<()>,
    delegations: PrefixTable<Delegation>,
    peers: Vec<IpAddr>,
    is_complete: bool,
    /// Keys of others are named where there is a key of this node: nothing vouches for them without a signature.
    signing: Signing,
}

/// Where an XEID stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// Somebody else's, or nobody's here: this says so.
    Elsewhere(Referral),
    /// In a site of this Map-Server.
    Site,
    /// In a prefix that was delegated to this node, and in no site and no delegation of it: the DHT may know more.
    Undelegated,
}

impl Node {
    /// A node as configured.
    pub fn new(config: &Config) -> Self {
        let mut node = Self {
            peers: config.peers.clone(),
            is_complete: config.is_complete,
            signing: config.signing.clone(),
            ..Self::default()
        };
        for prefix in &config.authoritative {
            node.authoritative.insert(*prefix, ());
        }
        for delegation in &config.delegations {
            node.delegations.insert(delegation.prefix, delegation.clone());
        }
        node
    }

    /// Finds the place of the XEID `host`; `asked` is the prefix that the request has.
    pub fn place(&self, sites: &SiteTable, asked: &EidPrefix, host: &EidPrefix) -> Place {
        let site = sites.find(host).map(|grant| grant.configured);
        let delegation = self.delegations.longest(host);
        match (delegation, site) {
            // The more specific has the say; what is a site's is delegated to nobody (checked with the configuration).
            (Some((prefix, delegation)), site)
                if site.is_none_or(|site| site.net.prefix_len() < prefix.net.prefix_len()) =>
            {
                Place::Elsewhere(self.refer(delegation))
            }
            (_, Some(_)) => Place::Site,
            (_, None) if self.authority(host).is_some() => Place::Undelegated,
            _ => Place::Elsewhere(not_authoritative(*asked)),
        }
    }

    /// The XEID-prefix that the keys of this node are for (RFC 8111, section 10): what was delegated to it round `host`, or a site of
    /// its own; none if `said` goes beyond that.
    pub fn key_prefix(&self, sites: &SiteTable, said: &EidPrefix, host: &EidPrefix) -> Option<EidPrefix> {
        let site = || sites.find(host).map(|grant| grant.configured);
        self.authority(host).or_else(site).filter(|prefix| prefix.covers(said))
    }

    /// The longest prefix delegated to this node that covers `host`, sites apart.
    fn authority(&self, host: &EidPrefix) -> Option<EidPrefix> {
        self.authoritative.longest(host).map(|(prefix, ())| prefix)
    }

    /// NODE-REFERRAL or MS-REFERRAL (RFC 8111, section 7.1.1). A hint from outside of our authority is not ours to vouch for.
    fn refer(&self, delegation: &Delegation) -> Referral {
        let action = match delegation.kind {
            Kind::Node => ReferralAction::NodeReferral,
            Kind::MapServer => ReferralAction::MsReferral,
        };
        let signs = self.signing.keys_for(&delegation.prefix).next().is_some();
        let mut locators: Vec<LocatorRecord> = delegation
            .servers
            .iter()
            .map(|server| LocatorRecord::new(locator(server, signs), server.priority, server.weight))
            .collect();
        locators.sort_by(|a, b| a.rloc.cmp(&b.rloc));
        let authoritative = self.authority(&delegation.prefix).is_some();
        Referral { authoritative, locators, ..record(action, delegation.prefix, REFERRED) }
    }

    /// MS-ACK (RFC 8111, section 7.2) about the part of `prefix` round `host` in which we delegate nothing to others.
    pub fn acknowledge(&self, prefix: &EidPrefix, host: &EidPrefix, own: &[IpAddr]) -> Referral {
        let prefix = self.undelegated(&self.delegated(prefix, host), host);
        self.with_map_servers(record(ReferralAction::MsAck, prefix, REFERRED), own)
    }

    /// MS-NOT-REGISTERED (RFC 8111, section 7.2), in which nothing is registered, no site is more specific and nothing is
    /// delegated.
    pub fn not_registered(&self, server: &MapServer, prefix: &EidPrefix, host: &EidPrefix, own: &[IpAddr]) -> Referral {
        let prefix = self.empty(server, &self.delegated(prefix, host), host);
        self.with_map_servers(record(ReferralAction::MsNotRegistered, prefix, NOT_REGISTERED), own)
    }

    /// DELEGATION-HOLE (RFC 8111, section 7.1.2): inside what was delegated to this node and inside `within`, the least-specific
    /// prefix round `host` that overlaps no delegation and no site.
    pub fn hole(&self, server: &MapServer, within: &EidPrefix, host: &EidPrefix) -> Referral {
        let authority = self.authority(host).unwrap_or(*host);
        let within = if authority.covers(within) { *within } else { authority };
        record(ReferralAction::DelegationHole, self.empty(server, &within, host), HOLE)
    }

    /// The part of `within` round `host` of which we delegate nothing to others.
    pub fn undelegated(&self, within: &EidPrefix, host: &EidPrefix) -> EidPrefix {
        self.delegations.hole(within, host).unwrap_or(*host)
    }

    /// The part of `prefix` that was delegated to this node. Where nothing was, `host` is of a site, whose prefix is ours.
    fn delegated(&self, prefix: &EidPrefix, host: &EidPrefix) -> EidPrefix {
        self.authority(host).filter(|authority| prefix.covers(authority)).unwrap_or(*prefix)
    }

    /// The part of `within` round `host` that neither a delegation nor a registration nor a site overlaps.
    fn empty(&self, server: &MapServer, within: &EidPrefix, host: &EidPrefix) -> EidPrefix {
        let parts = [
            self.delegations.hole(within, host),
            server.registrations().hole(within, host),
            server.sites().hole(within, host),
        ];
        parts.into_iter().map(|part| part.unwrap_or(*host)).max_by_key(|part| part.net.prefix_len()).unwrap_or(*host)
    }

    /// The Referral Set of a Map-Server: itself and its peers; incomplete unless all peers are configured (section 6.3).
    fn with_map_servers(&self, referral: Referral, own: &[IpAddr]) -> Referral {
        let ours = own.iter().map(|address| LocatorRecord::new(*address, 1, 100).with_local(true));
        let peers = self.peers.iter().filter(|peer| !own.contains(peer));
        let all: Vec<_> = ours.chain(peers.map(|address| LocatorRecord::new(*address, 1, 100))).collect();
        let incomplete = !self.is_complete || all.len() > DELEGATED_SERVERS || all.is_empty();
        let mut locators: Vec<_> = all.into_iter().take(DELEGATED_SERVERS).collect();
        locators.sort_by(|a, b| a.rloc.cmp(&b.rloc));
        Referral { incomplete, locators, ..referral }
    }
}

/// The record, not signed yet, that revokes `key` of the node at `own` (RFC 8111, section 10.2.1). Section 10.2.1 names no action: whoever
/// knows nothing of revocations sees a referral from `prefix` to itself, with a locator that nobody is to use.
pub fn revocation(prefix: EidPrefix, own: IpAddr, key: &VerifyingKey) -> Referral {
    let rloc = with_keys(own, std::slice::from_ref(key), true);
    let locators = vec![LocatorRecord::new(rloc, LocatorRecord::UNUSABLE, 0)];
    Referral { locators, ..record(ReferralAction::NodeReferral, prefix, REFERRED) }
}

/// The locator of whom is referred to, with its keys if they are signed (RFC 8111, section 10.1).
fn locator(server: &Server, signs: bool) -> Address {
    if signs { with_keys(server.address, &server.keys, false) } else { server.address.into() }
}

/// A locator with keys; `revoked` (R) speaks of all of them (RFC 8060, section 4.7).
fn with_keys(address: IpAddr, keys: &[VerifyingKey], revoked: bool) -> Address {
    let keys = keys.iter().map(|key| key.material().to_vec()).collect();
    Lcaf::SecurityKey { algorithm: ReferralSignature::RSA_SHA256, revoked, keys, address: address.into() }.into()
}

/// NOT-AUTHORITATIVE: the EID-prefix of the request, TTL 0, incomplete (RFC 8111, sections 6.1 and 6.3).
fn not_authoritative(asked: EidPrefix) -> Referral {
    let referral = record(ReferralAction::NotAuthoritative, asked, NOT_AUTHORITATIVE);
    Referral { authoritative: false, incomplete: true, ..referral }
}

/// A record without locators, not signed yet.
fn record(action: ReferralAction, prefix: EidPrefix, ttl: Ttl) -> Referral {
    Referral {
        ttl,
        action,
        authoritative: true,
        incomplete: false,
        map_version: MapVersion::default(),
        eid: prefix.into(),
        locators: Vec::new(),
        signatures: Vec::new(),
    }
}
