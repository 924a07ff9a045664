// SPDX-License-Identifier: GPL-2.0-or-later
//! What does not hold is an authentication failure, not an absence.

use std::time::{Duration, SystemTime};

use cgeid::pins::Fingerprint;
use cgeid::{Identity, Network, Reason, Revocation};
use dht::publish::{self, Sequence};
use dht::record::RecordKey;
use mapsys::engine::{Input, Mark, Memory, Output};
use mapsys::limits::LOG_PAUSE;
use mapsys::refusal::Refusal;
use mapsys::transport::Via;
use wire::address::{EidPrefix, InstanceId};
use wire::record::{Action, Ttl};

use super::world::*;
use crate::common::*;
use crate::log::logged;

/// Every node of the DHT has the mapping of the site with a signature that does not hold.
fn forge(world: &mut World) {
    let identity = world.benches[0].engine.own_anchors()[0].cn;
    let key = RecordKey::prefix(Network::LAB, identity, prefix(SITE));
    let mut value = world.dht.get(world.now.wall, &key).remove(0);
    let last = value.len() - 1;
    value[last] ^= 1;
    (0..8).for_each(|node| world.dht.lie(node, &key, value.clone()));
}

#[test]
fn a_forged_record_is_an_authentication_failure() {
    let mut world = registered();
    forge(&mut world);
    let eid = host("2001:db8:a::2");
    assert_eq!(negative(&world.ask(1, 1, eid)), (eid, Action::DropAuthFailure, Ttl(1)));
    assert_eq!(world.benches[1].engine.tally().get(Refusal::RecordRefused), 1);
}

/// The first keys that an engine wants to be remembered.
fn pins(outputs: &[Output]) -> Vec<(Fingerprint, SystemTime)> {
    let marks = outputs.iter().filter_map(|output| match output {
        Output::Persist(Mark::Pin(fingerprint, used)) => Some((*fingerprint, *used)),
        _ => None,
    });
    marks.collect()
}

#[test]
fn a_second_key_under_one_name_is_an_authentication_failure_after_a_restart_too() {
    let now = SystemTime::now();
    let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
    let own = EidPrefix::host(InstanceId(0), identity.address().into());
    let mut world = World::new(vec![registrar(identity.delegate(now, 0).unwrap(), vec![]), resolver(vec![])]);
    world.pipe(0, &seal(register(1, vec![record(own, &["198.51.100.1"])]), &pipe_key()));
    let ask = |world: &mut World, nonce| world.datagram(1, ITR, &ecm(&request(nonce, &[own], &[RLOC])));
    let outputs = ask(&mut world, 1);
    assert_eq!(reply(&outputs).1.records[0].locators.len(), 1);
    let first = pins(&outputs);
    assert_eq!(first, [(*identity.certificate().fingerprint(), world.now.wall)]);
    let restart = |world: &mut World, pins| {
        world.benches[1] = Bench::with(resolver(vec![]), Memory { pins, ..Memory::default() });
        world.benches[1].now = world.now;
    };
    // The same key is taken, and not written for each use.
    restart(&mut world, first.clone());
    let outputs = ask(&mut world, 2);
    assert_eq!((reply(&outputs).1.records[0].locators.len(), pins(&outputs)), (1, vec![]));
    // It would take 2⁴⁸ tries to make the key that was there before: only its hash is needed here.
    let mut other = first;
    other[0].0[63] ^= 1;
    restart(&mut world, other);
    for nonce in [3, 4] {
        let outputs = ask(&mut world, nonce);
        assert_eq!(negative(&reply(&outputs).1), (own, Action::DropAuthFailure, Ttl(1)));
        assert_eq!(pins(&outputs), []);
    }
}

#[test]
fn a_revoked_identity_is_an_authentication_failure() {
    let mut world = World::new(vec![resolver(vec![]), resolver(vec![])]);
    let now = world.now.wall;
    let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
    let eid = EidPrefix::host(InstanceId(0), identity.address().into());
    let locator = dht::record::Rloc {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        flags: dht::record::RlocFlags { reachable: true, ..Default::default() },
        address: "198.51.100.1".parse().unwrap(),
        port: 0,
    };
    let key = identity.delegate(now, 0).unwrap();
    let mapping = dht::record::Mapping::new([locator], Ttl(60));
    let mapping = publish::mapping(&key, Network::LAB, mapping, now, &mut Sequence::default()).unwrap();
    world.dht.put(now, &mapping.key, &mapping.value).unwrap();
    assert_eq!(world.ask(0, 1, eid).records[0].locators.len(), 1);

    let statement = Revocation::issue(&identity, Reason::KEY_COMPROMISE, now).unwrap();
    let revocation = publish::revocation(&statement).unwrap();
    world.dht.put(now, &revocation.key, &revocation.value).unwrap();
    assert_eq!(negative(&world.ask(1, 2, eid)), (eid, Action::DropAuthFailure, Ttl(1)));
    // Whoever had the mapping has it for its hour at most.
    world.pass(Duration::from_secs(3600));
    for of in 0..2 {
        assert_eq!(negative(&world.ask(of, 3, eid)), (eid, Action::DropAuthFailure, Ttl(1)));
    }
}

#[test]
fn no_bytes_from_the_network_make_the_engine_panic() {
    let mut world = registered();
    let seeds =
        [sealed(9, vec![record(prefix(SITE), &["198.51.100.1"])]), ecm(&request(1, &[host("2001:db8:a::2")], &[RLOC]))];
    for seed in &seeds {
        for at in 0..seed.len() {
            for bit in 0..8 {
                let mut bytes = seed.clone();
                bytes[at] ^= 1 << bit;
                let via = Via::Socket { local: address(SERVER), remote: address(ITR) };
                world.benches[1].engine.handle(world.now, Input::Datagram { via, bytes });
            }
        }
    }
    let outputs = world.benches[1].drain();
    let outputs = world.settle(1, outputs);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Persist(mapsys::engine::Mark::Nonce(..)))));
    assert_eq!(world.benches[1].registered(), []);
}

#[test]
fn a_thousand_forged_records_are_a_line_in_ten_seconds_that_says_how_many_there_were() {
    let mut world = registered();
    forge(&mut world);
    let ask = |world: &mut World, number: u64| {
        world.pipe(1, &ecm(&request(number, &[host(&format!("2001:db8:a::{number:x}"))], &[RLOC])));
    };
    let lines = logged(|| {
        (1..=1000).for_each(|number| ask(&mut world, number));
        world.pass(LOG_PAUSE);
        ask(&mut world, 1001);
    });
    assert_eq!(world.benches[1].engine.tally().get(Refusal::RecordRefused), 1001);
    let lines: Vec<_> = lines.iter().filter(|line| line.starts_with("WARN record refused")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(!lines[0].contains("left_out") && lines[1].ends_with("left_out=999"), "{lines:?}");
}
