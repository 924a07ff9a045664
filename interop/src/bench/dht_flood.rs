// SPDX-License-Identifier: GPL-2.0-or-later
//! How well a map system answers while strangers flood its DHT port: Map-Requests for a registered site, with and without
//! spoofed QUIC Initials, in turns.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use wire::address::{Address, Eid, EidPrefix, InstanceId};
use wire::control::{ControlMessage, Ecm, EidRequest, MapRequest, Nonce};

use super::flood::Flood;
use super::register::register_one;
use super::{resident, threads_cpu};
use crate::demo::binaries::Binaries;
use crate::lab::process::Process;
use crate::lab::{Lab, Node, Topology, privilege};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const CLIENT: &str = "192.0.2.2";
const SITE: &str = "2001:db8:a::/48";
const EID: &str = "2001:db8:a::1";
const DHT_PORT: u16 = 43420;
const SECRET: &str = "secret of a";
/// Turns of each kind; the first of all is not counted.
const TURNS: usize = 3;
/// Pause between two Map-Requests.
const PACE: Duration = Duration::from_millis(2);
/// After this a reply is lost.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the bench is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the programs are; otherwise they are built.
    pub bin_dir: Option<PathBuf>,
    /// Work in a user namespace, even as root.
    pub user_namespace: bool,
    /// Spoofed Initials a second.
    pub rate: u32,
    /// Length of each turn.
    pub turn: Duration,
}

/// The figures of one kind of turn.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Whose map system.
    pub server: &'static str,
    /// With or without the flood.
    pub case: &'static str,
    /// Spoofed Initials that were sent, a second.
    pub initials_pps: f64,
    /// Map-Replies a second.
    pub replies_per_s: f64,
    /// Map-Requests without an answer.
    pub lost: usize,
    /// Median time to the answer.
    pub p50_us: u64,
    /// 99th percentile of it.
    pub p99_us: u64,
    /// Part of a core that the DHT's thread took.
    pub dht_cpu: f64,
    /// Memory of the process at the end.
    pub rss_bytes: u64,
}

/// The outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Cores of this machine.
    pub machine: String,
    /// Without the flood, and with it.
    pub results: [Figures; 2],
    /// How much longer the 99th percentile takes under the flood.
    pub ratio: f64,
    /// Whether that is less than twice as long, and nothing was lost.
    pub ok: bool,
}

impl Report {
    /// The figures side by side.
    pub fn lines(&self) -> Vec<String> {
        let head = format!(
            "{:<6} {:>10} {:>9} {:>5} {:>7} {:>7} {:>7} {:>8}",
            "case", "initials/s", "replies/s", "lost", "p50 us", "p99 us", "dht cpu", "MiB"
        );
        let row = |it: &Figures| {
            let (cpu, mebibytes) = (it.dht_cpu, it.rss_bytes >> 20);
            format!(
                "{:<6} {:>10.0} {:>9.0} {:>5} {:>7} {:>7} {cpu:>7.2} {mebibytes:>8}",
                it.case, it.initials_pps, it.replies_per_s, it.lost, it.p50_us, it.p99_us
            )
        };
        let verdict = format!("p99 under the flood: {:.2} x ({})", self.ratio, self.machine);
        [head].into_iter().chain(self.results.iter().map(row)).chain([verdict]).collect()
    }
}

/// What was measured in turns of one kind.
#[derive(Debug, Default)]
struct Measured {
    times: Vec<Duration>,
    lost: usize,
    initials: u64,
    spent: Duration,
    dht: Duration,
    resident: u64,
}

impl Measured {
    fn figures(mut self, case: &'static str) -> Figures {
        self.times.sort_unstable();
        let at = |part: usize| self.times.get(self.times.len() * part / 100).copied().unwrap_or(PATIENCE);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let seconds = self.spent.as_secs_f64().max(f64::MIN_POSITIVE);
        Figures {
            server: "ours",
            case,
            initials_pps: self.initials as f64 / seconds,
            replies_per_s: self.times.len() as f64 / seconds,
            lost: self.lost,
            p50_us: micros(at(50)),
            p99_us: micros(at(99)),
            dht_cpu: self.dht.as_secs_f64() / seconds,
            rss_bytes: self.resident,
        }
    }
}

/// Runs the bench.
///
/// # Errors
/// When the lab cannot be had, or the map system does not serve.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let binaries = Binaries::find_or_build(options.bin_dir.as_deref())?;
    privilege::acquire(options.user_namespace)?;
    let folder = tempfile::tempdir()?;
    let lab = Lab::build(&topology())?;
    let mut server = start(&lab, &binaries, folder.path())?;
    let socket = lab.namespace("client")?.run(client)??;
    register_one(&socket, SECRET, prefix(SITE)?)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let [mut quiet, mut flooded] = [Measured::default(), Measured::default()];
    measure(&lab, &server, &socket, options, 0, &mut Measured::default())?;
    for _ in 0..TURNS {
        measure(&lab, &server, &socket, options, 0, &mut quiet)?;
        measure(&lab, &server, &socket, options, options.rate, &mut flooded)?;
    }
    server.check()?;
    let results = [quiet.figures("quiet"), flooded.figures("flood")];
    let ratio = results[1].p99_us as f64 / (results[0].p99_us as f64).max(1.0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let ok = ratio < 2.0 && results[1].lost == 0;
    Ok(Report { machine: format!("{cores} cores"), results, ratio, ok })
}

fn topology() -> Topology {
    Topology::default()
        .switch("lan")
        // Answers to addresses that are not there go to the stranger, who drops them.
        .with(Node::host("server").port("eth0", "lan", &["192.0.2.53/24"]).default_route("192.0.2.66", "eth0"))
        .with(Node::host("client").port("eth0", "lan", &["192.0.2.2/24"]))
        .with(Node::host("stranger").port("eth0", "lan", &["192.0.2.66/24"]))
}

fn start(lab: &Lab, binaries: &Binaries, folder: &Path) -> anyhow::Result<Process> {
    let config = folder.join("mapsys.toml");
    let site = format!(
        "clients = [\"192.0.2.0/24\"]\n[[site]]\nname = \"a\"\neid-prefix = [\"{SITE}\"]\nnotify-port = \"source\"\n\
         key = [{{ key-id = 1, algorithm = \"hmac-sha256\", secret = \"{SECRET}\" }}]\n"
    );
    std::fs::write(&config, site)?;
    let mut command = binaries.command("lisp-mapsys");
    command.args(["--listen", &SERVER.to_string(), "--dht-listen", &SERVER.to_string()]);
    command.args(["--dht-port", &DHT_PORT.to_string(), "--config"]).arg(&config);
    command.arg("--state-dir").arg(folder.join("state"));
    let mut server = Process::start(lab.namespace("server")?, "server", command, &folder.join("server.log"))?;
    let deadline = Instant::now() + crate::limits::COMMAND_TIME;
    while !server.has_printed("ready") {
        server.check().with_context(|| server.log_tail().join("\n"))?;
        ensure!(Instant::now() < deadline, "lisp-mapsys is not ready: {}", server.log_tail().join("\n"));
        std::thread::sleep(crate::limits::POLL);
    }
    Ok(server)
}

fn client() -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((CLIENT, 0))?;
    socket.connect((SERVER, wire::CONTROL_PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn prefix(text: &str) -> anyhow::Result<EidPrefix> {
    Ok(EidPrefix { iid: InstanceId(0), net: text.parse()? })
}

/// One turn.
fn measure(
    lab: &Lab,
    server: &Process,
    socket: &UdpSocket,
    options: &Options,
    rate: u32,
    into: &mut Measured,
) -> anyhow::Result<()> {
    let target = SocketAddrV4::new(SERVER, DHT_PORT);
    let flood = (rate > 0).then(|| Flood::start(lab.namespace("stranger")?, target, rate)).transpose()?;
    // Until the flood has filled what it can fill.
    std::thread::sleep(Duration::from_millis(500));
    let (begun, cpu, before) =
        (Instant::now(), threads_cpu(server.id(), |name| name == "dht")?, flood.as_ref().map_or(0, Flood::sent));
    let mut nonce = 0x1000_0000 + u64::from(rand::random::<u32>());
    while begun.elapsed() < options.turn {
        nonce += 1;
        let sent = Instant::now();
        if ask(socket, Nonce(nonce))? {
            into.times.push(sent.elapsed());
        } else {
            into.lost += 1;
        }
        std::thread::sleep(PACE.saturating_sub(sent.elapsed()));
    }
    into.spent += begun.elapsed();
    into.resident = resident(server.id())?;
    into.dht += threads_cpu(server.id(), |name| name == "dht")?.saturating_sub(cpu);
    if let Some(flood) = flood {
        into.initials += flood.sent() - before;
        flood.end()?;
    }
    Ok(())
}

/// Sends a Map-Request and waits for its Map-Reply.
fn ask(socket: &UdpSocket, nonce: Nonce) -> anyhow::Result<bool> {
    let local = socket.local_addr()?;
    let request = MapRequest {
        nonce,
        source_eid: Address::None,
        itr_rlocs: vec![local.ip().into()],
        records: vec![EidRequest { notify: false, eid: Eid::from(prefix(&format!("{EID}/128"))?) }],
        ..MapRequest::default()
    };
    let inner = match local {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    };
    let to = SocketAddr::new(EID.parse()?, wire::CONTROL_PORT);
    socket.send(&Ecm::wrap(inner, to, ControlMessage::MapRequest(request).encode()?).encode()?)?;
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.recv(&mut buffer) {
        if let Ok(ControlMessage::MapReply(reply)) = ControlMessage::decode(&buffer[..length])
            && reply.nonce == nonce
        {
            return Ok(true);
        }
    }
    Ok(false)
}
