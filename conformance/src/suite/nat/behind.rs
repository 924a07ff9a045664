// SPDX-License-Identifier: GPL-2.0-or-later
//! An xTR behind a NAT with a site: the suite is the NAT, and all that is beyond it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use interop::lab::{Lab, Node, Topology};
use tempfile::TempDir;
use wire::control::auth::AuthKey;
use wire::control::rtr::encode_data_map_notify;
use wire::control::{ControlMessage, Ecm, Info, MapNotify, MapRegister};

use super::outside::{
    Datagram, PRIVATE, Pair, RTR, SERVER, control, data, datagram, first, key_files, same_payload, site_key,
};
use super::room::sealed;
use crate::suite::probe::{Fault, broken, missing};
use crate::suite::xtr::{Came, Core, Dut, Family, Hook, PATIENCE, Port, absent, ends, lock};

/// What the NAT shows of it.
pub(super) const NAT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 31_000);
/// How often a packet is sent that does not come.
const TRIES: u32 = 4;

/// How those outside answer, if at all.
#[derive(Debug, Clone, Default)]
pub(super) struct Habits {
    /// As whom the RTR sees who asks.
    pub(super) seen: Option<SocketAddr>,
    /// The Map-Server answers Info-Requests under this key, and names the RTR.
    pub(super) names_rtr: Option<AuthKey>,
    /// Map-Registers are confirmed under this key.
    pub(super) confirms: Option<AuthKey>,
}

/// The xTR, its site, and the outside.
pub(super) struct Behind {
    pub(super) outside: Port,
    pub(super) site: Port,
    pub(super) habits: Arc<Mutex<Habits>>,
    _quiet: Core,
    _dut: Dut,
    _lab: Lab,
    _folder: TempDir,
}

impl Behind {
    /// Starts it with more arguments, and others who have these habits.
    pub(super) fn open(more: &[&str], habits: Habits) -> Result<Self, Fault> {
        if let Some(fault) = absent() {
            return Err(fault);
        }
        let site = Node::host("site").port("eth0", "site", &["10.64.0.2/30", "2001:db8:10::2/126"]);
        let site = site.default_route("10.64.0.1", "eth0").default_route("2001:db8:10::1", "eth0");
        let xtr = Node::router("xtr").port("site", "site", &["10.64.0.1/30", "2001:db8:10::1/126"]);
        let xtr = xtr.route("10.64.0.0/16", "10.64.0.2", "site").route("2001:db8:10::/48", "2001:db8:10::2", "site");
        let xtr = xtr.port("core", "core", &["10.0.0.2/24"]).default_route("10.0.0.1", "core");
        let nat = Node::host("nat").port("eth0", "core", &["10.0.0.1/24"]).on_link("0.0.0.0/0", "eth0");
        let lab = Lab::build(&Topology::default().with(site).with(xtr).with(nat)).map_err(missing)?;
        let folder = tempfile::tempdir().map_err(missing)?;
        let space = |name: &str| lab.namespace(name).map_err(missing);
        let habits = Arc::new(Mutex::new(habits));
        let outside = Port::open(space("nat")?, Some(answers(habits.clone())))?;
        // Its kernel does not say that nobody listens.
        let quiet = Core::open(space("nat")?, &[])?;
        let site = Port::open(space("site")?, None)?;
        let [key, _] = key_files(folder.path())?;
        let (server, key, rloc) = (SERVER.to_string(), key.display().to_string(), PRIVATE.to_string());
        let mut arguments = vec!["--eid-prefix", "10.64.0.0/16", "--eid-prefix", "2001:db8:10::/48", "--rloc", &rloc];
        arguments.extend(["--map-server", &server, "--key-file", &key]);
        arguments.extend(more);
        let dut = Dut::start(space("xtr")?, folder.path(), "xtr", &arguments)?;
        Ok(Self { outside, site, habits, _quiet: quiet, _dut: dut, _lab: lab, _folder: folder })
    }

    /// One that has found its RTR and is registered; packets cross in both directions.
    pub(super) fn established() -> Result<Self, Fault> {
        let habits = Habits { seen: Some(NAT), confirms: Some(site_key()), ..Habits::default() };
        let behind = Self::open(&["--nat", "on", "--rtr-at", &RTR.to_string()], habits)?;
        behind.first("a Map-Register through the RTR", relayed)?;
        for family in [Family::V4, Family::V6] {
            let pair = Pair::new(0xff, family)?;
            behind.leave(&pair.leaving(b"out"))?;
            behind.enter(&pair.entering(b"in"), RTR, wire::CONTROL_PORT)?;
        }
        Ok(behind)
    }

    pub(super) fn set(&self, habits: Habits) {
        *lock(&self.habits) = habits;
    }

    /// The first datagram that has come out since the start in which `read` finds something, or that comes in time.
    pub(super) fn first<T>(&self, what: &str, read: impl Fn(Datagram) -> Option<T>) -> Result<T, Fault> {
        first(&self.outside, 0, PATIENCE, what, read)
    }

    /// Sends an answer to where a datagram came from, from where it went, or from elsewhere.
    pub(super) fn answer(&self, asked: &Datagram, from: SocketAddr, payload: &[u8]) -> Result<(), Fault> {
        self.outside.send(&datagram(from, asked.source, payload))
    }

    /// Sends a packet from the site and waits for what comes out of the xTR.
    pub(super) fn leave(&self, packet: &[u8]) -> Result<Datagram, Fault> {
        for _ in 0..TRIES {
            let mark = self.outside.mark();
            self.site.send(packet)?;
            let is_it = |came: Datagram| came.inner().is_some_and(|inner| same_payload(inner, packet)).then_some(came);
            if let Ok(came) = first(&self.outside, mark, PATIENCE / TRIES, "it", is_it) {
                return Ok(came);
            }
        }
        Err(broken(format!("nothing came out, {TRIES} times")))
    }

    /// Sends a packet in, from this address and port through the binding of the NAT, and waits for it at the site.
    pub(super) fn enter(&self, packet: &[u8], from: IpAddr, port: u16) -> Result<(), Fault> {
        let sent = datagram(SocketAddr::new(from, port), data(PRIVATE), &[&[0; 8][..], packet].concat());
        for _ in 0..TRIES {
            let mark = self.site.mark();
            self.outside.send(&sent)?;
            let is_it = |came: &Came| same_payload(&came.octets, packet).then_some(());
            if !self.site.wait(mark, 1, PATIENCE / TRIES, is_it).is_empty() {
                return Ok(());
            }
        }
        Err(broken(format!("nothing came to the site, {TRIES} times")))
    }

    /// Whether a packet has come to the site since a mark.
    pub(super) fn has_entered(&self, mark: usize, packet: &[u8]) -> bool {
        ends(packet).is_some_and(|wanted| !self.site.between(mark, wanted).is_empty())
    }
}

/// An Info-Request to this address, as it came.
pub(super) fn asked(came: Datagram, whom: IpAddr) -> Option<(Datagram, Info)> {
    let info = Info::decode(&came.payload).ok().filter(|info| !info.reply)?;
    (came.destination == control(whom)).then_some((came, info))
}

/// A Map-Register in an ECM with R, to the RTR.
pub(super) fn relayed(came: Datagram) -> Option<(Datagram, Ecm, MapRegister)> {
    let ecm = Ecm::decode(&came.payload).ok().filter(|_| came.destination == control(RTR))?;
    let register = MapRegister::decode(&ecm.message).ok()?;
    Some((came, ecm, register))
}

/// What an RTR sends of a Map-Notify that confirms this, under the key of the site or another one.
pub(super) fn data_map_notify(ecm: &Ecm, register: &MapRegister, key: &AuthKey) -> Result<Vec<u8>, Fault> {
    let notify = MapNotify { nonce: register.nonce, records: register.records.clone(), ..MapNotify::default() };
    let ecm = Ecm::wrap(control(SERVER), ecm.source, sealed(notify, key)?);
    encode_data_map_notify(&ecm).map_err(broken)
}

/// Those outside, as they are used to answer.
fn answers(habits: Arc<Mutex<Habits>>) -> Hook {
    Box::new(move |packet, mouth| {
        let Some(came) = Datagram::read(&packet.octets).filter(|came| came.source.ip() == PRIVATE) else { return };
        let habits = lock(&habits).clone();
        if let Some(payload) = answer(&habits, &came) {
            // A cable that is gone shows in what does not come.
            let _ = mouth.send(&datagram(came.destination, came.source, &payload));
        }
    })
}

fn answer(habits: &Habits, came: &Datagram) -> Option<Vec<u8>> {
    if let Some((_, info)) = asked(came.clone(), RTR) {
        return info.answer(habits.seen?, came.destination, &[RTR]).encode().ok();
    }
    if let Some((_, info)) = asked(came.clone(), SERVER) {
        let reply = info.answer(NAT, came.destination, &[RTR]);
        return sealed(ControlMessage::from(reply), habits.names_rtr.as_ref()?).ok();
    }
    let (_, ecm, register) = relayed(came.clone())?;
    data_map_notify(&ecm, &register, habits.confirms.as_ref()?).ok()
}
