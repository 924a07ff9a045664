// SPDX-License-Identifier: GPL-2.0-or-later
//! Property: whatever nodes say, and whenever, a search ends, leaves nothing behind, and says only what was asked for.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use wire::address::InstanceId;
use wire::control::{MapReferral, ReferralAction};
use wire::record::LocatorRecord;

use super::*;
use crate::ddt::keys::VerifyingKey;
use crate::limits::DDT_PATIENCE;

/// An ITR by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Itr(u8, u64);

impl Asker for Itr {
    fn nonce(&self) -> Nonce {
        Nonce(self.1)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// An ITR asks for one of a few EIDs.
    Ask(u8, u8),
    /// One of those who were asked says something: an action, bits of a prefix length, how many servers, I, TTL.
    Say(usize, u8, u8, u8, bool, u32),
    /// A Map-Reply to one of the questions.
    Reply(usize),
    /// Milliseconds pass.
    Pass(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0u8..6, 0u8..4).prop_map(|(itr, eid)| Event::Ask(itr, eid)),
        (any::<usize>(), 0u8..8, 0u8..=32, 0u8..12, any::<bool>(), 0u32..3).prop_map(
            |(which, action, length, servers, incomplete, ttl)| {
                Event::Say(which, action, length, servers, incomplete, ttl)
            }
        ),
        any::<usize>().prop_map(Event::Reply),
        (0u16..3000).prop_map(Event::Pass),
    ]
}

/// As it comes to a client without trust anchors, which looks at no octets.
fn received(message: &MapReferral) -> Received<'_> {
    Received { message, octets: &[], wall: std::time::SystemTime::UNIX_EPOCH }
}

fn host(n: u8) -> EidPrefix {
    EidPrefix::host(InstanceId(0), [10, 0, 0, n].into())
}

/// A client, its clock, and what it has asked of whom.
struct Played {
    client: Client<Itr>,
    now: Instant,
    questions: Vec<(IpAddr, EidPrefix, Nonce)>,
    nonce: u64,
}

impl Played {
    fn new() -> Self {
        let roots = vec!["192.0.2.1:4342".parse().unwrap(), "192.0.2.2:4342".parse().unwrap()];
        let sockets = Sockets(vec!["192.0.2.53:4342".parse().unwrap()]);
        let client = Client::new(&Config { roots, ..Config::default() }, sockets);
        Self { client, now: Instant::now(), questions: Vec::new(), nonce: 0 }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Ask(itr, eid) => {
                self.nonce += 1;
                let _ = self.client.ask(self.now, host(eid), Itr(itr, self.nonce));
            }
            Event::Say(which, action, length, servers, incomplete, ttl) => {
                let Some((from, asked, nonce)) = self.question(which) else { return };
                let locators = (0..servers).map(|n| LocatorRecord::new(IpAddr::from([192, 0, 2, 100 + n]), n % 3, 1));
                let referral = Referral {
                    ttl: Ttl(ttl),
                    action: ReferralAction::from_bits(action),
                    authoritative: true,
                    incomplete,
                    map_version: wire::record::MapVersion::default(),
                    eid: EidPrefix::new(asked.iid, asked.net.addr(), length).unwrap().into(),
                    locators: locators.collect(),
                    signatures: Vec::new(),
                };
                let message = MapReferral { nonce, records: vec![referral] };
                let _ = self.client.take(self.now, from, received(&message));
            }
            Event::Reply(which) => {
                let Some((from, _, nonce)) = self.question(which) else { return };
                let _ = self.client.take_reply(self.now, from, nonce);
            }
            Event::Pass(milliseconds) => {
                self.now += Duration::from_millis(milliseconds.into());
                self.client.handle_timeout(self.now);
            }
        }
    }

    fn question(&self, which: usize) -> Option<(IpAddr, EidPrefix, Nonce)> {
        self.questions.get(which.checked_rem(self.questions.len())?).copied()
    }

    /// Takes what the client wants done, and holds it against the rules.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        while let Some(step) = self.client.poll() {
            match step {
                Step::Probe { to, host, nonce } => {
                    prop_assert!(nonce.0 > self.nonce, "a nonce of our own");
                    self.questions.push((to.ip(), host, nonce));
                }
                Step::Deliver { to, host, asker } => self.questions.push((to.ip(), host, asker.nonce())),
                Step::Negative { host, found, .. } => prop_assert!(found.prefix().covers(&host)),
                Step::Refused(_) => {}
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_search_ends_and_leaves_nothing_behind(events in proptest::collection::vec(event(), 0..80)) {
        let mut played = Played::new();
        for event in events {
            played.happens(event);
            played.drain()?;
            prop_assert!(played.client.len() <= 4 && played.client.queue.len() == played.client.len());
        }
        let end = played.now + DDT_PATIENCE * 2;
        while let Some(at) = played.client.next_deadline().filter(|at| *at <= end) {
            played.now = played.now.max(at);
            played.client.handle_timeout(played.now);
            played.drain()?;
        }
        prop_assert!(played.client.is_empty() && played.client.queue.is_empty());
        prop_assert!(played.client.waits.is_empty(), "{:?}", played.client.waits);
    }
}

#[test]
fn what_one_node_of_a_set_has_acknowledged_is_not_delivered_to_its_neighbours() {
    let mut played = Played::new();
    played.client.ask(played.now, host(1), Itr(1, 1)).unwrap();
    let Some(Step::Probe { to, nonce, .. }) = played.client.poll() else { panic!() };
    let referral = |action, nonce, servers: &[u8]| {
        let locators = servers.iter().map(|n| LocatorRecord::new(IpAddr::from([192, 0, 2, *n]), 1, 1)).collect();
        let record = Referral {
            ttl: Ttl(1),
            action,
            authoritative: true,
            incomplete: false,
            map_version: wire::record::MapVersion::default(),
            eid: EidPrefix::new(InstanceId(0), [10, 0, 0, 0].into(), 24).unwrap().into(),
            locators,
            signatures: Vec::new(),
        };
        MapReferral { nonce, records: vec![record] }
    };
    let refers = referral(ReferralAction::NodeReferral, nonce, &[100, 101]);
    played.client.take(played.now, to.ip(), received(&refers)).unwrap();
    let Some(Step::Probe { to: first, nonce, .. }) = played.client.poll() else { panic!() };
    let acknowledged = referral(ReferralAction::MsAck, nonce, &[]);
    played.client.take(played.now, first.ip(), received(&acknowledged)).unwrap();
    assert_eq!(played.client.poll(), Some(Step::Deliver { to: first, host: host(1), asker: Itr(1, 1) }));
    played.now = played.client.next_deadline().unwrap();
    played.client.handle_timeout(played.now);
    assert!(matches!(played.client.poll(), Some(Step::Probe { to, .. }) if to != first));
}

#[test]
fn what_is_cached_of_a_server_without_a_living_key_is_no_start() {
    let anchor = VerifyingKey::from_pem(include_str!("../../../tests/data/ddt/root.pub.pem")).unwrap();
    for is_anchored in [false, true] {
        let mut played = Played::new();
        if is_anchored {
            played.client.chain = Chain::new(vec![anchor.clone()]);
        }
        let server = "192.0.2.100:4342".parse().unwrap();
        let prefix = EidPrefix::new(InstanceId(0), [10, 0, 0, 0].into(), 24).unwrap();
        let known = Known::Servers(crate::ddt::Kind::Node, vec![Ranked::only(server)]);
        played.client.referrals.put(played.now, prefix, known, Duration::from_secs(60));
        played.client.ask(played.now, host(1), Itr(1, 1)).unwrap();
        let Some(Step::Probe { to, .. }) = played.client.poll() else { panic!() };
        assert_eq!(to == server, !is_anchored);
    }
}
