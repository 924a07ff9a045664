// SPDX-License-Identifier: GPL-2.0-or-later
//! The two map systems that are judged, and the sockets of everybody else: ITR, ETR, DDT client, root, nodes.
//!
//! DDT has no ports: who is referred to listens at 4342. So each run has addresses of its own, by the number of its process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{
    ControlMessage, Ecm, EidRequest, MapReferral, MapRegister, MapReply, MapRequest, Nonce, Referral, ReferralAction,
};
use wire::record::{LocatorRecord, MapVersion, MappingRecord, Ttl};

use super::system::System;
use crate::exchange;
use crate::suite::probe::{Fault, broken, missing};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After this silence nothing comes any more: longer than a map system needs, shorter than it waits to ask again.
const SILENCE: Duration = Duration::from_millis(600);
/// Longest message that is taken.
const MESSAGE: usize = 4096;

const SECRET: &str = "secret";

/// A socket, and who it is.
pub(super) struct Party {
    socket: UdpSocket,
    /// Its address and port.
    pub(super) at: SocketAddr,
}

/// A message that came.
pub(super) struct Came {
    pub(super) from: SocketAddr,
    pub(super) message: ControlMessage,
    /// Its octets.
    pub(super) octets: usize,
}

impl Party {
    fn bind(address: Ipv4Addr, port: u16) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((address, port)).with_context(|| format!("UDP {address}:{port}"))?;
        let at = socket.local_addr()?;
        Ok(Self { socket, at })
    }

    pub(super) fn ip(&self) -> IpAddr {
        self.at.ip()
    }

    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) -> Result<(), Fault> {
        exchange::sent(&self.socket, to, bytes);
        self.socket.send_to(bytes, to).map(drop).map_err(missing)
    }

    /// The next message that the predicate wants; others are of earlier checks.
    pub(super) fn wait(&self, patience: Duration, wanted: impl Fn(&ControlMessage) -> bool) -> Option<Came> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; MESSAGE];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.socket.set_read_timeout(Some(left)).is_err() {
                exchange::silence(&self.socket, patience);
                return None;
            }
            let Ok((octets, from)) = self.socket.recv_from(&mut buffer) else { continue };
            match ControlMessage::decode(&buffer[..octets]) {
                Ok(message) if wanted(&message) => {
                    exchange::came(&self.socket, from, &buffer[..octets]);
                    return Some(Came { from, message, octets });
                }
                _ => {}
            }
        }
    }

    /// The next ECM with D for `eid`, and the Map-Request in it.
    pub(super) fn asked(&self, eid: &EidPrefix) -> Result<(SocketAddr, MapRequest), Fault> {
        let lacks = || broken(format!("expected a DDT Map-Request for {eid} at {}; none came", self.at));
        self.asked_within(PATIENCE, eid).ok_or_else(lacks)
    }

    /// The same, if it comes before there is silence.
    pub(super) fn asked_again(&self, eid: &EidPrefix) -> Option<(SocketAddr, MapRequest)> {
        self.asked_within(SILENCE, eid)
    }

    fn asked_within(&self, patience: Duration, eid: &EidPrefix) -> Option<(SocketAddr, MapRequest)> {
        let came = self.wait(patience, |message| request_of(message, eid).is_some_and(|(ddt, _)| ddt))?;
        let (_, request) = request_of(&came.message, eid)?;
        Some((came.from, request))
    }

    /// Nothing for `eid` comes.
    pub(super) fn is_left_alone(&self, eid: &EidPrefix) -> bool {
        self.wait(SILENCE, |message| request_of(message, eid).is_some()).is_none()
    }

    /// The Map-Reply with this nonce.
    pub(super) fn map_reply(&self, nonce: Nonce) -> Result<MapReply, Fault> {
        self.reply_within(PATIENCE, nonce)
            .ok_or_else(|| broken(format!("expected a Map-Reply to nonce {nonce}; none came")))
    }

    /// The Map-Reply with this nonce, unless there is silence.
    pub(super) fn has_reply(&self, nonce: Nonce) -> bool {
        self.reply_within(SILENCE, nonce).is_some()
    }

    fn reply_within(&self, patience: Duration, nonce: Nonce) -> Option<MapReply> {
        let came =
            self.wait(patience, |message| matches!(message, ControlMessage::MapReply(reply) if reply.nonce == nonce))?;
        match came.message {
            ControlMessage::MapReply(reply) => Some(reply),
            _ => None,
        }
    }

    /// The Map-Referral with this nonce.
    pub(super) fn map_referral(&self, nonce: Nonce) -> Result<(Came, Referral), Fault> {
        let is_it = |message: &ControlMessage| matches!(message, ControlMessage::MapReferral(it) if it.nonce == nonce);
        let came = self.wait(PATIENCE, is_it).ok_or_else(|| broken("expected a Map-Referral; none came"))?;
        let record = match &came.message {
            ControlMessage::MapReferral(MapReferral { records, .. }) => records.first().cloned(),
            _ => None,
        };
        Ok((came, record.ok_or_else(|| broken("a Map-Referral without a record"))?))
    }
}

/// D, and the Map-Request for `eid` of an ECM.
fn request_of(message: &ControlMessage, eid: &EidPrefix) -> Option<(bool, MapRequest)> {
    let ControlMessage::Ecm(ecm) = message else { return None };
    let Ok(ControlMessage::MapRequest(request)) = ControlMessage::decode(&ecm.message) else { return None };
    let is_it = request.records.iter().any(|record| record.eid.ip_prefix().as_ref() == Some(eid));
    is_it.then_some((ecm.ddt, request))
}

/// Everybody.
pub(super) struct Hall {
    folder: TempDir,
    addresses: Addresses,
    /// Asks the node with DDT Map-Requests.
    pub(super) client: Party,
    pub(super) itr: Party,
    pub(super) etr: Party,
    pub(super) root: Party,
    pub(super) root2: Party,
    pub(super) first: Party,
    pub(super) second: Party,
    node: std::cell::OnceCell<Result<System, Fault>>,
    resolver: std::cell::OnceCell<Result<System, Fault>>,
    nonce: std::cell::Cell<u64>,
}

/// The addresses of one run: those of 127.64.0.0/10 with the number of its process in the middle.
#[derive(Clone, Copy)]
struct Addresses([u8; 2]);

impl Addresses {
    fn own() -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        Self([64 | high & 0x3f, low])
    }

    fn at(self, last: u8) -> Ipv4Addr {
        let [second, third] = self.0;
        Ipv4Addr::new(127, second, third, last)
    }
}

impl Hall {
    pub(super) fn open() -> anyhow::Result<Self> {
        let addresses = Addresses::own();
        let party = |last, port| Party::bind(addresses.at(last), port);
        Ok(Self {
            folder: tempfile::tempdir().context("a folder for the files of the suite")?,
            addresses,
            client: party(11, 0)?,
            itr: party(12, 0)?,
            etr: party(13, wire::CONTROL_PORT)?,
            root: party(14, 0)?,
            root2: party(15, 0)?,
            first: party(16, wire::CONTROL_PORT)?,
            second: party(17, wire::CONTROL_PORT)?,
            node: std::cell::OnceCell::new(),
            resolver: std::cell::OnceCell::new(),
            nonce: std::cell::Cell::new(1),
        })
    }

    /// The DDT node and Map-Server, its sites registered.
    pub(super) fn node(&self) -> Result<SocketAddr, Fault> {
        self.node.get_or_init(|| self.start_node()).as_ref().map(|system| system.address).map_err(Clone::clone)
    }

    /// The DDT Map-Resolver.
    pub(super) fn resolver(&self) -> Result<SocketAddr, Fault> {
        let start = || {
            let config = format!("[ddt]\nroots = [\"{}\", \"{}\"]\n", self.root.at, self.root2.at);
            System::start(self.folder.path(), self.addresses.at(2).into(), &config)
        };
        self.resolver.get_or_init(start).as_ref().map(|system| system.address).map_err(Clone::clone)
    }

    fn start_node(&self) -> Result<System, Fault> {
        let site = |name: &str| {
            format!(
                "[[site]]\nname = \"{name}\"\neid-prefix = [\"2001:db8:{name}::/48\"]\nnotify-port = \"source\"\n\
                 key = [{{ key-id = 1, algorithm = \"hmac-sha256\", secret = \"{SECRET}\" }}]\n"
            )
        };
        let delegation = |net: &str, kind: &str, servers: &[IpAddr]| {
            let servers: Vec<_> = servers.iter().map(|server| format!("{{ address = \"{server}\" }}")).collect();
            format!(
                "[[ddt-delegation]]\neid-prefix = [\"{net}\"]\nkind = \"{kind}\"\nserver = [{}]\n",
                servers.join(", ")
            )
        };
        let config = [
            site("a"),
            site("b"),
            site("c"),
            "[ddt]\nauthoritative = [\"2001:db8::/32\"]\n".to_owned(),
            delegation("2001:db8:100::/40", "map-server", &[self.first.ip()]),
            delegation("2001:db8:500::/40", "node", &[self.first.ip(), self.second.ip()]),
            delegation("198.18.0.0/15", "node", &[self.root.ip()]),
        ];
        let system = System::start(self.folder.path(), self.addresses.at(1).into(), &config.concat())?;
        self.register(&system, "2001:db8:a::/48", true)?;
        self.register(&system, "2001:db8:b::/48", false)?;
        Ok(system)
    }

    /// Registers a site from the ETR; with `proxy_reply` the Map-Server answers for it.
    fn register(&self, system: &System, net: &str, proxy_reply: bool) -> Result<(), Fault> {
        let nonce = self.nonce();
        let records = vec![MappingRecord::new(eid(net)?, Ttl(1440), vec![LocatorRecord::new(self.etr.ip(), 1, 100)])];
        let message =
            MapRegister { nonce, proxy_reply, want_notify: true, use_ttl: true, records, ..MapRegister::default() };
        let key = AuthKey { id: 1, algorithm: Algorithm::HmacSha256, secret: Secret::new(SECRET.as_bytes()) };
        let sealed = auth::seal(&message.into(), &key, TagForm::Truncated).map_err(broken)?;
        self.etr.send(system.address, &sealed)?;
        let is_it = |message: &ControlMessage| matches!(message, ControlMessage::MapNotify(it) if it.nonce == nonce);
        self.etr.wait(PATIENCE, is_it).map(drop).ok_or_else(|| broken(format!("{net} is not registered")))
    }

    /// A nonce that no other check uses; they rise.
    pub(super) fn nonce(&self) -> Nonce {
        self.nonce.set(self.nonce.get() + 1);
        Nonce(self.nonce.get())
    }

    /// A Map-Request of the ITR in an ECM, and its length.
    pub(super) fn request(&self, nonce: Nonce, eid: EidPrefix, ddt: bool) -> Result<Vec<u8>, Fault> {
        let request = MapRequest {
            nonce,
            itr_rlocs: vec![self.itr.ip().into()],
            records: vec![EidRequest { notify: false, eid: eid.into() }],
            ..MapRequest::default()
        };
        let source = match (self.itr.ip(), eid.net.addr()) {
            (IpAddr::V4(source), IpAddr::V6(_)) => source.to_ipv6_mapped().into(),
            (source, _) => source,
        };
        let destination = SocketAddr::new(eid.net.addr(), wire::CONTROL_PORT);
        let message = request.encode().map_err(broken)?;
        let ecm = Ecm::wrap(SocketAddr::new(source, self.itr.at.port()), destination, message);
        Ecm { ddt, ..ecm }.encode().map_err(broken)
    }

    /// Asks the node with a DDT Map-Request; what it refers to, and all about the message.
    pub(super) fn refer(&self, text: &str) -> Result<(Came, Referral, Nonce), Fault> {
        let nonce = self.nonce();
        self.client.send(self.node()?, &self.request(nonce, eid(text)?, true)?)?;
        let (came, referral) = self.client.map_referral(nonce)?;
        Ok((came, referral, nonce))
    }

    /// Has the ITR ask the Map-Resolver.
    pub(super) fn resolve(&self, eid: EidPrefix) -> Result<Nonce, Fault> {
        let nonce = self.nonce();
        self.itr.send(self.resolver()?, &self.request(nonce, eid, false)?)?;
        Ok(nonce)
    }

    /// Has a node answer the Map-Resolver.
    pub(super) fn say(&self, node: &Party, nonce: Nonce, said: Said<'_>) -> Result<(), Fault> {
        let locators = said.servers.iter().map(|server| LocatorRecord::new(*server, 1, 100)).collect();
        let referral = Referral {
            ttl: Ttl(said.ttl),
            action: said.action,
            authoritative: true,
            incomplete: said.incomplete,
            map_version: MapVersion::default(),
            eid: eid(said.prefix)?.into(),
            locators,
            signatures: Vec::new(),
        };
        let bytes = MapReferral { nonce, records: vec![referral] }.encode().map_err(broken)?;
        node.send(self.resolver()?, &bytes)
    }
}

/// What a node of the suite says.
pub(super) struct Said<'a> {
    pub(super) action: ReferralAction,
    pub(super) prefix: &'a str,
    pub(super) ttl: u32,
    pub(super) servers: &'a [IpAddr],
    pub(super) incomplete: bool,
}

/// A prefix, or an address as a host prefix, in instance 0.
pub(super) fn eid(text: &str) -> Result<EidPrefix, Fault> {
    eid_in(0, text)
}

/// The same in another instance.
pub(super) fn eid_in(iid: u32, text: &str) -> Result<EidPrefix, Fault> {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().map_err(broken)?;
    let whole = EidPrefix::host(InstanceId(iid), address);
    if length.is_empty() {
        return Ok(whole);
    }
    let length = length.parse().map_err(broken)?;
    EidPrefix::new(InstanceId(iid), address, length).ok_or_else(|| broken(format!("{text} is no prefix")))
}
