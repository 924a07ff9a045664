// SPDX-License-Identifier: GPL-2.0-or-later
//! Settings of DDT (RFC 8111) and of other ways to foreign EIDs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use wire::address::{EidPrefix, InstanceId};

use super::parse_address;
use crate::ddt::keys::{SigningKey, VerifyingKey};
use crate::ddt::signer::Signing;
use crate::ddt::{Config, Delegation, ForeignResolver, Kind, NonceSecret, Server};

/// The table `[ddt]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DdtSetting {
    /// Where the search for foreign EIDs begins.
    pub roots: Vec<String>,
    /// What was delegated to this node, beside its sites; in another instance than 0 as `[5]10.0.0.0/8`.
    pub authoritative: Vec<String>,
    /// The other Map-Servers of the same sites.
    pub peers: Vec<IpAddr>,
    /// Whether those are all.
    pub complete: bool,
    /// What this node signs its Map-Referrals with.
    #[serde(deserialize_with = "signing_keys")]
    pub key: Vec<SigningKeySetting>,
    /// Former keys, which this node says are revoked.
    #[serde(deserialize_with = "signing_keys")]
    pub revoked_key: Vec<SigningKeySetting>,
    /// How long its signatures hold; a week unless given.
    pub signature_hours: Option<u32>,
    /// Files with the public keys of the roots: only what is signed counts then.
    pub trust_anchor_file: Vec<PathBuf>,
}

/// A key to sign with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    deny_unknown_fields,
    expecting = "a table as { key-file = \"ddt.pem\", key-tag = 1 }"
)]
pub struct SigningKeySetting {
    /// Its file: PKCS#8 in PEM.
    pub key_file: PathBuf,
    /// Its name in signatures.
    #[serde(default)]
    pub key_tag: u16,
    /// What it is for, of what was delegated to this node; all unless given. In another instance than 0 as `[5]10.0.0.0/8`.
    #[serde(default)]
    pub eid_prefix: Vec<String>,
}

/// A list of keys; who writes the name of a file in its place is told how it is written.
fn signing_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SigningKeySetting>, D::Error> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<SigningKeySetting>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list as [{ key-file = \"ddt.pem\", key-tag = 1 }]")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut keys: A) -> Result<Self::Value, A::Error> {
            std::iter::from_fn(|| keys.next_element().transpose()).collect()
        }
    }
    deserializer.deserialize_seq(Keys)
}

/// One `[[ddt-delegation]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DelegationSetting {
    /// What is delegated.
    pub eid_prefix: Vec<IpNet>,
    /// The instance that it is in.
    #[serde(default)]
    pub iid: u32,
    /// What it is delegated to.
    pub kind: KindSetting,
    /// To whom.
    pub server: Vec<ServerSetting>,
}

/// What a delegation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KindSetting {
    /// DDT nodes.
    Node,
    /// DDT Map-Servers.
    MapServer,
}

/// Who is referred to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServerSetting {
    /// Its locator.
    pub address: IpAddr,
    /// Lower is better.
    #[serde(default = "first")]
    pub priority: u8,
    /// Share among those of one priority.
    #[serde(default = "whole")]
    pub weight: u8,
    /// Files with its public keys, PEM; a node that signs names them.
    #[serde(default)]
    pub key_file: Vec<PathBuf>,
}

/// One `[[resolver]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ResolverSetting {
    /// What it is for.
    pub eid_prefix: Vec<IpNet>,
    /// The instance that this is in.
    #[serde(default)]
    pub iid: u32,
    /// Map-Resolvers, asked in turn.
    pub address: Vec<String>,
}

fn first() -> u8 {
    1
}

fn whole() -> u8 {
    100
}

/// What the settings mean.
///
/// # Errors
/// Names the key and what is wrong with it.
pub(super) fn config(
    ddt: &DdtSetting,
    delegations: &[DelegationSetting],
    resolvers: &[ResolverSetting],
) -> anyhow::Result<Config> {
    let prefixes = ddt.authoritative.iter().map(|text| parse_prefix(text));
    let delegations = delegations.iter().map(DelegationSetting::build).collect::<anyhow::Result<Vec<_>>>();
    let resolvers = resolvers.iter().map(ResolverSetting::build).collect::<anyhow::Result<Vec<_>>>();
    Ok(Config {
        roots: addresses(&ddt.roots).context("ddt.roots")?,
        authoritative: prefixes.collect::<anyhow::Result<_>>().context("ddt.authoritative")?,
        delegations: delegations.context("ddt-delegation")?.into_iter().flatten().collect(),
        resolvers: resolvers.context("resolver")?.into_iter().flatten().collect(),
        peers: ddt.peers.clone(),
        is_complete: ddt.complete,
        secret: NonceSecret::default(),
        signing: signing(ddt)?,
        anchors: public_keys(&ddt.trust_anchor_file).context("ddt.trust-anchor-file")?,
    })
}

fn signing(ddt: &DdtSetting) -> anyhow::Result<Signing> {
    let keys = private_keys(&ddt.key).context("ddt.key")?;
    let revoked = private_keys(&ddt.revoked_key).context("ddt.revoked-key")?;
    let life = match ddt.signature_hours {
        Some(0) => bail!("ddt.signature-hours must be 1 at least"),
        Some(hours) => Duration::from_secs(3600 * u64::from(hours)),
        None => Signing::default().life,
    };
    Ok(Signing { keys, revoked, life })
}

fn private_keys(keys: &[SigningKeySetting]) -> anyhow::Result<Vec<Arc<SigningKey>>> {
    let one = |key: &SigningKeySetting| {
        let prefixes: anyhow::Result<Vec<_>> = key.eid_prefix.iter().map(|text| parse_prefix(text)).collect();
        let (prefixes, read) = (prefixes?, SigningKey::from_pem(&read(&key.key_file)?, key.key_tag));
        let read = read.with_context(|| key.key_file.display().to_string())?;
        anyhow::Ok(Arc::new(read.with_prefixes(prefixes)))
    };
    keys.iter().map(one).collect()
}

fn public_keys(files: &[PathBuf]) -> anyhow::Result<Vec<VerifyingKey>> {
    let one = |file: &PathBuf| VerifyingKey::from_pem(&read(file)?).with_context(|| file.display().to_string());
    files.iter().map(one).collect()
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn addresses(texts: &[String]) -> anyhow::Result<Vec<SocketAddr>> {
    texts.iter().map(|text| parse_address(text, wire::CONTROL_PORT)).collect()
}

/// `2001:db8::/32`, or `[5]2001:db8::/32` in another instance.
fn parse_prefix(text: &str) -> anyhow::Result<EidPrefix> {
    let (iid, net) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((iid, net)) => (iid.parse().with_context(|| format!("{text:?}: {iid:?} is no instance"))?, net),
        None => (0, text),
    };
    prefix(iid, net.parse().with_context(|| format!("{text:?} is no prefix"))?)
}

fn prefix(iid: u32, net: IpNet) -> anyhow::Result<EidPrefix> {
    if net.trunc() != net {
        bail!("{net} has host bits: write {}", net.trunc());
    }
    Ok(EidPrefix { iid: InstanceId(iid), net })
}

impl DelegationSetting {
    fn build(&self) -> anyhow::Result<Vec<Delegation>> {
        let kind = match self.kind {
            KindSetting::Node => Kind::Node,
            KindSetting::MapServer => Kind::MapServer,
        };
        let server = |s: &ServerSetting| {
            let keys = public_keys(&s.key_file).with_context(|| format!("key-file of {}", s.address))?;
            anyhow::Ok(Server { address: s.address, priority: s.priority, weight: s.weight, keys })
        };
        let servers = self.server.iter().map(server).collect::<anyhow::Result<Vec<Server>>>()?;
        let one = |net: &IpNet| Ok(Delegation { prefix: prefix(self.iid, *net)?, kind, servers: servers.clone() });
        self.eid_prefix.iter().map(one).collect()
    }
}

impl ResolverSetting {
    fn build(&self) -> anyhow::Result<Vec<ForeignResolver>> {
        let addresses = addresses(&self.address)?;
        let one = |net: &IpNet| Ok(ForeignResolver { prefix: prefix(self.iid, *net)?, addresses: addresses.clone() });
        self.eid_prefix.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_prefix_may_have_an_instance_and_no_host_bits() {
        assert_eq!(parse_prefix("[5]10.0.0.0/8").unwrap().iid, InstanceId(5));
        assert_eq!(parse_prefix("2001:db8::/32").unwrap().iid, InstanceId(0));
        for wrong in ["[x]10.0.0.0/8", "[5]", "10.0.0.1/8", "2001:db8::1"] {
            assert!(parse_prefix(wrong).is_err(), "{wrong}");
        }
    }
}
