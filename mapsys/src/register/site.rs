// SPDX-License-Identifier: GPL-2.0-or-later
//! Sites: who may register which EID-prefixes, and with which keys.

use std::collections::HashMap;

use cgeid::Network;
use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{Algorithm, AlgorithmId, AuthKey, Secret};

use super::label::grants::{LabelGrants, LabelRule};
use crate::refusal::Refusal;
use crate::table::PrefixTable;

/// A site as configured.
#[derive(Debug, Clone)]
pub struct Site {
    /// Names it in logs, in `show` and in the stored nonces; unique.
    pub name: String,
    /// What it may register.
    pub prefixes: Vec<SitePrefix>,
    /// Names, MAC addresses and pairs that it may register.
    pub labels: Vec<LabelRule>,
    /// Its keys, by number.
    pub keys: Vec<SiteKey>,
    /// Takes what deployed peers send: HMAC-SHA-1, nonces that do not rise, a tag that leaves the tail out.
    pub legacy: bool,
    /// Where its Map-Notifies go.
    pub notify: NotifyPort,
    /// What of it is in the DHT.
    pub publish: Publish,
    /// Whether it is answered for without LISP-SEC.
    pub lisp_sec: LispSec,
}

/// Whether a site is answered for without LISP-SEC (RFC 9301, section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LispSec {
    /// As it is asked for.
    #[default]
    Optional,
    /// Only with it: what comes without is dropped.
    Required,
}

/// What of a site is in the DHT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Publish {
    /// Each registered EID-prefix.
    #[default]
    Each,
    /// The configured prefixes, as long as they are configured: others send their Map-Requests for what is inside here.
    Aggregate,
}

/// An EID-prefix that a site may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SitePrefix {
    /// The prefix.
    pub prefix: EidPrefix,
    /// Longest more-specific that is accepted; the prefix's own length if none is.
    pub max_len: u8,
}

/// A key that a site shares with the Map-Server.
#[derive(Debug, Clone)]
pub struct SiteKey {
    /// Key ID (RFC 9301, section 5.6).
    pub id: u8,
    /// The only algorithm it is for; `None` = HKDF-SHA256 and HMAC-SHA-256, and HMAC-SHA-1 at legacy sites.
    pub algorithm: Option<Algorithm>,
    /// The secret itself.
    pub secret: Secret,
}

/// Destination port of a Map-Notify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NotifyPort {
    /// 4342 (RFC 9301, section 5.7).
    #[default]
    Control,
    /// The port that the Map-Register came from: behind a NAT, and what OpenOverlayRouter and OpenLISP expect.
    Source,
}

/// Number of a site in its [`SiteTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(u32);

impl SiteId {
    pub(super) fn at(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Its place among the sites.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// All sites, found by EID-prefix. The node's own xTR, which registers through the pipe, is one of them.
#[derive(Debug)]
pub struct SiteTable {
    sites: Vec<Site>,
    names: HashMap<String, SiteId>,
    pipe: Option<SiteId>,
    by_prefix: PrefixTable<(SiteId, u8)>,
    labels: LabelGrants,
}

/// A configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// Two sites of one name.
    #[error("site {0:?} is configured twice")]
    NameTwice(String),
    /// One prefix in two sites.
    #[error("eid-prefix {prefix} belongs to site {first:?} and to site {second:?}")]
    PrefixTwice {
        /// The prefix.
        prefix: EidPrefix,
        /// The site that has it.
        first: String,
        /// The site that wants it.
        second: String,
    },
    /// One name, prefix of MAC addresses or pair in two sites.
    #[error("{rule} belongs to site {first:?} and to site {second:?}")]
    LabelTwice {
        /// What it is.
        rule: String,
        /// The site that has it.
        first: String,
        /// The site that wants it.
        second: String,
    },
    /// A site that nobody could register.
    #[error("site {0:?} has no key")]
    NoKey(String),
    /// A prefix out of the CGEID network.
    #[error(
        "eid-prefix {prefix} of site {site:?} overlaps the CGEID prefix: CGEIDs are published by their own key only"
    )]
    Cgeid {
        /// The prefix.
        prefix: EidPrefix,
        /// Its site.
        site: String,
    },
    /// Two keys of one number.
    #[error("site {site:?} has two keys with key-id {id}")]
    KeyTwice {
        /// The site.
        site: String,
        /// The number.
        id: u8,
    },
}

/// What a site may do with an EID-prefix that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The site.
    pub site: SiteId,
    /// The configured prefix that covers the EID.
    pub configured: EidPrefix,
    /// Whether the EID may be registered as it is, not being too specific.
    pub registrable: bool,
}

impl SiteTable {
    /// Checks the sites and puts them in order. `pipe` is the node's own xTR.
    ///
    /// # Errors
    /// Names the first contradiction.
    pub fn new(network: Network, sites: Vec<Site>, pipe: Option<Site>) -> Result<Self, SiteError> {
        let by_prefix = PrefixTable::default();
        let labels = LabelGrants::default();
        let mut table = Self { sites: Vec::new(), names: HashMap::new(), pipe: None, by_prefix, labels };
        for site in sites {
            if let Some(prefix) = site.prefixes.iter().find(|p| overlaps_cgeids(network, &p.prefix)) {
                return Err(SiteError::Cgeid { prefix: prefix.prefix, site: site.name });
            }
            table.add(site)?;
        }
        if let Some(site) = pipe {
            table.pipe = Some(table.add(site)?);
        }
        Ok(table)
    }

    fn add(&mut self, site: Site) -> Result<SiteId, SiteError> {
        let id = SiteId::at(self.sites.len());
        if self.names.contains_key(&site.name) {
            return Err(SiteError::NameTwice(site.name));
        }
        if site.keys.is_empty() {
            return Err(SiteError::NoKey(site.name));
        }
        for (index, key) in site.keys.iter().enumerate() {
            if site.keys[..index].iter().any(|other| other.id == key.id) {
                return Err(SiteError::KeyTwice { site: site.name.clone(), id: key.id });
            }
        }
        for SitePrefix { prefix, max_len } in &site.prefixes {
            if let Some((first, _)) = self.by_prefix.get(prefix) {
                let first = self.owner(*first, &site);
                return Err(SiteError::PrefixTwice { prefix: *prefix, first, second: site.name });
            }
            self.by_prefix.insert(*prefix, (id, *max_len));
        }
        for rule in &site.labels {
            if let Err(first) = self.labels.add(*rule, id) {
                let first = self.owner(first, &site);
                return Err(SiteError::LabelTwice { rule: rule.to_string(), first, second: site.name });
            }
        }
        self.names.insert(site.name.clone(), id);
        self.sites.push(site);
        Ok(id)
    }

    /// The name of a site that has something already; it may be the one that is being added.
    fn owner(&self, id: SiteId, added: &Site) -> String {
        self.sites.get(id.index()).unwrap_or(added).name.clone()
    }

    /// Lets the node's own xTR, if there is one, register `prefix`, which no other site has.
    pub(super) fn add_to_pipe(&mut self, prefix: EidPrefix) {
        let Some(id) = self.pipe else { return };
        let max_len = prefix.net.prefix_len();
        if self.by_prefix.insert(prefix, (id, max_len)).is_none() {
            self.sites[id.index()].prefixes.push(SitePrefix { prefix, max_len });
        }
    }

    /// The contrary of [`Self::add_to_pipe`].
    pub(super) fn remove_from_pipe(&mut self, prefix: &EidPrefix) {
        let Some(id) = self.pipe.filter(|id| self.by_prefix.get(prefix).is_some_and(|(owner, _)| owner == id)) else {
            return;
        };
        self.by_prefix.remove(prefix);
        self.sites[id.index()].prefixes.retain(|known| known.prefix != *prefix);
    }

    /// The site of that number.
    pub fn get(&self, id: SiteId) -> &Site {
        &self.sites[id.index()]
    }

    /// Whether it is the node's own xTR.
    pub fn is_pipe(&self, id: SiteId) -> bool {
        self.pipe == Some(id)
    }

    /// The site whose longest prefix covers `eid`.
    pub fn find(&self, eid: &EidPrefix) -> Option<Grant> {
        let (configured, (site, max_len)) = self.by_prefix.longest(eid)?;
        let registrable = configured == *eid || eid.net.prefix_len() <= *max_len;
        Some(Grant { site: *site, configured, registrable })
    }

    /// Who may register which names, MAC addresses and pairs.
    pub fn labels(&self) -> &LabelGrants {
        &self.labels
    }

    /// Whether the site that has this prefix is in the DHT with its configured prefixes only.
    pub fn is_aggregated(&self, prefix: &EidPrefix) -> bool {
        self.find(prefix).is_some_and(|grant| self.get(grant.site).publish == Publish::Aggregate)
    }

    /// Longest more-specific accepted under a configured prefix.
    pub fn max_len(&self, configured: &EidPrefix) -> Option<u8> {
        self.by_prefix.get(configured).map(|(_, max_len)| *max_len)
    }

    /// The node's own xTR, if there is one.
    pub fn pipe_site(&self) -> Option<&Site> {
        self.pipe.map(|id| self.get(id))
    }

    /// The site of that name.
    pub fn named(&self, name: &str) -> Option<SiteId> {
        self.names.get(name).copied()
    }

    /// Whether the site of that name has a key of that number.
    pub fn has_key(&self, name: &str, id: u8) -> bool {
        self.named(name).is_some_and(|site| self.get(site).keys.iter().any(|key| key.id == id))
    }

    /// All sites, in configured order.
    pub fn iter(&self) -> impl Iterator<Item = (SiteId, &Site)> {
        self.sites.iter().enumerate().map(|(index, site)| (SiteId::at(index), site))
    }

    /// All configured prefixes.
    pub fn prefixes(&self) -> impl Iterator<Item = EidPrefix> + '_ {
        self.by_prefix.iter().map(|(prefix, _)| prefix)
    }

    /// The configured prefixes inside `prefix`, itself included.
    pub fn inside(&self, prefix: &EidPrefix) -> impl Iterator<Item = EidPrefix> + '_ {
        self.by_prefix.inside(prefix).map(|(inner, _)| inner)
    }

    /// The largest part of `within` around `eid` in which no more specific prefix is configured; `None` if there is none.
    pub fn hole(&self, within: &EidPrefix, eid: &EidPrefix) -> Option<EidPrefix> {
        self.by_prefix.hole(within, eid)
    }
}

impl Site {
    /// The secret of that number, for one-time keys that go to the ETR (RFC 9303, section 6.5).
    pub fn secret(&self, id: u8) -> Option<&Secret> {
        self.keys.iter().find(|key| key.id == id).map(|key| &key.secret)
    }

    /// The key that a message claims to be signed with, if the site's policy allows the algorithm.
    ///
    /// # Errors
    /// `RegisterUnknownKey` or `RegisterAlgorithm`.
    pub fn key(&self, id: u8, algorithm: AlgorithmId) -> Result<AuthKey, Refusal> {
        let key = self.keys.iter().find(|key| key.id == id).ok_or(Refusal::RegisterUnknownKey)?;
        let algorithm = Algorithm::from_id(algorithm).ok_or(Refusal::RegisterAlgorithm)?;
        let allowed = match key.algorithm {
            Some(only) => only == algorithm,
            None => true,
        };
        if !allowed || (algorithm == Algorithm::HmacSha1 && !self.legacy) {
            return Err(Refusal::RegisterAlgorithm);
        }
        Ok(AuthKey { id, algorithm, secret: key.secret.clone() })
    }
}

/// Whether a prefix shares an address with the CGEIDs of `network`. They live in instance 0; in another instance a wider
/// prefix may cover them, but nobody can have one, lest an address look like a key that it has nothing to do with.
pub(super) fn overlaps_cgeids(network: Network, prefix: &EidPrefix) -> bool {
    let cgeids = EidPrefix { iid: prefix.iid, ..cgeid_prefix(network) };
    cgeids.covers(prefix) || prefix.iid == InstanceId(0) && prefix.covers(&cgeids)
}

/// The /32 of a CGEID network, as an EID-prefix.
pub fn cgeid_prefix(network: Network) -> EidPrefix {
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&network.0);
    let host = EidPrefix::host(InstanceId(0), std::net::Ipv6Addr::from(octets).into());
    EidPrefix::new(InstanceId(0), host.net.addr(), 32).unwrap_or(host)
}

/// The EID of a CGEID: one address in instance 0.
pub fn host_of(network: Network, cn: cgeid::Cn) -> EidPrefix {
    EidPrefix::host(InstanceId(0), cn.address(network).into())
}

/// The CN that an EID-prefix belongs to, if it is one CGEID.
pub fn cn_of(network: Network, prefix: &EidPrefix) -> Option<cgeid::Cn> {
    match prefix.net {
        IpNet::V6(net) if prefix.iid == InstanceId(0) && net.prefix_len() == 128 => network.cn_of(net.addr()),
        _ => None,
    }
}
