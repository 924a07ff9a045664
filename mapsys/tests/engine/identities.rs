// SPDX-License-Identifier: GPL-2.0-or-later
//! Identities that come, get their next key, and leave while the map system runs: on one in-memory network of stores, in
//! virtual time.

use std::time::Duration;

use crate::common::*;
use cgeid::{Cn, Identity, Network, OperationalKey};
use dht::publish::Sequence;
use dht::record::{Bundle, Class, RecordKey, Subject};
use mapsys::engine::{Config, Input, Mark, Memory, Output};
use mapsys::limits::{IDENTITIES, SEQUENCES};
use mapsys::refusal::Refusal;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{Algorithm, AuthKey};
use wire::record::{MappingRecord, Ttl};

const SITE: &str = "2001:db8:a::/48";
const ETR: &str = "198.51.100.1:4342";
/// Longer than two publications of one record must be apart.
const SOON: Duration = Duration::from_secs(11);

/// One engine, and the stores that keep what it publishes.
struct World {
    dht: dht::memory::Network,
    bench: Bench,
    /// Whether a PUT is ever reported done.
    answering: bool,
    nonce: u64,
    marks: Vec<Mark>,
    puts: Vec<RecordKey>,
}

impl World {
    fn new(registrar: OperationalKey) -> Self {
        Self::with(registrar, Memory::default())
    }

    fn with(registrar: OperationalKey, memory: Memory) -> Self {
        let sites = vec![site("a", 1, "secret of a", &[prefix(SITE)])];
        let config = Config { identities: vec![registrar], pipe_key: Some(pipe_key()), ..config(sites) };
        let bench = Bench::with(config, memory);
        let dht = dht::memory::Network::new(Network::LAB, 8, 3);
        let mut world = Self { dht, bench, answering: true, nonce: 0, marks: vec![], puts: vec![] };
        world.pass(Duration::ZERO);
        world
    }

    fn input(&mut self, input: Input) {
        self.bench.engine.handle(self.bench.now, input);
        let outputs = self.bench.drain();
        self.settle(outputs);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.bench.now.monotonic + time;
        while let Some(at) = self.bench.engine.next_deadline().filter(|at| *at <= end) {
            let outputs = self.bench.pass(at.saturating_duration_since(self.bench.now.monotonic));
            self.settle(outputs);
        }
        let outputs = self.bench.pass(end.saturating_duration_since(self.bench.now.monotonic));
        self.settle(outputs);
    }

    fn settle(&mut self, mut outputs: Vec<Output>) {
        while !outputs.is_empty() {
            for output in std::mem::take(&mut outputs) {
                match output {
                    Output::DhtPut { key, bytes } => {
                        self.puts.push(key);
                        let stored = self.dht.put(self.bench.now.wall, &key, &bytes);
                        assert!(stored.is_ok(), "{key}: {stored:?}");
                        if self.answering {
                            self.bench
                                .engine
                                .handle(self.bench.now, Input::DhtPutDone { key, outcome: put_ended(true) });
                            outputs.extend(self.bench.drain());
                        }
                    }
                    Output::Persist(mark) => self.marks.push(mark),
                    _ => {}
                }
            }
        }
    }

    /// The node's own xTR registers its CGEIDs, or takes them back.
    fn pipe(&mut self, records: Vec<MappingRecord>) {
        self.nonce += 1;
        let message = seal(register(self.nonce, records), &pipe_key());
        let outputs = self.bench.pipe(&message);
        self.settle(outputs);
    }

    /// What readers find under a key: epoch and sequence of the newest statement, and whether it is a withdrawal.
    fn found(&self, key: RecordKey) -> Option<(u32, u64, bool)> {
        let values = self.dht.get(self.bench.now.wall, &key);
        let statement = |value: &Vec<u8>| {
            let bundle = Bundle::decode(value).unwrap();
            let section = bundle.section(key.statement().unwrap_or(Class::Mapping))?;
            Some((section.version.epoch, section.version.sequence, section.flags.withdrawn))
        };
        values.iter().filter_map(statement).max()
    }

    fn mapping(&self, cn: Cn) -> Option<(u32, u64, bool)> {
        self.found(RecordKey::node(Network::LAB, cn))
    }

    fn puts_of(&self, cn: Cn) -> usize {
        self.puts.iter().filter(|key| **key == RecordKey::node(Network::LAB, cn)).count()
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        self.bench.engine.tally().get(refusal)
    }
}

fn pipe_key() -> AuthKey {
    key(1, Algorithm::HkdfSha256, "random at every start")
}

fn identity() -> Identity {
    Identity::generate_ed25519(Network::LAB, std::time::SystemTime::now()).unwrap()
}

fn operational(identity: &Identity, revision: u8) -> OperationalKey {
    identity.delegate_revision(std::time::SystemTime::now(), 0, revision).unwrap()
}

fn host_of(cn: Cn) -> EidPrefix {
    EidPrefix::host(InstanceId(0), cn.address(Network::LAB).into())
}

fn registered(cn: Cn) -> Vec<MappingRecord> {
    vec![record(host_of(cn), &["198.51.100.1"])]
}

fn withdrawn(cn: Cn) -> Vec<MappingRecord> {
    vec![MappingRecord { ttl: Ttl(0), ..record(host_of(cn), &[]) }]
}

#[test]
fn an_identity_that_comes_may_be_registered_and_is_published() {
    let (first, second) = (identity(), identity());
    let mut world = World::new(operational(&first, 0));
    world.pipe(registered(second.cn()));
    assert_eq!(world.refused(Refusal::RegisterCgeidNotOurs), 1, "not before it has come");
    world.input(Input::AddIdentity(operational(&second, 0)));
    world.pipe(registered(second.cn()));
    assert_eq!(world.bench.registered(), [host_of(second.cn())]);
    assert!(matches!(world.mapping(second.cn()), Some((_, _, false))));
    let own: Vec<Cn> = world.bench.engine.identities().map(OperationalKey::cn).collect();
    assert_eq!(own, [first.cn(), second.cn()]);
}

#[test]
fn an_identity_that_leaves_is_withdrawn_and_may_be_registered_no_more() {
    let (first, second) = (identity(), identity());
    let mut world = World::new(operational(&first, 0));
    world.input(Input::AddIdentity(operational(&second, 0)));
    world.pipe(registered(second.cn()));
    let (_, sequence, _) = world.mapping(second.cn()).unwrap();
    world.pass(SOON);
    world.input(Input::RemoveIdentity(second.cn()));
    world.pass(SOON);
    let (_, after, is_withdrawn) = world.mapping(second.cn()).unwrap();
    assert!(is_withdrawn && after > sequence);
    assert_eq!(world.bench.registered(), []);
    world.pipe(registered(second.cn()));
    assert_eq!(world.refused(Refusal::RegisterCgeidNotOurs), 1);
    world.pass(Duration::from_secs(2 * 3600));
    assert_eq!(world.puts_of(second.cn()), 2, "once published, once withdrawn");
    assert_eq!(world.mapping(second.cn()), None, "it is said once, and ends with its lifetime");
}

#[test]
fn one_that_its_xtr_took_back_first_is_withdrawn_all_the_same() {
    let (first, second) = (identity(), identity());
    let mut world = World::new(operational(&first, 0));
    world.input(Input::AddIdentity(operational(&second, 0)));
    world.pipe(registered(second.cn()));
    world.pass(SOON);
    world.pipe(withdrawn(second.cn()));
    world.input(Input::RemoveIdentity(second.cn()));
    world.pass(SOON);
    assert!(matches!(world.mapping(second.cn()), Some((_, _, true))));
}

#[test]
fn a_withdrawal_is_tried_again_until_it_is_stored_and_ends_with_its_key() {
    let (first, second) = (identity(), identity());
    let mut world = World::new(operational(&first, 0));
    world.input(Input::AddIdentity(operational(&second, 0)));
    world.pipe(registered(second.cn()));
    world.pass(SOON);
    world.answering = false;
    world.input(Input::RemoveIdentity(second.cn()));
    world.pass(Duration::from_secs(600));
    assert!(world.puts_of(second.cn()) > 3);
    // The key lives 35 days.
    let beyond = Duration::from_secs(36 * 24 * 3600);
    (world.bench.now.monotonic, world.bench.now.wall) =
        (world.bench.now.monotonic + beyond, world.bench.now.wall + beyond);
    let before = world.puts_of(second.cn());
    world.pass(Duration::from_secs(600));
    assert_eq!(world.puts_of(second.cn()), before, "nothing is tried for ever");
    world.input(Input::RemoveIdentity(second.cn()));
    assert_eq!(world.refused(Refusal::IdentityUnknown), 1);
}

#[test]
fn the_registrar_stays_and_strangers_cannot_leave() {
    let first = identity();
    let mut world = World::new(operational(&first, 0));
    world.input(Input::RemoveIdentity(first.cn()));
    world.input(Input::RemoveIdentity(identity().cn()));
    assert_eq!(world.refused(Refusal::IdentityIsRegistrar), 1);
    assert_eq!(world.refused(Refusal::IdentityUnknown), 1);
    assert_eq!(world.bench.engine.identities().count(), 1);
}

#[test]
fn a_key_of_a_higher_epoch_signs_everything_again() {
    let first = identity();
    let old = operational(&first, 0);
    let epoch = old.epoch();
    let mut world = World::new(old);
    world.pipe(registered(first.cn()));
    let sealed =
        seal(register(1, vec![record(prefix(SITE), &["198.51.100.1"])]), &key(1, Algorithm::HmacSha256, "secret of a"));
    let outputs = world.bench.datagram(ETR, &sealed);
    world.settle(outputs);
    let keys = [
        RecordKey::node(Network::LAB, first.cn()),
        RecordKey::prefix(Network::LAB, first.cn(), prefix(SITE)),
        RecordKey::index(Network::LAB, first.cn(), prefix(SITE)),
    ];
    let before = keys.map(|key| world.found(key).unwrap());
    assert!(before.iter().all(|(signed, _, _)| *signed == epoch));
    world.pass(SOON);
    world.input(Input::AddIdentity(operational(&first, 1)));
    for (key, (_, sequence, _)) in keys.into_iter().zip(before) {
        let (signed, next, is_withdrawn) = world.found(key).unwrap();
        assert_eq!((signed, is_withdrawn), (epoch + 1, false), "{key}");
        assert!(next > sequence);
    }
}

#[test]
fn a_key_of_a_lower_or_equal_epoch_is_refused_and_the_same_one_is_no_news() {
    let (first, second) = (identity(), identity());
    let mut world = World::new(operational(&first, 1));
    world.input(Input::AddIdentity(operational(&first, 0)));
    world.input(Input::AddIdentity(operational(&first, 1)));
    assert_eq!(world.refused(Refusal::IdentityOldEpoch), 2, "also another key of the same epoch");
    let now = std::time::SystemTime::now();
    let file =
        cgeid::container::save_operational_under(cgeid::container::Password::Random, &operational(&second, 3), "pw")
            .unwrap();
    let load = || cgeid::container::load_operational(&file, "pw", Network::LAB, now).unwrap();
    world.input(Input::AddIdentity(load()));
    world.input(Input::AddIdentity(load()));
    assert_eq!(world.bench.engine.tally().total(), 2);
    assert_eq!(world.bench.engine.identities().count(), 2);
}

#[test]
fn one_that_comes_back_signs_above_its_withdrawal() {
    let (first, second) = (identity(), identity());
    let mut world = World::new(operational(&first, 0));
    world.input(Input::AddIdentity(operational(&second, 1)));
    world.pipe(registered(second.cn()));
    world.input(Input::RemoveIdentity(second.cn()));
    world.input(Input::AddIdentity(operational(&second, 0)));
    assert_eq!(world.refused(Refusal::IdentityOldEpoch), 1, "as long as it is leaving");
    world.pass(SOON);
    let (_, withdrawal, _) = world.mapping(second.cn()).unwrap();
    world.input(Input::AddIdentity(operational(&second, 2)));
    world.pipe(registered(second.cn()));
    world.pass(SOON);
    let (_, sequence, is_withdrawn) = world.mapping(second.cn()).unwrap();
    assert!(!is_withdrawn && sequence > withdrawal);
}

#[test]
fn there_is_room_for_so_many_identities() {
    let mut world = World::new(operational(&identity(), 0));
    for _ in 1..IDENTITIES {
        world.input(Input::AddIdentity(operational(&identity(), 0)));
    }
    assert_eq!(world.refused(Refusal::IdentityTableFull), 0);
    world.input(Input::AddIdentity(operational(&identity(), 0)));
    assert_eq!(world.refused(Refusal::IdentityTableFull), 1);
}

#[test]
fn without_a_registrar_there_is_nothing_to_sign_with() {
    let mut bench = Bench::new(Config { pipe_key: Some(pipe_key()), ..config(vec![]) });
    bench.engine.handle(bench.now, Input::AddIdentity(operational(&identity(), 0)));
    assert_eq!(bench.only_refused(Refusal::IdentityNoRegistrar), 1);
}

#[test]
fn sequences_of_identities_long_gone_are_forgotten_the_oldest_first() {
    let first = identity();
    let gone =
        |n: usize| Cn([u8::try_from(n / 256).unwrap(), u8::try_from(n % 256).unwrap(), 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
    let sequences = (0..SEQUENCES).map(|n| (gone(n), Sequence(1000 + n as u64))).collect();
    let mut world = World::with(operational(&first, 0), Memory { sequences, ..Memory::default() });
    world.pipe(registered(first.cn()));
    let forgotten: Vec<_> = world.marks.iter().filter(|mark| matches!(mark, Mark::ForgottenSequence(_))).collect();
    assert_eq!(forgotten, [&Mark::ForgottenSequence(gone(0))]);
}

#[test]
fn of_an_identity_that_left_nothing_is_remembered() {
    let (first, second) = (identity(), identity());
    let mut world = World::new(operational(&first, 0));
    world.input(Input::AddIdentity(operational(&second, 0)));
    world.pipe(registered(second.cn()));
    world.pass(SOON);
    let forgotten = Mark::ForgottenSequence(second.cn());
    assert!(!world.marks.contains(&forgotten));
    world.input(Input::RemoveIdentity(second.cn()));
    world.pass(SOON);
    let last = world.marks.iter().rfind(|mark| match mark {
        Mark::Sequence(cn, _) | Mark::ForgottenSequence(cn) => *cn == second.cn(),
        _ => false,
    });
    assert_eq!(last, Some(&forgotten), "a list of those that left would tell which temporary CGEIDs the node had");
}

#[test]
fn only_records_of_its_own_are_published_for_an_identity() {
    let (first, second) = (identity(), identity());
    let mut world = World::new(operational(&first, 0));
    world.input(Input::AddIdentity(operational(&second, 0)));
    world.pipe(registered(second.cn()));
    let index = RecordKey::index(Network::LAB, second.cn(), prefix(SITE));
    assert!(matches!(index.subject, Subject::Index(_)));
    assert_eq!(world.found(index), None);
}
