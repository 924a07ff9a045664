// SPDX-License-Identifier: GPL-2.0-or-later
//! The core: a map system and any number of other xTRs, all of them behind one cable. Map-Requests are answered from a table, probes
//! from the addresses that they are sent to, Map-Registers by a Map-Notify.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use interop::lab::Namespace;
use wire::address::EidPrefix;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, Ecm, MapNotify, MapReply, MapRequest};
use wire::data::{IpPacket, UdpHeader, protocol};
use wire::record::{LocatorRecord, MappingRecord, Ttl};

use super::inbox::{InPacket, Inbox, MOST, lock};
use super::packet::Packet;
use super::port::{Came, Mouth, Port};
use crate::suite::probe::{Fault, broken, missing};

/// What the map system shares with those who register.
const SECRET: &str = "conformance";
/// Life of the mappings.
pub(in crate::suite) const LOCATOR_TTL: Ttl = Ttl(60);

/// How a locator answers probes, if not at once and from its own address.
#[derive(Debug, Clone, Copy)]
pub(in crate::suite) enum Habit {
    /// Not at all.
    Silent,
    /// So much later.
    Late(Duration),
    /// From another address, with the p-bit on its own.
    From(IpAddr),
    /// As one who does not speak for the site: without A.
    WithoutAuthority,
    /// As one who echoes nonces: with E.
    Echoes,
}

/// A control message that came.
#[derive(Debug, Clone)]
pub(in crate::suite) struct Heard {
    pub(in crate::suite) at: Instant,
    /// Of the UDP packet that it came in.
    pub(in crate::suite) source: SocketAddr,
    pub(in crate::suite) destination: SocketAddr,
    /// It came in an ECM.
    pub(in crate::suite) enclosed: bool,
    pub(in crate::suite) message: ControlMessage,
    /// The whole packet.
    octets: Arc<[u8]>,
}

impl InPacket for Heard {
    fn octets(&self) -> &Arc<[u8]> {
        &self.octets
    }
}

impl Heard {
    /// A Map-Request that asks the map system.
    pub(in crate::suite) fn question(&self) -> Option<&MapRequest> {
        self.request().filter(|_| self.enclosed)
    }

    /// A probe of this locator. Those that are padded to find a path MTU (RFC 8899) are none of these.
    pub(in crate::suite) fn probe_of(&self, rloc: IpAddr) -> Option<&MapRequest> {
        /// Of a control message where the path MTU is not known (RFC 9301, section 5).
        const LONGEST: usize = 576;
        let is_short = self.octets.len() <= LONGEST;
        self.request().filter(|request| request.probe && is_short && self.destination.ip() == rloc)
    }

    pub(in crate::suite) fn request(&self) -> Option<&MapRequest> {
        if let ControlMessage::MapRequest(request) = &self.message { Some(request) } else { None }
    }

    /// Whether it asks about an address.
    pub(in crate::suite) fn asks_about(&self, eid: IpAddr) -> bool {
        let asked = |request: &MapRequest| {
            request.records.iter().filter_map(|record| record.eid.ip_prefix()).any(|prefix| prefix.net.contains(&eid))
        };
        self.question().is_some_and(asked)
    }
}

struct State {
    /// What the map system shares with those who register.
    key: AuthKey,
    /// Addresses of the map system.
    servers: Vec<IpAddr>,
    mappings: Mutex<Vec<MappingRecord>>,
    habits: Mutex<HashMap<IpAddr, Habit>>,
    heard: Inbox<Heard>,
}

/// The core, running.
pub(in crate::suite) struct Core {
    pub(in crate::suite) port: Port,
    state: Arc<State>,
    /// So that the kernel says of no address of its own that nobody listens there.
    _quiet: Vec<UdpSocket>,
}

impl Core {
    pub(in crate::suite) fn open(namespace: &Namespace, servers: &[IpAddr]) -> Result<Self, Fault> {
        Self::open_for(namespace, servers, key())
    }

    /// The same with a map system that shares this key with those who register.
    pub(super) fn open_for(namespace: &Namespace, servers: &[IpAddr], key: AuthKey) -> Result<Self, Fault> {
        let sockets = namespace.run(|| {
            let ports = [wire::CONTROL_PORT, wire::DATA_PORT];
            ports.into_iter().map(|port| UdpSocket::bind(("::", port))).collect::<std::io::Result<Vec<_>>>()
        });
        let quiet = sockets.map_err(missing)?.map_err(missing)?;
        let state = Arc::new(State {
            key,
            servers: servers.to_vec(),
            mappings: Mutex::default(),
            habits: Mutex::default(),
            heard: Inbox::default(),
        });
        let hook = {
            let state = state.clone();
            Box::new(move |came: &Came, mouth: &Arc<Mouth>| state.hear(came, mouth))
        };
        Ok(Self { port: Port::open(namespace, Some(hook))?, state, _quiet: quiet })
    }

    /// The map system says this of an EID-prefix from now on.
    pub(in crate::suite) fn map(&self, record: MappingRecord) {
        self.state.map(record);
    }

    pub(in crate::suite) fn mapping(&self, eid: EidPrefix) -> Option<MappingRecord> {
        self.state.mapping(eid)
    }

    /// The map system no longer answers about an EID-prefix.
    pub(in crate::suite) fn unmap(&self, eid: EidPrefix) {
        lock(&self.state.mappings).retain(|known| known.eid.ip_prefix() != Some(eid));
    }

    /// How a locator answers probes from now on.
    pub(in crate::suite) fn set_habit(&self, rloc: IpAddr, habit: Option<Habit>) {
        match habit {
            Some(habit) => lock(&self.state.habits).insert(rloc, habit),
            None => lock(&self.state.habits).remove(&rloc),
        };
    }

    /// How many messages have come.
    pub(in crate::suite) fn mark(&self) -> usize {
        self.state.heard.mark()
    }

    /// The first `count` messages from a mark on that are wanted, or those that came in time.
    pub(in crate::suite) fn wait(
        &self,
        mark: usize,
        count: usize,
        patience: Duration,
        wanted: impl Fn(&Heard) -> bool,
    ) -> Vec<Heard> {
        self.state.heard.wait(mark, count, patience, |message| wanted(message).then(|| message.clone()))
    }

    /// The first message from a mark on that is wanted.
    pub(in crate::suite) fn first(
        &self,
        mark: usize,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&Heard) -> bool,
    ) -> Result<Heard, Fault> {
        let found = self.wait(mark, 1, patience, wanted).pop();
        if found.is_none() && self.state.heard.is_full() {
            return Err(broken(format!("a flood: {MOST} messages came, and no more are kept")));
        }
        found.ok_or_else(|| broken(format!("expected {what}; nothing came in {} ms", patience.as_millis())))
    }

    /// Answers a Map-Request with these records, from the map system.
    pub(in crate::suite) fn answer(&self, question: &Heard, records: Vec<MappingRecord>) -> Result<(), Fault> {
        let request = question.question().ok_or_else(|| broken("no Map-Request"))?;
        let octets = self.state.reply(request, records).ok_or_else(|| broken("an ITR-RLOC of no family of ours"))?;
        self.port.send(&octets)
    }

    /// Sends a control message from an address, port 4342, to another.
    pub(in crate::suite) fn send(&self, from: IpAddr, to: IpAddr, message: &ControlMessage) -> Result<(), Fault> {
        let control = |address| SocketAddr::new(address, wire::CONTROL_PORT);
        self.port.send(&Packet::udp(control(from), control(to), &message.encode().map_err(broken)?).octets())
    }
}

impl State {
    fn map(&self, record: MappingRecord) {
        let mut mappings = lock(&self.mappings);
        mappings.retain(|known| known.eid != record.eid);
        mappings.push(record);
    }

    fn mapping(&self, eid: EidPrefix) -> Option<MappingRecord> {
        let mappings = lock(&self.mappings);
        let covering = mappings.iter().filter_map(|record| Some((record.eid.ip_prefix()?, record)));
        let best = covering.filter(|(prefix, _)| prefix.covers(&eid)).max_by_key(|(prefix, _)| prefix.net.prefix_len());
        best.map(|(_, record)| record.clone())
    }

    fn hear(&self, came: &Came, mouth: &Arc<Mouth>) {
        let Some((heard, payload)) = read(came) else { return };
        let (source, destination) = (heard.source, heard.destination);
        let is_server = self.servers.contains(&destination.ip());
        let answer = match &heard.message {
            ControlMessage::MapRequest(request) if heard.enclosed && is_server => self.about(request),
            ControlMessage::MapRequest(request) if request.probe => {
                self.probed(request, destination.ip(), source.port(), mouth)
            }
            ControlMessage::MapRegister(_) if is_server => self.registered(&payload, source, destination),
            _ => None,
        };
        self.heard.push(heard);
        // A cable that is gone shows in what does not come.
        let _ = answer.map(|octets| mouth.send(&octets));
    }

    /// The map system knows what it knows, and says nothing of the rest.
    fn about(&self, request: &MapRequest) -> Option<Vec<u8>> {
        let asked = request.records.first()?.eid.ip_prefix()?;
        self.reply(request, vec![self.mapping(asked)?])
    }

    fn reply(&self, request: &MapRequest, records: Vec<MappingRecord>) -> Option<Vec<u8>> {
        // The first that it has an address of the family of.
        let from = |to: IpAddr| Some((*self.servers.iter().find(|server| server.is_ipv4() == to.is_ipv4())?, to));
        let (from, to) = request.itr_rlocs.iter().filter_map(|rloc| rloc.ip()).find_map(from)?;
        let reply = MapReply { nonce: request.nonce, records, ..MapReply::default() };
        let control = |address| SocketAddr::new(address, wire::CONTROL_PORT);
        Some(Packet::udp(control(from), control(to), &ControlMessage::from(reply).encode().ok()?).octets())
    }

    fn probed(&self, request: &MapRequest, rloc: IpAddr, port: u16, mouth: &Arc<Mouth>) -> Option<Vec<u8>> {
        let habit = lock(&self.habits).get(&rloc).copied();
        let (to, asked) = (request.itr_rlocs.first()?.ip()?, request.records.first()?.eid.ip_prefix()?);
        let mut records: Vec<_> = self.mapping(asked).into_iter().collect();
        for record in &mut records {
            record.authoritative = !matches!(habit, Some(Habit::WithoutAuthority));
            record.locators.iter_mut().for_each(|locator| locator.probed = locator.rloc.ip() == Some(rloc));
        }
        let echo_nonce = matches!(habit, Some(Habit::Echoes));
        let reply = MapReply { probe: true, echo_nonce, nonce: request.nonce, records, ..MapReply::default() };
        let octets = ControlMessage::from(reply).encode().ok()?;
        let from = if let Some(Habit::From(other)) = habit { other } else { rloc };
        let (from, to) = (SocketAddr::new(from, wire::CONTROL_PORT), SocketAddr::new(to, port));
        let answer = Packet::udp(from, to, &octets).octets();
        match habit {
            Some(Habit::Silent) => None,
            Some(Habit::Late(time)) => {
                let mouth = mouth.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(time);
                    mouth.send(&answer)
                });
                None
            }
            _ => Some(answer),
        }
    }

    /// Who uses HMAC-SHA-1 sends the whole of it, and wants no less.
    fn form(&self) -> TagForm {
        if self.key.algorithm == Algorithm::HmacSha1 { TagForm::Untruncated } else { TagForm::Truncated }
    }

    fn accepted(&self) -> Accept {
        if self.key.algorithm == Algorithm::HmacSha1 { Accept::INTEROP } else { Accept::STRICT }
    }

    fn registered(&self, payload: &[u8], from: SocketAddr, to: SocketAddr) -> Option<Vec<u8>> {
        let ControlMessage::MapRegister(register) = ControlMessage::decode(payload).ok()? else { return None };
        auth::verify(payload, &self.key, self.accepted()).ok()?;
        for record in &register.records {
            // One that is taken back is the mapping of nobody, or of who has registered it meanwhile.
            match record.locators.is_empty() || record.ttl == Ttl(0) {
                true => lock(&self.mappings).retain(|known| known.eid != record.eid || !is_of(known, from.ip())),
                false => self.map(record.clone()),
            }
        }
        let notify = MapNotify { nonce: register.nonce, records: register.records, ..MapNotify::default() };
        let octets = auth::seal(&notify.into(), &self.key, self.form()).ok()?;
        Some(Packet::udp(to, from, &octets).octets())
    }
}

fn is_of(record: &MappingRecord, rloc: IpAddr) -> bool {
    record.locators.iter().any(|locator| locator.rloc.ip() == Some(rloc))
}

/// The control message of a packet, if it is one, and the UDP payload.
fn read(came: &Came) -> Option<(Heard, Vec<u8>)> {
    let packet = IpPacket::parse(&came.octets).ok()?;
    let (number, segment) = packet.transport()?;
    let (udp, payload) = UdpHeader::parse(segment).ok().filter(|_| number == protocol::UDP)?;
    if udp.destination != wire::CONTROL_PORT {
        return None;
    }
    let message = ControlMessage::decode(payload).ok()?;
    let (message, enclosed) = match &message {
        ControlMessage::Ecm(Ecm { message, .. }) => (ControlMessage::decode(message).ok()?, true),
        _ => (message, false),
    };
    let source = SocketAddr::new(packet.source(), udp.source);
    let destination = SocketAddr::new(packet.destination(), udp.destination);
    let heard = Heard { at: came.at, source, destination, enclosed, message, octets: came.octets.clone() };
    Some((heard, payload.to_vec()))
}

fn key() -> AuthKey {
    AuthKey { id: 1, algorithm: Algorithm::HkdfSha256, secret: Secret::new(SECRET) }
}

/// The key of the map system, in a file as `--key-file` takes it.
pub(in crate::suite) fn key_file(folder: &Path) -> Result<PathBuf, Fault> {
    let path = folder.join("key.toml");
    std::fs::write(&path, format!("algorithm = \"hkdf-sha256\"\nsecret = \"{SECRET}\"\n")).map_err(missing)?;
    Ok(path)
}

/// A locator that its owner can be reached at.
pub(in crate::suite) fn locator(rloc: IpAddr, priority: u8, weight: u8) -> LocatorRecord {
    LocatorRecord::new(rloc, priority, weight)
}
