// SPDX-License-Identifier: GPL-2.0-or-later
//! A running `lisp-mapsys`, the site that registers there, and xTRs that subscribe.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use tempfile::TempDir;
use wire::address::{Address, Eid, EidPrefix, InstanceId};
use wire::control::auth::{self, Accept, AuthKey, TagForm};
use wire::control::{
    ControlMessage, Ecm, EidRequest, MapNotify, MapRegister, MapReply, MapRequest, Nonce, XtrIdentity,
};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

use super::quiet::Quiet;
use super::settings::{identity, key, settings, site_key};
use super::theirs;
use crate::exchange;
use crate::suite::daemon::{self, Daemon, Files, program};
use crate::suite::guest::{Elsewhere, Guest};
use crate::suite::mapsys::{form, suite_v4};
use crate::suite::probe::{Fault, broken, missing, unfit};
use crate::target;

/// xTRs that may subscribe to everything.
pub(super) const XTRS: u8 = 32;
/// One that may subscribe to the silent site only.
pub(super) const LIMITED: u8 = 200;
/// One whose ITR-RLOCs are somewhere else.
pub(super) const ELSEWHERE: u8 = 201;
/// Those that share no key beforehand.
pub(super) const MAKERS: [u8; 3] = [150, 151, 152];
/// One that nobody has configured.
pub(super) const STRANGER: u8 = 255;
/// How long an answer may take on loopback, whatever else the machine does.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);
/// How long a change may take to be told, or told again: there are three seconds between two Map-Notifies of a receiver.
pub(super) const TOLD: Duration = Duration::from_secs(15);
/// How long silence is listened to.
pub(super) const SILENCE: Duration = Duration::from_millis(200);

/// The server that all checks share, each with an xTR and EIDs of its own.
pub(super) struct Office {
    folder: TempDir,
    server: Result<Server, Fault>,
    pub(super) site: Site,
    next_xtr: Cell<u8>,
    next_part: Cell<u16>,
    pub(super) quiet: Quiet,
    /// The target, if it is not ours.
    theirs: Option<Result<Guest, Fault>>,
}

/// A process.
pub(super) struct Server {
    /// None where it is not ours.
    _daemon: Option<Daemon>,
    pub(super) address: SocketAddr,
    state: PathBuf,
}

/// What registers.
pub(super) struct Site {
    socket: Result<UdpSocket, Fault>,
    nonce: Cell<u64>,
    /// Those of a target file, where the target runs elsewhere.
    given: &'static [target::Site],
}

/// What subscribes.
pub(super) struct Xtr {
    pub(super) socket: UdpSocket,
    pub(super) identity: XtrIdentity,
    pub(super) key: AuthKey,
    pub(super) server: SocketAddr,
    pub(super) far: Far,
}

/// What is otherwise where the target was running before us, and may be far.
#[derive(Clone, Copy)]
pub(super) struct Far {
    /// What is added to nonces: earlier runs are remembered.
    base: u64,
    /// How long silence is listened to.
    pub(super) silence: Duration,
}

impl Office {
    pub(super) fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the files of the suite")?;
        std::fs::write(folder.path().join("mapsys.toml"), settings())?;
        let mut office = Self {
            folder,
            server: Err(missing("not started")),
            site: Site { socket: Err(missing("no socket")), nonce: Cell::new(1), given: &[] },
            next_xtr: Cell::new(1),
            next_part: Cell::new(1),
            quiet: Quiet::default(),
            theirs: match theirs::table() {
                Some(table) => Some(theirs::guest(table)),
                None => target::judged().given().map(|_| Guest::elsewhere(target::judged())),
            },
        };
        // Whoever is configured by others has its Map-Notifies at the control port.
        let mut port = 0;
        if let (Some(base), Some(map_system)) = (office.base(), &target::judged().map_system) {
            (office.site.nonce, office.site.given, port) = (Cell::new(base), &map_system.sites, wire::CONTROL_PORT);
        }
        office.site.socket = office.bind(1, port);
        office.server = match office.guest() {
            Ok(None) => office.start("shared"),
            Ok(Some(guest)) => guest.address().map(|address| Server { _daemon: None, address, state: PathBuf::new() }),
            Err(fault) => Err(fault),
        };
        Ok(office)
    }

    /// The target, if it is not ours.
    pub(super) fn guest(&self) -> Result<Option<&Guest>, Fault> {
        self.theirs.as_ref().map(|guest| guest.as_ref().map_err(Clone::clone)).transpose()
    }

    /// What its file gives, if the target runs elsewhere.
    fn elsewhere(&self) -> Result<Option<&Elsewhere>, Fault> {
        Ok(self.guest()?.and_then(Guest::is_elsewhere))
    }

    fn base(&self) -> Option<u64> {
        self.elsewhere().ok().flatten().map(|elsewhere| elsewhere.base)
    }

    /// An address of xTRs, by its last octet; of this machine, where the target runs elsewhere.
    pub(super) fn address(&self, last: u8) -> Result<IpAddr, Fault> {
        /// Those that are in use at once.
        const ALL: [u8; 5] = [1, 77, 78, 79, 80];
        match self.guest()? {
            None => Ok(IpAddr::from([127, 0, 0, last])),
            Some(guest) if guest.is_elsewhere().is_none() => Ok(suite_v4(last).into()),
            Some(guest) => {
                let (first, place) = (guest.place.v4(0)?, ALL.iter().position(|known| *known == last).unwrap_or(0));
                if place == 0 {
                    return Ok(first);
                }
                let others = [guest.place.v4(place)?, guest.place.v4(1)?];
                let other = others.into_iter().find(|other| *other != first);
                other.ok_or_else(|| unfit("another IPv4 address of this machine is needed (`from` names them)"))
            }
        }
    }

    /// A socket at such an address.
    pub(super) fn bind(&self, last: u8, port: u16) -> Result<UdpSocket, Fault> {
        let address = self.address(last)?;
        match self.guest()? {
            Some(guest) => guest.socket_at(address, port),
            None => UdpSocket::bind((address, port)).map_err(missing),
        }
    }

    pub(super) fn server(&self) -> Result<&Server, Fault> {
        self.server.as_ref().map_err(Clone::clone)
    }

    /// Starts the program with a state folder of this name.
    pub(super) fn start(&self, state: &str) -> Result<Server, Fault> {
        if self.theirs.is_some() {
            return Err(unfit("it starts lisp-mapsys again with what that has kept"));
        }
        let state = self.folder.path().join(state);
        let [config, log] = ["mapsys.toml", "log"].map(|name| self.folder.path().join(name));
        let (files, at) = (Files { config: &config, state: &state, log: &log }, Ipv4Addr::LOCALHOST.into());
        let daemon = Daemon::start(Command::new(program()), &files, &[at], at)?;
        let address = daemon.address()?;
        Ok(Server { _daemon: Some(daemon), address, state })
    }

    /// What `show` says of a server.
    pub(super) fn show(&self, server: &Server, what: &str) -> Result<Value, Fault> {
        if self.theirs.is_some() {
            return Err(unfit(theirs::INSIDE));
        }
        daemon::shown(&server.state, what)
    }

    /// Another xTR.
    pub(super) fn xtr(&self) -> Result<Xtr, Fault> {
        let number = self.next_xtr.get();
        self.next_xtr.set(number + 1);
        let given = self.elsewhere()?.and_then(|elsewhere| elsewhere.given.subscribers.as_ref());
        match given {
            Some(given) if number > given.count => {
                return Err(unfit(format!("the target file numbers {} subscribers, and more are needed", given.count)));
            }
            None if number > XTRS => return Err(missing("more xTRs than are configured")),
            Some(_) | None => {}
        }
        self.xtr_of(number, self.server()?.address)
    }

    /// The xTR of a number, at this server.
    pub(super) fn xtr_of(&self, number: u8, server: SocketAddr) -> Result<Xtr, Fault> {
        let (socket, dictated) = (self.bind(1, 0)?, identity(number));
        let given = self.elsewhere()?.and_then(|elsewhere| elsewhere.given.subscribers.as_ref());
        let (identity, key) = match given {
            Some(given) => (XtrIdentity { site_id: given.site_id, ..dictated }, given.key.auth()),
            None => (dictated, key()),
        };
        let silence = self.guest()?.map_or(SILENCE, |guest| guest.grace(SILENCE));
        let far = Far { base: self.base().unwrap_or_default(), silence };
        Ok(Xtr { socket, identity, key, server, far })
    }

    /// An EID-prefix of the site that no other check uses.
    pub(super) fn part(&self) -> Result<EidPrefix, Fault> {
        let number = self.next_part.get();
        self.next_part.set(number + 1);
        if let Some(elsewhere) = self.elsewhere()? {
            return whole(elsewhere.numbered_from_end(number.into())?);
        }
        prefix(&format!("2001:db8:a:{number:x}::/64"))
    }

    /// A more-specific EID-prefix of such a part.
    pub(super) fn inside(&self, part: EidPrefix) -> Result<EidPrefix, Fault> {
        EidPrefix::new(part.iid, part.net.addr(), part.net.prefix_len() + 8).ok_or_else(|| broken("no prefix"))
    }

    /// The EID-prefix of a site that nobody registers.
    pub(super) fn silent(&self) -> Result<EidPrefix, Fault> {
        self.elsewhere()?
            .map_or_else(|| prefix("2001:db8:b::/48"), |elsewhere| whole(elsewhere.named("never registered")?))
    }

    /// The site says where an EID-prefix is; nowhere, without a locator.
    pub(super) fn register(&self, prefix: EidPrefix, rloc: Option<u8>) -> Result<(), Fault> {
        self.site.register(self.server()?.address, prefix, rloc)
    }

    /// A part of the site, registered.
    pub(super) fn registered(&self, rloc: u8) -> Result<EidPrefix, Fault> {
        let part = self.part()?;
        self.register(part, Some(rloc))?;
        Ok(part)
    }
}

impl Server {
    /// Ends it at once.
    pub(super) fn kill(self) {
        drop(self);
    }
}

impl Site {
    pub(super) fn register(&self, server: SocketAddr, prefix: EidPrefix, rloc: Option<u8>) -> Result<(), Fault> {
        self.register_within(PATIENCE, server, prefix, rloc)
    }

    /// The same, if it is acknowledged within a time.
    pub(super) fn register_within(
        &self,
        patience: Duration,
        server: SocketAddr,
        prefix: EidPrefix,
        rloc: Option<u8>,
    ) -> Result<(), Fault> {
        let socket = self.socket.as_ref().map_err(Clone::clone)?;
        let nonce = Nonce(self.nonce.get());
        self.nonce.set(nonce.0 + 1);
        let records = vec![mapping(prefix, rloc)];
        let message = MapRegister { proxy_reply: true, want_notify: true, nonce, records, ..MapRegister::default() };
        let bytes = auth::seal(&message.into(), &self.key(prefix), form(self.key(prefix).algorithm)).map_err(broken)?;
        exchange::sent(socket, server, &bytes);
        socket.send_to(&bytes, server).map_err(missing)?;
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match receive(socket, left)?.map(|bytes| ControlMessage::decode(&bytes)) {
                Some(Ok(ControlMessage::MapNotify(notify))) if notify.nonce == nonce => return Ok(()),
                // That of a Map-Register before, which a check no longer waited for.
                Some(Ok(ControlMessage::MapNotify(notify))) if notify.nonce < nonce => {}
                other => return Err(broken(format!("the site got no Map-Notify: {other:?}"))),
            }
        }
    }
}

impl Site {
    /// The key of the site that an EID-prefix is of.
    fn key(&self, prefix: EidPrefix) -> AuthKey {
        let has_it = |site: &&target::Site| site.prefixes.iter().any(|net| net.contains(&prefix.net));
        let given = self.given.iter().find(has_it).and_then(|site| site.keys.first());
        given.map_or_else(site_key, target::Key::auth)
    }
}

/// The IPv6 EID-prefix of a site of a target file.
pub(super) fn whole(site: &target::Site) -> Result<EidPrefix, Fault> {
    let net = site.prefixes.iter().find(|net| net.addr().is_ipv6());
    let net = net.ok_or_else(|| unfit(format!("site {:?} of the target file has no IPv6 EID-prefix", site.name)))?;
    Ok(EidPrefix { iid: InstanceId(site.iid), net: *net })
}

/// What an xTR hears.
#[derive(Debug)]
pub(super) enum Heard {
    /// A Map-Notify, and its octets.
    Notify(MapNotify, Vec<u8>),
    /// A Map-Reply.
    Reply(MapReply),
}

impl Xtr {
    /// Its ITR-RLOC.
    pub(super) fn rloc(&self) -> Result<SocketAddr, Fault> {
        self.socket.local_addr().map_err(missing)
    }

    /// The same xTR at another socket.
    pub(super) fn beside(&self, socket: UdpSocket) -> Self {
        Self { socket, identity: self.identity, key: self.key.clone(), server: self.server, far: self.far }
    }

    /// A Map-Request for these EIDs with I and N.
    pub(super) fn request(&self, nonce: u64, eids: &[EidPrefix]) -> Result<MapRequest, Fault> {
        Ok(MapRequest {
            nonce: Nonce(self.far.base + nonce),
            itr_rlocs: vec![self.rloc()?.ip().into()],
            records: eids.iter().map(|eid| EidRequest { notify: true, eid: Eid::from(*eid) }).collect(),
            xtr_identity: Some(self.identity),
            ..MapRequest::default()
        })
    }

    /// Sends a Map-Request in an ECM whose inner source port is that of the xTR's socket.
    pub(super) fn send(&self, request: &MapRequest) -> Result<Vec<u8>, Fault> {
        self.send_from(&self.socket, request)
    }

    /// Sends it from another socket.
    pub(super) fn send_from(&self, socket: &UdpSocket, request: &MapRequest) -> Result<Vec<u8>, Fault> {
        let bytes = self.ecm(&request.encode().map_err(broken)?)?;
        exchange::sent(socket, self.server, &bytes);
        socket.send_to(&bytes, self.server).map_err(missing)?;
        Ok(bytes)
    }

    /// An ECM with this message.
    pub(super) fn ecm(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let inner: IpAddr = "2001:db8:ffff::1".parse().map_err(broken)?;
        let eid: IpAddr = "2001:db8:a::1".parse().map_err(broken)?;
        let source = SocketAddr::new(inner, self.rloc()?.port());
        Ecm::wrap(source, SocketAddr::new(eid, wire::CONTROL_PORT), message.to_vec()).encode().map_err(broken)
    }

    /// Sends octets as they are.
    pub(super) fn send_octets(&self, bytes: &[u8]) -> Result<(), Fault> {
        exchange::sent(&self.socket, self.server, bytes);
        self.socket.send_to(bytes, self.server).map(drop).map_err(missing)
    }

    /// What comes next, within this time.
    pub(super) fn hear(&self, patience: Duration) -> Result<Option<Heard>, Fault> {
        let Some(bytes) = receive(&self.socket, patience)? else { return Ok(None) };
        match ControlMessage::decode(&bytes).map_err(broken)? {
            ControlMessage::MapNotify(notify) => Ok(Some(Heard::Notify(notify, bytes))),
            ControlMessage::MapReply(reply) => Ok(Some(Heard::Reply(reply))),
            other => Err(broken(format!("neither Map-Notify nor Map-Reply: {other}"))),
        }
    }

    /// A Map-Notify that verifies; its octets too.
    pub(super) fn notify(&self, patience: Duration) -> Result<(MapNotify, Vec<u8>), Fault> {
        match self.hear(patience)? {
            Some(Heard::Notify(notify, bytes)) => match auth::verify(&bytes, &self.key, Accept::INTEROP) {
                Ok(()) => Ok((notify, bytes)),
                Err(error) => Err(broken(format!("a Map-Notify that does not verify: {error}"))),
            },
            other => Err(broken(format!("expected a Map-Notify; came {other:?}"))),
        }
    }

    pub(super) fn reply(&self) -> Result<MapReply, Fault> {
        match self.hear(PATIENCE)? {
            Some(Heard::Reply(reply)) => Ok(reply),
            other => Err(broken(format!("expected a Map-Reply; came {other:?}"))),
        }
    }

    /// The nonce of a Map-Notify, as [`Self::request`] counts them.
    pub(super) fn counted(&self, notify: &MapNotify) -> u64 {
        notify.nonce.0.wrapping_sub(self.far.base)
    }

    /// Nothing comes.
    pub(super) fn silence(&self) -> Result<(), Fault> {
        match self.hear(self.far.silence)? {
            None => Ok(()),
            Some(heard) => Err(broken(format!("expected nothing; came {heard:?}"))),
        }
    }

    /// Acknowledges.
    pub(super) fn ack(&self, notify: &MapNotify) -> Result<(), Fault> {
        self.send_octets(&sealed_ack(notify, &self.key)?)
    }

    /// Subscribes, and acknowledges.
    pub(super) fn subscribe(&self, nonce: u64, eid: EidPrefix) -> Result<MapNotify, Fault> {
        self.send(&self.request(nonce, &[eid])?)?;
        let (notify, _) = self.notify(PATIENCE)?;
        if self.counted(&notify) != nonce {
            return Err(broken(format!("expected nonce {nonce}; came {notify:?}")));
        }
        self.ack(&notify)?;
        Ok(notify)
    }

    /// The Map-Notify of a change; acknowledged.
    pub(super) fn change(&self) -> Result<MapNotify, Fault> {
        let (notify, _) = self.notify(TOLD)?;
        self.ack(&notify)?;
        Ok(notify)
    }

    /// A Map-Request that ends the subscription to an EID.
    pub(super) fn leaving(&self, nonce: u64, eid: EidPrefix) -> Result<MapRequest, Fault> {
        Ok(MapRequest { itr_rlocs: vec![Address::None], ..self.request(nonce, &[eid])? })
    }
}

/// Ends the subscription to an EID, and acknowledges.
pub(super) fn end(xtr: &Xtr, nonce: u64, eid: EidPrefix) -> Result<(), Fault> {
    xtr.send(&xtr.leaving(nonce, eid)?)?;
    let (notify, _) = xtr.notify(PATIENCE)?;
    if xtr.counted(&notify) != nonce {
        return Err(broken(format!("expected nonce {nonce}; came {}", notify.nonce)));
    }
    xtr.ack(&notify)
}

/// A Map-Notify-Ack.
pub(super) fn sealed_ack(notify: &MapNotify, key: &AuthKey) -> Result<Vec<u8>, Fault> {
    auth::seal(&ControlMessage::MapNotifyAck(notify.clone()), key, TagForm::Truncated).map_err(broken)
}

fn receive(socket: &UdpSocket, patience: Duration) -> Result<Option<Vec<u8>>, Fault> {
    let until = Instant::now() + patience;
    let mut buffer = vec![0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            exchange::silence(socket, patience);
            return Ok(None);
        }
        socket.set_read_timeout(Some(left)).map_err(missing)?;
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                exchange::came(socket, from, &buffer[..length]);
                return Ok(Some(buffer[..length].to_vec()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => {
                exchange::silence(socket, patience);
                return Ok(None);
            }
        }
    }
}

pub(super) fn prefix(text: &str) -> Result<EidPrefix, Fault> {
    Ok(EidPrefix { iid: InstanceId(0), net: text.parse().map_err(broken)? })
}

/// A host of an EID-prefix.
pub(super) fn host(of: EidPrefix) -> EidPrefix {
    EidPrefix::host(of.iid, of.net.addr())
}

/// The EID-prefix of a record.
pub(super) fn about(record: &MappingRecord) -> Option<EidPrefix> {
    record.eid.ip_prefix()
}

/// The EID-prefix of a record in words.
pub(super) fn named(record: &MappingRecord) -> String {
    about(record).map_or_else(|| "no IP prefix".to_owned(), |prefix| prefix.to_string())
}

/// Whether a record says that an EID-prefix is there, and nowhere else.
pub(super) fn says(record: &MappingRecord, prefix: EidPrefix, rloc: u8) -> bool {
    let rlocs: Vec<_> = record.locators.iter().filter_map(|locator| locator.rloc.ip()).collect();
    about(record) == Some(prefix) && rlocs == [rloc_of(rloc)]
}

fn rloc_of(last: u8) -> IpAddr {
    IpAddr::from([198, 51, 100, last])
}

fn mapping(prefix: EidPrefix, rloc: Option<u8>) -> MappingRecord {
    let locator = |last| LocatorRecord {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        local: true,
        probed: false,
        reachable: true,
        rloc: rloc_of(last).into(),
    };
    MappingRecord {
        ttl: if rloc.is_some() { Ttl(1440) } else { Ttl(0) },
        action: Action::NoAction,
        authoritative: true,
        map_version: MapVersion::default(),
        eid: prefix.into(),
        locators: rloc.map(locator).into_iter().collect(),
    }
}
