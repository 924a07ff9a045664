// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-mapsys` as a black box: it runs on loopback, and xTRs of these suites speak to it over UDP.

use std::cell::{Cell, OnceCell};
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, Ecm, EidRequest, MapNotify, MapRegister, MapReply, MapRequest, Nonce};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

use super::probe::{Fault, broken, missing};

/// Names another program to judge.
const VARIABLE: &str = "CONFORMANCE_LISP_MAPSYS";
/// An answer of this machine comes in less, also where much else runs on it.
const PATIENCE: Duration = Duration::from_secs(5);
/// What was not to come, and comes all the same, does so within this time after a later message was answered.
const GRACE: Duration = Duration::from_millis(40);
/// Messages sent without waiting: any socket holds so many.
const AT_ONCE: u32 = 32;
/// The longest datagram.
const DATAGRAM: usize = 65_536;
/// Strict sites of the common map system: one for each check that registers something.
const SITES: u16 = 64;
/// The site that is registered to see whether the map system still works.
const SENTINEL: &str = "2001:db8:ffff::/48";
const SENTINEL_SECRET: &str = "sentinel";

/// A folder, the program, and the addresses that are taken.
pub(super) struct Room {
    folder: TempDir,
    program: PathBuf,
    /// Second octet of the addresses: runs beside each other have different ones.
    block: u8,
    places: Cell<u16>,
    sites: Cell<u16>,
    nonce: Cell<u64>,
    common: OnceCell<MapSystem>,
}

/// A running `lisp-mapsys`.
pub(super) struct MapSystem {
    child: Child,
    _output: BufReader<ChildStdout>,
    /// Where it serves, IPv4 first.
    pub(super) addresses: Vec<SocketAddr>,
}

/// An ITR or ETR at an address of its own.
pub(super) struct Xtr {
    socket: UdpSocket,
    /// Its address.
    pub(super) address: SocketAddr,
}

/// A datagram that came.
pub(super) struct Came {
    pub(super) from: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// A strict site of the common map system that no other check uses.
pub(super) struct Site {
    /// `2001:db8:N::/48`; more-specifics up to /64.
    pub(super) prefix: EidPrefix,
    number: u16,
}

impl Room {
    pub(super) fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the files of the suite")?;
        let block = 64 + u8::try_from(std::process::id() % 128)?;
        let (places, sites, nonce) = (Cell::new(1), Cell::new(0), Cell::new(1));
        Ok(Self { folder, program: program()?, block, places, sites, nonce, common: OnceCell::new() })
    }

    /// The next address of loopback.
    fn place(&self) -> Ipv4Addr {
        let number = self.places.get();
        self.places.set(number + 1);
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(127, self.block, high, low)
    }

    /// A nonce above all that were used.
    pub(super) fn nonce(&self) -> Nonce {
        self.nonce.set(self.nonce.get() + 1);
        Nonce(self.nonce.get())
    }

    /// An xTR that listens at the control port of an IPv4 address of its own.
    pub(super) fn xtr(&self) -> Result<Xtr, Fault> {
        Xtr::at(SocketAddr::new(self.place().into(), wire::CONTROL_PORT))
    }

    /// An xTR at another port of an IPv4 address of its own.
    pub(super) fn xtr_elsewhere(&self) -> Result<Xtr, Fault> {
        Xtr::at(SocketAddr::new(self.place().into(), 0))
    }

    /// An xTR at two ports of an IPv4 address of its own: one that the system chose, and the control port.
    pub(super) fn xtr_at_two_ports(&self) -> Result<(Xtr, Xtr), Fault> {
        let control = self.xtr()?;
        Ok((Xtr::at(SocketAddr::new(control.address.ip(), 0))?, control))
    }

    /// An xTR at the IPv6 loopback address, of which there is one, at a port of its own.
    pub(super) fn xtr6(&self) -> Result<Xtr, Fault> {
        Xtr::at(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0))
    }

    /// The map system that checks share, each with a site and addresses of its own. It serves at two IPv4 addresses and an IPv6
    /// address.
    pub(super) fn common(&self) -> Result<&MapSystem, Fault> {
        if self.common.get().is_none() {
            let started = self.start("common", &common_sites(), 2)?;
            let _ = self.common.set(started);
        }
        self.common.get().ok_or_else(|| broken("no map system"))
    }

    /// Starts a map system with a configuration, at so many IPv4 addresses and one IPv6 address.
    pub(super) fn start(&self, name: &str, config: &str, addresses: usize) -> Result<MapSystem, Fault> {
        let file = self.folder.path().join(format!("{name}.toml"));
        std::fs::write(&file, config).map_err(missing)?;
        let state = self.folder.path().join(format!("{name}.state"));
        let log = std::fs::File::options().create(true).append(true).open(self.log(name)).map_err(missing)?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&file).arg("--state-dir").arg(&state);
        for _ in 0..addresses {
            command.args(["--listen", &format!("{}:0", self.place())]);
        }
        command.args(["--listen", "[::1]:0", "--dht-listen", &self.place().to_string(), "--dht-port", "0"]);
        command.env("TMPDIR", self.folder.path()).stdout(Stdio::piped()).stderr(log);
        let program = self.program.display();
        let mut child = command.spawn().map_err(|error| {
            missing(format!("{program} does not run ({error}); build it, or name another with {VARIABLE}"))
        })?;
        let mut output = BufReader::new(child.stdout.take().ok_or_else(|| broken("no standard output"))?);
        let addresses = until_ready(&mut output);
        let running = MapSystem { child, _output: output, addresses };
        if running.addresses.is_empty() {
            return Err(broken(format!("the map system does not start: {}", self.said(name))));
        }
        Ok(running)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.log(name)).unwrap_or_default()
    }

    /// A site of the common map system for a check alone.
    pub(super) fn site(&self) -> Result<Site, Fault> {
        let number = self.sites.get() + 1;
        self.sites.set(number);
        if number > SITES {
            return Err(missing("more sites in the configuration of the suite"));
        }
        Ok(Site { prefix: prefix(&format!("2001:db8:{number:x}::/48"))?, number })
    }

    /// The common map system still takes Map-Registers and answers Map-Requests, and what came before was done.
    pub(super) fn works(&self) -> Result<(), Fault> {
        self.works_at(self.common()?)
    }

    /// The same of another map system, which has the sentinel's site too.
    pub(super) fn works_at(&self, server: &MapSystem) -> Result<(), Fault> {
        let xtr = self.xtr()?;
        let key = key(1, Algorithm::HmacSha256, SENTINEL_SECRET);
        let locator = xtr.address.ip().to_string();
        let message = register(self.nonce(), vec![record(prefix(SENTINEL)?, &[&locator])]);
        let notify = xtr.registers(server.first()?, &message, &key)?;
        if notify.nonce != message.nonce {
            return Err(broken(format!("a Map-Notify with nonce {:?}, not {:?}", notify.nonce, message.nonce)));
        }
        let asked = request(self.nonce(), &[host("2001:db8:ffff::2")?], &[xtr.address.ip()]);
        let reply = xtr.asks(server.first()?, &asked)?;
        let locators = reply.records.iter().map(|record| record.locators.len()).sum::<usize>();
        if locators == 1 { Ok(()) } else { Err(broken(format!("the sentinel is answered with {reply:?}"))) }
    }

    /// Sends, and sees that nothing comes of it while the common map system goes on.
    pub(super) fn is_ignored(&self, xtr: &Xtr, bytes: &[u8]) -> Result<(), Fault> {
        self.are_ignored(xtr, [bytes.to_vec()])
    }

    /// The same of many messages; no more at once than a socket holds.
    pub(super) fn are_ignored(&self, xtr: &Xtr, messages: impl IntoIterator<Item = Vec<u8>>) -> Result<(), Fault> {
        let server = self.common()?.first()?;
        for (number, bytes) in (1..).zip(messages) {
            xtr.send(server, &bytes)?;
            if number % AT_ONCE == 0 {
                self.works()?;
            }
        }
        self.works()?;
        xtr.hears_nothing(GRACE)
    }

    /// The EID-prefixes outside of instances that sites of the common map system have.
    pub(super) fn configured(&self) -> Result<Vec<EidPrefix>, Fault> {
        let numbered = (1..=SITES).map(|number| format!("2001:db8:{number:x}::/48"));
        let special = SPECIAL.split("[[site]]").filter(|site| !site.contains("iid"));
        let special = special.flat_map(|site| site.lines().filter(|line| line.starts_with("eid-prefix")));
        let special = special.flat_map(|line| line.split('"').filter(|part| part.contains('/')).map(str::to_owned));
        numbered.chain(special).chain([SENTINEL.to_owned()]).map(|text| prefix(&text)).collect()
    }

    /// What the common map system answers to an xTR that has asked nothing yet.
    pub(super) fn answer(&self, eid: EidPrefix) -> Result<MapReply, Fault> {
        let xtr = self.xtr()?;
        let request = request(self.nonce(), &[eid], &[xtr.address.ip()]);
        xtr.asks(self.common()?.first()?, &request)
    }
}

impl MapSystem {
    /// The address that is asked where it does not matter which.
    pub(super) fn first(&self) -> Result<SocketAddr, Fault> {
        self.addresses.first().copied().ok_or_else(|| broken("it serves nowhere"))
    }

    /// Its IPv6 address.
    pub(super) fn ipv6(&self) -> Result<SocketAddr, Fault> {
        self.addresses.iter().copied().find(SocketAddr::is_ipv6).ok_or_else(|| broken("it has no IPv6 address"))
    }

    /// Ends it at once, as a power cut does.
    pub(super) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for MapSystem {
    fn drop(&mut self) {
        self.end();
    }
}

impl Xtr {
    fn at(address: SocketAddr) -> Result<Self, Fault> {
        let socket = UdpSocket::bind(address).map_err(|error| missing(format!("{address}: {error}")))?;
        let address = socket.local_addr().map_err(missing)?;
        Ok(Self { socket, address })
    }

    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) -> Result<(), Fault> {
        self.socket.send_to(bytes, to).map(drop).map_err(|error| missing(format!("to {to}: {error}")))
    }

    /// The next datagram, if one comes in time.
    pub(super) fn hear(&self, patience: Duration) -> Result<Option<Came>, Fault> {
        let mut buffer = vec![0; DATAGRAM];
        self.socket.set_read_timeout(Some(patience)).map_err(missing)?;
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                buffer.truncate(length);
                Ok(Some(Came { from, bytes: buffer }))
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(missing(error)),
        }
    }

    /// All that comes within a time.
    pub(super) fn hear_all(&self, time: Duration) -> Result<Vec<Came>, Fault> {
        let (begun, mut all) = (Instant::now(), Vec::new());
        while let Some(left) = time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            all.extend(self.hear(left)?);
        }
        Ok(all)
    }

    pub(super) fn hears_nothing(&self, time: Duration) -> Result<(), Fault> {
        match self.hear(time)? {
            None => Ok(()),
            Some(came) => Err(broken(format!("expected nothing; from {} came {}", came.from, told(&came.bytes)))),
        }
    }

    /// The next message.
    pub(super) fn message(&self) -> Result<(SocketAddr, ControlMessage), Fault> {
        let came = self.hear(PATIENCE)?.ok_or_else(|| broken("expected an answer; nothing came"))?;
        let message = ControlMessage::decode(&came.bytes).map_err(broken)?;
        Ok((came.from, message))
    }

    /// Registers with a tag of the length that RFC 9301 names; the Map-Notify, whose tag holds.
    pub(super) fn registers(&self, to: SocketAddr, message: &MapRegister, key: &AuthKey) -> Result<MapNotify, Fault> {
        self.send(to, &sealed(message, key)?)?;
        self.notified(key)
    }

    /// The Map-Notify that comes next; its tag holds.
    pub(super) fn notified(&self, key: &AuthKey) -> Result<MapNotify, Fault> {
        let came = self.hear(PATIENCE)?.ok_or_else(|| broken("expected a Map-Notify; nothing came"))?;
        auth::verify(&came.bytes, key, auth::Accept::INTEROP)
            .map_err(|error| broken(format!("{}: {error}", told(&came.bytes))))?;
        match ControlMessage::decode(&came.bytes) {
            Ok(ControlMessage::MapNotify(notify)) => Ok(notify),
            _ => Err(broken(format!("expected a Map-Notify; came {}", told(&came.bytes)))),
        }
    }

    /// Asks inside an ECM whose inner source is this xTR's address; the Map-Reply, with the nonce of the question.
    pub(super) fn asks(&self, to: SocketAddr, request: &MapRequest) -> Result<MapReply, Fault> {
        self.send(to, &self.ecm(request)?)?;
        self.replied(request.nonce)
    }

    /// The Map-Reply that comes next.
    pub(super) fn replied(&self, nonce: Nonce) -> Result<MapReply, Fault> {
        match self.message()? {
            (_, ControlMessage::MapReply(reply)) if reply.nonce == nonce => Ok(reply),
            (from, other) => Err(broken(format!("expected a Map-Reply with {nonce:?}; from {from} came {other:?}"))),
        }
    }

    /// The request in an ECM; replies to it come to this xTR's port.
    pub(super) fn ecm(&self, request: &MapRequest) -> Result<Vec<u8>, Fault> {
        self.wrapped(request.encode().map_err(broken)?)
    }

    /// Octets in an ECM.
    pub(super) fn wrapped(&self, message: Vec<u8>) -> Result<Vec<u8>, Fault> {
        let destination = match self.address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        };
        let destination = SocketAddr::new(destination, wire::CONTROL_PORT);
        Ecm::wrap(self.address, destination, message).encode().map_err(broken)
    }
}

impl Site {
    /// Its first key; RFC 9301's algorithm 2.
    pub(super) fn key(&self) -> AuthKey {
        self.key_number(1, Algorithm::HmacSha256)
    }

    /// One of its two keys.
    pub(super) fn key_number(&self, id: u8, algorithm: Algorithm) -> AuthKey {
        key(id, algorithm, &secret(self.number, id))
    }

    /// An address in it.
    pub(super) fn host(&self, last: u16) -> EidPrefix {
        let mut octets = [0; 16];
        if let IpAddr::V6(address) = self.prefix.net.addr() {
            octets = address.octets();
        }
        octets[14..].copy_from_slice(&last.to_be_bytes());
        EidPrefix::host(self.prefix.iid, Ipv6Addr::from(octets).into())
    }
}

/// The settings that the sentinel of [`Room::works_at`] needs.
pub(super) fn sentinel_site() -> String {
    format!(
        "[[site]]\nname = \"sentinel\"\neid-prefix = [\"{SENTINEL}\"]\n\
         key = [{{ key-id = 1, secret = \"{SENTINEL_SECRET}\" }}]\n"
    )
}

/// The secret of a key of a numbered site.
fn secret(number: u16, id: u8) -> String {
    format!("secret {id} of {number}")
}

/// The sites of the common map system.
fn common_sites() -> String {
    let mut text = sentinel_site();
    for number in 1..=SITES {
        text += &format!(
            "[[site]]\nname = \"{number}\"\neid-prefix = [\"2001:db8:{number:x}::/48\"]\naccept-more-specifics = 64\n\
             key = [{{ key-id = 1, secret = \"{}\" }}, {{ key-id = 2, secret = \"{}\" }}]\n",
            secret(number, 1),
            secret(number, 2)
        );
    }
    text + SPECIAL
}

/// Sites that are like no other.
const SPECIAL: &str = r#"
[[site]]
name = "ipv4"
eid-prefix = ["10.4.0.0/16"]
key = [{ key-id = 1, secret = "ipv4" }]

[[site]]
name = "legacy"
eid-prefix = ["2001:db8:1e9::/48"]
legacy = true
key = [{ key-id = 0, algorithm = "hmac-sha1", secret = "legacy" }]

[[site]]
name = "behind a NAT"
eid-prefix = ["2001:db8:4a7::/48"]
notify-port = "source"
key = [{ key-id = 1, secret = "behind a NAT" }]

[[site]]
name = "instance 5"
eid-prefix = ["2001:db8:1::/48"]
iid = 5
key = [{ key-id = 1, secret = "instance 5" }]

[[site]]
name = "never registered"
eid-prefix = ["2001:db8:f00::/48", "10.100.3.0/24"]
key = [{ key-id = 1, secret = "never" }]
"#;

/// Reads where a map system serves, until it says that it is ready; empty if it never does.
fn until_ready(output: &mut BufReader<ChildStdout>) -> Vec<SocketAddr> {
    let (mut addresses, mut line) = (Vec::new(), String::new());
    while output.read_line(&mut line).is_ok_and(|length| length > 0) {
        match line.trim().split_once(' ') {
            Some(("listening", address)) => addresses.extend(address.parse::<SocketAddr>()),
            None if line.trim() == "ready" => {
                addresses.sort_unstable();
                return addresses;
            }
            _ => {}
        }
        line.clear();
    }
    Vec::new()
}

pub(super) fn key(id: u8, algorithm: Algorithm, secret: &str) -> AuthKey {
    AuthKey { id, algorithm, secret: Secret::new(secret) }
}

pub(super) fn prefix(text: &str) -> Result<EidPrefix, Fault> {
    prefix_in(0, text)
}

pub(super) fn prefix_in(iid: u32, text: &str) -> Result<EidPrefix, Fault> {
    Ok(EidPrefix { iid: InstanceId(iid), net: text.parse().map_err(broken)? })
}

/// A host EID.
pub(super) fn host(text: &str) -> Result<EidPrefix, Fault> {
    Ok(EidPrefix::host(InstanceId(0), text.parse().map_err(broken)?))
}

pub(super) fn record(prefix: EidPrefix, locators: &[&str]) -> MappingRecord {
    MappingRecord {
        ttl: Ttl::DEFAULT,
        action: Action::NoAction,
        authoritative: true,
        map_version: MapVersion::default(),
        eid: prefix.into(),
        locators: locators.iter().filter_map(|text| text.parse().ok()).map(locator).collect(),
    }
}

fn locator(address: IpAddr) -> LocatorRecord {
    LocatorRecord {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        local: true,
        probed: false,
        reachable: true,
        rloc: address.into(),
    }
}

/// A Map-Register with P and M.
pub(super) fn register(nonce: Nonce, records: Vec<MappingRecord>) -> MapRegister {
    MapRegister { proxy_reply: true, want_notify: true, nonce, records, ..MapRegister::default() }
}

pub(super) fn sealed(message: &MapRegister, key: &AuthKey) -> Result<Vec<u8>, Fault> {
    auth::seal(&message.clone().into(), key, TagForm::Truncated).map_err(broken)
}

pub(super) fn request(nonce: Nonce, eids: &[EidPrefix], itr_rlocs: &[IpAddr]) -> MapRequest {
    MapRequest {
        nonce,
        itr_rlocs: itr_rlocs.iter().map(|rloc| (*rloc).into()).collect(),
        records: eids.iter().map(|eid| EidRequest { notify: false, eid: (*eid).into() }).collect(),
        ..MapRequest::default()
    }
}

/// The addresses of locators, as text.
pub(super) fn rlocs(records: &[MappingRecord]) -> Vec<String> {
    let locators = records.iter().flat_map(|record| &record.locators);
    locators.filter_map(|locator| locator.rloc.ip()).map(|address| address.to_string()).collect()
}

/// A message for people.
pub(super) fn told(bytes: &[u8]) -> String {
    match ControlMessage::decode(bytes) {
        Ok(message) => format!("{message:?}"),
        Err(error) => format!("{} octets ({error})", bytes.len()),
    }
}

/// The one named by the variable, or the one beside this program; programs of tests lie a folder deeper.
fn program() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let own = std::env::current_exe().context("the folder of this program")?;
    let beside = own.parent().unwrap_or(Path::new("."));
    let beside = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    Ok(beside.join("lisp-mapsys"))
}
