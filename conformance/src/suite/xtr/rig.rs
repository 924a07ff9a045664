// SPDX-License-Identifier: GPL-2.0-or-later
//! A site, the router that is judged, and the core: three namespaces and two cables.
//!
//! The addresses are those of the vectors: the router is 198.51.100.1 and 2001:db8:b::1, its site 10.2.0.0/16 and
//! 2001:db8:1:2::/64, beside which it has 2001:db8:2::/48.
//! Each check has hosts, other sites and locators of its own, so that checks run side by side.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use interop::lab::{Lab, Namespace, Node, Topology};
use tempfile::TempDir;
use wire::address::{EidPrefix, InstanceId};
use wire::control::{ControlMessage, EidRequest, MapRequest, Nonce};
use wire::record::MappingRecord;

use super::core::{Core, Heard, LOCATOR_TTL, locator};
use super::needs::{claims, has_data_plane, is_ours};
use super::packet::{Encapsulated, Outer, Packet, ends};
use super::port::{Came, Port};
use super::program::{Dut, absent};
use super::tier::{Router, Setting};
use super::{GRACE, PATIENCE};
use crate::exchange::recorded;
use crate::suite::probe::{Fault, broken, missing};
use crate::target::{Claim, Site, Started};

/// The map system.
pub(in crate::suite) const SERVER: &str = "203.0.113.53";
/// Packets that are sent without waiting for those before: the queue of a TUN device holds so many.
const AT_ONCE: usize = 32;

/// How often a packet is sent that does not come.
const TRIES: u32 = 4;
/// A router of a target file that packets do not cross by then is not judged: one that retries registers each few seconds.
const READY: Duration = Duration::from_secs(30);
/// The kernel notes once a second whether a port runs.
const SETTLING: Duration = Duration::from_millis(1200);
/// Between two tries to get packets across.
const WARMING: Duration = Duration::from_millis(100);

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::suite) enum Family {
    V4,
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::V4 { "IPv4" } else { "IPv6" })
    }
}

/// The families of the locators of what is judged.
pub(in crate::suite) fn families() -> &'static [Family] {
    if claims(Claim::Ipv6Rloc) { &[Family::V4, Family::V6] } else { &[Family::V4] }
}

/// Inner and outer family: all that there are.
pub(in crate::suite) fn pairs() -> impl Iterator<Item = (Family, Family)> {
    let inner = |outer: &'static Family| [(Family::V4, *outer), (Family::V6, *outer)];
    families().iter().flat_map(inner)
}

/// The EID-prefixes of the site.
const PREFIXES: [&str; 3] = ["10.2.0.0/16", "2001:db8:2::/48", "2001:db8:1:2::/64"];

/// Ours, in a tier.
fn ours(namespace: &Namespace, folder: &Path, tier: &str, setting: Setting) -> Result<Dut, Fault> {
    let iid = setting.iid().to_string();
    let mut arguments: Vec<&str> = PREFIXES.iter().flat_map(|prefix| ["--eid-prefix", prefix]).collect();
    arguments.extend(["--rloc", "198.51.100.1", "--rloc", "2001:db8:b::1", "--map-resolver", SERVER]);
    arguments.extend(["--mtu", "1500", "--iid", &iid, "--tier", tier]);
    arguments.extend(setting.arguments());
    Dut::start(namespace, folder, "dut", &arguments)
}

/// That of a target file.
fn theirs(namespace: &Namespace, folder: &Path, router: &Started, setting: Setting) -> Result<Dut, Fault> {
    let places = [
        ("address", "198.51.100.1"),
        ("address6", "2001:db8:b::1"),
        ("gateway", "198.51.100.2"),
        ("gateway6", "2001:db8:b::2"),
        ("interface", "core"),
        ("map-server", SERVER),
        ("setting", setting.of(router)),
    ];
    let places = places.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    let prefixes = PREFIXES.iter().map(|prefix| prefix.parse().map_err(broken)).collect::<Result<_, _>>()?;
    let site = Site { name: "site".into(), prefixes, iid: setting.iid(), keys: vec![router.key.clone()] };
    let command = router.start.prepare(folder, &places, &[site]).map_err(missing)?;
    Dut::start_other(namespace, folder, command, router.start.ready.as_deref())
}

/// The namespaces, and what runs in them.
pub(in crate::suite) struct Rig {
    pub(in crate::suite) dut: Dut,
    pub(in crate::suite) site: Port,
    pub(in crate::suite) core: Core,
    iid: InstanceId,
    next: AtomicU16,
    _lab: Lab,
    _folder: TempDir,
}

/// A host of the site, one of another site, and the locators between them.
#[derive(Debug, Clone)]
pub(in crate::suite) struct Flow {
    pub(in crate::suite) host: IpAddr,
    pub(in crate::suite) peer: IpAddr,
    /// Another host of the other site.
    pub(in crate::suite) other_peer: IpAddr,
    /// The EID-prefix of the other site.
    pub(in crate::suite) prefix: EidPrefix,
    /// Its locator.
    pub(in crate::suite) rloc: IpAddr,
    /// The program's locator of the same family.
    pub(in crate::suite) own: IpAddr,
}

impl Flow {
    /// A datagram to the other site.
    pub(in crate::suite) fn leaving(&self, data: &[u8]) -> Packet {
        self.leaving_at((4000, 4001), data)
    }

    /// The same between these ports.
    pub(in crate::suite) fn leaving_at(&self, ports: (u16, u16), data: &[u8]) -> Packet {
        Packet::udp(SocketAddr::new(self.host, ports.0), SocketAddr::new(self.peer, ports.1), data)
    }

    /// A datagram from the other site.
    pub(in crate::suite) fn entering(&self, data: &[u8]) -> Packet {
        Packet::udp(SocketAddr::new(self.peer, 4001), SocketAddr::new(self.host, 4000), data)
    }

    /// What a packet from the other site comes in.
    pub(in crate::suite) fn outer(&self) -> Outer {
        Outer::new(self.rloc, self.own)
    }

    /// The ends of packets from the other site.
    pub(in crate::suite) fn inwards(&self) -> (IpAddr, IpAddr) {
        (self.peer, self.host)
    }

    /// The mapping of the other site, with this locator alone.
    pub(in crate::suite) fn record(&self) -> MappingRecord {
        self.record_of(&[(self.rloc, 1, 100)])
    }

    /// The mapping of the other site with these locators: address, priority and weight.
    pub(in crate::suite) fn record_of(&self, locators: &[(IpAddr, u8, u8)]) -> MappingRecord {
        let locators = locators.iter().map(|(rloc, priority, weight)| locator(*rloc, *priority, *weight)).collect();
        MappingRecord::new(self.prefix, LOCATOR_TTL, locators)
    }

    /// A solicit-map-request about the other site, as its ETR sends one. What the record is about RFC 9301 does not say: ours has the
    /// EID-prefix that has changed, deployed routers that of whom they solicit, with the one that has changed as source EID.
    pub(in crate::suite) fn solicit(&self) -> ControlMessage {
        let solicited = PREFIXES.iter().filter_map(|prefix| prefix.parse().ok());
        let solicited = solicited.map(|net| EidPrefix { net, ..self.prefix }).find(|one| one.net.contains(&self.host));
        let eid = if is_ours() { self.prefix } else { solicited.unwrap_or(self.prefix) };
        ControlMessage::from(MapRequest {
            smr: true,
            nonce: Nonce(0x0534_5200_0000_0001),
            source_eid: self.prefix.net.addr().into(),
            itr_rlocs: vec![self.rloc.into()],
            records: vec![EidRequest { notify: false, eid: eid.into() }],
            ..MapRequest::default()
        })
    }
}

impl Rig {
    /// Builds the namespaces and starts the router.
    pub(super) fn open(router: Router, setting: Setting) -> Result<Self, Fault> {
        if let Some(fault) = absent() {
            return Err(fault);
        }
        let site = Node::host("site").port("eth0", "site", &["10.2.0.2/30", "2001:db8:2::2/126"]);
        let site = site.default_route("10.2.0.1", "eth0").default_route("2001:db8:2::1", "eth0");
        let dut = Node::router("dut").port("site", "site", &["10.2.0.1/30", "2001:db8:2::1/126"]);
        let dut = dut.port("core", "core", &["198.51.100.1/24", "2001:db8:b::1/64"]);
        let dut = dut.route("10.2.0.0/16", "10.2.0.2", "site").route("2001:db8:2::/48", "2001:db8:2::2", "site");
        let dut = dut.route("2001:db8:1:2::/64", "2001:db8:2::2", "site");
        let dut = dut.default_route("198.51.100.2", "core").default_route("2001:db8:b::2", "core");
        let core = Node::host("core").port("eth0", "core", &["198.51.100.2/24", "2001:db8:b::2/64"]);
        // A host drops what is for others silently, unless it knows no way for it: then over IPv6 it says so.
        let core = core.on_link("::/0", "eth0");
        let lab = Lab::build(&Topology::default().with(site).with(dut).with(core)).map_err(missing)?;
        let folder = tempfile::tempdir().map_err(missing)?;
        let server: IpAddr = SERVER.parse().map_err(broken)?;
        let space = |name: &str| lab.namespace(name).map_err(missing);
        let core = match router {
            Router::Ours(_) => Core::open(space("core")?, &[server])?,
            Router::Theirs(router) => Core::open_for(space("core")?, &[server], router.key.auth())?,
        };
        let site = Port::open(space("site")?, None)?;
        let dut = match router {
            Router::Ours(tier) => ours(space("dut")?, folder.path(), tier, setting)?,
            Router::Theirs(router) => {
                // The kernel notes a moment after it does that a port runs, and some look but once.
                std::thread::sleep(SETTLING);
                theirs(space("dut")?, folder.path(), router, setting)?
            }
        };
        // Below are the addresses of the cables and of the vectors.
        let next = AtomicU16::new(0x0301);
        let rig = Self { dut, site, core, iid: InstanceId(setting.iid()), next, _lab: lab, _folder: folder };
        let patience = if matches!(router, Router::Ours(_)) { PATIENCE } else { READY };
        if !has_data_plane() {
            recorded(|| rig.await_register(patience)).0?;
            return Ok(rig);
        }
        // What is sent for it belongs to no check.
        recorded(|| rig.warm_up(Family::V4, patience)).0?;
        if families().contains(&Family::V6) {
            recorded(|| rig.warm_up(Family::V6, patience)).0?;
        }
        Ok(rig)
    }

    /// Waits until a router that no packet crosses registers its site.
    fn await_register(&self, patience: Duration) -> Result<(), Fault> {
        let is_it = |heard: &Heard| matches!(heard.message, ControlMessage::MapRegister(_));
        if !self.core.wait(0, 1, patience, is_it).is_empty() {
            return Ok(());
        }
        self.stands()?;
        Err(broken(format!("no Map-Register comes in {patience:?}: {}", self.dut.last_words())))
    }

    /// Waits until packets cross: an interface that has just come up drops what is sent, for as long as a second.
    fn warm_up(&self, family: Family, patience: Duration) -> Result<(), Fault> {
        let flow = self.flow(family, family);
        let outwards = |came: &Came| {
            let packet = Encapsulated::read(&came.octets)?;
            (ends(&packet.inner) == Some((flow.host, flow.peer))).then_some(())
        };
        let lisp =
            if self.iid == InstanceId(0) { [0; 8] } else { (8 << 56 | u64::from(self.iid.0) << 8).to_be_bytes() };
        let packets =
            (flow.leaving(b"out").octets(), flow.outer().with_lisp(lisp).around(&flow.entering(b"in").octets()));
        let mut marks = (self.core.port.mark(), self.site.mark());
        let (mut is_out, mut is_in) = (false, false);
        let begun = Instant::now();
        while !(is_out && is_in) {
            self.stands()?;
            if begun.elapsed() > patience {
                let last = self.dut.last_words();
                return Err(broken(format!("no packets cross in {patience:?}: out {is_out}, in {is_in}: {last}")));
            }
            self.site.send(&packets.0)?;
            self.core.port.send(&packets.1)?;
            // What has been looked at is not looked at again: one that floods brings a hundred thousand.
            let next = (self.core.port.mark(), self.site.mark());
            is_out |= !self.core.port.wait(marks.0, 1, WARMING, outwards).is_empty();
            is_in |= !self.site.between(marks.1, flow.inwards()).is_empty();
            marks = next;
        }
        Ok(())
    }

    /// The router has not ended, nor sent more than is kept: what does not come then does not come.
    fn stands(&self) -> Result<(), Fault> {
        self.dut.runs()?;
        self.core.port.holds()?;
        self.site.holds()
    }

    fn number(&self) -> u16 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A locator that nobody else has.
    pub(in crate::suite) fn rloc(&self, family: Family) -> IpAddr {
        let number = self.number();
        let [high, low] = number.to_be_bytes();
        match family {
            Family::V4 => Ipv4Addr::new(100, 64, high, low).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xa, 1, 0, 0, 0, number).into(),
        }
    }

    /// A host of the site that nobody else is.
    pub(in crate::suite) fn host(&self, family: Family) -> IpAddr {
        let number = self.number();
        let [high, low] = number.to_be_bytes();
        match family {
            Family::V4 => Ipv4Addr::new(10, 2, high, low).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 2, number, 0, 0, 0, 1).into(),
        }
    }

    /// The locator of the program.
    pub(in crate::suite) fn own(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(198, 51, 100, 1).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1).into(),
        }
    }

    /// Hosts and a site that nobody else has; the map system does not know it.
    pub(in crate::suite) fn unmapped(&self, inner: Family, outer: Family) -> Flow {
        let number = self.number();
        let [high, low] = number.to_be_bytes();
        let (peers, length): ([IpAddr; 2], u8) = match inner {
            Family::V4 => ([1, 2].map(|last| Ipv4Addr::new(10, 128 | high, low, last).into()), 24),
            Family::V6 => ([1, 2].map(|last| Ipv6Addr::new(0x2001, 0xdb8, 1, number, 0, 0, 0, last).into()), 64),
        };
        let prefix = EidPrefix::new(self.iid, peers[0], length).unwrap_or(EidPrefix::host(self.iid, peers[0]));
        let (host, rloc, own) = (self.host(inner), self.rloc(outer), self.own(outer));
        Flow { host, peer: peers[0], other_peer: peers[1], prefix, rloc, own }
    }

    /// Hosts and a site that nobody else has, and that the map system knows.
    pub(in crate::suite) fn flow(&self, inner: Family, outer: Family) -> Flow {
        let flow = self.unmapped(inner, outer);
        self.core.map(flow.record());
        flow
    }

    /// Sends packets from the site, all between the same ends, and waits for them in the core. In the order in which they came.
    pub(in crate::suite) fn leave_all(&self, packets: &[Vec<u8>]) -> Result<Vec<Encapsulated>, Fault> {
        let wanted = packets.first().and_then(|packet| ends(packet));
        if let Some(first) = packets.first().filter(|_| !is_ours()) {
            // Whether it keeps what waits for a mapping is a check of its own.
            self.leave(first)?;
        }
        let mut all = Vec::with_capacity(packets.len());
        for some in packets.chunks(AT_ONCE) {
            let mark = self.core.port.mark();
            some.iter().try_for_each(|packet| self.site.send(packet))?;
            let read = |came: &Came| Encapsulated::read(&came.octets).filter(|packet| ends(&packet.inner) == wanted);
            let came = self.core.port.wait(mark, some.len(), PATIENCE, read);
            if came.len() < some.len() {
                self.stands()?;
                return Err(broken(format!("{} of {} packets from the site came out", came.len(), some.len())));
            }
            all.extend(came);
        }
        Ok(all)
    }

    /// The same of one packet. Beside checks that send thousands one may get lost where packets cross the kernel one by one.
    pub(in crate::suite) fn leave(&self, packet: &[u8]) -> Result<Encapsulated, Fault> {
        let wanted = ends(packet);
        for _ in 0..TRIES {
            let mark = self.core.port.mark();
            self.site.send(packet)?;
            let read = |came: &Came| Encapsulated::read(&came.octets).filter(|packet| ends(&packet.inner) == wanted);
            if let Some(came) = self.core.port.wait(mark, 1, PATIENCE / TRIES, read).pop() {
                return Ok(came);
            }
        }
        self.stands()?;
        Err(broken(format!("nothing came out, {TRIES} times")))
    }

    /// Sends packets from the site that must not be encapsulated, and looks for them behind one that is: those that came out.
    pub(in crate::suite) fn leave_not(&self, packets: &[Vec<u8>]) -> Result<Vec<Encapsulated>, Fault> {
        let wanted = packets.first().and_then(|packet| ends(packet));
        let mark = self.core.port.mark();
        packets.iter().try_for_each(|packet| self.site.send(packet))?;
        self.fence()?;
        let read = |came: &Came| Encapsulated::read(&came.octets).filter(|packet| ends(&packet.inner) == wanted);
        Ok(self.core.port.wait(mark, usize::MAX, GRACE, read))
    }

    /// A packet of its own that leaves the site: what was sent before has been dealt with then.
    fn fence(&self) -> Result<(), Fault> {
        self.leave(&self.flow(Family::V4, Family::V4).leaving(b"fence").octets()).map(drop)
    }

    /// Sends a packet from the core and waits for what comes of it at the site, between these ends.
    pub(in crate::suite) fn enter(&self, outer: &[u8], wanted: (IpAddr, IpAddr)) -> Result<Vec<u8>, Fault> {
        for _ in 0..TRIES {
            let mark = self.site.mark();
            self.core.port.send(outer)?;
            let read = |came: &Came| (ends(&came.octets) == Some(wanted)).then(|| came.octets.to_vec());
            if let Some(came) = self.site.wait(mark, 1, PATIENCE / TRIES, read).pop() {
                return Ok(came);
            }
        }
        self.stands()?;
        Err(broken(format!("nothing came to the site, {TRIES} times")))
    }

    /// Sends packets from the core that must not enter, and one that does behind them: what came to the site between these ends.
    pub(in crate::suite) fn enter_not(
        &self,
        flow: &Flow,
        outers: &[Vec<u8>],
        wanted: (IpAddr, IpAddr),
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let mark = self.site.mark();
        outers.iter().try_for_each(|outer| self.core.port.send(outer))?;
        let inner = if flow.peer.is_ipv4() { Family::V4 } else { Family::V6 };
        let fence = Flow { host: self.host(inner), ..flow.clone() };
        self.enter(&fence.outer().around(&fence.entering(b"fence").octets()), fence.inwards())?;
        let read = |came: &Came| (ends(&came.octets) == Some(wanted)).then(|| came.octets.to_vec());
        Ok(self.site.wait(mark, usize::MAX, GRACE, read))
    }

    /// Sends packets from the core that enter until the router has learnt better, two at a time, and until neither does.
    pub(in crate::suite) fn enter_no_more(&self, flow: &Flow, outer: &[u8]) -> Result<(), Fault> {
        let begun = Instant::now();
        while !self.enter_not(flow, &vec![outer.to_vec(); 2], flow.inwards())?.is_empty() {
            if begun.elapsed() > PATIENCE {
                return Err(broken("packets that must be dropped enter, and go on to"));
            }
        }
        Ok(())
    }

    /// ICMP messages of a type and code that come to a host of the site.
    pub(in crate::suite) fn icmp_to(
        &self,
        mark: usize,
        host: IpAddr,
        kind: (u8, u8),
        count: usize,
        patience: Duration,
    ) -> Vec<Vec<u8>> {
        self.site.wait(mark, count, patience, |came| {
            ends(&came.octets).filter(|(_, to)| *to == host)?;
            let (number, own, header) = if host.is_ipv4() { (came.octets[9], 1, 20) } else { (came.octets[6], 58, 40) };
            let is_kind = number == own && came.octets.get(header..header + 2) == Some(&[kind.0, kind.1]);
            is_kind.then(|| came.octets.to_vec())
        })
    }
}
