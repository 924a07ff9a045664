// SPDX-License-Identifier: GPL-2.0-or-later
//! Two sites that probe each other, with two equally good locators each.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use wire::control::{ControlMessage, MapReply};
use xtr::database::RecordForm;
use xtr::map_cache::{Event, Update};
use xtr::transport::MapSystem;

use super::{ip, millis};
use crate::double::{self, Node, prefix, secs};

/// Locators of the two, and an EID-prefix of each.
const RLOCS: [[&str; 2]; 2] = [["192.0.2.1", "192.0.2.129"], ["198.51.100.1", "203.0.113.1"]];
const EIDS: [&str; 2] = ["2001:db8:a::/48", "2001:db8:b::/48"];

/// A datagram on its way: when it is there, and to which of the two, from where to where.
struct Flying {
    there: Instant,
    to: usize,
    local: SocketAddr,
    remote: SocketAddr,
    bytes: Vec<u8>,
}

struct Sites {
    nodes: [Node; 2],
    flying: Vec<Flying>,
    /// Half the round trip by the first and by the second locator of the sender.
    delays: [Duration; 2],
    /// Nothing gets to this locator, or from it.
    dead: Option<IpAddr>,
    /// From which locator, and when.
    probes: Vec<(Instant, IpAddr)>,
    /// What each was told about.
    updates: [Vec<Update>; 2],
}

impl Sites {
    fn new() -> Self {
        let resolvers = || vec![MapSystem::Node(ip(double::RESOLVER))];
        let mut nodes = [0, 1].map(|site| Node::new(&[EIDS[site]], &RLOCS[site], vec![], resolvers()));
        nodes[1].now = nodes[0].now;
        let records = [0, 1].map(|site| {
            let form = RecordForm { authoritative: false, probed: None };
            nodes[site].control.database().record(prefix(EIDS[site]), form)
        });
        for (node, record) in nodes.iter_mut().zip(records.into_iter().rev()) {
            let net = record.eid.ip_prefix().unwrap().net;
            let (_, request) = node.miss(&format!("{}2/128", net.network()));
            node.reply(&MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() });
        }
        let delays = [millis(10), millis(10)];
        let updates = [vec![], vec![]];
        Self { nodes, flying: vec![], delays, dead: None, probes: vec![], updates }
    }

    fn now(&self) -> Instant {
        self.nodes[0].now
    }

    fn run(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            for site in [0, 1] {
                self.nodes[site].advance(millis(10));
                self.updates[site].extend(self.nodes[site].updates());
                self.take_off(site);
            }
            self.land();
        }
    }

    fn take_off(&mut self, site: usize) {
        let node = &mut self.nodes[site];
        let now = node.now;
        let probes = std::mem::take(&mut node.probes);
        self.probes.extend(probes.iter().map(|(local, ..)| (now, *local)));
        let encoded = |(local, remote, probe)| (local, remote, ControlMessage::from(probe).encode().unwrap());
        let sent: Vec<_> = probes.into_iter().map(encoded).chain(std::mem::take(&mut node.sent)).collect();
        for (local, remote, bytes) in sent {
            let way = RLOCS[site].iter().position(|rloc| ip(rloc) == local).unwrap();
            let to = 1 - site;
            if RLOCS[to].contains(&remote.ip().to_string().as_str())
                && ![local, remote.ip()].map(Some).contains(&self.dead)
            {
                let (local, remote) = (remote, SocketAddr::new(local, 4342));
                self.flying.push(Flying { there: now + self.delays[way], to, local, remote, bytes });
            }
        }
    }

    fn land(&mut self) {
        let now = self.now();
        let (mut landed, flying) =
            std::mem::take(&mut self.flying).into_iter().partition::<Vec<_>, _>(|each| each.there <= now);
        self.flying = flying;
        landed.sort_by_key(|each| each.there);
        for Flying { to, local, remote, bytes, .. } in landed {
            self.nodes[to].bytes_at(local, &remote.to_string(), &bytes);
        }
    }
}

#[test]
fn sites_with_two_equal_locators_each_probe_no_more_than_once_in_their_intervals_at_rest() {
    // A slow reserve; a preferred way that is slower than the other; one that is much slower, and yet has its answer before the next probe.
    for delays in [[10, 10], [10, 300], [40, 10], [300, 10]] {
        let mut sites = Sites::new();
        sites.delays = delays.map(millis);
        sites.run(secs(60));
        sites.probes.clear();
        sites.run(secs(600));
        // Two locators each, every 27 to 33 seconds.
        let sent = sites.probes.len();
        assert!((4 * 600 / 33 - 4..=4 * 600 / 27 + 4).contains(&sent), "{sent} with delays of {delays:?} ms");
        assert_eq!(
            sites.updates.iter().flatten().filter(|update| matches!(update, Update::Reachable { .. })).count(),
            0
        );
    }
}

/// Of a suspicion that was none.
#[test]
fn who_was_suspected_and_answers_is_not_suspected_by_the_other_in_return() {
    for delays in [[10, 10], [10, 300], [40, 10], [300, 10], [600, 10]] {
        let mut sites = Sites::new();
        sites.delays = delays.map(millis);
        sites.run(secs(60));
        for _ in 0..20 {
            sites.probes.clear();
            sites.nodes[0].event(Event::Silent { rloc: ip(RLOCS[1][0]) });
            sites.run(secs(10));
            // A burst that ends with its answer, from both locators, a doubt of it, and what is due anyhow.
            assert!(sites.probes.len() <= 12, "{:?} with delays of {delays:?} ms", sites.probes);
        }
    }
}

#[test]
fn a_locator_that_falls_silent_is_left_by_both_within_one_burst() {
    for died_after in [0, 1, 2, 3, 15, 31] {
        let mut sites = Sites::new();
        sites.run(secs(60) + secs(died_after));
        let (dead, left) = (ip(RLOCS[1][0]), Update::From { rloc: ip(RLOCS[0][0]), source: ip(RLOCS[1][1]) });
        sites.dead = Some(dead);
        let died = sites.now();
        sites.updates = [vec![], vec![]];
        sites.run(secs(1));
        // Its own site sends from it, and nothing comes back; the other one sends nothing.
        for rloc in RLOCS[0] {
            sites.nodes[1].event(Event::Silent { rloc: ip(rloc) });
        }
        while !sites.updates[0].contains(&Update::Reachable { rloc: dead, reachable: false }) {
            sites.run(millis(10));
            assert!(sites.now() - died < secs(4), "not left after {died_after} s");
        }
        assert!(sites.now() - died > secs(3), "that would be hasty");
        assert!(sites.updates[1].contains(&left), "{:?}", sites.updates[1]);
    }
}
