// SPDX-License-Identifier: GPL-2.0-or-later
//! The command line. Every flag of a run has a configuration key of the same name.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use program::{Completions, JsonTo, Man, Manual, STATUS};
use serde::{Deserialize, Serialize};

use super::lisp_sec::LispSecMode;
use super::nat::NatSetting;
use super::trace::TraceFlags;
use super::values::PrefixValue;

const EXAMPLES: &str = "\
Examples:
  A border node with map system and DHT node of its own; prints the --trust-anchor to give to others:
      lisp-xtr --eid-prefix 2001:db8:a::/48 --rloc 192.0.2.1
  The same, joining others:
      lisp-xtr --eid-prefix 2001:db8:b::/48 --bootstrap /ip4/192.0.2.1/udp/43420/quic-v1 \\
               --trust-anchor 2001:db8:a::/48=0123456789abcdef01234567
  A border for hosts whose addresses are CGEIDs:
      lisp-xtr --identity 0123456789abcdef01234567.op.p12 --password-file pw --bootstrap /ip4/192.0.2.1/udp/43420/quic-v1
  A plain xTR of any LISP map system:
      lisp-xtr --eid-prefix 10.1.0.0/16 --map-server 203.0.113.10 --map-resolver 203.0.113.53 --key-file site.toml
  The same, told of changes by the Map-Server instead of asking again (give it the xTR-ID):
      lisp-xtr --eid-prefix 10.1.0.0/16 --map-server 203.0.113.10 --key-file site.toml --subscribe 203.0.113.10 \\
               --xtr-id 000102030405060708090a0b0c0d0e0f --site-id 1
  The same, which believes only what the Map-Resolver can prove:
      lisp-xtr --eid-prefix 10.1.0.0/16 --map-server 203.0.113.10 --map-resolver 203.0.113.53 --key-file site.toml \\
               --lisp-sec require --resolver-key-file resolver.toml
  Two uplinks, of which the second is a backup, at whatever addresses they have:
      lisp-xtr --eid-prefix 10.1.0.0/16 --rloc eth0 --rloc wwan0,priority=2 --map-server 203.0.113.10 --key-file site.toml
  Between LISP sites and hosts that know nothing of LISP: a PITR and PETR, and a site that uses it:
      lisp-xtr --rloc 192.0.2.80 --map-resolver 203.0.113.53 --pitr-for 10.1.0.0/16 --petr-for 10.1.0.0/16
      lisp-xtr --eid-prefix 10.1.0.0/16 --map-server 203.0.113.10 --key-file site.toml --pitr 192.0.2.80 --use-petr 192.0.2.80
  Behind a NAT, reached through an RTR; and that RTR:
      lisp-xtr --eid-prefix 10.1.0.0/16 --map-server 203.0.113.10 --key-file site.toml --rtr-at 203.0.113.7
      lisp-xtr --rtr --rloc 203.0.113.7 --map-server 203.0.113.10 --key-file rtr.toml
  What a configuration means, and what a running node knows:
      lisp-xtr check --config lisp-xtr.toml
      lisp-xtr show map-cache
      lisp-xtr show map-cache --within 10.2.0.0/16
      lisp-xtr show locators
      lisp-xtr trace 10.2.0.9

Each flag is also a key of the configuration file, and an environment variable (LISP_XTR_EID_PREFIX; lists separated by
blanks). Flags win over the environment, the environment over the file. Site traffic is only forwarded if IP forwarding is
on: sysctl net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 (lisp-xtr does not touch them, but warns). IPv4 packets to what is
no LISP site leave only where net.ipv4.conf.all.rp_filter=0 (the same).

Needs CAP_NET_ADMIN and /dev/net/tun, and for tier 0 CAP_NET_RAW; all other capabilities are given up at the start. Exit
status: 0 = what was asked held, 1 = it did not, 2 = wrong usage or configuration, 3 = the machine lacks something.";

/// The command line of `lisp-xtr`.
#[derive(Debug, Parser)]
#[command(name = "lisp-xtr", version, about = "A LISP border node: ITR and ETR over a TUN device", after_help = EXAMPLES)]
pub struct CommandLine {
    /// Without one, the node runs.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Of a run.
    #[command(flatten)]
    pub flags: Flags,
    /// Answer in JSON, or with =FILE into that file, beside the table; of a run, which has no report for a file: log in JSON
    #[arg(long, global = true, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub json: Option<JsonTo>,
}

/// What else than running.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Says in plain words what the configuration means, and what is wrong with it
    Check,
    /// Shows what a running node knows
    Show {
        /// Which table
        what: Table,
        /// Of map-cache and peers: only mappings within this EID-prefix, or round it; an address is a prefix of one. Needed beyond 100,000
        /// rows, which are of peers pairs of locator and EID-prefix
        #[arg(long, value_name = "EID-PREFIX")]
        within: Option<Within>,
    },
    /// Shows the way that a packet would take, and why
    #[command(after_help = super::trace::EXAMPLES)]
    Trace(TraceFlags),
    /// Has a running node read its configuration again: EID-prefixes, locators, Map-Servers, Map-Resolvers, LISP-SEC, --subscribed,
    /// --take-unsubscribed and all their keys change while packets cross. If another setting has changed, it is named, nothing changes, and this
    /// fails. SIGHUP does the same, and says so in the log alone
    Reload,
    /// Prints what a shell needs to complete the flags
    #[command(after_help = program::completions_help!("lisp-xtr"))]
    Completions(Completions),
    /// Prints or writes the manual pages
    #[command(after_help = program::man_help!("lisp-xtr", "show"))]
    Man(Man),
}

/// What the manual says that the help does not.
pub const MANUAL: Manual = Manual {
    status: STATUS,
    files: &[
        ("F.toml", "Settings, read if --config names the file: a key for each flag."),
        ("<CN>.op.p12", "An operational key of --identity, as cgeid new and cgeid delegate write it."),
        ("control.sock", "In the directory of --state-dir: the socket that show asks, unless --control names another."),
        ("temporary.state", "Beside it: the temporary CGEIDs of --temporary and their keys. Keep it secret."),
    ],
    environment: &[
        ("LISP_XTR_<NAME>", "What the flag --name would say; LISP_XTR_CONFIG is that of --config."),
        ("CGEID_PASSWORD", "The password of the identities, if --password-file does not name one."),
    ],
};

/// What `show` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Table {
    /// Mappings in use
    MapCache,
    /// What is registered, and where
    Registrations,
    /// This node's own prefixes and locators
    Locators,
    /// Packets and messages, dropped ones by reason
    Counters,
    /// Remote locators in use
    Peers,
    /// Identities of this node, and how long their operational keys last
    Identities,
}

/// An EID-prefix, or an EID as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within(pub IpNet);

impl FromStr for Within {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self(address.into())),
            Err(_) => text.parse::<PrefixValue>().map(|prefix| Self(prefix.0)),
        }
    }
}

impl Table {
    /// Whether it may have as many rows as the map-cache has mappings.
    pub fn is_long(self) -> bool {
        matches!(self, Self::MapCache | Self::Peers)
    }

    /// As in a request over the control socket.
    pub fn name(self) -> &'static str {
        match self {
            Self::MapCache => "map-cache",
            Self::Registrations => "registrations",
            Self::Locators => "locators",
            Self::Counters => "counters",
            Self::Peers => "peers",
            Self::Identities => "identities",
        }
    }

    /// The table of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|table| table.name() == name)
    }
}

/// The flags of a run; what is not given is left to the environment and the file.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Flags {
    /// Configuration file (TOML)
    #[arg(long, global = true, value_name = "F.toml", env = "LISP_XTR_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// EID-prefix behind this node, IPv4 or IPv6; repeats. The machine needs routes into the site: its default route is none. One EID-prefix has one lisp-xtr: registered by a second one it moves there.
    /// Several uplinks of this node (--rloc) are what makes it redundant
    #[arg(long, global = true, value_name = "PREFIX")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub eid_prefix: Vec<String>,
    /// Locator: ADDR[,priority=1,weight=100,mpriority=255,mweight=0], or an interface, whose addresses are followed; repeats. Those of
    /// multicast are told to others and used for nothing here. Default: those of the default route's interface
    #[arg(long, global = true, value_name = "ADDR[,..]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rloc: Vec<String>,
    /// Map-Server to register with; repeats. With this or --map-resolver no map system runs in this process
    #[arg(long, global = true, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub map_server: Vec<String>,
    /// Map-Resolver to ask; repeats, asked in turn. Default: the Map-Servers
    #[arg(long, global = true, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub map_resolver: Vec<String>,
    /// File with the key shared with the Map-Servers; one for all, or one for each
    #[arg(long, global = true, value_name = "F.toml")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_file: Vec<PathBuf>,
    /// Whether Map-Servers are to answer for us (P bit); default true
    #[arg(long, global = true, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_reply: Option<bool>,
    /// LISP-SEC (RFC 9303): require = no mapping without it, and no answer of this xTR to a Map-Request without it (a Map-Server that
    /// answers for it, also the one in this process, has to require it itself: lisp-sec = "required" of lisp-mapsys); prefer = no
    /// mapping without it, unless a Map-Server says under its protection that nobody can sign for an EID-prefix; off = none; default off
    #[arg(long, global = true, value_name = "off|prefer|require")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lisp_sec: Option<LispSecMode>,
    /// File with the key shared with the Map-Resolvers, for --lisp-sec; one for all, or one for each. The secret is not that of a
    /// --key-file. Both settings change by reload
    #[arg(long, global = true, value_name = "F.toml")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolver_key_file: Vec<PathBuf>,
    /// Operational key of a CGEID behind this node (CN.op.p12); repeats
    #[arg(long, global = true, value_name = "CN.op.p12")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identity: Vec<PathBuf>,
    /// File whose first line is the password of the identities
    #[arg(long, global = true, value_name = "F")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Begin connections to other CGEIDs with a fresh CGEID each day; default false
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temporary: Option<bool>,
    /// DHT node to join by; repeats
    #[arg(long, global = true, value_name = "MULTIADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bootstrap: Vec<String>,
    /// Whom to believe about an aggregate: PREFIX=CN; repeats
    #[arg(long, global = true, value_name = "PREFIX=CN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_anchor: Vec<String>,
    /// Instance ID of the EID-prefixes, 24 bits; default 0
    #[arg(long, global = true, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iid: Option<u32>,
    /// Locator of a peer that takes LISP-GPE headers only (RFC 9305), as a Linux vxlan gpe device does; repeats
    #[arg(long, global = true, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpe_peer: Vec<String>,
    /// Locator of an ETR of before ECN, or all: packets there go in compatibility mode, with an outer ECN field of 00 (RFC 6040, section
    /// 4.3); repeats
    #[arg(long, global = true, value_name = "ADDR|all")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ecn_compatibility: Vec<String>,
    /// Whether packets from the core with an outer ECN field that their inner one cannot have led to are logged, once a minute for each
    /// pair (RFC 6040, section 4.2); off = they are counted; default on
    #[arg(long, global = true, value_name = "on|off")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecn_log: Option<Switch>,
    /// Check of packets from the core: strict = their inner source has to map to the locator that they come from, loose = it must not
    /// be known to map elsewhere, and what there is too much of to ask about enters, off = none; unless off, CGEIDs are checked strictly, and no
    /// EID of this node is taken for a source; default loose
    #[arg(long, global = true, value_name = "strict|loose|off")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_check: Option<SourceCheck>,
    /// Locator of a PITR (RFC 6832): what it sends need not come from an EID; repeats
    #[arg(long, global = true, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pitr: Vec<String>,
    /// Locator, or network of locators, of a peer in a closed network, whose nonces, locator-status-bits and map-versions are believed;
    /// repeats. Never for peers across the public Internet (RFC 9300, section 16)
    #[arg(long, global = true, value_name = "ADDR|PREFIX")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_peer: Vec<String>,
    /// Whether nonces are echoed with trusted peers, to find out if packets get there (RFC 9300, section 10.1); default off
    #[arg(long, global = true, value_name = "on|off")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo_nonce: Option<Switch>,
    /// Whether packets to trusted peers say which of our locators can be reached, and theirs are believed (RFC 9300, section 10); best
    /// with --map-version; default off
    #[arg(long, global = true, value_name = "on|off")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locator_status_bits: Option<Switch>,
    /// First map-version of the mappings of this node, 1 to 4095, or random: drawn by lot unless an earlier run has left one (RFC 9302). It
    /// is registered, told to trusted peers, and raised with each change of the locators, over restarts too; default: none
    #[arg(long, global = true, value_name = "N|random")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_version: Option<String>,
    /// PETR (RFC 6832) through which packets to what is no LISP site leave: ADDR[,priority=1,weight=100]; repeats
    #[arg(long, global = true, value_name = "ADDR[,..]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub use_petr: Vec<String>,
    /// Be a PETR for sites of this EID-prefix: forward what they send to hosts that are no LISP site; repeats. With --source-check off
    /// whoever writes such a source can send through it
    #[arg(long, global = true, value_name = "PREFIX")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub petr_for: Vec<String>,
    /// Be a PITR for this EID-prefix: lead what anybody sends there through the tunnel; repeats
    #[arg(long, global = true, value_name = "PREFIX")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pitr_for: Vec<String>,
    /// Be a PITR for the sites that the mapping system has in this aggregate, or in those of all trust anchors; repeats
    #[arg(long, global = true, value_name = "PREFIX|anchors")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pitr_in: Vec<String>,
    /// Relay for xTRs behind NATs (RTR) that register with the Map-Servers; --key-file has the key that it shares with each of these,
    /// which is no site's; default false
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtr: Option<bool>,
    /// Whether this node is behind a NAT, and is reached through RTRs: auto = find out, on = whatever is seen, off = no; default off,
    /// and auto with --rtr-at
    #[arg(long, global = true, value_name = "auto|on|off")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat: Option<NatSetting>,
    /// RTR to be reached through; repeats. Default: those that the Map-Servers name
    #[arg(long, global = true, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rtr_at: Vec<String>,
    /// Site-ID, sent in Map-Registers with an xTR-ID; default: neither is sent
    #[arg(long, global = true, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_id: Option<u64>,
    /// xTR-ID by which Map-Servers know this node, 32 hexadecimal digits; default: made at the first start
    #[arg(long, global = true, value_name = "HEX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xtr_id: Option<String>,
    /// Map-Resolver behind which mappings are subscribed to (RFC 9437): changes are told and not polled for; one of --map-resolver;
    /// repeats. With --lisp-sec what is told under a shared key is asked for with LISP-SEC before it counts
    #[arg(long, global = true, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<String>,
    /// File with the key that Map-Servers share with this node for subscriptions; one for all, or one for each. Default: the key of
    /// the Map-Server at that address, but not with --lisp-sec require; where there is none, --lisp-sec makes one with each Map-Request
    #[arg(long, global = true, value_name = "F.toml")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribe_key_file: Vec<PathBuf>,
    /// A subscription that the operators of this node and of the Map-Server have made: what is told of PREFIX after this first nonce, under
    /// the key of the --subscribe ADDR (default: of the first), is taken without being asked for; repeats
    #[arg(long, global = true, value_name = "PREFIX=NONCE[@ADDR]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribed: Vec<String>,
    /// Whether is taken what is told under the key of a --subscribe of mappings that nobody here has subscribed to; default off
    #[arg(long, global = true, value_name = "on|off")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub take_unsubscribed: Option<Switch>,
    /// Name of the TUN device; default lisp0
    #[arg(long, global = true, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tun: Option<String>,
    /// MTU of the TUN device in octets, 1280 at least; default 1360. With more than 1464 (1444 to an IPv6 locator), packets to
    /// a locator are longer than 1500 where probes show that they get there
    #[arg(long, global = true, value_name = "OCTETS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// How packets cross the kernel: 1 = many at a time (offload), 0 = one by one, auto = 1 if the kernel can; default auto
    #[arg(long, global = true, value_name = "auto|0|1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Directory of what outlives a run; default /var/lib/lisp-xtr
    #[arg(long, global = true, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// Control socket; default control.sock in the state directory
    #[arg(long, global = true, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<PathBuf>,
    /// UDP port of the DHT node; default 43420
    #[arg(long, global = true, value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dht_port: Option<u16>,
    /// Network of the CGEIDs, a /32; default 3fff:ce1::/32
    #[arg(long, global = true, value_name = "PREFIX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Zero bits that the network's puzzle asks of a DHT node's key; default 4
    #[arg(long, global = true, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub puzzle_bits: Option<u8>,
    /// File with the key of a closed network: 32 octets in hexadecimal or Base64
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_key: Option<PathBuf>,
    /// Address that several DHT nodes have at once, of which the nearest answers; repeats
    #[arg(long, global = true, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anycast: Vec<String>,
    /// Whether the DHT node looks for others on the links of this machine; default off
    #[arg(long, global = true, value_name = "on|off")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Switch>,
    /// Serve /metrics (OpenMetrics) and /health of this router, and of the DHT node in it if there is one, over HTTP at this address:
    /// what show counters shows, and of each locator of others what was sent there, path MTU, round-trip time and reachability
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// What to log, for instance "info" or "xtr=debug"; default info
    #[arg(long, global = true, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
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

/// How the inner sources of packets from the core are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SourceCheck {
    /// They have to map to the locator that the packets come from.
    Strict,
    /// They must not be known to map elsewhere.
    Loose,
    /// Not at all.
    Off,
}

/// How packets cross the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
pub enum Tier {
    /// The best that the kernel can.
    #[value(name = "auto")]
    #[serde(rename = "auto")]
    Auto,
    /// One packet a call: the portable reference.
    #[value(name = "0")]
    #[serde(rename = "0")]
    Zero,
    /// Many packets a call, cut and put together by the kernel as far as it can; refuses to run where a TUN device has no vnet
    /// header.
    #[value(name = "1")]
    #[serde(rename = "1")]
    One,
}
