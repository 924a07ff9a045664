// SPDX-License-Identifier: GPL-2.0-or-later
//! Settings: file < environment < flags. One file may serve all verbs; a key that none of them knows is refused.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use cgeid::Network;
use program::settings::Sources;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, IntoDeserializer as _, SeqAccess, Visitor};
use serde::{Deserialize, de};
use wire::address::InstanceId;

use super::flags::{Flags, Switch};
use super::values;
use crate::admit::Rules;
use crate::limits;
use crate::resolve::TrustAnchor;
use crate::shell::network_key;
use crate::shell::node::{Multiaddr, NodeConfig, parse_anycast, parse_bootstrap};

/// Prefix of the environment variables.
const ENVIRONMENT: &str = "LISP_DHT_";

/// Instance IDs have 24 bits (RFC 8060, section 4.1).
const LARGEST_IID: u32 = 0x00ff_ffff;

/// What is set, by whichever way. Texts are read when they are needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct Settings {
    pub(super) identity: Option<PathBuf>,
    pub(super) password_file: Option<PathBuf>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) listen: Vec<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) metrics: Option<SocketAddr>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) bootstrap: Vec<String>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) anycast: Vec<String>,
    pub(super) discovery: Option<Switch>,
    pub(super) prefix: Option<String>,
    pub(super) puzzle_bits: Option<u8>,
    pub(super) network_key: Option<PathBuf>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) trust_anchor: Vec<String>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) control: Option<PathBuf>,
    pub(super) store_bundles: Option<usize>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) rloc: Vec<String>,
    pub(super) ttl: Option<u32>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) service: Vec<String>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) alternate: Vec<String>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) pref64: Vec<String>,
    pub(super) ptr: Option<String>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) neighbour: Vec<String>,
    pub(super) position: Option<String>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) terminal: Vec<String>,
    pub(super) withdraw_at_stop: Option<bool>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) delegate: Vec<String>,
    pub(super) delegations: Option<PathBuf>,
    pub(super) iid: Option<u32>,
    pub(super) every: Option<u64>,
}

impl Settings {
    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// With the key and where it comes from.
    pub(super) fn read(flags: &impl Flags) -> anyhow::Result<Self> {
        let sources = Sources { file: flags.config(), environment: ENVIRONMENT, apart: &["config", "log"] };
        Ok(sources.read(flags)?)
    }

    /// The network.
    pub(super) fn network(&self) -> anyhow::Result<Network> {
        match &self.prefix {
            Some(text) => text.parse().with_context(|| format!("--prefix {text}")),
            None => Ok(Network::LAB),
        }
    }

    /// What the network asks of its nodes.
    pub(super) fn rules(&self) -> anyhow::Result<Rules> {
        network_key::rules(self.network()?, self.puzzle_bits, self.network_key.as_deref())
    }

    /// The bootstrap addresses.
    pub(super) fn bootstrap(&self) -> anyhow::Result<Vec<Multiaddr>> {
        let parse = |text: &String| parse_bootstrap(text).context("--bootstrap");
        self.bootstrap.iter().map(parse).collect()
    }

    /// The anycast addresses.
    pub(super) fn anycast(&self) -> anyhow::Result<Vec<Multiaddr>> {
        self.anycast.iter().map(|text| parse_anycast(text).context("--anycast")).collect()
    }

    /// A node that only asks. Its key is new each time: a node with the operational key may be running.
    pub(super) fn client(&self) -> anyhow::Result<NodeConfig> {
        let bootstrap = self.bootstrap()?;
        if bootstrap.is_empty() {
            bail!("--bootstrap is missing: name at least one node of the network");
        }
        Ok(NodeConfig { bootstrap, rules: self.rules()?, ..NodeConfig::ephemeral() })
    }

    /// Bundles that a node keeps at most.
    pub(super) fn store_bundles(&self) -> anyhow::Result<usize> {
        let bundles = self.store_bundles.unwrap_or(limits::STORE_BUNDLES);
        let most = limits::STORE_BUNDLES_MOST;
        if !(1..=most).contains(&bundles) {
            bail!("--store-bundles {bundles}: from 1 to {most}");
        }
        Ok(bundles)
    }

    /// The trust anchors.
    pub(super) fn trust_anchors(&self) -> anyhow::Result<Vec<TrustAnchor>> {
        self.trust_anchor.iter().map(|text| values::trust_anchor(text)).collect()
    }

    /// The instance of EIDs and prefixes that name none.
    pub(super) fn instance(&self) -> anyhow::Result<InstanceId> {
        match self.iid.unwrap_or_default() {
            iid if iid <= LARGEST_IID => Ok(InstanceId(iid)),
            iid => bail!("--iid {iid}: an instance ID has 24 bits, up to {LARGEST_IID}"),
        }
    }

    /// The control socket.
    pub(super) fn control(&self) -> Option<PathBuf> {
        self.control.clone().or_else(|| self.state_dir.as_ref().map(|folder| folder.join("control.sock")))
    }
}

/// A list; one value may stand for a list of one, as in the environment.
fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct List<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a list of texts")
        }

        fn visit_str<E: de::Error>(self, one: &str) -> Result<Vec<T>, E> {
            T::deserialize(one.into_deserializer()).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }
    deserializer.deserialize_any(List(PhantomData))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::super::values_node;
    use super::*;

    const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lisp-dht.example.toml");

    #[test]
    fn the_shipped_example_is_understood_and_leaves_nothing_out() {
        let sources = Sources { file: Some(Path::new(EXAMPLE)), environment: "NOBODY_SETS_THIS_", apart: &[] };
        let settings: Settings = sources.read(&serde_json::Map::new()).unwrap();
        let Settings {
            identity: Some(_),
            password_file: Some(_),
            listen,
            port: Some(43420),
            metrics: Some(_),
            bootstrap: _,
            anycast,
            discovery: Some(Switch::On),
            prefix: Some(_),
            puzzle_bits: Some(4),
            network_key: Some(_),
            trust_anchor: _,
            state_dir: Some(_),
            control: Some(_),
            store_bundles: Some(limits::STORE_BUNDLES),
            rloc,
            ttl: Some(60),
            service: _,
            alternate: _,
            pref64: _,
            ptr: Some(_),
            neighbour: _,
            position: Some(_),
            terminal: _,
            withdraw_at_stop: Some(false),
            delegate,
            delegations: Some(_),
            iid: Some(0),
            every: Some(21600),
        } = &settings
        else {
            unreachable!("{settings:?}")
        };
        assert_eq!((listen.len(), anycast.len(), rloc.len(), delegate.len()), (2, 1, 2, 2));
        assert_eq!(settings.anycast().unwrap().len(), 1);
        assert_eq!(settings.network().unwrap(), Network::LAB);
        assert_eq!(settings.bootstrap().unwrap().len(), 2);
        assert_eq!(settings.trust_anchors().unwrap().len(), 1);
        rloc.iter().for_each(|text| _ = values::rloc(text).unwrap());
        let listed = Settings { delegations: None, ..settings.clone() };
        assert_eq!(super::super::index::delegations(&listed).unwrap().len(), 2);
        let service = values_node::service(&settings, Network::LAB).unwrap().unwrap();
        let counts = [service.addresses.len(), service.alternates.len(), service.pref64.len()];
        assert_eq!((counts, service.ptr.is_some()), ([2, 1, 1], true));
        let topology = values_node::topology(&settings, Network::LAB, None).unwrap().unwrap();
        let counts = [topology.neighbours.len(), topology.terminals.len()];
        assert_eq!((counts, topology.geo.is_some()), ([1, 1], true));
    }
}
