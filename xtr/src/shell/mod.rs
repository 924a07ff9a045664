// SPDX-License-Identifier: GPL-2.0-or-later
//! The I/O of the border node: TUN, sockets, netlink, files, signals, and the map system that the binary embeds.

mod ancillary;
pub mod clock;
pub mod control_plane;
pub mod control_socket;
pub mod control_sockets;
pub mod data_plane;
pub mod data_socket;
pub mod decap_loop;
pub mod device;
pub mod embedded;
pub mod encap_loop;
pub mod error;
pub mod fixed_ports;
pub mod former;
mod forwarding;
pub mod gro_sockets;
pub mod identities;
pub mod interfaces;
pub mod kept_locators;
pub mod lacking;
pub mod led;
mod lent_errors;
pub mod life;
pub mod listing;
pub mod look;
pub mod losses;
pub mod map_version;
pub mod metrics;
pub mod nat;
pub mod netlink;
pub mod notify_nonces;
pub mod packet_loop;
pub mod packets;
pub mod port_pool;
pub mod privileges;
pub mod relay;
pub mod reload;
mod send_many;
pub mod show;
pub mod state;
pub mod temporary;
mod to_site;
pub mod trace;
pub mod tun;
pub mod ungrouped;
mod worker;

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use cgeid::OperationalKey;
use dht::shell::http::Server as MetricsServer;
use ipnet::{IpNet, Ipv6Net};
use program::manager;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use wire::address::EidPrefix;
use wire::control::auth::TagForm;
use wire::control::{Nonce, XtrIdentity};
use wire::record::Ttl;

pub use control_socket::{ask, ask_within};
pub use error::Failure;
pub use show::table;

use crate::config::{Config, Flags, Mapping, warnings};
use crate::database::Database;
use crate::engine::{self, Control};
use crate::register::Server;
use crate::subscribe::{self, Told};
use crate::transport::MapSystem;
use clock::{Alarm, Sleep};
use control_plane::ControlPlane;
use control_socket::{ControlSocket, Question};
use control_sockets::{ControlSockets, Received};
use embedded::{Embedded, Identities, KeyFiles, KeyWatch, cgeid_prefix};
use forwarding::Forwarded;
use identities::{Change, Changes};
use interfaces::{Damper, Locators, Machine, Wanted, Watch};
use kept_locators::KeptLocators;
use lacking::Lacking;
use led::{Led, Why};
use map_version::KeptVersion;
use netlink::Netlink;
use notify_nonces::NotifyNonces;
use packets::Packets;
use privileges::Privileges;
use reload::Settings;
use state::StateFile;
use temporary::{Clocks, SystemClocks, Temporary};

/// Questions over the control socket that wait for the loop.
const QUESTIONS: usize = 8;

/// Runs a border node until SIGINT or SIGTERM; `flags` are those that `config` was loaded by, and is loaded by again on SIGHUP.
///
/// # Errors
/// What the configuration or the machine lacks. Everything set up until then is taken down again.
pub async fn run(config: Config, flags: Flags) -> Result<(), Failure> {
    let (stop, settings) = (stop_signal()?, Settings::of(&config, flags)?);
    run_as(Privileges::Ours, settings, config, Changes::default(), SystemClocks, stop).await
}

/// Runs a border node whose identities others change too, with the clocks that its temporary ones go by, until `stop`.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    changes: Changes,
    clocks: impl Clocks,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let settings = Settings::fixed(&config);
    run_as(Privileges::Shared, settings, config, changes, clocks, stop).await
}

async fn run_as(
    privileges: Privileges,
    settings: Settings,
    config: Config,
    changes: Changes,
    clocks: impl Clocks,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let sender = changes.sender();
    let (mut plane, windows) = start(privileges, settings, &config, changes).await?;
    let mut result = plane.netlink.set_up(&mut plane.plan).await;
    if result.is_ok() {
        manager::ready();
        result = serve(&config, &mut plane, clocks, sender, stop).await;
    }
    result.and(end(plane, windows).await)
}

/// Starts all parts. What the configuration and the machine may refuse comes first; only then is anything written.
async fn start(
    privileges: Privileges,
    settings: Settings,
    config: &Config,
    changes: Changes,
) -> Result<(ControlPlane, Windows), Failure> {
    let given = check_map_system(config)?;
    privileges.at_the_start(config.tier)?;
    let underlay = Underlay::of(config).await?;
    // Behind what names another node: one that was started twice wants the same port too.
    let metrics = metrics::listen(config).await?;
    embedded::probe(config, &underlay.locators.reachable())?;
    control_socket::check(config)?;
    let kept = Kept::open(config)?;
    // Behind the lock on the state directory: of two that start at once neither takes the socket of the other away.
    let control_socket = control_socket::Bound::of(config)?;
    let own = Own::of(config, given)?;
    let Locators { all: rlocs, unreachable, mtus: _ } = underlay.locators.clone();
    let database = Database::new(own.site.clone(), rlocs, Ttl::DEFAULT).with_unreachable(unreachable);
    let database = kept.map_version.version(database, config.trust.status_bits());
    let packets = Packets::start(config, &database)?;
    packets.lend_control_port(&underlay.sockets);
    privileges.while_it_runs()?;
    let map_system = start_map_system(config, own.keys, &own.watch, &database)?;
    let key_watch = own.watch.waker();
    changes.renew(own.watch);
    let (sender, questions) = mpsc::channel::<Question>(QUESTIONS);
    let windows = Windows::open(metrics, control_socket, config, map_system.as_ref(), sender)?;
    announce(config, &database, map_system.as_ref());
    let has_changed = kept.locators.differ_from(&database);
    let control = control(config, &kept.state, database, &own.site, map_system.as_ref())?.having_heard(kept.heard);
    let mut control = control.having_been_told(clock::now(), kept.told);
    if has_changed {
        control.pause_status_bits(clock::now());
    }
    let plan = plan(config, &own.site, &own.cgeids);
    let plane = ControlPlane {
        control,
        sockets: underlay.sockets,
        received: underlay.received,
        packets,
        map_system,
        state: kept.state,
        map_version: kept.map_version,
        kept_locators: kept.locators,
        notify_nonces: kept.notify_nonces,
        told_nonces: kept.told_nonces,
        questions,
        cgeid_network: cgeid_network(config),
        changes,
        key_watch,
        netlink: underlay.netlink,
        wanted: underlay.wanted.having(plan.own_cgeids.clone()),
        plan,
        watch: underlay.watch,
        look: None,
        locators: underlay.locators,
        lacking: Lacking::told(underlay.lacking),
        damper: Damper::default(),
        former: former::Former::default(),
        settings,
        reloading: None,
        is_leaving: false,
        pitr: Led::new(Why::Pitr, config),
        moved: Led::new(Why::Moved, config),
        sleep: Sleep::default(),
        alarm: Alarm::new().map_err(|error| Failure::Machine(format!("a timer: {error}")))?,
        led_again: Arc::default(),
    };
    Ok((plane, windows))
}

/// What the machine has towards the core.
struct Underlay {
    netlink: Netlink,
    watch: Watch,
    wanted: Wanted,
    locators: Locators,
    lacking: Vec<String>,
    sockets: ControlSockets,
    received: mpsc::Receiver<Received>,
}

impl Underlay {
    async fn of(config: &Config) -> Result<Self, Failure> {
        let netlink = Netlink::connect()?;
        netlink.refuse_a_second_node(&config.tun).await?;
        let watch = Watch::start(&config.tun, cgeid_network(config))?;
        let wanted = Wanted::of(config);
        let machine = Machine::read(&netlink, &wanted).await?;
        let settling = machine.settling();
        let (mut locators, mut lacking) = locators(config, &wanted, machine)?;
        let rlocs: Vec<IpAddr> = locators.all.iter().map(|locator| locator.address).collect();
        // First: it waits for addresses that are still looked at for duplicates.
        let (sockets, received) = ControlSockets::bind(&rlocs, &settling).await?;
        locators.unreachable = rlocs.into_iter().filter(|rloc| !sockets.receives_at(*rloc)).collect();
        let out_of_reach = wanted.out_of_reach(&locators.reachable());
        out_of_reach.iter().for_each(|lack| tracing::warn!("{lack}"));
        lacking.extend(out_of_reach);
        Packets::probe(config, &locators.reachable())?;
        Ok(Self { netlink, watch, wanted, locators, lacking, sockets, received })
    }
}

/// What outlives the run.
struct Kept {
    state: StateFile,
    map_version: KeptVersion,
    locators: KeptLocators,
    notify_nonces: NotifyNonces<MapSystem>,
    heard: Vec<(MapSystem, Nonce)>,
    told_nonces: NotifyNonces<Told>,
    told: Vec<(Told, Nonce)>,
}

impl Kept {
    fn open(config: &Config) -> Result<Self, Failure> {
        let state = StateFile::open(&config.state_dir)?;
        let map_version = KeptVersion::open(&config.state_dir, config.map_version)?;
        let locators = KeptLocators::open(&config.state_dir, config.trust.status_bits());
        let (notify_nonces, heard) = NotifyNonces::open(&config.state_dir)?;
        let (told_nonces, told) = NotifyNonces::open(&config.state_dir)?;
        Ok(Self { state, map_version, locators, notify_nonces, heard, told_nonces, told })
    }
}

/// Identities of this node, and its EIDs.
struct Own {
    keys: Vec<OperationalKey>,
    watch: KeyWatch,
    cgeids: Vec<EidPrefix>,
    /// All EID-prefixes, the CGEIDs at the end.
    site: Vec<EidPrefix>,
}

impl Own {
    /// Of those that the configuration names, or else of one that is made at the first start.
    fn of(config: &Config, (key_files, given): (KeyFiles, Vec<OperationalKey>)) -> Result<Self, Failure> {
        let (key_files, keys) = match &config.mapping {
            Mapping::Embedded(embedded) if given.is_empty() => {
                let (files, key) = embedded::own_identity(config, embedded)?;
                (files, vec![key])
            }
            _ => (key_files, given),
        };
        let watch = KeyWatch::start(key_files).map_err(|error| Failure::Machine(format!("{error:#}")))?;
        let cgeids: Vec<EidPrefix> = keys.iter().map(|key| cgeid_prefix(key.address())).collect();
        let site = config.eid_prefixes.iter().chain(&cgeids).copied().collect();
        Ok(Self { keys, watch, cgeids, site })
    }
}

/// The one in this process, if there is one.
fn start_map_system(
    config: &Config,
    keys: Vec<OperationalKey>,
    watch: &KeyWatch,
    database: &Database,
) -> Result<Option<Embedded>, Failure> {
    match &config.mapping {
        Mapping::Embedded(embedded) => {
            let identities = Identities { keys, watch };
            Embedded::start(config, embedded, identities, database.preferred_rlocs()).map(Some)
        }
        Mapping::Elsewhere { .. } => Ok(None),
    }
}

/// By what the node is seen from outside.
struct Windows {
    life: life::Life,
    control_socket: ControlSocket,
    metrics: Option<MetricsServer>,
}

impl Windows {
    fn open(
        metrics: Option<TcpListener>,
        control_socket: control_socket::Bound,
        config: &Config,
        map_system: Option<&Embedded>,
        questions: mpsc::Sender<Question>,
    ) -> Result<Self, Failure> {
        let metrics = metrics::serve(metrics, config, map_system, questions.clone())?;
        let life = life::Life::show(questions.clone());
        Ok(Self { life, control_socket: control_socket.serve(questions), metrics })
    }
}

/// Ends all parts, of which the kernel's routing is the first to be as it was.
async fn end(mut plane: ControlPlane, windows: Windows) -> Result<(), Failure> {
    drop(windows.life);
    plane.netlink.revive();
    let taken_down = plane.netlink.take_down().await;
    drop(windows.control_socket);
    drop(windows.metrics);
    plane.packets.stop();
    if let Some(map_system) = plane.map_system {
        map_system.shutdown().await;
    }
    taken_down
}

/// Runs until `stop`, with temporary CGEIDs or without.
async fn serve(
    config: &Config,
    plane: &mut ControlPlane,
    clocks: impl Clocks,
    changes: mpsc::Sender<Change>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let Some(status) = plane.map_system.as_ref().map(Embedded::status) else { return plane.run(stop).await };
    let network = embedded::network(config.cgeid_network);
    if !config.temporary {
        temporary::remove_leftovers(config, network).await;
        return plane.run(stop).await;
    }
    let mut temporary = Temporary::start(config, network, clocks, changes, status).await?;
    let led_again = Arc::clone(&plane.led_again);
    let result = tokio::select! {
        result = plane.run(stop) => result,
        never = temporary.run(&led_again) => match never {},
    };
    let ended = temporary.end().await;
    result.and(ended)
}

/// The identities that a configuration names, opened, and their files; its bootstrap addresses, read. Makes and writes
/// nothing.
///
/// # Errors
/// Names the file that cannot be read or opened, or the address that is none.
pub fn check_map_system(config: &Config) -> Result<(KeyFiles, Vec<OperationalKey>), Failure> {
    match &config.mapping {
        Mapping::Embedded(embedded) => embedded::check(config, embedded),
        Mapping::Elsewhere { .. } => Ok((KeyFiles::default(), Vec::new())),
    }
}

/// At the start, with what the machine lacks of what is wanted; then they follow the interfaces. Those that can be reached are found by trying.
fn locators(config: &Config, wanted: &Wanted, machine: Machine) -> Result<(Locators, Vec<String>), Failure> {
    let machine = machine.hopeful();
    let lacking = machine.lacks(wanted);
    lacking.iter().for_each(|lack| tracing::warn!("{lack}"));
    let locators = machine.locators(wanted, &Locators::default());
    if locators.all.is_empty() {
        let problem = if config.rloc_interfaces.is_empty() {
            "needed: there is no default route whose interface has a global address"
        } else {
            "no such interface has a global address"
        };
        return Err(Failure::key("rloc", problem));
    }
    config.check_locators(&locators.all)?;
    Ok((locators, lacking))
}

fn control(
    config: &Config,
    state: &StateFile,
    database: Database,
    site: &[EidPrefix],
    map_system: Option<&Embedded>,
) -> Result<Control, Failure> {
    let xtr_id = config.xtr_id.unwrap_or(state.state().xtr_id);
    let identity = |site_id| XtrIdentity { xtr_id, site_id };
    let subscriptions = subscriptions(config, identity(config.site_id.unwrap_or(0)), state)?;
    let (servers, resolvers) = match (&config.mapping, map_system) {
        (Mapping::Elsewhere { .. }, _) => map_systems(config, xtr_id),
        (Mapping::Embedded(_), Some(system)) => {
            let server = Server {
                to: MapSystem::Pipe,
                key: system.pipe_key(),
                tag: TagForm::Truncated,
                narrow_coverage: false,
                proxy_reply: true,
                identity: Some(identity(config.site_id.unwrap_or(0))),
                prefixes: site.to_vec(),
            };
            (vec![server], vec![MapSystem::Pipe])
        }
        (Mapping::Embedded(_), None) => (Vec::new(), Vec::new()),
    };
    let (gpe_peers, trust, lisp_sec) = (config.gpe_peers.clone(), config.trust.clone(), config.lisp_sec.clone());
    let roles = config.interworking.clone();
    let settings = config;
    let config = engine::Config {
        database,
        cgeid_network: Some(IpNet::V6(config.cgeid_network)),
        servers,
        resolvers,
        nonce_floor: Nonce(state.state().nonce),
        seed: state::random()?,
    };
    let now = clock::now();
    let control = Control::new(now, config)
        .sparing(gpe_peers)
        .finding_path_mtus(Packets::longest(settings))
        .logging_ecn(settings.ecn_log)
        .trusting(now, trust, state::random()?)
        .secured(lisp_sec)
        .interworking(now, roles, state::random()?)
        .subscribing(now, subscriptions);
    nat::with_nat(control, settings)
}

/// The Map-Servers and Map-Resolvers elsewhere.
fn map_systems(config: &Config, xtr_id: [u8; 16]) -> (Vec<Server>, Vec<MapSystem>) {
    let Mapping::Elsewhere { servers, resolvers } = &config.mapping else { return (Vec::new(), Vec::new()) };
    let server = |server: &crate::config::ServerAddress| Server {
        to: MapSystem::Node(server.address),
        key: server.key.clone(),
        tag: server.tag,
        narrow_coverage: server.narrow_coverage,
        proxy_reply: config.proxy_reply,
        identity: nat::identity(config, |site_id| XtrIdentity { xtr_id, site_id }),
        prefixes: config.eid_prefixes.clone(),
    };
    (servers.iter().map(server).collect(), resolvers.iter().map(|address| MapSystem::Node(*address)).collect())
}

/// Where mappings are subscribed to, and as whom.
fn subscriptions(config: &Config, identity: XtrIdentity, state: &StateFile) -> Result<subscribe::Config, Failure> {
    let associations = config.subscriptions.clone();
    if !associations.is_empty() {
        let xtr_id = format!("{:032x}", u128::from_be_bytes(identity.xtr_id));
        tracing::info!(xtr_id, site_id = identity.site_id, "subscribes to mappings");
    }
    Ok(subscribe::Config {
        identity,
        associations,
        nonce_floor: Nonce(state.state().nonce),
        seed: state::random()?,
        configured: config.subscribed.clone(),
        takes_unsubscribed: config.takes_unsubscribed,
    })
}

fn plan(config: &Config, site: &[EidPrefix], cgeids: &[EidPrefix]) -> netlink::Plan {
    let v6 = |prefix: &EidPrefix| if let IpAddr::V6(address) = prefix.net.addr() { Some(address) } else { None };
    netlink::Plan {
        tun: config.tun.clone(),
        site: site.iter().map(|prefix| prefix.net).collect(),
        cgeid_network: cgeid_network(config),
        own_cgeids: cgeids.iter().filter_map(v6).collect(),
        others: config.interworking.of_others().map(|prefix| prefix.net).collect(),
    }
}

/// The network of the CGEIDs, if this node takes part in it: all packets to it go through the tunnel.
fn cgeid_network(config: &Config) -> Option<Ipv6Net> {
    matches!(config.mapping, Mapping::Embedded(_)).then_some(config.cgeid_network)
}

/// What an operator has to know at the start, and to give to others.
fn announce(config: &Config, database: &Database, map_system: Option<&Embedded>) {
    let join = |items: Vec<String>| items.join(" ");
    let prefixes = join(database.prefixes().iter().map(ToString::to_string).collect());
    let rlocs = join(database.rlocs().iter().map(ToString::to_string).collect());
    tracing::info!(prefixes, rlocs, tun = config.tun, "border node");
    if config.trust.is_on() {
        let peers = join(config.trusted_peers.iter().map(ToString::to_string).collect());
        tracing::warn!(peers, "nonces, status bits and map-versions of peers are believed: for closed networks only");
    }
    warnings(config).iter().for_each(|warning| tracing::warn!("{warning}"));
    let interworking = &config.interworking;
    let forwarded = Forwarded {
        own: database.prefixes(),
        petr_for: &interworking.petr_for,
        pitr_for: interworking.pitr_for.iter().chain(&interworking.pitr_in).collect(),
    };
    for (setting, lack) in forwarded.missing(forwarding::is_off) {
        tracing::warn!(setting, "IP forwarding is off: {lack} (sysctl -w {setting}=1)");
    }
    let mut leave = database.prefixes().iter().chain(&config.interworking.petr_for);
    if leave.any(|prefix| prefix.net.addr().is_ipv4())
        && let Some(setting) = netlink::reverse_path_check()
    {
        tracing::warn!(
            setting,
            "the kernel drops IPv4 packets that leave as they are, or through a PETR here (sysctl -w {setting}=0; each device keeps its own)"
        );
    }
    for anchor in map_system.map(Embedded::own_anchors).unwrap_or_default() {
        let prefix = anchor.prefix;
        say(&format!("Nobody delegated {prefix} to this node, so it vouches for it itself. Give to others:"));
        say(&format!("    --trust-anchor {anchor}"));
    }
}

/// A line on the standard output, which nobody may be reading: no reason for a node to end.
fn say(line: &str) {
    if let Err(error) = writeln!(std::io::stdout(), "{line}") {
        tracing::warn!(%error, line, "standard output");
    }
}

fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let catch = |kind| signal(kind).map_err(|error| Failure::Machine(format!("signals: {error}")));
    let (mut interrupt, mut terminate) = (catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("going away");
    })
}
