// SPDX-License-Identifier: GPL-2.0-or-later
//! A site that sends to another one, both with their packet halves, and ways between them that can be cut.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::control::{ControlMessage, MapReply};
use xtr::counters::Counters;
use xtr::database::OwnLocator;
use xtr::engine::Input;
use xtr::map_cache::Update;
use xtr::transport::MapSystem;

use super::{ip, millis, own};
use crate::double::{self, Node, RLOC, prefix};

pub(crate) struct Lab {
    pub(crate) near: Node,
    itr: xtr::itr::Itr,
    etr: xtr::etr::Etr,
    far: Node,
    counters: Arc<Counters>,
    /// Longer IP packets are lost on the way there, without a word.
    pub(crate) width: usize,
    /// From this locator of ours they are lost if they are longer than that.
    pub(crate) narrow_uplink: Option<(IpAddr, usize)>,
    /// The MTU that the router names which drops a long probe; none = it says nothing.
    pub(crate) named: Option<usize>,
    /// Whether the other site answers probes that have something behind the message.
    pub(crate) takes_padding: bool,
    /// Lengths of the long probes that were sent, and when, since they were last looked at.
    pub(crate) long: Vec<(Instant, usize)>,
    pub(crate) dead: Option<IpAddr>,
    /// A locator of ours from which nothing gets anywhere.
    pub(crate) dead_uplink: Option<IpAddr>,
    /// With the first long probe of this length to this locator everything stands still for so long.
    pub(crate) stands_still_at: Option<(IpAddr, usize, Duration)>,
    still_until: Option<Instant>,
    /// When a packet was sent, and from which locator.
    pub(crate) sources: Vec<(Instant, IpAddr)>,
    /// When a packet was sent, and to which locator.
    pub(crate) sent: Vec<(Instant, IpAddr)>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with_uplinks(&[RLOC])
    }

    /// The first is preferred.
    pub(crate) fn with_uplinks(uplinks: &[&str]) -> Self {
        let resolvers = vec![MapSystem::Node(ip(double::RESOLVER))];
        let mut near = Node::new(&["2001:db8:a::/48", "10.1.0.0/16"], uplinks, vec![], resolvers);
        let ranked = uplinks.iter().zip(1..).map(|(uplink, priority)| OwnLocator { priority, ..own(uplink) });
        near.input(Input::Locators(ranked.collect()));
        let config = xtr::itr::ItrConfig {
            iid: wire::address::InstanceId(0),
            icmp_sources: vec![],
            core_mtu: 1500,
            gpe_peers: vec![],
        };
        let counters = Arc::new(Counters::default());
        let mut etr = xtr::etr::Etr::new(xtr::etr::EtrConfig::default(), counters.clone());
        etr.set_local_eids(&[prefix("2001:db8:a::/48")]);
        let mut itr = xtr::itr::Itr::new(near.now, config, counters.clone());
        let mut far = Node::new(&["2001:db8:b::/48"], &["198.51.100.1", "203.0.113.1"], vec![], vec![]);
        far.now = near.now;
        let backup = OwnLocator { priority: 2, ..own("203.0.113.1") };
        far.input(Input::Locators(vec![own("198.51.100.1"), backup]));
        itr.update(near.now, Update::LocalRlocs(uplinks.iter().map(|uplink| ip(uplink)).collect()));
        let (_, request) = near.miss("2001:db8:b::2/128");
        let form = xtr::database::RecordForm { authoritative: false, probed: None };
        let record = far.control.database().record(prefix("2001:db8:b::/48"), form);
        near.reply(&MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() });
        Self {
            near,
            itr,
            etr,
            far,
            counters,
            width: 1500,
            narrow_uplink: None,
            named: None,
            takes_padding: true,
            long: vec![],
            dead: None,
            dead_uplink: None,
            stands_still_at: None,
            still_until: None,
            sources: vec![],
            sent: vec![],
        }
    }

    /// The same, with a site that finds path MTUs for packets of its TUN device of 1360 octets.
    pub(crate) fn finding_path_mtus(self) -> Self {
        self.finding_path_mtus_of(1360)
    }

    /// The same for packets of so many octets.
    pub(crate) fn finding_path_mtus_of(mut self, longest: u16) -> Self {
        self.near.control = self.near.control.finding_path_mtus(longest);
        self
    }

    /// The interface of a locator of ours has this MTU from now on, and those of the others none.
    pub(crate) fn set_interface_mtu(&mut self, own: &str, mtu: u16) {
        self.near.input(Input::InterfaceMtus([(ip(own), mtu)].into()));
    }

    /// The path MTU that packets to a locator keep to.
    pub(crate) fn path_mtu(&self, rloc: &str) -> usize {
        let counts = self.counters.locators();
        counts.iter().find(|count| count.address == ip(rloc)).unwrap().path_mtu
    }

    /// Those of all locators that packets go to.
    pub(crate) fn path_mtus(&self) -> impl Iterator<Item = usize> {
        self.counters.locators().into_iter().map(|count| count.path_mtu)
    }

    /// Whether a packet of so many octets is encapsulated as it is, and no router may fragment it, now.
    pub(crate) fn takes(&mut self, octets: usize) -> bool {
        let packet = inner_of("2001:db8:a::1", "2001:db8:b::2", octets);
        let verdict = self.itr.handle(self.near.now, &packet);
        let is_taken = matches!(verdict, xtr::itr::Verdict::Encapsulate(outer, _) if outer.dont_fragment);
        while self.itr.poll().is_some() {}
        is_taken
    }

    /// A router says that an inner packet of 1280 octets is too long for a link of this MTU.
    pub(crate) fn report(&mut self, mtu: usize) {
        let packet = inner_of("2001:db8:a::1", "2001:db8:b::2", 1280);
        let xtr::itr::Verdict::Encapsulate(outer, _) = self.itr.handle(self.near.now, &packet) else {
            panic!("it does not fit");
        };
        let mut headers = [0; wire::data::OuterHeader::LONGEST];
        let quoted = outer.emit(packet.len(), &mut headers).unwrap();
        self.itr.handle_report(self.near.now, quoted, mtu);
    }

    /// A packet every ten milliseconds.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.near.now + time;
        while self.near.now < end {
            self.near.advance(millis(10));
            self.far.now = self.near.now;
            self.carry();
            self.send();
        }
    }

    fn carry(&mut self) {
        for (local, remote, probe) in std::mem::take(&mut self.near.probes) {
            if !self.is_cut(local, remote.ip()) {
                let bytes = ControlMessage::from(probe).encode().unwrap();
                self.far.bytes_at(remote, &format!("{local}:4342"), &bytes);
            }
        }
        for (local, remote, bytes) in std::mem::take(&mut self.near.long_probes) {
            // UDP over IPv4.
            let length = bytes.len() + 28;
            self.long.push((self.near.now, length));
            if let Some((.., time)) = self.stands_still_at.take_if(|(to, of, _)| (*to, *of) == (remote.ip(), length)) {
                self.still_until = Some(self.near.now + time);
            }
            let narrow = self.narrow_uplink.filter(|(uplink, _)| *uplink == local).map(|(_, width)| width);
            let width = narrow.unwrap_or(self.width);
            if let Some(mtu) = self.named.filter(|_| length > width) {
                // Where ICMP has room for more than the UDP header.
                self.near.input(Input::TooBig { quoted: &bytes[..12], mtu });
            }
            if !self.is_cut(local, remote.ip()) && length <= width && self.takes_padding {
                self.far.bytes_at(remote, &format!("{local}:4342"), &bytes);
            }
        }
        for (local, to, bytes) in std::mem::take(&mut self.far.sent) {
            if self.dead_uplink != Some(to.ip()) {
                self.near.bytes_at(SocketAddr::new(to.ip(), 4342), &format!("{local}:4342"), &bytes);
            }
        }
        self.near.requests();
        for update in self.near.updates() {
            self.itr.update(self.near.now, update);
        }
    }

    fn send(&mut self) {
        let now = self.near.now;
        let packet = inner("2001:db8:a::1", "2001:db8:b::2");
        let xtr::itr::Verdict::Encapsulate(outer, _) = self.itr.handle(now, &packet) else {
            panic!("no locator is left");
        };
        self.sent.push((now, outer.destination));
        self.sources.push((now, outer.source));
        if !self.is_cut(outer.source, outer.destination) {
            self.hear(outer.destination);
        }
        while let Some(event) = self.itr.poll_event() {
            self.near.event(event);
        }
    }

    fn is_cut(&self, local: IpAddr, remote: IpAddr) -> bool {
        self.still_until.is_some_and(|until| self.near.now < until)
            || self.dead == Some(remote)
            || self.dead_uplink == Some(local)
    }

    /// A packet comes back.
    fn hear(&self, source: IpAddr) {
        let class = wire::data::TrafficClass(0);
        let outer = xtr::etr::OuterInfo { source, destination: ip(RLOC), source_port: 50_000, ttl: 60, class };
        let mut payload = [&[0; 8], inner("2001:db8:b::2", "2001:db8:a::1").as_slice()].concat();
        self.etr.handle(&outer, &mut payload).unwrap();
    }
}

fn inner(source: &str, destination: &str) -> Vec<u8> {
    inner_of(source, destination, 40)
}

fn inner_of(source: &str, destination: &str, length: usize) -> Vec<u8> {
    let header = wire::data::Ipv6Header {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        next_header: 59,
        hop_limit: 64,
        class: wire::data::TrafficClass(0),
        flow_label: 0,
    };
    let mut packet = header.emit(length - 40).unwrap().to_vec();
    packet.resize(length, 0);
    packet
}
