// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-mapsys` as a black box on loopback, with an RTR, and xTRs behind NATs that are played by other addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;
use wire::address::{Address, EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, Ecm, Info, MapRegister, Nonce};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

use crate::exchange;
use crate::suite::daemon::{self, Daemon, Files, program};
use crate::suite::probe::{Fault, broken, missing};

/// Where it serves.
const SERVES: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 94, 0, 53));
/// The RTR that it knows.
pub(super) const RTR: Ipv4Addr = Ipv4Addr::new(127, 94, 1, 1);
/// What a NAT shows.
pub(super) const NAT: Ipv4Addr = Ipv4Addr::new(127, 94, 2, 1);
/// An xTR behind it.
const PRIVATE: &str = "10.0.0.2:4342";
/// A site for each check that registers one: `2001:db8:N::/48`.
const SITES: u8 = 8;
pub(super) const SITE_SECRET: &str = "site and server";
pub(super) const RTR_SECRET: &str = "rtr and server";
/// What comes over loopback comes at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// What does not come in this time does not come.
const SILENCE: Duration = Duration::from_millis(300);

/// The program, and a folder for it.
pub(super) struct Room {
    folder: TempDir,
    running: Result<Daemon, Fault>,
}

/// A socket that speaks to it.
pub(super) struct Node {
    socket: UdpSocket,
    pub(super) server: SocketAddr,
}

impl Room {
    pub(super) fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the files of the suite")?;
        std::fs::write(folder.path().join("sites.toml"), configuration())?;
        let running = start(folder.path());
        Ok(Self { folder, running })
    }

    /// A node at an address; port 0 is any.
    pub(super) fn node(&self, at: Ipv4Addr, port: u16) -> Result<Node, Fault> {
        let server = self.running.as_ref().map_err(Clone::clone)?.address()?;
        let at = SocketAddr::new(at.into(), port);
        let socket = UdpSocket::bind(at).map_err(|error| missing(format!("{at} is not free: {error}")))?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(missing)?;
        Ok(Node { socket, server })
    }

    /// How often the program has counted a refusal of that name.
    pub(super) fn counted(&self, name: &str) -> Result<u64, Fault> {
        daemon::counted(&self.folder.path().join("state"), name)
    }

    /// How often since it had counted so many: as soon as it is `least` times, or what there is when that does not come.
    pub(super) fn counted_since(&self, name: &str, before: u64, least: u64) -> Result<u64, Fault> {
        let begun = Instant::now();
        loop {
            let counted = self.counted(name)?.saturating_sub(before);
            if counted >= least || begun.elapsed() > PATIENCE {
                return Ok(counted);
            }
            std::thread::sleep(SILENCE);
        }
    }
}

impl Node {
    pub(super) fn address(&self) -> Result<SocketAddr, Fault> {
        self.socket.local_addr().map_err(missing)
    }

    pub(super) fn send(&self, bytes: &[u8]) -> Result<(), Fault> {
        exchange::sent(&self.socket, self.server, bytes);
        self.socket.send_to(bytes, self.server).map(drop).map_err(missing)
    }

    /// The next datagram, which has to come from where was asked.
    pub(super) fn receive(&self) -> Result<Vec<u8>, Fault> {
        let mut buffer = vec![0; 2000];
        let (length, from) =
            self.socket.recv_from(&mut buffer).map_err(|error| broken(format!("no answer: {error}")))?;
        exchange::came(&self.socket, from, &buffer[..length]);
        if from != self.server {
            return Err(broken(format!("an answer from {from}")));
        }
        buffer.truncate(length);
        Ok(buffer)
    }

    pub(super) fn ask(&self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        self.send(bytes)?;
        self.receive()
    }

    /// Sends, and sees that nothing comes.
    pub(super) fn ask_in_vain(&self, bytes: &[u8]) -> Result<(), Fault> {
        self.send(bytes)?;
        self.socket.set_read_timeout(Some(SILENCE)).map_err(missing)?;
        let came = self.socket.recv_from(&mut [0; 2000]);
        self.socket.set_read_timeout(Some(PATIENCE)).map_err(missing)?;
        match came {
            Ok((length, from)) => Err(broken(format!("{length} octets from {from}"))),
            Err(_) => {
                exchange::silence(&self.socket, SILENCE);
                Ok(())
            }
        }
    }
}

fn start(folder: &Path) -> Result<Daemon, Fault> {
    let [config, state, log] = ["sites.toml", "state", "log"].map(|name| folder.join(name));
    let files = Files { config: &config, state: &state, log: &log };
    // An RTR is answered at port 4342; the program itself may be anywhere.
    Daemon::start(Command::new(program()), &files, &[SERVES], SERVES)
}

fn configuration() -> String {
    let site = |n: u8| {
        format!(
            "[[site]]\nname = \"site {n}\"\neid-prefix = [\"2001:db8:{n:x}::/48\"]\n\
             key = [{{ key-id = 1, secret = {SITE_SECRET:?} }}]\n"
        )
    };
    let rtr = format!(
        "[[rtr]]\naddress = [\"{RTR}\", \"2001:db8:f::7\"]\n\
         key = {{ key-id = 3, algorithm = \"hmac-sha256\", secret = {RTR_SECRET:?} }}\n"
    );
    (1..=SITES).map(site).chain([rtr]).collect()
}

/// The key of every site, used with this algorithm.
pub(super) fn of_site(algorithm: Algorithm) -> AuthKey {
    AuthKey { id: 1, algorithm, secret: Secret::new(SITE_SECRET) }
}

/// The key of the RTR.
pub(super) fn of_rtr() -> AuthKey {
    AuthKey { id: 3, algorithm: Algorithm::HmacSha256, secret: Secret::new(RTR_SECRET) }
}

pub(super) fn prefix(n: u8) -> Result<EidPrefix, Fault> {
    let net = format!("2001:db8:{n:x}::/48").parse().map_err(broken)?;
    Ok(EidPrefix { iid: InstanceId(0), net })
}

/// An Info-Request of a site, without a tag.
pub(super) fn info(n: u8, nonce: u64) -> Result<Info, Fault> {
    Ok(Info { nonce: Nonce(nonce), eid: prefix(n)?.into(), ..Info::default() })
}

pub(super) fn sealed(message: impl Into<ControlMessage>, key: &AuthKey) -> Result<Vec<u8>, Fault> {
    auth::seal(&message.into(), key, TagForm::Truncated).map_err(broken)
}

/// A Map-Register that puts a site behind the RTR.
pub(super) fn register(n: u8, nonce: u64) -> Result<MapRegister, Fault> {
    let locator = LocatorRecord {
        priority: 1,
        weight: 100,
        mpriority: LocatorRecord::UNUSABLE,
        mweight: 0,
        local: false,
        probed: false,
        reachable: true,
        rloc: Address::V4(RTR),
    };
    let record = MappingRecord {
        ttl: Ttl::DEFAULT,
        action: Action::NoAction,
        authoritative: false,
        map_version: MapVersion::default(),
        eid: prefix(n)?.into(),
        locators: vec![locator],
    };
    let (through_rtr, proxy_reply, want_notify) = (true, true, true);
    Ok(MapRegister {
        through_rtr,
        proxy_reply,
        want_notify,
        nonce: Nonce(nonce),
        records: vec![record],
        ..MapRegister::default()
    })
}

/// What an RTR makes of a Map-Register from behind a NAT (section 5.3 of the draft).
pub(super) fn relayed(server: SocketAddr, message: Vec<u8>) -> Result<Ecm, Fault> {
    let server = SocketAddr::new(server.ip(), wire::CONTROL_PORT);
    Ok(Ecm { by_rtr: true, ..Ecm::wrap(PRIVATE.parse().map_err(broken)?, server, message) })
}
