// SPDX-License-Identifier: GPL-2.0-or-later
//! The two map systems that are judged, and the sockets of everybody else: ITR, ETR, DDT client, root, nodes.
//!
//! DDT has no ports: who is referred to listens at 4342. So each run has addresses of its own, by the number of its process. A target of
//! others is alone in its hall ([`Deployed`]), at a cable to everybody else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret};
use wire::control::{
    ControlMessage, Ecm, EidRequest, MapReferral, MapRegister, MapRequest, Nonce, Referral, ReferralAction,
};
use wire::record::{LocatorRecord, MapVersion, MappingRecord, Ttl};

use super::deployed::Deployed;
use super::keys::{self, Keys};
use super::party::{Came, PATIENCE, Party};
use super::system::System;
use crate::suite::mapsys::{form, host_in};
use crate::suite::probe::{Fault, broken, missing};
use crate::target::Lack;

const SECRET: &str = "secret";

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
    keys: std::cell::OnceCell<Result<Keys, Fault>>,
    signer: std::cell::OnceCell<Result<System, Fault>>,
    wary: std::cell::OnceCell<Result<System, Fault>>,
    nonce: std::cell::Cell<u64>,
    /// The target, if it is not ours.
    pub(super) deployed: Option<Deployed>,
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
            keys: std::cell::OnceCell::new(),
            signer: std::cell::OnceCell::new(),
            wary: std::cell::OnceCell::new(),
            nonce: std::cell::Cell::new(1),
            deployed: None,
        })
    }

    /// The hall of a target of others, at whose end of the cable all speak from the control port.
    pub(super) fn of(mut deployed: Deployed) -> Result<Self, Fault> {
        let elsewhere = deployed.guest.is_elsewhere().map(|elsewhere| elsewhere.base);
        let party = || Party::of(deployed.guest.place.socket(true, wire::CONTROL_PORT)?).map_err(missing);
        // One that runs elsewhere is no part of our tree: nobody speaks with the other nodes of it.
        let node = || match elsewhere {
            None => party(),
            Some(_) => Party::bind(Ipv4Addr::LOCALHOST, 0).map_err(missing),
        };
        let (client, itr, etr, mut root, mut root2) = (party()?, party()?, party()?, node()?, node()?);
        if deployed.cannot.contains(&Lack::Order) {
            std::mem::swap(&mut root, &mut root2);
        }
        let hall = Self {
            folder: tempfile::tempdir().map_err(missing)?,
            addresses: Addresses::own(),
            client,
            itr,
            etr,
            root,
            root2,
            first: node()?,
            second: node()?,
            node: std::cell::OnceCell::new(),
            resolver: std::cell::OnceCell::new(),
            keys: std::cell::OnceCell::new(),
            signer: std::cell::OnceCell::new(),
            wary: std::cell::OnceCell::new(),
            nonce: std::cell::Cell::new(elsewhere.unwrap_or(1)),
            deployed: None,
        };
        deployed.guest.values = [
            ("root", hall.root.ip().to_string()),
            ("root2", hall.root2.ip().to_string()),
            ("first", hall.first.ip().to_string()),
            ("second", hall.second.ip().to_string()),
        ]
        .into();
        Ok(Self { deployed: Some(deployed), ..hall })
    }

    /// The DDT node and Map-Server, its sites registered.
    pub(super) fn node(&self) -> Result<SocketAddr, Fault> {
        if let Some(deployed) = &self.deployed {
            return deployed.address();
        }
        self.node.get_or_init(|| self.start_node()).as_ref().map(|system| system.address).map_err(Clone::clone)
    }

    /// The DDT Map-Resolver.
    pub(super) fn resolver(&self) -> Result<SocketAddr, Fault> {
        if let Some(deployed) = &self.deployed {
            return deployed.address();
        }
        let start = || {
            let config = format!("[ddt]\nroots = [\"{}\", \"{}\"]\n", self.root.at, self.root2.at);
            System::start(self.folder.path(), self.addresses.at(2).into(), &config)
        };
        self.resolver.get_or_init(start).as_ref().map(|system| system.address).map_err(Clone::clone)
    }

    /// The keys of signed trees.
    pub(super) fn keys(&self) -> Result<&Keys, Fault> {
        self.keys.get_or_init(|| Keys::make(self.folder.path())).as_ref().map_err(Clone::clone)
    }

    /// A DDT node with a key.
    pub(super) fn signer(&self) -> Result<SocketAddr, Fault> {
        let start = || {
            let keys = self.keys()?;
            let config = format!(
                "[ddt]\nauthoritative = [\"2001:db8::/32\"]\nkey = [{{ key-file = \"{}\" }}]\n\
                 revoked-key = [{{ key-file = \"{}\" }}]\n[[ddt-delegation]]\neid-prefix = [\"2001:db8:500::/40\"]\n\
                 kind = \"node\"\nserver = [{{ address = \"{}\", key-file = [\"{}\"] }}]\n",
                keys.private(keys::ROOT),
                keys.private(keys::STRANGER),
                self.first.ip(),
                keys.public(keys::NODE)
            );
            System::start(self.folder.path(), self.addresses.at(3).into(), &config)
        };
        self.signer.get_or_init(start).as_ref().map(|system| system.address).map_err(Clone::clone)
    }

    /// A DDT Map-Resolver with a trust anchor.
    pub(super) fn wary(&self) -> Result<SocketAddr, Fault> {
        let start = || {
            let anchor = self.keys()?.public(keys::ROOT);
            let config = format!("[ddt]\nroots = [\"{}\"]\ntrust-anchor-file = [\"{anchor}\"]\n", self.root.at);
            System::start(self.folder.path(), self.addresses.at(4).into(), &config)
        };
        self.wary.get_or_init(start).as_ref().map(|system| system.address).map_err(Clone::clone)
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
            delegation("2001:db8:d::/48", "map-server", &[self.first.ip()]),
            delegation("2001:db8:100::/40", "map-server", &[self.first.ip()]),
            delegation("2001:db8:500::/40", "node", &[self.first.ip(), self.second.ip()]),
            delegation("198.18.0.0/15", "node", &[self.root.ip()]),
        ];
        let system = System::start(self.folder.path(), self.addresses.at(1).into(), &config.concat())?;
        self.register(system.address, 'a', true, PATIENCE)?;
        self.register(system.address, 'b', false, PATIENCE)?;
        Ok(system)
    }

    /// The EID-prefix of a site: a, b or c.
    pub(super) fn site(&self, name: char) -> Result<EidPrefix, Fault> {
        match &self.deployed {
            Some(deployed) => deployed.site(name).map(|(prefix, _)| prefix),
            None => eid(&format!("2001:db8:{name}::/48")),
        }
    }

    /// An address in a site.
    pub(super) fn inside(&self, name: char, last: u16) -> Result<String, Fault> {
        Ok(host_in(&self.site(name)?, last).net.addr().to_string())
    }

    /// Registers a site from the ETR; with `proxy_reply` the Map-Server answers for it.
    pub(super) fn register(
        &self,
        server: SocketAddr,
        name: char,
        proxy_reply: bool,
        patience: Duration,
    ) -> Result<(), Fault> {
        let nonce = self.nonce();
        let prefix = self.site(name)?;
        let records = vec![MappingRecord::new(prefix, Ttl(1440), vec![LocatorRecord::new(self.etr.ip(), 1, 100)])];
        let message =
            MapRegister { nonce, proxy_reply, want_notify: true, use_ttl: true, records, ..MapRegister::default() };
        let key = match &self.deployed {
            Some(deployed) => deployed.site(name)?.1,
            None => AuthKey { id: 1, algorithm: Algorithm::HmacSha256, secret: Secret::new(SECRET.as_bytes()) },
        };
        let sealed = auth::seal(&message.into(), &key, form(key.algorithm)).map_err(broken)?;
        self.etr.send(server, &sealed)?;
        let is_it = |message: &ControlMessage| matches!(message, ControlMessage::MapNotify(it) if it.nonce == nonce);
        self.etr.wait(patience, is_it).map(drop).ok_or_else(|| broken(format!("{prefix} is not registered")))
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

    /// Has a node answer the Map-Resolver, at the port that it, or else the root, was asked from.
    pub(super) fn say(&self, node: &Party, nonce: Nonce, said: Said<'_>) -> Result<(), Fault> {
        // The first is to be asked first.
        let ranked = said.servers.iter().zip(1..);
        let locators = ranked.map(|(server, priority)| LocatorRecord::new(*server, priority, 100)).collect();
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
        let to = node.asked_by.get().or(self.root.asked_by.get());
        let to = to.map_or_else(|| self.resolver(), Ok)?;
        node.send(to, &bytes)
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
