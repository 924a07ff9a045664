// SPDX-License-Identifier: GPL-2.0-or-later
//! Two sites whose packets and control messages the other gets, unless something is in the way.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::address::InstanceId;
use wire::control::{ControlMessage, MapReply, MapRequest, Nonce};
use wire::data::{Ipv6Header, LispHeader, OuterHeader, TrafficClass};
use wire::record::{MapVersion, MappingRecord, Ttl};
use xtr::counters::{Counters, DropReason};
use xtr::database::{Database, RecordForm};
use xtr::engine::Config;
use xtr::etr::{Arrival, Etr, EtrConfig, OuterInfo};
use xtr::itr::{Itr, ItrConfig, Output, Verdict};
use xtr::map_cache::{Event, Update};
use xtr::transport::MapSystem;
use xtr::trust::Trust;

use super::{SITES, STEP, ip, own_locators, trust};
use crate::double::{Node, RESOLVER, prefix, secs};

pub(crate) struct Xtr {
    pub(crate) node: Node,
    itr: Itr,
    etr: Etr,
    pub(crate) counters: Arc<Counters>,
    /// When a packet was sent, with this header.
    pub(crate) sent: Vec<(Instant, OuterHeader)>,
    pub(crate) sends: bool,
}

impl Xtr {
    pub(crate) fn new(now: Instant, site: usize, trust: &Trust, version: u16) -> Self {
        let (net, _, rlocs) = SITES[site];
        let database = Database::new(vec![prefix(net)], own_locators(site), Ttl::DEFAULT);
        let mut node = Node::from_config(Config {
            database: database.with_map_version(MapVersion(version)),
            cgeid_network: None,
            servers: vec![],
            resolvers: vec![MapSystem::Node(ip(RESOLVER))],
            nonce_floor: Nonce(1000),
            seed: [u8::try_from(site).unwrap(); 32],
        });
        node.now = now;
        node.control = node.control.trusting(now, trust.clone(), [9 + u8::try_from(site).unwrap(); 32]);
        let counters = Arc::new(Counters::default());
        let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
        let mut itr = Itr::new(now, config, counters.clone()).trusting(trust.clone());
        itr.update(now, Update::LocalRlocs(rlocs.map(ip).to_vec()));
        itr.update(now, Update::LocalEids(vec![prefix(net)]));
        let mut etr = Etr::new(EtrConfig { trust: trust.clone(), ..EtrConfig::default() }, counters.clone());
        etr.set_local_eids(&[prefix(net)]);
        Self { node, itr, etr, counters, sent: vec![], sends: true }
    }

    /// What control says goes to the packet half, and the other way round.
    fn exchange(&mut self) {
        let now = self.node.now;
        self.etr.advance(now);
        self.itr.handle_timeout(now);
        loop {
            let updates = self.node.updates();
            for update in &updates {
                self.etr.update(update);
                self.itr.update(now, update.clone());
            }
            let of_itr = std::iter::from_fn(|| self.itr.poll_event()).collect::<Vec<_>>();
            let of_etr = std::iter::from_fn(|| self.etr.poll_event());
            let events: Vec<Event> = of_itr.into_iter().chain(of_etr).collect();
            if updates.is_empty() && events.is_empty() {
                return;
            }
            events.into_iter().for_each(|event| self.node.event(event));
        }
    }

    pub(crate) fn receive(&mut self, outer: &OuterHeader, inner: &[u8]) {
        let OuterHeader { source, destination, source_port, ttl, class, .. } = *outer;
        let outer_info = OuterInfo { source, destination, source_port, ttl, class };
        let _: Arrival<'_> = self.etr.receive(&outer_info, &mut [outer.lisp.as_slice(), inner].concat());
    }

    pub(crate) fn sent_since(&self, since: Instant) -> impl Iterator<Item = &(Instant, OuterHeader)> {
        self.sent.iter().filter(move |(at, _)| *at >= since)
    }

    pub(crate) fn last(&self) -> OuterHeader {
        self.sent.last().unwrap().1
    }
}

/// The two sites: 0 is near, 1 is far.
pub(crate) struct Lab {
    pub(crate) sites: [Xtr; 2],
    /// Nothing for this locator arrives, neither packets nor probes.
    pub(crate) dead: Option<IpAddr>,
    /// No packets for this locator arrive.
    pub(crate) deaf: Option<IpAddr>,
    pub(crate) loses_smrs: bool,
    /// Probes of the far site get lost: one from its other locator would put this one in doubt.
    pub(crate) loses_far_probes: bool,
    /// The mapping system has this record of the far site still.
    pub(crate) old: Option<MappingRecord>,
}

impl Lab {
    pub(crate) fn new(trusts: [Trust; 2], versions: [u16; 2]) -> Self {
        let now = Instant::now();
        let sites = [0, 1].map(|site| Xtr::new(now, site, &trusts[site], versions[site]));
        let mut lab = Self { sites, dead: None, deaf: None, loses_smrs: false, loses_far_probes: false, old: None };
        lab.run(secs(2));
        lab.sites.iter_mut().for_each(|site| site.sent.clear());
        lab
    }

    pub(crate) fn echoing() -> Self {
        Self::new([trust().with_echo_nonce(true), trust().with_echo_nonce(true)], [0, 0])
    }

    /// A packet in each direction every ten milliseconds.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            for site in 0..2 {
                self.sites[site].node.advance(STEP);
                self.carry_control(site);
                self.sites[site].exchange();
                self.carry_control(site);
                if self.sites[site].sends {
                    self.send(site);
                }
                self.sites[site].exchange();
            }
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.sites[1].node.now
    }

    fn carry_control(&mut self, site: usize) {
        let probes = std::mem::take(&mut self.sites[site].node.probes);
        let smrs = std::mem::take(&mut self.sites[site].node.smrs);
        let is_lost = |remote: &SocketAddr| self.dead == Some(remote.ip()) || site == 1 && self.loses_far_probes;
        let of_probes = probes.into_iter().filter(|(_, remote, _)| !is_lost(remote));
        let requests: Vec<_> = of_probes.chain(smrs.into_iter().filter(|_| !self.loses_smrs)).collect();
        let other = &mut self.sites[1 - site].node;
        for (local, remote, request) in requests {
            let bytes = ControlMessage::from(request).encode().unwrap();
            other.bytes_at(remote, &format!("{local}:4342"), &bytes);
        }
        for (local, remote, bytes) in std::mem::take(&mut self.sites[site].node.sent) {
            match ControlMessage::decode(&bytes).unwrap() {
                // The mapping system knows what the far site says, and answers for it, without E.
                ControlMessage::Ecm(ecm) => {
                    let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).unwrap() else {
                        panic!()
                    };
                    let reply = self.registered(1 - site, &request);
                    self.sites[site].node.reply(&reply);
                }
                _ => self.sites[1 - site].node.bytes_at(remote, &format!("{local}:4342"), &bytes),
            }
        }
    }

    pub(crate) fn registered(&self, site: usize, request: &MapRequest) -> MapReply {
        let form = RecordForm { authoritative: false, probed: None };
        let record = self.sites[site].node.control.database().record(prefix(SITES[site].0), form);
        let record = self.old.clone().filter(|_| site == 1).unwrap_or(record);
        MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() }
    }

    fn send(&mut self, site: usize) {
        let [(_, source, _), (_, destination, _)] = [SITES[site], SITES[1 - site]];
        let packet = inner(source, destination);
        let now = self.sites[site].node.now;
        let mut sent = Vec::new();
        if let Verdict::Encapsulate(outer, inner) = self.sites[site].itr.handle(now, &packet) {
            sent.push((outer, inner.to_vec()));
        }
        // What has waited for a mapping.
        while let Some(output) = self.sites[site].itr.poll() {
            let Output::Core(outer, inner) = output else { panic!("{output:?}") };
            sent.push((outer, inner));
        }
        for (outer, inner) in sent {
            assert!(LispHeader::flags_agree(outer.lisp[0]), "{:?}", outer.lisp());
            self.sites[site].sent.push((now, outer));
            if self.dead != Some(outer.destination) && self.deaf != Some(outer.destination) {
                self.sites[1 - site].receive(&outer, &inner);
            }
        }
    }

    pub(crate) fn dropped(&self, site: usize, reason: DropReason) -> u64 {
        self.sites[site].counters.dropped(reason)
    }
}

pub(crate) fn inner(source: &str, destination: &str) -> Vec<u8> {
    let header = Ipv6Header {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        next_header: 59,
        hop_limit: 64,
        class: TrafficClass(0),
        flow_label: 0,
    };
    header.emit(0).unwrap().to_vec()
}
