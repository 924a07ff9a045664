// SPDX-License-Identifier: GPL-2.0-or-later
//! An RTR with one cable, behind which is all that it knows.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use interop::lab::{Lab, Node, Topology};
use tempfile::TempDir;
use wire::control::auth::AuthKey;
use wire::control::rtr::{RtrAd, decode_data_map_notify};
use wire::control::{Ecm, MapNotify, MapRegister, Nonce};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

use super::outside::{
    Datagram, Numbers, PRIVATE, Pair, RTR, SERVER, all, control, data, datagram, first, key_files, same_payload,
    site_key,
};
use super::room::{of_rtr, sealed};
use crate::suite::probe::{Fault, broken, missing};
use crate::suite::xtr::{Core, Dut, Family, Outer, PATIENCE, absent};

/// How often a packet is sent that does not come.
const TRIES: u32 = 4;
/// How often so many are sent before an RTR is given up that relays none.
const WARMING: u64 = 2;

/// The RTR, and the core.
pub(super) struct Relay {
    pub(super) core: Core,
    numbers: Numbers,
    _dut: Dut,
    _lab: Lab,
    _folder: TempDir,
}

/// An xTR behind a NAT.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// Its binding to port 4342 of the RTR, as the RTR sees it.
    pub(super) nat: SocketAddr,
    pub(super) pair: Pair,
}

impl Client {
    /// The same after its NAT has forgotten it.
    pub(super) fn rebound(&self) -> Self {
        Self { nat: SocketAddr::new(self.nat.ip(), self.nat.port() + 20_000), ..self.clone() }
    }
}

impl Relay {
    pub(super) fn open() -> Result<Self, Fault> {
        if let Some(fault) = absent() {
            return Err(fault);
        }
        let rtr = Node::host("rtr").port("core", "core", &["198.51.100.1/24"]).default_route("198.51.100.2", "core");
        let core = Node::host("core").port("eth0", "core", &["198.51.100.2/24"]).on_link("0.0.0.0/0", "eth0");
        let lab = Lab::build(&Topology::default().with(rtr).with(core)).map_err(missing)?;
        let folder = tempfile::tempdir().map_err(missing)?;
        let core = Core::open(lab.namespace("core").map_err(missing)?, &[SERVER])?;
        let [_, key] = key_files(folder.path())?;
        let (server, key, rtr) = (SERVER.to_string(), key.display().to_string(), RTR.to_string());
        let arguments = ["--rtr", "--rloc", &rtr, "--map-server", &server, "--key-file", &key];
        let dut = Dut::start(lab.namespace("rtr").map_err(missing)?, folder.path(), "rtr", &arguments)?;
        let relay = Self { core, numbers: Numbers::default(), _dut: dut, _lab: lab, _folder: folder };
        relay.warm_up()?;
        Ok(relay)
    }

    /// Waits until control messages cross: an interface that has just come up drops what is sent, for as long as a second.
    fn warm_up(&self) -> Result<(), Fault> {
        let client = self.client(Family::V6)?;
        for number in 0..WARMING {
            if self.relayed(&client, &register(&client, number)).is_ok() {
                return Ok(());
            }
            self.core.port.holds()?;
        }
        Err(broken("no Map-Register is relayed"))
    }

    /// An xTR that nobody has heard of.
    pub(super) fn client(&self, family: Family) -> Result<Client, Fault> {
        let number = self.numbers.next();
        let [_, low] = number.to_be_bytes();
        let nat = SocketAddr::new(Ipv4Addr::new(192, 0, 2, low.max(1)).into(), 20_000 + number);
        Ok(Client { nat, pair: Pair::new(number, family)? })
    }

    /// Sends from a binding of a NAT to the control port of the RTR.
    pub(super) fn send(&self, client: &Client, payload: &[u8]) -> Result<(), Fault> {
        self.core.port.send(&datagram(client.nat, control(RTR), payload))
    }

    /// Sends a Map-Register from behind a NAT, and waits for what the RTR makes of it: an ECM to the Map-Server.
    pub(super) fn relayed(&self, client: &Client, message: &MapRegister) -> Result<Ecm, Fault> {
        let (mark, sent) = (self.core.port.mark(), enclosed(message)?);
        let mut came = Err(broken("not tried"));
        for _ in 0..TRIES {
            self.send(client, &sent)?;
            came = first(&self.core.port, mark, PATIENCE / TRIES, "an ECM to the Map-Server", |came| {
                let ecm = Ecm::decode(&came.payload).ok().filter(|_| came.destination == control(SERVER))?;
                let is_it = MapRegister::decode(&ecm.message).is_ok_and(|other| other.nonce == message.nonce);
                (is_it && came.source == control(RTR)).then_some(ecm)
            });
            if came.is_ok() {
                break;
            }
        }
        came
    }

    /// Whether a Map-Register of that nonce has come to any Map-Server.
    pub(super) fn has_relayed(&self, mark: usize, nonce: Nonce) -> bool {
        let found = all(&self.core.port, mark, |came| {
            let ecm = Ecm::decode(&came.payload).ok().filter(|_| came.source.ip() == RTR)?;
            MapRegister::decode(&ecm.message).is_ok_and(|message| message.nonce == nonce).then_some(())
        });
        !found.is_empty()
    }

    /// Answers as the Map-Server: the Map-Notify under the key of the site, and what shows it to the RTR under this one, if any.
    pub(super) fn confirm(&self, came: &Ecm, key: Option<&AuthKey>) -> Result<Vec<u8>, Fault> {
        let register = MapRegister::decode(&came.message).map_err(broken)?;
        let notify = MapNotify { nonce: register.nonce, records: register.records, ..MapNotify::default() };
        let notify = sealed(notify, &site_key())?;
        let shown = |key| RtrAd::seal(&notify, key).and_then(|ad| ad.encode()).map_err(broken);
        let security = key.map(shown).transpose()?;
        let wrapped = Ecm::wrap(came.destination, control(came.source.ip()), notify.clone());
        let ecm = Ecm { for_rtr: true, security, ..wrapped }.encode().map_err(broken)?;
        self.core.port.send(&datagram(control(SERVER), control(RTR), &ecm))?;
        Ok(notify)
    }

    /// Registers an xTR: what came to it as Data-Map-Notify, and the Map-Notify that the Map-Server has sent. As an xTR does it tries
    /// again, with another nonce, where nothing comes.
    pub(super) fn registered(&self, client: &Client, message: &MapRegister) -> Result<(Datagram, Vec<u8>), Fault> {
        let mut last = broken("not tried");
        for number in 0..u64::from(TRIES) {
            let message = MapRegister { nonce: Nonce(message.nonce.0 + (number << 32)), ..message.clone() };
            let came = self.relayed(client, &message)?;
            let mark = self.core.port.mark();
            let sent = self.confirm(&came, Some(&of_rtr()))?;
            let handed = first(&self.core.port, mark, PATIENCE / TRIES, "a Data-Map-Notify", |came| {
                let is_it = came.destination == client.nat && decode_data_map_notify(&came.payload).is_ok();
                is_it.then_some(came)
            });
            match handed {
                Ok(handed) => return Ok((handed, sent)),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    /// Sends a packet of the other site to the RTR, and waits for it at a NAT.
    pub(super) fn inwards(&self, pair: &Pair, packet: &[u8]) -> Result<Datagram, Fault> {
        self.core.map(pair.record());
        let sent = Outer::new(pair.rloc, RTR).around(packet);
        self.crosses(&sent, |came| came.inner().is_some_and(|inner| same_payload(inner, packet)))
    }

    /// The same from behind a NAT, from a port of its own.
    pub(super) fn outwards(&self, client: &Client, packet: &[u8]) -> Result<Datagram, Fault> {
        self.core.map(client.pair.record());
        let sent = from_behind(client.nat.ip(), packet);
        self.crosses(&sent, |came| came.inner().is_some_and(|inner| same_payload(inner, packet)))
    }

    /// Sends until it comes from the RTR; the first packets of a flow may be lost while somebody is asked.
    fn crosses(&self, sent: &[u8], is_it: impl Fn(&Datagram) -> bool) -> Result<Datagram, Fault> {
        let mark = self.core.port.mark();
        for _ in 0..TRIES {
            self.core.port.send(sent)?;
            let come = |came: Datagram| (came.source.ip() == RTR && is_it(&came)).then_some(came);
            if let Ok(came) = first(&self.core.port, mark, PATIENCE / TRIES, "it", come) {
                return Ok(came);
            }
        }
        Err(broken(format!("nothing came out of the RTR, {TRIES} times")))
    }

    /// Sends what must not come out of the RTR, and something that does behind it: whether this packet came out all the same.
    pub(super) fn comes_out(&self, sent: &[Vec<u8>], packet: &[u8]) -> Result<bool, Fault> {
        let fence = self.client(Family::V6)?;
        self.registered(&fence, &register(&fence, 1))?;
        let mark = self.core.port.mark();
        sent.iter().try_for_each(|sent| self.core.port.send(sent))?;
        self.inwards(&fence.pair, &fence.pair.entering(b"fence"))?;
        let is_it = |came: Datagram| {
            (came.source.ip() == RTR && came.inner().is_some_and(|inner| same_payload(inner, packet))).then_some(())
        };
        Ok(!all(&self.core.port, mark, is_it).is_empty())
    }
}

/// A packet from behind a NAT to the data port of the RTR.
pub(super) fn from_behind(nat: IpAddr, packet: &[u8]) -> Vec<u8> {
    datagram(SocketAddr::new(nat, 61_000), data(RTR), &[&[0; 8][..], packet].concat())
}

/// A Map-Register of an xTR behind a NAT, without a tag.
pub(super) fn register(client: &Client, nonce: u64) -> MapRegister {
    let locator = LocatorRecord { local: false, ..LocatorRecord::new(RTR, 1, 100) };
    let record = MappingRecord {
        ttl: Ttl::DEFAULT,
        action: Action::NoAction,
        authoritative: false,
        map_version: MapVersion::default(),
        eid: client.pair.prefix.into(),
        locators: vec![locator],
    };
    let (through_rtr, proxy_reply, want_notify) = (true, true, true);
    let nonce = Nonce(0x4e41_5400_0000_0000 | nonce);
    MapRegister { through_rtr, proxy_reply, want_notify, nonce, records: vec![record], ..MapRegister::default() }
}

/// The same with a tag, in an ECM for the Map-Server.
pub(super) fn enclosed(message: &MapRegister) -> Result<Vec<u8>, Fault> {
    enclosed_for(SERVER, message)
}

/// The same for another one.
pub(super) fn enclosed_for(server: IpAddr, message: &MapRegister) -> Result<Vec<u8>, Fault> {
    let message = sealed(message.clone(), &site_key())?;
    let ecm = Ecm { for_rtr: true, ..Ecm::wrap(control(PRIVATE), control(server), message) };
    ecm.encode().map_err(broken)
}
