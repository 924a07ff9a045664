// SPDX-License-Identifier: GPL-2.0-or-later
//! Configuration: file, then environment, then flags; then checked as a whole.

mod ecn;
mod explain;
mod flags;
mod interwork;
mod key_file;
mod lisp_sec;
mod nat;
mod running;
mod subscribe;
mod trace;
mod trusted;
mod values;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use cgeid::limits::MAX_TEMPORARY_KEYS;
use ipnet::{IpNet, Ipv6Net};
use program::settings::{SettingsError, Sources, Wrong};
use serde::Deserialize;
use tracing_subscriber::filter::Targets;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{AuthKey, TagForm};

use crate::database::OwnLocator;
use crate::ecn::EcnCompatibility;
use crate::etr::SourceMode;
use crate::interwork::Interworking;
use crate::limits;
use crate::map_cache::is_unicast;
use crate::resolve::LispSec;
use crate::subscribe::{Association, Configured};
use crate::trust::Trust;

pub use explain::explain;
pub use flags::{Command, CommandLine, Flags, MANUAL, SourceCheck, Switch, Table, Tier, Within};
pub use interwork::{PetrValue, PitrIn};
pub use lisp_sec::LispSecMode;
pub use nat::{Nat, NatSetting};
pub use running::Running;
pub use trace::{Ports, TraceFlags};
pub use trusted::FirstVersion;
pub use values::{InterfaceLocator, PrefixValue, RlocValue, TrustAnchor};

/// Environment variables of this program: `LISP_XTR_` and the key in capitals.
const ENVIRONMENT: &str = "LISP_XTR_";
/// The control socket's name in the state directory.
const CONTROL_SOCKET: &str = "control.sock";
/// Largest Instance ID that the data header carries (RFC 9300, section 5.3).
const LARGEST_IID: u32 = 0x00ff_ffff;
/// Least MTU of an IPv6 link (RFC 8200, section 5).
const LEAST_MTU: u16 = 1280;
/// Largest MTU of a TUN device.
const LARGEST_MTU: u16 = 65_521;
/// Locators of a node: the ITR-RLOCs that a Map-Request has room for (RFC 9301, section 5.2).
const MOST_LOCATORS: usize = 32;
/// UDP port of the DHT node, unless another is said.
const DHT_PORT: u16 = 43_420;
/// Longest name of a network interface.
const LONGEST_INTERFACE_NAME: usize = 15;

/// A configuration that cannot be run: the flag or key, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The key, which is also the flag; empty if the problem is not one key's.
    pub key: String,
    /// What to change.
    pub problem: String,
}

impl ConfigError {
    fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

impl From<SettingsError> for ConfigError {
    /// The first of them.
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::File(path, error) => Self::new("config", format!("{}: {error}", path.display())),
            SettingsError::Wrong(wrong) => {
                let Wrong { key, problem, place } = wrong.into_iter().next().unwrap_or_default();
                let place = place.map_or_else(String::new, |place| format!(" ({place})"));
                Self::new(if key.is_empty() { "config".to_owned() } else { key }, format!("{problem}{place}"))
            }
        }
    }
}

/// What is written, with defaults in place of what is not.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    #[serde(deserialize_with = "values::list")]
    eid_prefix: Vec<PrefixValue>,
    #[serde(deserialize_with = "values::list")]
    rloc: Vec<RlocValue>,
    #[serde(deserialize_with = "values::list")]
    map_server: Vec<IpAddr>,
    #[serde(deserialize_with = "values::list")]
    map_resolver: Vec<IpAddr>,
    #[serde(deserialize_with = "values::list")]
    key_file: Vec<PathBuf>,
    proxy_reply: bool,
    lisp_sec: LispSecMode,
    #[serde(deserialize_with = "values::list")]
    resolver_key_file: Vec<PathBuf>,
    #[serde(deserialize_with = "values::list")]
    identity: Vec<PathBuf>,
    password_file: Option<PathBuf>,
    temporary: bool,
    #[serde(deserialize_with = "values::list")]
    bootstrap: Vec<String>,
    #[serde(deserialize_with = "values::list")]
    trust_anchor: Vec<TrustAnchor>,
    iid: u32,
    #[serde(deserialize_with = "values::list")]
    gpe_peer: Vec<IpAddr>,
    #[serde(deserialize_with = "values::list")]
    ecn_compatibility: Vec<ecn::EcnValue>,
    ecn_log: Switch,
    source_check: SourceCheck,
    #[serde(deserialize_with = "values::list")]
    pitr: Vec<IpAddr>,
    #[serde(deserialize_with = "values::list")]
    trusted_peer: Vec<trusted::PeerValue>,
    echo_nonce: Switch,
    locator_status_bits: Switch,
    #[serde(deserialize_with = "trusted::first_version")]
    map_version: FirstVersion,
    #[serde(deserialize_with = "values::list")]
    use_petr: Vec<PetrValue>,
    #[serde(deserialize_with = "values::list")]
    petr_for: Vec<PrefixValue>,
    #[serde(deserialize_with = "values::list")]
    pitr_for: Vec<PrefixValue>,
    #[serde(deserialize_with = "values::list")]
    pitr_in: Vec<PitrIn>,
    rtr: bool,
    nat: Option<NatSetting>,
    #[serde(deserialize_with = "values::list")]
    rtr_at: Vec<IpAddr>,
    site_id: Option<u64>,
    #[serde(deserialize_with = "values::xtr_id")]
    xtr_id: Option<String>,
    #[serde(deserialize_with = "values::list")]
    subscribe: Vec<IpAddr>,
    #[serde(deserialize_with = "values::list")]
    subscribe_key_file: Vec<PathBuf>,
    #[serde(deserialize_with = "values::list")]
    subscribed: Vec<subscribe::SubscribedValue>,
    take_unsubscribed: Switch,
    tun: String,
    mtu: u16,
    #[serde(deserialize_with = "values::tier")]
    tier: Tier,
    state_dir: PathBuf,
    control: Option<PathBuf>,
    dht_port: u16,
    puzzle_bits: Option<u8>,
    network_key: Option<PathBuf>,
    #[serde(deserialize_with = "values::list")]
    anycast: Vec<String>,
    discovery: Switch,
    metrics: Option<SocketAddr>,
    #[serde(deserialize_with = "values::text")]
    prefix: PrefixValue,
    log: String,
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

/// A configuration that can be run.
#[derive(Debug)]
pub struct Config {
    /// Prefixes behind this node, in their instance; CGEIDs are added when the identities are read.
    pub eid_prefixes: Vec<EidPrefix>,
    /// Its locators by address. Neither these nor interfaces = the addresses of the default route's interface.
    pub rlocs: Vec<OwnLocator>,
    /// Interfaces whose addresses are locators too.
    pub rloc_interfaces: Vec<InterfaceLocator>,
    /// Who maps EIDs to locators.
    pub mapping: Mapping,
    /// P bit of Map-Registers to Map-Servers elsewhere.
    pub proxy_reply: bool,
    /// What is protected on the way to the Map-Resolvers and back.
    pub lisp_sec: LispSec,
    /// Whether the node has temporary CGEIDs beside its static one.
    pub temporary: bool,
    /// Instance of the prefixes.
    pub iid: InstanceId,
    /// Locators of peers that take LISP-GPE headers only.
    pub gpe_peers: Vec<IpAddr>,
    /// Where packets go in the compatibility mode of ECN.
    pub ecn: EcnCompatibility,
    /// Whether ECN fields that nobody should make are written to the log.
    pub ecn_log: bool,
    /// Whether packets from the core are dropped whose inner source does not map to where they come from.
    pub source_check: SourceMode,
    /// Locators of PITRs, whose packets need not come from EIDs.
    pub pitrs: Vec<IpAddr>,
    /// Networks of the locators of trusted peers.
    pub trusted_peers: Vec<IpNet>,
    /// What is used with them.
    pub trust: Trust,
    /// First version of our mappings.
    pub map_version: FirstVersion,
    /// What it does for and with hosts that know nothing of LISP (RFC 6832).
    pub interworking: Interworking,
    /// What there is to do about NATs.
    pub nat: Nat,
    /// Site-ID; none = Map-Servers elsewhere are told neither it nor the xTR-ID.
    pub site_id: Option<u64>,
    /// xTR-ID; none = the one that was made at the first start.
    pub xtr_id: Option<[u8; 16]>,
    /// Map-Resolvers behind which mappings are subscribed to, each with the key of its Map-Notifies (RFC 9437).
    pub subscriptions: Vec<Association>,
    /// What the operators of both ends have subscribed this node to (RFC 9437, section 5).
    pub subscribed: Vec<Configured>,
    /// Whether is taken what those tell that it has not subscribed to.
    pub takes_unsubscribed: bool,
    /// Name of the TUN device.
    pub tun: String,
    /// Its MTU, octets.
    pub mtu: u16,
    /// How packets cross the kernel.
    pub tier: Tier,
    /// What outlives a run.
    pub state_dir: PathBuf,
    /// Control socket.
    pub control: PathBuf,
    /// Network of the CGEIDs, a /32.
    pub cgeid_network: Ipv6Net,
    /// Where /metrics and /health are served.
    pub metrics: Option<SocketAddr>,
    /// Log filter.
    pub log: String,
    /// What all of this was made from.
    written: Written,
}

/// Who maps EIDs to locators.
#[derive(Debug)]
pub enum Mapping {
    /// Map-Servers and Map-Resolvers elsewhere.
    Elsewhere {
        /// Where and with what key we register; may be empty.
        servers: Vec<ServerAddress>,
        /// Whom we ask.
        resolvers: Vec<IpAddr>,
    },
    /// A map system and a DHT node in this process.
    Embedded(Embedded),
}

/// A Map-Server elsewhere.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// Its underlay address.
    pub address: IpAddr,
    /// The key shared with it.
    pub key: AuthKey,
    /// How much of an HMAC it wants.
    pub tag: TagForm,
    /// Whether its own tags may cover no more than the records.
    pub narrow_coverage: bool,
}

/// The map system in this process.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// Operational keys; empty = make an identity in the state directory.
    pub identities: Vec<PathBuf>,
    /// Where their password is written.
    pub password_file: Option<PathBuf>,
    /// DHT nodes to join by.
    pub bootstrap: Vec<String>,
    /// Whom to believe about aggregates.
    pub trust_anchors: Vec<TrustAnchor>,
    /// UDP port of the DHT node.
    pub dht_port: u16,
    /// Zero bits that the network's puzzle asks of the node's key; `None` = those of a lab.
    pub puzzle_bits: Option<u8>,
    /// File with the key of a closed network.
    pub network_key: Option<PathBuf>,
    /// Addresses that several DHT nodes have at once.
    pub anycast: Vec<String>,
    /// Whether the DHT node looks for others on the links of this machine.
    pub discovery: Switch,
}

impl Written {
    /// File, environment and flags, the later ones winning.
    fn read(flags: &Flags) -> Result<Self, ConfigError> {
        let sources = Sources { file: flags.config.as_deref(), environment: ENVIRONMENT, apart: &["config"] };
        sources.read(flags).map_err(ConfigError::from)
    }
}

impl Config {
    /// Reads the file that the flags or the environment name, the environment and the flags.
    ///
    /// # Errors
    /// Names the key, and the line of the file if the key stands there.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::check(Written::read(flags)?)
    }

    /// Where a node of this configuration listens for `show`; the rest of it is not looked at.
    ///
    /// # Errors
    /// As [`Self::load`], for what cannot be read.
    pub fn control_socket(flags: &Flags) -> Result<PathBuf, ConfigError> {
        let written = Written::read(flags)?;
        Ok(written.control.unwrap_or_else(|| written.state_dir.join(CONTROL_SOCKET)))
    }

    /// The flag, or key, that [`Self::control`] comes from.
    pub fn control_flag(&self) -> &'static str {
        if self.written.control.is_some() { "control" } else { "state-dir" }
    }

    fn check(written: Written) -> Result<Self, ConfigError> {
        let (iid, whole) = (InstanceId(written.iid), written.clone());
        check_sizes(&written)?;
        let cgeid_network = cgeid_network(written.prefix)?;
        let eid_prefixes = eid_prefixes(&written, iid, cgeid_network)?;
        let interworking = interwork::roles(&written, iid, cgeid_network.into())?;
        let mapping = mapping(&written, &interworking)?;
        let lisp_sec = lisp_sec::read(&written, &mapping)?;
        let xtr_id = subscribe::xtr_id(&written)?;
        let subscriptions = subscribe::subscriptions(&written, &mapping, &lisp_sec)?;
        let (subscribed, takes_unsubscribed) = subscribe::unasked(&written, &subscriptions, &eid_prefixes)?;
        let trusted::Trusted { trust, networks: trusted_peers } = trusted::trusted(&written)?;
        let nat = nat::nat(&written, &mapping)?;
        let (mut rlocs, mut rloc_interfaces) = (Vec::new(), Vec::new());
        for rloc in written.rloc {
            match rloc {
                RlocValue::Address(locator) => rlocs.push(locator),
                RlocValue::Interface(interface) => rloc_interfaces.push(interface),
            }
        }
        let config = Self {
            eid_prefixes,
            rlocs,
            rloc_interfaces,
            mapping,
            proxy_reply: written.proxy_reply,
            lisp_sec,
            temporary: written.temporary,
            iid,
            gpe_peers: written.gpe_peer,
            ecn: ecn::compatibility(&written.ecn_compatibility),
            ecn_log: written.ecn_log == Switch::On,
            source_check: match written.source_check {
                SourceCheck::Off => SourceMode::Off,
                SourceCheck::Loose => SourceMode::Loose,
                SourceCheck::Strict => SourceMode::Strict,
            },
            pitrs: written.pitr,
            trusted_peers,
            trust,
            map_version: written.map_version,
            interworking,
            nat,
            site_id: written.site_id,
            xtr_id,
            subscriptions,
            subscribed,
            takes_unsubscribed,
            control: written.control.unwrap_or_else(|| written.state_dir.join(CONTROL_SOCKET)),
            tun: written.tun,
            mtu: written.mtu,
            tier: written.tier,
            state_dir: written.state_dir,
            cgeid_network,
            metrics: written.metrics,
            log: written.log,
            written: whole,
        };
        written.map_server.iter().try_for_each(|address| config.check_underlay("map-server", *address))?;
        written.map_resolver.iter().try_for_each(|address| config.check_underlay("map-resolver", *address))?;
        config.gpe_peers.iter().try_for_each(|address| config.check_underlay("gpe-peer", *address))?;
        if let EcnCompatibility::To(rlocs) = &config.ecn {
            rlocs.iter().try_for_each(|address| config.check_underlay("ecn-compatibility", *address))?;
        }
        config.pitrs.iter().try_for_each(|address| config.check_underlay("pitr", *address))?;
        let petrs = &config.interworking.petrs;
        petrs.iter().try_for_each(|petr| config.check_underlay("use-petr", petr.address))?;
        config.nat.rtrs.iter().try_for_each(|address| config.check_underlay("rtr-at", *address))?;
        if config.rloc_interfaces.is_empty() && !config.rlocs.is_empty() {
            config.check_locators(&config.rlocs)?;
            config.check_families()?;
        }
        Ok(config)
    }

    /// Whether the node can be reached at `locators`, written or found on an interface.
    ///
    /// # Errors
    /// Names the flag and the address.
    pub fn check_locators(&self, locators: &[OwnLocator]) -> Result<(), ConfigError> {
        if locators.len() > MOST_LOCATORS {
            return Err(ConfigError::new("rloc", format!("{} of them; {MOST_LOCATORS} at most", locators.len())));
        }
        for (index, locator) in locators.iter().enumerate() {
            self.check_underlay("rloc", locator.address)?;
            if locators[..index].iter().any(|earlier| earlier.address == locator.address) {
                return Err(ConfigError::new("rloc", format!("{} is given twice", locator.address)));
            }
        }
        Ok(())
    }

    /// Whom this node sends to over the underlay, whatever is cached: PETRs, Map-Servers and Map-Resolvers, each with its key.
    pub fn spoken_to(&self) -> Vec<(&'static str, IpAddr)> {
        let petrs = self.interworking.petrs.iter().map(|petr| ("use-petr", petr.address));
        let Mapping::Elsewhere { servers, resolvers } = &self.mapping else { return petrs.collect() };
        let servers = servers.iter().map(|server| ("map-server", server.address));
        let resolvers = resolvers.iter().map(|address| ("map-resolver", *address));
        petrs.chain(servers).chain(resolvers).collect()
    }

    /// Whether all of these can be reached from the locators that were given: there will be no others. Of locators that are found one family of
    /// addresses may be out for a while.
    fn check_families(&self) -> Result<(), ConfigError> {
        let is_reachable =
            |address: &IpAddr| self.rlocs.iter().any(|locator| locator.address.is_ipv4() == address.is_ipv4());
        match self.spoken_to().into_iter().find(|(_, address)| !is_reachable(address)) {
            Some((key, address)) => {
                let problem = format!("{address} cannot be reached: no --rloc has its address family");
                Err(ConfigError::new(key, problem))
            }
            None => Ok(()),
        }
    }

    fn check_underlay(&self, key: &str, address: IpAddr) -> Result<(), ConfigError> {
        let host = EidPrefix::host(self.iid, address);
        let is_eid = self.eid_prefixes.iter().chain(&self.interworking.pitr_for).any(|prefix| prefix.covers(&host))
            || IpNet::from(self.cgeid_network).contains(&address);
        if is_eid {
            return Err(ConfigError::new(key, format!("{address} is an EID; an underlay address is needed")));
        }
        // A map system on the same machine is no locator, yet can be spoken to.
        let usable = is_unicast(address) || key != "rloc" && address.is_loopback();
        let useless = || ConfigError::new(key, format!("{address} cannot be reached from other nodes"));
        usable.then_some(()).ok_or_else(useless)
    }
}

fn check_sizes(written: &Written) -> Result<(), ConfigError> {
    if written.iid > LARGEST_IID {
        return Err(ConfigError::new("iid", format!("{} has more than 24 bits", written.iid)));
    }
    if !(LEAST_MTU..=LARGEST_MTU).contains(&written.mtu) {
        return Err(ConfigError::new("mtu", format!("{} is not from {LEAST_MTU} to {LARGEST_MTU}", written.mtu)));
    }
    let is_forbidden =
        |letter: char| matches!(letter, '/' | ':' | '%') || letter.is_whitespace() || letter.is_control();
    let is_name = |name: &str| {
        let is_directory = matches!(name, "." | ".." | "all" | "default");
        !name.is_empty() && name.len() <= LONGEST_INTERFACE_NAME && !name.contains(is_forbidden) && !is_directory
    };
    if !is_name(&written.tun) {
        return Err(ConfigError::new("tun", format!("{:?} cannot name an interface", written.tun)));
    }
    let parts = program::log::parts(&written.log).map_err(|error| ConfigError::new("log", error.to_string()))?;
    parts.parse::<Targets>().map_err(|error| ConfigError::new("log", error.to_string()))?;
    Ok(())
}

fn cgeid_network(prefix: PrefixValue) -> Result<Ipv6Net, ConfigError> {
    match prefix.0 {
        IpNet::V6(network) if network.prefix_len() == 32 => Ok(network),
        other => Err(ConfigError::new("prefix", format!("{other} is not an IPv6 /32"))),
    }
}

fn eid_prefixes(written: &Written, iid: InstanceId, network: Ipv6Net) -> Result<Vec<EidPrefix>, ConfigError> {
    let network = IpNet::from(network);
    let prefix = |value: &PrefixValue| {
        let net = value.0;
        if net.contains(&network) || network.contains(&net) {
            let advice = "is in the network of the CGEIDs, which belong to their keys: give --identity instead";
            return Err(ConfigError::new("eid-prefix", format!("{net} {advice}")));
        }
        // Only as a host is 0.0.0.0 or :: special.
        if !is_unicast(net.addr()) && !net.addr().is_unspecified() {
            return Err(ConfigError::new("eid-prefix", format!("{net} does not contain addresses of hosts")));
        }
        Ok(EidPrefix { iid, net })
    };
    let mut prefixes = written.eid_prefix.iter().map(prefix).collect::<Result<Vec<_>, _>>()?;
    prefixes.sort_unstable();
    prefixes.dedup();
    let cgeids = most_cgeids(written);
    let room = limits::EID_PREFIXES.saturating_sub(cgeids);
    if prefixes.len() > room {
        let beside = if cgeids == 0 { String::new() } else { format!(" beside {cgeids} of identities") };
        return Err(ConfigError::new("eid-prefix", format!("{} of them; {room} at most{beside}", prefixes.len())));
    }
    Ok(prefixes)
}

/// How many of the EID-prefixes may be CGEIDs: without a file an identity is made.
fn most_cgeids(written: &Written) -> usize {
    if !written.map_server.is_empty() || !written.map_resolver.is_empty() {
        return 0;
    }
    let temporary = if written.temporary { MAX_TEMPORARY_KEYS } else { 0 };
    written.identity.len().max(1) + temporary
}

fn mapping(written: &Written, roles: &Interworking) -> Result<Mapping, ConfigError> {
    let for_servers = [("key-file", written.key_file.is_empty()), ("proxy-reply", written.proxy_reply)];
    if let Some((key, _)) = for_servers.iter().find(|(_, is_default)| written.map_server.is_empty() && !is_default) {
        return Err(ConfigError::new(*key, "is for a --map-server, and none is given"));
    }
    if written.map_server.is_empty() && written.map_resolver.is_empty() {
        return embedded(written).map(Mapping::Embedded);
    }
    let embedded_only = [
        ("identity", written.identity.is_empty()),
        ("bootstrap", written.bootstrap.is_empty()),
        ("trust-anchor", written.trust_anchor.is_empty()),
        ("temporary", !written.temporary),
        ("anycast", written.anycast.is_empty()),
        ("discovery", written.discovery == Switch::Off),
        ("password-file", written.password_file.is_none()),
        ("network-key", written.network_key.is_none()),
        ("puzzle-bits", written.puzzle_bits.is_none()),
        ("dht-port", written.dht_port == DHT_PORT),
    ];
    if let Some((key, _)) = embedded_only.iter().find(|(_, is_empty)| !is_empty) {
        let advice =
            "is for the map system in this process: leave it out, or leave out --map-server and --map-resolver";
        return Err(ConfigError::new(*key, advice));
    }
    let is_proxy = roles.is_proxy() && written.map_server.is_empty();
    if written.eid_prefix.is_empty() && !is_proxy && !written.rtr {
        let problem = "needed with --map-server or --map-resolver; with --map-resolver alone a PITR or PETR needs none";
        return Err(ConfigError::new("eid-prefix", problem));
    }
    let servers = servers(written)?;
    let resolvers = if written.map_resolver.is_empty() { &written.map_server } else { &written.map_resolver };
    Ok(Mapping::Elsewhere { servers, resolvers: resolvers.clone() })
}

fn embedded(written: &Written) -> Result<Embedded, ConfigError> {
    if written.iid != 0 && !written.identity.is_empty() {
        return Err(ConfigError::new("iid", "CGEIDs are in instance 0: leave out this or --identity"));
    }
    if written.iid != 0 && written.temporary {
        return Err(ConfigError::new("iid", "CGEIDs are in instance 0: leave out this or --temporary"));
    }
    if written.dht_port == 0 {
        return Err(ConfigError::new("dht-port", "0 is no port that others could be told"));
    }
    Ok(Embedded {
        identities: written.identity.clone(),
        password_file: written.password_file.clone(),
        bootstrap: written.bootstrap.clone(),
        trust_anchors: written.trust_anchor.clone(),
        dht_port: written.dht_port,
        puzzle_bits: written.puzzle_bits,
        network_key: written.network_key.clone(),
        anycast: written.anycast.clone(),
        discovery: written.discovery,
    })
}

/// One key file serves all Map-Servers; otherwise there is one for each, in order.
fn servers(written: &Written) -> Result<Vec<ServerAddress>, ConfigError> {
    let (servers, files) = (written.map_server.len(), written.key_file.len());
    if servers == 0 && files == 0 {
        return Ok(Vec::new());
    }
    if files != 1 && files != servers || servers == 0 {
        let problem = format!("{files} given for {servers} of --map-server: one for all, or one for each");
        return Err(ConfigError::new("key-file", problem));
    }
    if let Some(address) = given_twice(&written.map_server) {
        return Err(ConfigError::new("map-server", format!("{address} is given twice")));
    }
    let pairs = written.map_server.iter().zip(written.key_file.iter().cycle());
    let server = |(address, file): (&IpAddr, &PathBuf)| Ok(key_file::read(file)?.at(*address));
    pairs.map(server).collect()
}

/// The first address that an earlier one is equal to.
fn given_twice(addresses: &[IpAddr]) -> Option<IpAddr> {
    let is_repeated = |(index, address): &(usize, &IpAddr)| addresses[..*index].contains(address);
    addresses.iter().enumerate().find(is_repeated).map(|(_, address)| *address)
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (Key ID {}, {:?})", self.address, self.key.id, self.key.algorithm)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::path::Path;

    use super::*;

    fn load(toml: &str, flags: Flags) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        Config::load(&Flags { config: Some(file.path().to_owned()), ..flags })
    }

    fn refused(toml: &str) -> ConfigError {
        load(toml, Flags::default()).unwrap_err()
    }

    #[test]
    fn the_shipped_example_can_be_run_and_is_explained() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lisp-xtr.example.toml");
        let config = Config::load(&Flags { config: Some(path), ..Flags::default() }).unwrap();
        assert_eq!((config.eid_prefixes.len(), config.rlocs.len(), config.rlocs[1].priority), (2, 2, 2));
        let text = explain(&config).join("\n");
        for said in ["2001:db8:a::/48", "192.0.2.1", "DHT node", "its own anchor", "lisp0", "198.51.100.1"] {
            assert!(text.contains(said), "{said} is not in:\n{text}");
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Flags { tun: Some("lisp7".into()), eid_prefix: vec!["10.2.0.0/16".into()], ..Flags::default() };
        let config = load("tun = \"lisp1\"\nmtu = 1400\neid-prefix = [\"10.1.0.0/16\"]", flags).unwrap();
        assert_eq!((config.tun.as_str(), config.mtu), ("lisp7", 1400));
        assert_eq!(config.eid_prefixes[0].to_string(), "10.2.0.0/16");
    }

    #[test]
    fn unknown_keys_are_named_with_their_line() {
        let error = refused("tun = \"lisp0\"\n\nmap-servers = [\"192.0.2.1\"]\n");
        assert_eq!(error.key, "map-servers");
        assert!(error.problem.contains("line 3") && error.problem.contains("map-server"), "{error}");
    }

    #[test]
    fn wrong_values_are_named_by_their_key() {
        let cases = [
            ("eid-prefix", "eid-prefix = [\"2001:db8:a::1/48\"]"),
            ("eid-prefix", "eid-prefix = [\"3fff:ce1:1::/48\"]"),
            ("rloc", "rloc = [\"127.0.0.1\"]"),
            ("rloc", "eid-prefix = [\"10.0.0.0/8\"]\nrloc = [\"10.1.1.1\"]"),
            ("map-resolver", "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"10.1.1.1\"]"),
            ("map-resolver", "map-resolver = [\"three\"]"),
            ("iid", "iid = 16777216"),
            ("source-check", "source-check = \"lax\""),
            ("pitr", "eid-prefix = [\"10.0.0.0/8\"]\npitr = [\"10.1.1.1\"]"),
            ("iid", "iid = 5\nidentity = [\"x\"]"),
            ("mtu", "mtu = 1279"),
            ("tun", "tun = \"a name that is too long\""),
            ("prefix", "prefix = \"3fff::/16\""),
            ("prefix", "prefix = \"10.0.0.0/8\""),
            ("dht-port", "dht-port = 0"),
            ("trust-anchor", "trust-anchor = [\"2001:db8::/32\"]"),
            ("eid-prefix", "eid-prefix = [\"fe80::/64\"]"),
            ("eid-prefix", "eid-prefix = [\"224.0.0.0/4\"]"),
            ("rloc", "rloc = [\"192.0.2.1\", \"192.0.2.1,priority=2\"]"),
            ("map-resolver", "eid-prefix = [\"10.0.0.0/8\"]\nrloc = [\"192.0.2.1\"]\nmap-resolver = [\"2001:db8::1\"]"),
            ("tun", "tun = \"a:b\""),
            ("tun", "tun = \"all\""),
            ("log", "log = \"=[x\""),
            ("log", "log = \"x[=1\""),
            ("key-file", "key-file = [\"k\"]"),
            ("proxy-reply", "proxy-reply = false"),
            ("proxy-reply", "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\nproxy-reply = false"),
            ("key-file", "eid-prefix = [\"10.0.0.0/8\"]\nmap-server = [\"192.0.2.1\"]"),
            (
                "map-server",
                "eid-prefix = [\"10.0.0.0/8\"]\nmap-server = [\"192.0.2.1\", \"192.0.2.1\"]\nkey-file = [\"k\", \"l\"]",
            ),
            (
                "subscribe",
                "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\nsubscribe = [\"192.0.2.1\", \"192.0.2.1\"]\nsubscribe-key-file = [\"k\", \"l\"]",
            ),
            ("eid-prefix", "map-resolver = [\"192.0.2.1\"]"),
            ("iid", "iid = 5\ntemporary = true"),
            ("rtr", "rtr = true"),
            ("rtr", "rtr = true\nmap-resolver = [\"192.0.2.1\"]"),
            ("nat", "nat = \"auto\""),
            ("nat", "nat = \"maybe\""),
            ("nat", "rtr-at = [\"192.0.2.1\"]"),
            ("rtr-at", "nat = \"off\"\nrtr-at = [\"192.0.2.1\"]"),
            ("temporary", "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\ntemporary = true"),
            ("metrics", "metrics = \"9434\""),
            ("discovery", "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\ndiscovery = \"on\""),
            ("identity", "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\nidentity = [\"x\"]"),
        ];
        for (key, toml) in cases {
            let error = refused(toml);
            assert_eq!(error.key, key, "{toml}: {error}");
        }
    }

    #[test]
    fn what_is_for_the_map_system_in_this_process_is_refused_beside_one_elsewhere() {
        let elsewhere = "eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.1\"]\n";
        assert!(load(&format!("{elsewhere}dht-port = 43420"), Flags::default()).is_ok(), "as if it were not said");
        for (key, value) in
            [("password-file", "\"f\""), ("network-key", "\"f\""), ("puzzle-bits", "20"), ("dht-port", "43421")]
        {
            let error = refused(&format!("{elsewhere}{key} = {value}"));
            assert_eq!(error.key, key);
            assert!(error.problem.contains("leave out --map-server and --map-resolver"), "{error}");
        }
    }

    #[test]
    fn a_list_of_something_else_says_what_it_should_be() {
        let error = refused("eid-prefix = 5");
        assert!(error.problem.contains("list of strings") && error.problem.contains("line 1"), "{error}");
    }

    #[test]
    fn addresses_found_on_an_interface_are_checked_as_written_ones_are() {
        let config = load("eid-prefix = [\"10.0.0.0/8\"]", Flags::default()).unwrap();
        let found = |text: &str| [OwnLocator::new(text.parse().unwrap(), 1, 100)];
        assert_eq!(config.check_locators(&found("10.1.1.1")).unwrap_err().key, "rloc");
        assert_eq!(config.check_locators(&found("192.0.2.1")), Ok(()));
    }

    #[test]
    fn metrics_are_served_with_a_dht_node_in_this_process_and_without() {
        for more in ["", "map-resolver = [\"192.0.2.9\"]\n"] {
            let toml = format!("{more}eid-prefix = [\"10.0.0.0/8\"]\nmetrics = \"127.0.0.1:9434\"");
            let config = load(&toml, Flags::default()).unwrap();
            assert_eq!(config.metrics, Some(([127, 0, 0, 1], 9434).into()));
            assert!(explain(&config).join("\n").contains("http://127.0.0.1:9434/metrics"));
        }
    }

    #[test]
    fn a_prefix_given_twice_is_one() {
        let config = load("eid-prefix = [\"10.0.0.0/8\", \"10.0.0.0/8\"]", Flags::default()).unwrap();
        assert_eq!(config.eid_prefixes.len(), 1);
    }

    #[test]
    fn there_is_room_for_so_many_prefixes_beside_the_identities() {
        let elsewhere = "map-resolver = [\"192.0.2.1\"]";
        let cases =
            [(elsewhere, 0), ("", 1), ("identity = [\"x\", \"y\"]", 2), ("temporary = true", 1 + MAX_TEMPORARY_KEYS)];
        for (more, cgeids) in cases {
            let prefix = |number: usize| format!("2001:db8:{number:x}::/48");
            let with = |count: usize| {
                let eid_prefix = (1..=count).map(prefix).collect();
                load(more, Flags { eid_prefix, ..Flags::default() })
            };
            let room = limits::EID_PREFIXES - cgeids;
            assert_eq!(with(room).unwrap().eid_prefixes.len(), room, "{more}");
            let error = with(room + 1).unwrap_err();
            assert_eq!(error.key, "eid-prefix", "{more}");
            assert!(error.problem.contains(&format!("{room} at most")), "{error}");
        }
    }

    #[test]
    fn what_is_said_to_go_through_the_tunnel_does() {
        let said = |toml: &str| explain(&load(toml, Flags::default()).unwrap()).join("\n");
        assert!(!said("eid-prefix = [\"10.0.0.0/8\"]\nmap-resolver = [\"192.0.2.9\"]").contains("3fff:ce1::/32"));
        assert!(
            said("eid-prefix = [\"10.0.0.0/8\"]")
                .contains("10.0.0.0/8 and its CGEIDs to anywhere, and to 3fff:ce1::/32")
        );
    }

    #[test]
    fn one_key_file_serves_all_servers_and_resolvers_default_to_servers() {
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), "algorithm = \"hmac-sha1\"\nsecret = \"secretkey\"").unwrap();
        let toml = format!(
            "eid-prefix = [\"10.0.0.0/8\"]\nmap-server = [\"192.0.2.1\", \"192.0.2.2\"]\nkey-file = [{:?}]",
            key.path()
        );
        let config = load(&toml, Flags::default()).unwrap();
        let Mapping::Elsewhere { servers, resolvers } = &config.mapping else { panic!("{config:?}") };
        assert_eq!((servers.len(), resolvers.len()), (2, 2));
        assert!(!format!("{config:?}").contains("secretkey"));
        assert!(explain(&config).join("\n").contains("192.0.2.2"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(&Flags { config: Some("/nonexistent.toml".into()), ..Flags::default() }).unwrap_err();
        assert!(error.to_string().contains("/nonexistent.toml"), "{error}");
    }
}
