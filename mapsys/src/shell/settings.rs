// SPDX-License-Identifier: GPL-2.0-or-later
//! Settings of `lisp-mapsys`: file, then environment (`LISP_MAPSYS_...`), then flags.

mod ddt;
mod labels;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use program::settings::Sources;
use serde::{Deserialize, Serialize};
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{Algorithm, Secret};

use super::lispsec::{AssociationSetting, LispSecSetting};
use super::rtr_settings::RtrSetting;
use super::subscriber_settings::{PubsubSetting, SubscriberSetting};
use crate::ddt::Config as DdtConfig;
use crate::limit::Foreign;
use crate::nat::Rtr;
use crate::register::site::{NotifyPort, Publish, Site, SiteKey, SitePrefix};
use crate::resolve::lispsec::Association;

pub use ddt::{DdtSetting, DelegationSetting, KindSetting, ResolverSetting, ServerSetting, SigningKeySetting};
pub use labels::{parse_mac, parse_pair};

/// Prefix of the environment variables.
const ENVIRONMENT: &str = "LISP_MAPSYS_";
/// Threads that serve: more than that have nothing to do.
const MOST_WORKERS: u16 = 64;

/// Flags of `lisp-mapsys run` and `check`. Every one has a key of the same name in the file.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Flags {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", global = true)]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Address to serve on; repeats. The port is 4342 unless given. 0.0.0.0 or [::] serves on all, and answers from the one asked.
    #[arg(long, value_name = "ADDR[:PORT]", global = true)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<String>,
    /// Operational identity (`CN.op.p12`); repeats, the first signs for the sites.
    #[arg(long, value_name = "FILE", global = true)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identity: Vec<PathBuf>,
    /// File with the password of the identities.
    #[arg(long, value_name = "FILE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// DHT node to join through; repeats.
    #[arg(long, value_name = "MULTIADDR", global = true)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bootstrap: Vec<String>,
    /// Who delegates a prefix; repeats.
    #[arg(long, value_name = "PREFIX=CN", global = true)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_anchor: Vec<String>,
    /// The 32-bit prefix of the CGEIDs.
    #[arg(long, value_name = "PREFIX", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Zero bits that the network's puzzle asks of a DHT node's key; 4 by default.
    #[arg(long, value_name = "N", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub puzzle_bits: Option<u8>,
    /// File with the key of a closed network: 32 octets in hexadecimal or Base64.
    #[arg(long, value_name = "FILE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_key: Option<PathBuf>,
    /// UDP port of the DHT node.
    #[arg(long, value_name = "PORT", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dht_port: Option<u16>,
    /// Address that the DHT node listens on; repeats, all by default.
    #[arg(long, value_name = "ADDR", global = true)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dht_listen: Vec<IpAddr>,
    /// Address that several DHT nodes have at once, of which the nearest answers; repeats.
    #[arg(long, value_name = "ADDR", global = true)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anycast: Vec<String>,
    /// Whether the DHT node looks for others on the links of this machine; off by default.
    #[arg(long, value_name = "on|off", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Switch>,
    /// Serve /metrics (OpenMetrics) and /health over HTTP at this address.
    #[arg(long, value_name = "ADDR:PORT", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// Threads that serve, 1 to 64; 1 by default. More are for machines with processors to spare.
    #[arg(long, value_name = "N", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u16>,
    /// Go by a clock that is so many seconds ahead, or behind: to see what a wrong clock does.
    #[arg(long, value_name = "SECONDS", hide = true, allow_negative_numbers = true, global = true)]
    #[serde(skip)]
    pub clock_offset: Option<i64>,
    /// The same, as a file says at each time: to see what becomes of a clock that is set.
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "clock_offset", global = true)]
    #[serde(skip)]
    pub clock_offset_file: Option<PathBuf>,
    /// Folder for what must survive a restart.
    #[arg(long, value_name = "DIR", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// Unix socket for `show`; the default is `control.sock` in the state folder.
    #[arg(long, value_name = "PATH", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<PathBuf>,
}

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Addresses to serve on.
    pub listen: Vec<String>,
    /// Operational identities.
    pub identity: Vec<PathBuf>,
    /// Their password.
    pub password_file: Option<PathBuf>,
    /// DHT nodes to join through.
    pub bootstrap: Vec<String>,
    /// `PREFIX=CN` of those who delegate.
    pub trust_anchor: Vec<String>,
    /// The 32-bit prefix of the CGEIDs.
    pub prefix: Option<String>,
    /// Zero bits that the network's puzzle asks of a DHT node's key.
    pub puzzle_bits: Option<u8>,
    /// File with the key of a closed network.
    pub network_key: Option<PathBuf>,
    /// UDP port of the DHT node.
    pub dht_port: Option<u16>,
    /// Addresses that the DHT node listens on; empty = all.
    pub dht_listen: Vec<IpAddr>,
    /// Addresses that several DHT nodes have at once.
    pub anycast: Vec<String>,
    /// Whether the DHT node looks for others on the links of this machine.
    pub discovery: Option<Switch>,
    /// Where /metrics and /health are served.
    pub metrics: Option<SocketAddr>,
    /// Threads that serve.
    pub workers: Option<u16>,
    /// Folder for what must survive a restart.
    pub state_dir: Option<PathBuf>,
    /// Unix socket for `show`.
    pub control: Option<PathBuf>,
    /// Sources for whom the limits are lifted.
    pub clients: Vec<IpNet>,
    /// Who may ask for EIDs that are not registered here.
    pub foreign: ForeignSetting,
    /// The sites.
    pub site: Vec<SiteSetting>,
    /// xTRs that may subscribe to mappings.
    pub subscriber: Vec<SubscriberSetting>,
    /// How subscriptions are dealt with.
    pub pubsub: PubsubSetting,
    /// This node in the Delegated Database Tree.
    pub ddt: DdtSetting,
    /// What it delegates to others.
    pub ddt_delegation: Vec<DelegationSetting>,
    /// Conventional Map-Resolvers for foreign EIDs.
    pub resolver: Vec<ResolverSetting>,
    /// With whom one-time keys of LISP-SEC can be exchanged.
    pub lisp_sec: Vec<AssociationSetting>,
    /// RTRs for xTRs behind NATs.
    pub rtr: Vec<RtrSetting>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Who may ask for EIDs that are not registered here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignSetting {
    /// Clients only.
    Nobody,
    /// Whoever asks from one of its ITR-RLOCs, or names none that could be reached through the NAT it asks from.
    #[default]
    ItrRloc,
}

/// A site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SiteSetting {
    /// Its name.
    pub name: String,
    /// What it may register.
    #[serde(default)]
    pub eid_prefix: Vec<IpNet>,
    /// Names that it may register (RFC 9735); with a `*` at the end, all that begin so.
    #[serde(default)]
    pub eid_name: Vec<String>,
    /// MAC addresses that it may register, and blocks of them.
    #[serde(default)]
    pub eid_mac: Vec<String>,
    /// Sources and multicast groups that it may register, with all that is inside them (RFC 8060, section 4.5): `(SOURCE, GROUP)`.
    #[serde(default)]
    pub eid_multicast: Vec<String>,
    /// Sources and destinations that it may register, with all that is inside them (RFC 8060, section 4.8): `SOURCE -> DESTINATION`.
    #[serde(default)]
    pub eid_source_dest: Vec<String>,
    /// The instance of its EIDs.
    #[serde(default)]
    pub iid: u32,
    /// Longest more-specific that it may register.
    #[serde(default)]
    pub accept_more_specifics: Option<MoreSpecificsSetting>,
    /// Takes HMAC-SHA-1 and nonces that do not rise.
    #[serde(default)]
    pub legacy: bool,
    /// Where Map-Notifies go; legacy sites: `source`, others: `control`.
    #[serde(default)]
    pub notify_port: Option<NotifySetting>,
    /// What of it is in the DHT.
    #[serde(default)]
    pub publish: PublishSetting,
    /// Whether it is answered for without LISP-SEC.
    #[serde(default)]
    pub lisp_sec: LispSecSetting,
    /// Its keys, at least one.
    #[serde(default)]
    pub key: Vec<KeySetting>,
}

/// Longest more-specifics of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a length, or lengths by family: { ipv4 = 28, ipv6 = 64 }")]
pub enum MoreSpecificsSetting {
    /// Of all its EID-prefixes.
    All(u8),
    /// Of those of each family; where none is given, only the EID-prefixes themselves.
    ByFamily(LengthsSetting),
}

/// A length for each family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LengthsSetting {
    /// Of IPv4.
    pub ipv4: Option<u8>,
    /// Of IPv6.
    pub ipv6: Option<u8>,
}

impl MoreSpecificsSetting {
    fn of(self, net: &IpNet) -> Option<u8> {
        match (self, net) {
            (Self::All(length), _) => Some(length),
            (Self::ByFamily(lengths), IpNet::V4(_)) => lengths.ipv4,
            (Self::ByFamily(lengths), IpNet::V6(_)) => lengths.ipv6,
        }
    }
}

/// What of a site is in the DHT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishSetting {
    /// Each registered prefix.
    #[default]
    Each,
    /// The configured prefixes.
    Aggregate,
}

/// Where Map-Notifies go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifySetting {
    /// Port 4342.
    Control,
    /// The port that the Map-Register came from.
    Source,
}

/// A key of a site.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KeySetting {
    /// Key ID; legacy peers send 0.
    #[serde(default)]
    pub key_id: u8,
    /// The only algorithm it is for.
    #[serde(default)]
    pub algorithm: Option<AlgorithmSetting>,
    /// The secret itself ...
    #[serde(default)]
    pub secret: Option<String>,
    /// ... or a file with it; a newline at its end does not count.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

impl std::fmt::Debug for KeySetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySetting")
            .field("key_id", &self.key_id)
            .field("algorithm", &self.algorithm)
            .field("key_file", &self.key_file)
            .finish_non_exhaustive()
    }
}

/// Algorithm names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlgorithmSetting {
    /// 1, legacy sites only.
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    /// 2.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// 3.
    #[serde(rename = "hkdf-sha256")]
    HkdfSha256,
}

impl Settings {
    /// Reads file, environment and flags, the later ones winning.
    ///
    /// # Errors
    /// Names the key and where it was.
    pub fn read(flags: &Flags) -> anyhow::Result<Self> {
        let sources = Sources { file: flags.config.as_deref(), environment: ENVIRONMENT, apart: &[] };
        Ok(sources.read(flags)?)
    }

    /// The addresses to serve on.
    ///
    /// # Errors
    /// Names the one that is no address, or is there twice.
    pub fn listen(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let all: Vec<SocketAddr> =
            self.listen.iter().map(|text| parse_address(text, wire::CONTROL_PORT)).collect::<anyhow::Result<_>>()?;
        let twice = all.iter().enumerate().find(|(index, address)| all[..*index].contains(address));
        twice.map_or(Ok(()), |(_, address)| bail!("{address} is there twice"))?;
        Ok(all)
    }

    /// How many threads serve.
    ///
    /// # Errors
    /// Names a number that cannot be meant.
    pub fn workers(&self) -> anyhow::Result<usize> {
        let workers = self.workers.unwrap_or(1);
        ensure!((1..=MOST_WORKERS).contains(&workers), "{workers} is not 1 to {MOST_WORKERS}");
        Ok(workers.into())
    }

    /// The folder for what must survive a restart.
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| PathBuf::from("/var/lib/lisp-mapsys"))
    }

    /// The Unix socket for `show`.
    pub fn control(&self) -> PathBuf {
        self.control.clone().unwrap_or_else(|| self.state_dir().join("control.sock"))
    }

    /// The sites, their key files read.
    ///
    /// # Errors
    /// Names the site and what is wrong with it.
    pub fn sites(&self) -> anyhow::Result<Vec<Site>> {
        self.site.iter().map(|site| site.build().with_context(|| format!("site {:?}", site.name))).collect()
    }

    /// This node in the tree of RFC 8111, and other ways to foreign EIDs.
    ///
    /// # Errors
    /// Names the key and what is wrong with it.
    pub fn ddt(&self) -> anyhow::Result<DdtConfig> {
        ddt::config(&self.ddt, &self.ddt_delegation, &self.resolver)
    }

    /// With whom one-time keys of LISP-SEC can be exchanged, the key files read.
    ///
    /// # Errors
    /// Names the association and what is wrong with it.
    pub fn lisp_sec(&self) -> anyhow::Result<Vec<Association>> {
        self.lisp_sec.iter().map(|one| one.build().with_context(|| format!("lisp-sec {:?}", one.name))).collect()
    }

    /// RTRs for xTRs behind NATs, the key files read.
    ///
    /// # Errors
    /// Names the RTR and what is wrong with it.
    pub fn rtrs(&self) -> anyhow::Result<Vec<Rtr>> {
        self.rtr.iter().map(|rtr| rtr.build().with_context(|| format!("rtr {:?}", rtr.address))).collect()
    }

    /// Who may ask for EIDs that are not registered here.
    pub fn foreign(&self) -> Foreign {
        match self.foreign {
            ForeignSetting::Nobody => Foreign::Nobody,
            ForeignSetting::ItrRloc => Foreign::FromItrRloc,
        }
    }
}

/// `ADDR` or `ADDR:PORT`, IPv6 in brackets when a port follows.
///
/// # Errors
/// When it is neither.
pub fn parse_address(text: &str, port: u16) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    text.parse().with_context(|| format!("{text:?} is no address (write [2001:db8::1]:4342 for IPv6 with a port)"))
}

impl SiteSetting {
    fn build(&self) -> anyhow::Result<Site> {
        let labels = labels::rules(self)?;
        if self.eid_prefix.is_empty() && labels.is_empty() {
            bail!("eid-prefix, eid-name, eid-mac, eid-multicast and eid-source-dest are all empty");
        }
        ensure!(!self.key.is_empty(), "no key is given");
        if let Some(MoreSpecificsSetting::ByFamily(LengthsSetting { ipv4, ipv6 })) = self.accept_more_specifics {
            let has = |is_v4: bool| self.eid_prefix.iter().any(|net| net.addr().is_ipv4() == is_v4);
            ensure!(ipv4.is_none() || has(true), "accept-more-specifics: there is no IPv4 eid-prefix");
            ensure!(ipv6.is_none() || has(false), "accept-more-specifics: there is no IPv6 eid-prefix");
        }
        let prefixes = self.eid_prefix.iter().map(|net| self.prefix(*net)).collect::<anyhow::Result<_>>()?;
        let keys = self.key.iter().map(|key| key.build(self.legacy)).collect::<anyhow::Result<_>>()?;
        let notify = match (self.notify_port, self.legacy) {
            (Some(NotifySetting::Source), _) | (None, true) => NotifyPort::Source,
            (Some(NotifySetting::Control), _) | (None, false) => NotifyPort::Control,
        };
        let publish = match self.publish {
            PublishSetting::Each => Publish::Each,
            PublishSetting::Aggregate => Publish::Aggregate,
        };
        let lisp_sec = self.lisp_sec.into();
        Ok(Site { name: self.name.clone(), prefixes, labels, keys, legacy: self.legacy, notify, publish, lisp_sec })
    }

    fn prefix(&self, net: IpNet) -> anyhow::Result<SitePrefix> {
        if net.trunc() != net {
            bail!("eid-prefix {net} has host bits: write {}", net.trunc());
        }
        let max_len = self.accept_more_specifics.and_then(|lengths| lengths.of(&net)).unwrap_or(net.prefix_len());
        if max_len < net.prefix_len() || max_len > net.max_prefix_len() {
            bail!(
                "accept-more-specifics {max_len} is not between the lengths of {net} and of an address (by family: {{ ipv4 = 28, ipv6 = 64 }})"
            );
        }
        Ok(SitePrefix { prefix: EidPrefix { iid: InstanceId(self.iid), net }, max_len })
    }
}

impl KeySetting {
    pub(super) fn build(&self, legacy: bool) -> anyhow::Result<SiteKey> {
        let secret = self.secret()?;
        let algorithm = self.algorithm.map(|algorithm| match algorithm {
            AlgorithmSetting::HmacSha1 => Algorithm::HmacSha1,
            AlgorithmSetting::HmacSha256 => Algorithm::HmacSha256,
            AlgorithmSetting::HkdfSha256 => Algorithm::HkdfSha256,
        });
        if algorithm == Some(Algorithm::HmacSha1) && !legacy {
            bail!("key {}: hmac-sha1 needs legacy = true", self.key_id);
        }
        Ok(SiteKey { id: self.key_id, algorithm, secret })
    }

    /// The secret, from where it is.
    pub(super) fn secret(&self) -> anyhow::Result<Secret> {
        let secret = match (&self.secret, &self.key_file) {
            (Some(secret), None) => secret.clone().into_bytes(),
            (None, Some(path)) => read_secret(path)?,
            _ => bail!("key {}: give either secret or key-file", self.key_id),
        };
        if secret.is_empty() {
            bail!("key {}: the secret is empty", self.key_id);
        }
        Ok(Secret::new(secret))
    }
}

fn read_secret(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = std::fs::read(path).with_context(|| format!("cannot read key-file {}", path.display()))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(toml: &str, flags: Flags) -> anyhow::Result<Settings> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        Settings::read(&Flags { config: Some(file.path().into()), ..flags })
    }

    #[test]
    fn the_example_says_what_it_means() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lisp-mapsys.example.toml");
        let settings = Settings::read(&Flags { config: Some(path), ..Flags::default() }).unwrap();
        assert_eq!(settings.listen().unwrap().len(), 2);
        assert_eq!(settings.site.len(), 4);
        assert!(settings.site[1].legacy);
        let ddt = settings.ddt().unwrap();
        assert_eq!(
            (ddt.roots.len(), ddt.authoritative.len(), ddt.delegations.len(), ddt.resolvers.len()),
            (2, 1, 2, 1)
        );
        let inline: Vec<_> = settings.site.iter().filter(|site| site.key[0].secret.is_some()).collect();
        assert!(inline.iter().all(|site| site.build().is_ok()));
        assert_eq!(settings.lisp_sec().unwrap().len(), 1);
        assert!(settings.subscriber.iter().all(|subscriber| subscriber.build(&[], &[]).is_ok()));
        assert_eq!(settings.pubsub.build().unwrap(), crate::subscribe::subscriber::Policy::default());
    }

    #[test]
    fn more_specifics_have_a_length_for_all_or_one_for_each_family() {
        let lengths = |lengths: &str| {
            let text = format!(
                "[[site]]\nname = \"a\"\neid-prefix = [\"2001:db8:a::/48\", \"10.100.0.0/24\"]\naccept-more-specifics = {lengths}\nkey = [{{ secret = \"x\" }}]\n"
            );
            read(&text, Flags::default())?.site[0]
                .build()
                .map(|site| site.prefixes.iter().map(|prefix| prefix.max_len).collect::<Vec<_>>())
        };
        assert_eq!(lengths("{ ipv4 = 28, ipv6 = 64 }").unwrap(), [64, 28]);
        assert_eq!(lengths("{ ipv6 = 64 }").unwrap(), [64, 24]);
        assert_eq!(lengths("{ ipv4 = 24 }").unwrap(), [48, 24]);
        let family = read(
            "[[site]]\nname = \"a\"\neid-prefix = [\"10.1.0.0/16\"]\naccept-more-specifics = { ipv6 = 64 }\nkey = [{ secret = \"x\" }]\n",
            Flags::default(),
        );
        assert!(family.unwrap().site[0].build().is_err());
        for wrong in ["64", "{ ipv4 = 33 }", "{ ipv6 = 40 }", "{ ipv5 = 64 }", "\"64\""] {
            assert!(lengths(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_served_once_and_a_site_has_a_key_and_a_few_threads_serve() {
        let wrong = |text: &str| {
            let settings = read(text, Flags::default()).unwrap();
            let found = [settings.listen().err(), settings.sites().err(), settings.workers().err()];
            found.into_iter().flatten().map(|error| format!("{error:#}")).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(wrong("listen = [\"192.0.2.9\", \"192.0.2.9:4342\"]"), "192.0.2.9:4342 is there twice");
        assert_eq!(wrong("workers = 300"), "300 is not 1 to 64");
        assert_eq!(wrong("workers = 0"), "0 is not 1 to 64");
        let site = "[[site]]\nname = \"a\"\neid-prefix = [\"2001:db8:a::/48\"]\n";
        assert_eq!(wrong(site), "site \"a\": no key is given");
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Flags { listen: vec!["192.0.2.1".into()], ..Flags::default() };
        let settings = read("listen = [\"192.0.2.9\"]\ndht-port = 5\n", flags).unwrap();
        assert_eq!(settings.listen().unwrap(), ["192.0.2.1:4342".parse().unwrap()]);
        assert_eq!(settings.dht_port, Some(5));
    }

    #[test]
    fn what_is_refused_is_named_with_its_line() {
        let refused = |toml: &str| read(toml, Flags::default()).unwrap_err().to_string();
        let error = refused("\nliste = [\"192.0.2.9\"]\n");
        assert!(error.contains(", line 2: liste: unknown key; known are listen, "), "{error}");
        let site = "[[site]]\nname = \"a\"\neid-prefix = []\nkey = []\n";
        let error = refused(&format!("{site}{}", site.replace("\"a\"", "5")));
        assert!(error.contains(", line 6: site.1.name: "), "{error}");
    }

    #[test]
    fn contradictions_are_refused() {
        let site = |more: &str| {
            let text = format!("[[site]]\nname = \"a\"\neid-prefix = [\"10.0.0.0/8\"]\n{more}");
            read(&text, Flags::default()).and_then(|settings| settings.sites())
        };
        assert!(site("key = [{ secret = \"x\" }]").is_ok());
        assert!(site("key = [{ secret = \"\" }]").is_err());
        assert!(site("key = [{ }]").is_err());
        assert!(site("key = [{ secret = \"x\", algorithm = \"hmac-sha1\" }]").is_err());
        assert!(site("legacy = true\nkey = [{ secret = \"x\", algorithm = \"hmac-sha1\" }]").is_ok());
        assert!(site("accept-more-specifics = 4\nkey = [{ secret = \"x\" }]").is_err());
        assert!(site("accept-more-specifics = 33\nkey = [{ secret = \"x\" }]").is_err());
    }

    #[test]
    fn a_site_is_published_each_prefix_by_itself_unless_it_says_aggregate() {
        let publish = |more: &str| {
            let text =
                format!("[[site]]\nname = \"a\"\neid-prefix = [\"10.0.0.0/8\"]\n{more}key = [{{ secret = \"x\" }}]");
            read(&text, Flags::default()).and_then(|settings| settings.sites()).map(|sites| sites[0].publish)
        };
        assert_eq!(publish("").unwrap(), Publish::Each);
        assert_eq!(publish("publish = \"aggregate\"\n").unwrap(), Publish::Aggregate);
        assert!(publish("publish = \"all\"\n").is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = KeySetting { key_id: 1, algorithm: None, secret: Some("hidden".into()), key_file: None };
        assert!(!format!("{key:?}").contains("hidden"));
    }
}
