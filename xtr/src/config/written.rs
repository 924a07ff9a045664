// SPDX-License-Identifier: GPL-2.0-or-later
//! What is written: file, environment and flags, with defaults in place of what is not.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::Ipv6Net;
use program::settings::Sources;
use serde::Deserialize;

use super::values::{self, PrefixValue, RlocValue, TrustAnchor};
use super::{
    ConfigError, DHT_PORT, FirstVersion, Flags, LispSecMode, NatSetting, PetrValue, PitrIn, SourceCheck, Switch, Tier,
    ecn, subscribe, trusted,
};

/// Environment variables of this program: `LISP_XTR_` and the key in capitals.
const ENVIRONMENT: &str = "LISP_XTR_";

/// What is written, with defaults in place of what is not.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    #[serde(deserialize_with = "values::list")]
    pub(super) eid_prefix: Vec<PrefixValue>,
    #[serde(deserialize_with = "values::list")]
    pub(super) rloc: Vec<RlocValue>,
    #[serde(deserialize_with = "values::list")]
    pub(super) map_server: Vec<IpAddr>,
    #[serde(deserialize_with = "values::list")]
    pub(super) map_resolver: Vec<IpAddr>,
    #[serde(deserialize_with = "values::list")]
    pub(super) key_file: Vec<PathBuf>,
    pub(super) proxy_reply: bool,
    pub(super) lisp_sec: LispSecMode,
    #[serde(deserialize_with = "values::list")]
    pub(super) resolver_key_file: Vec<PathBuf>,
    #[serde(deserialize_with = "values::list")]
    pub(super) identity: Vec<PathBuf>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) temporary: bool,
    #[serde(deserialize_with = "values::list")]
    pub(super) bootstrap: Vec<String>,
    #[serde(deserialize_with = "values::list")]
    pub(super) trust_anchor: Vec<TrustAnchor>,
    pub(super) iid: u32,
    #[serde(deserialize_with = "values::list")]
    pub(super) gpe_peer: Vec<IpAddr>,
    #[serde(deserialize_with = "values::list")]
    pub(super) ecn_compatibility: Vec<ecn::EcnValue>,
    pub(super) ecn_log: Switch,
    pub(super) source_check: SourceCheck,
    #[serde(deserialize_with = "values::list")]
    pub(super) pitr: Vec<IpAddr>,
    #[serde(deserialize_with = "values::list")]
    pub(super) trusted_peer: Vec<trusted::PeerValue>,
    pub(super) echo_nonce: Switch,
    pub(super) locator_status_bits: Switch,
    #[serde(deserialize_with = "trusted::first_version")]
    pub(super) map_version: FirstVersion,
    #[serde(deserialize_with = "values::list")]
    pub(super) use_petr: Vec<PetrValue>,
    #[serde(deserialize_with = "values::list")]
    pub(super) petr_for: Vec<PrefixValue>,
    #[serde(deserialize_with = "values::list")]
    pub(super) pitr_for: Vec<PrefixValue>,
    #[serde(deserialize_with = "values::list")]
    pub(super) pitr_in: Vec<PitrIn>,
    pub(super) rtr: bool,
    pub(super) nat: Option<NatSetting>,
    #[serde(deserialize_with = "values::list")]
    pub(super) rtr_at: Vec<IpAddr>,
    pub(super) site_id: Option<u64>,
    #[serde(deserialize_with = "values::xtr_id")]
    pub(super) xtr_id: Option<String>,
    #[serde(deserialize_with = "values::list")]
    pub(super) subscribe: Vec<IpAddr>,
    #[serde(deserialize_with = "values::list")]
    pub(super) subscribe_key_file: Vec<PathBuf>,
    #[serde(deserialize_with = "values::list")]
    pub(super) subscribed: Vec<subscribe::SubscribedValue>,
    pub(super) take_unsubscribed: Switch,
    pub(super) tun: String,
    pub(super) mtu: u16,
    #[serde(deserialize_with = "values::tier")]
    pub(super) tier: Tier,
    pub(super) state_dir: PathBuf,
    pub(super) control: Option<PathBuf>,
    pub(super) dht_port: u16,
    pub(super) puzzle_bits: Option<u8>,
    pub(super) network_key: Option<PathBuf>,
    #[serde(deserialize_with = "values::list")]
    pub(super) anycast: Vec<String>,
    pub(super) discovery: Switch,
    pub(super) metrics: Option<SocketAddr>,
    #[serde(deserialize_with = "values::text")]
    pub(super) prefix: PrefixValue,
    pub(super) log: String,
}

impl Default for Written {
    fn default() -> Self {
        let lab = Ipv6Net::new_assert(Ipv6Addr::new(0x3fff, 0xce1, 0, 0, 0, 0, 0, 0), 32);
        Self {
            eid_prefix: Vec::new(),
            rloc: Vec::new(),
            map_server: Vec::new(),
            map_resolver: Vec::new(),
            key_file: Vec::new(),
            proxy_reply: true,
            lisp_sec: LispSecMode::Off,
            resolver_key_file: Vec::new(),
            identity: Vec::new(),
            password_file: None,
            temporary: false,
            bootstrap: Vec::new(),
            trust_anchor: Vec::new(),
            iid: 0,
            gpe_peer: Vec::new(),
            ecn_compatibility: Vec::new(),
            ecn_log: Switch::On,
            source_check: SourceCheck::Loose,
            pitr: Vec::new(),
            trusted_peer: Vec::new(),
            echo_nonce: Switch::Off,
            locator_status_bits: Switch::Off,
            map_version: FirstVersion::None,
            use_petr: Vec::new(),
            petr_for: Vec::new(),
            pitr_for: Vec::new(),
            pitr_in: Vec::new(),
            rtr: false,
            nat: None,
            rtr_at: Vec::new(),
            site_id: None,
            xtr_id: None,
            subscribe: Vec::new(),
            subscribe_key_file: Vec::new(),
            subscribed: Vec::new(),
            take_unsubscribed: Switch::Off,
            tun: "lisp0".into(),
            mtu: 1360,
            tier: Tier::Auto,
            state_dir: "/var/lib/lisp-xtr".into(),
            control: None,
            dht_port: DHT_PORT,
            puzzle_bits: None,
            network_key: None,
            anycast: Vec::new(),
            discovery: Switch::Off,
            metrics: None,
            prefix: PrefixValue(lab.into()),
            log: "info".into(),
        }
    }
}

impl Written {
    /// File, environment and flags, the later ones winning.
    pub(super) fn read(flags: &Flags) -> Result<Self, ConfigError> {
        let sources = Sources { file: flags.config.as_deref(), environment: ENVIRONMENT, apart: &["config"] };
        sources.read(flags).map_err(ConfigError::from)
    }
}
