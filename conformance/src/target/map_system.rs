// SPDX-License-Identifier: GPL-2.0-or-later
//! The role of Map-Server and Map-Resolver: how it is started or where it runs, and the sites that it knows.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;
use wire::control::auth::{Algorithm, AuthKey, Secret};

use super::error::Wrong;
use super::given::{self, Given, ItrKey, WrittenSubscribers};
use super::start::{self, Start};

/// Sites that a file may number: each is a check's own, and there are no more checks.
const SITES: u16 = 256;

/// A map system.
#[derive(Debug, Clone)]
pub struct MapSystem {
    /// How the suites come to it.
    pub means: Means,
    /// The sites that it is configured with, the numbered ones first.
    pub sites: Vec<Site>,
    /// How many of them are numbered: each is a check's own.
    pub numbered: usize,
}

/// How the suites come to a map system.
#[derive(Debug, Clone)]
pub enum Means {
    /// The suites start it themselves, with several configurations of their own, on loopback: `configured-as = "lisp-mapsys"`.
    Configured,
    /// It is started in a namespace of its own, with one configuration.
    Started(Start),
    /// It runs elsewhere.
    Elsewhere {
        /// Where it is asked, the first if it does not matter which.
        addresses: Vec<SocketAddr>,
        /// Addresses of this machine that xTRs of the suites have: five do for all checks, as each xTR has one to itself. Without it, as
        /// many of loopback as are needed if the target is there, else the one that leads to it.
        from: Vec<IpAddr>,
        /// What it shares with ITRs and subscribers.
        given: Given,
    },
}

/// A site that a map system is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its name; a number for the numbered ones.
    pub name: String,
    /// Its EID-prefixes.
    pub prefixes: Vec<IpNet>,
    /// Their instance.
    pub iid: u32,
    /// Its keys; never empty.
    pub keys: Vec<Key>,
}

/// A key of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Key ID.
    pub id: u8,
    /// What it is used with.
    pub algorithm: Algorithm,
    /// The shared secret.
    pub secret: String,
}

impl MapSystem {
    /// A site by its name.
    pub fn named(&self, name: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.name == name)
    }
}

impl Key {
    /// The same for our codec.
    pub fn auth(&self) -> AuthKey {
        AuthKey { id: self.id, algorithm: self.algorithm, secret: Secret::new(self.secret.as_bytes()) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    configured_as: Option<Spanned<String>>,
    start: Option<start::Written>,
    address: Option<Spanned<Vec<Spanned<String>>>>,
    from: Option<Spanned<Vec<Spanned<String>>>>,
    itr_key: Option<Spanned<Vec<ItrKey>>>,
    protected_path: Option<Spanned<String>>,
    subscribers: Option<WrittenSubscribers>,
    sites: Option<Numbered>,
    #[serde(default)]
    site: Vec<WrittenSite>,
}

/// Sites that differ by their number alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Numbered {
    count: Spanned<u16>,
    eid_prefix: Spanned<String>,
    #[serde(default)]
    iid: u32,
    key: Spanned<Vec<WrittenKey>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenSite {
    name: Spanned<String>,
    eid_prefix: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    iid: u32,
    key: Spanned<Vec<WrittenKey>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct WrittenKey {
    #[serde(default)]
    key_id: u8,
    algorithm: Spanned<String>,
    secret: Spanned<String>,
}

/// What the number of a numbered site stands for in its EID-prefix, in hexadecimal, and in its secret, in decimal.
const NUMBER: &str = "{number}";

impl Written {
    pub(super) fn checked(self, at: usize) -> Result<MapSystem, Wrong> {
        let has_sites = self.sites.is_some() || !self.site.is_empty();
        let is_given = self.itr_key.is_some() || self.protected_path.is_some() || self.subscribers.is_some();
        if is_given && self.address.is_none() {
            let problem =
                "map-system: itr-key, protected-path and subscribers only where `address` says that it runs elsewhere";
            return Err(Wrong::at(at, problem));
        }
        let given = given::checked(self.itr_key, self.protected_path, self.subscribers)?;
        let means = means(at, self.configured_as, self.start, self.address, self.from, given)?;
        if matches!(means, Means::Configured) {
            return match has_sites {
                true => Err(Wrong::at(at, "map-system: sites of one that the suites configure are theirs")),
                false => Ok(MapSystem { means, sites: Vec::new(), numbered: 0 }),
            };
        }
        let mut sites = self.sites.map(Numbered::checked).transpose()?.unwrap_or_default();
        let numbered = sites.len();
        if numbered == 0 {
            return Err(Wrong::at(
                at,
                "map-system.sites: none; checks need numbered sites, the first is the sentinel's",
            ));
        }
        let (mut names, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
        for site in self.site {
            let at = site.name.span().start;
            let site = site.checked()?;
            if !names.insert(site.name.clone()) {
                return Err(Wrong::at(at, format!("site: two are called {:?}", site.name)));
            }
            sites.push(site);
        }
        for site in &sites {
            for prefix in &site.prefixes {
                if !prefixes.insert((site.iid, *prefix)) {
                    return Err(Wrong::at(at, format!("site {:?}: {prefix} is another site's too", site.name)));
                }
            }
        }
        Ok(MapSystem { means, sites, numbered })
    }
}

fn means(
    at: usize,
    configured_as: Option<Spanned<String>>,
    start: Option<start::Written>,
    address: Option<Spanned<Vec<Spanned<String>>>>,
    from: Option<Spanned<Vec<Spanned<String>>>>,
    given: Given,
) -> Result<Means, Wrong> {
    if let (Some(from), None) = (&from, &address) {
        return Err(Wrong::at(from.span().start, "map-system.from: only where `address` says that it runs elsewhere"));
    }
    match (configured_as, start, address) {
        (Some(name), None, None) if name.get_ref() == "lisp-mapsys" => Ok(Means::Configured),
        (Some(name), None, None) => {
            let problem = format!("map-system.configured-as: {:?}; there is \"lisp-mapsys\"", name.get_ref());
            Err(Wrong::at(name.span().start, problem))
        }
        (None, Some(start), None) => Ok(Means::Started(start.checked()?)),
        (None, None, Some(address)) => {
            if address.get_ref().is_empty() {
                return Err(Wrong::at(address.span().start, "map-system.address: empty"));
            }
            let addresses = address.get_ref().iter().map(socket_address).collect::<Result<Vec<_>, _>>()?;
            if !addresses.iter().any(SocketAddr::is_ipv4) {
                let problem = "map-system.address: none is of IPv4, over which the suites ask";
                return Err(Wrong::at(address.span().start, problem));
            }
            let from = from.map(Spanned::into_inner).unwrap_or_default();
            let from = from.iter().map(|text| parsed(text, "an IP address")).collect::<Result<_, _>>()?;
            Ok(Means::Elsewhere { addresses, from, given })
        }
        _ => Err(Wrong::at(at, "map-system: exactly one of `start`, `address` and `configured-as`")),
    }
}

pub(super) fn parsed<T: std::str::FromStr>(text: &Spanned<String>, what: &str) -> Result<T, Wrong> {
    let wrong = |_| Wrong::at(text.span().start, format!("{:?} is not {what}", text.get_ref()));
    text.get_ref().parse().map_err(wrong)
}

/// An address, at the control port unless another is said.
fn socket_address(text: &Spanned<String>) -> Result<SocketAddr, Wrong> {
    match text.get_ref().parse::<IpAddr>() {
        Ok(address) => Ok(SocketAddr::new(address, wire::CONTROL_PORT)),
        Err(_) => parsed(text, "an IP address, with or without a port"),
    }
}

fn net(text: &Spanned<String>) -> Result<IpNet, Wrong> {
    let net: IpNet = parsed(text, "an EID-prefix")?;
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(Wrong::at(text.span().start, format!("{net}: bits behind its length are not zero")))
    }
}

fn keys(written: Spanned<Vec<WrittenKey>>, number: Option<u16>) -> Result<Vec<Key>, Wrong> {
    let at = written.span().start;
    let keys = written.into_inner().into_iter().map(|key| key.checked(number)).collect::<Result<Vec<_>, _>>()?;
    let ids: BTreeSet<_> = keys.iter().map(|key| key.id).collect();
    match () {
        () if keys.is_empty() => Err(Wrong::at(at, "key: empty")),
        () if ids.len() < keys.len() => Err(Wrong::at(at, "key: two have one Key ID")),
        () => Ok(keys),
    }
}

impl WrittenKey {
    pub(super) fn checked(self, number: Option<u16>) -> Result<Key, Wrong> {
        const ALGORITHMS: [(&str, Algorithm); 3] = [
            ("hmac-sha-1", Algorithm::HmacSha1),
            ("hmac-sha-256", Algorithm::HmacSha256),
            ("hkdf", Algorithm::HkdfSha256),
        ];
        let name = self.algorithm.get_ref();
        let Some((_, algorithm)) = ALGORITHMS.iter().find(|(known, _)| known == name) else {
            let known = ALGORITHMS.map(|(name, _)| name).join(", ");
            return Err(Wrong::at(self.algorithm.span().start, format!("algorithm: {name:?}; there is {known}")));
        };
        if self.secret.get_ref().is_empty() {
            return Err(Wrong::at(self.secret.span().start, "secret: empty"));
        }
        let number = number.map(|number| number.to_string()).unwrap_or_else(|| NUMBER.to_owned());
        let secret = self.secret.into_inner().replace(NUMBER, &number);
        Ok(Key { id: self.key_id, algorithm: *algorithm, secret })
    }
}

impl WrittenSite {
    fn checked(self) -> Result<Site, Wrong> {
        if self.eid_prefix.get_ref().is_empty() {
            return Err(Wrong::at(self.eid_prefix.span().start, "eid-prefix: empty"));
        }
        let prefixes = self.eid_prefix.get_ref().iter().map(net).collect::<Result<_, _>>()?;
        Ok(Site { name: self.name.into_inner(), prefixes, iid: self.iid, keys: keys(self.key, None)? })
    }
}

impl Numbered {
    fn checked(self) -> Result<Vec<Site>, Wrong> {
        let count = *self.count.get_ref();
        if !(1..=SITES).contains(&count) {
            return Err(Wrong::at(self.count.span().start, format!("sites.count: {count}; there are 1 to {SITES}")));
        }
        let pattern = self.eid_prefix.get_ref();
        if !pattern.contains(NUMBER) {
            let problem = format!("sites.eid-prefix: {pattern:?} has no {NUMBER}");
            return Err(Wrong::at(self.eid_prefix.span().start, problem));
        }
        let at = self.key.span();
        let all: Vec<WrittenKey> = self.key.into_inner();
        let copied = || {
            let copy = |key: &WrittenKey| WrittenKey {
                key_id: key.key_id,
                algorithm: key.algorithm.clone(),
                secret: key.secret.clone(),
            };
            Spanned::new(at.clone(), all.iter().map(copy).collect())
        };
        let site = |number: u16| {
            let text = pattern.replace(NUMBER, &format!("{number:x}"));
            let text = Spanned::new(self.eid_prefix.span(), text);
            let prefixes = vec![net(&text)?];
            if prefixes.iter().any(|prefix| prefix.prefix_len() > 48 || prefix.addr().is_ipv4()) {
                let problem = "sites.eid-prefix: checks need an IPv6 prefix of 48 bits at most";
                return Err(Wrong::at(text.span().start, problem));
            }
            Ok(Site { name: number.to_string(), prefixes, iid: self.iid, keys: keys(copied(), Some(number))? })
        };
        (1..=count).map(site).collect()
    }
}
