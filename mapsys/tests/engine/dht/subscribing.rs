// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions to what another map system registers: the DHT is read again, and its changes become Map-Notifies.

use std::time::Duration;

use mapsys::ddt::ForeignResolver;
use mapsys::engine::{Config, Mark, Memory, Output};
use mapsys::refusal::Refusal;
use mapsys::register::site::{Site, SitePrefix};
use wire::address::Address;
use wire::control::auth::{self, Accept, TagForm};
use wire::control::{ControlMessage, Ecm, EidRequest, MapNotify, MapRegister, MapRequest, XtrIdentity};
use wire::record::{Action, LocatorRecord, MappingRecord, Ttl};

use super::world::*;
use crate::common::*;

const EID: &str = "2001:db8:a::2";

/// A registrar, and a Map-Resolver that the xTR may subscribe at.
fn world() -> World {
    let registrar_key = operational();
    let trust_anchors = vec![anchor(SITE, registrar_key.cn())];
    let resolver = Config { subscribers: vec![subscriber()], ..resolver(trust_anchors) };
    World::new(vec![registrar(registrar_key, vec![site_a()]), resolver])
}

fn subscribing(nonce: u64) -> MapRequest {
    let mut request = request(nonce, &[host(EID)], &[RLOC]);
    request.records[0].notify = true;
    MapRequest { xtr_identity: Some(identity()), ..request }
}

fn told(outputs: &[Output]) -> Vec<MapNotify> {
    let told = outputs.iter().filter_map(|output| match output {
        Output::Send { remote, bytes, .. } if auth::verify(bytes, &xtr_key(), Accept::STRICT).is_ok() => {
            assert_eq!(*remote, address("192.0.2.1:4342"));
            let Ok(ControlMessage::MapNotify(notify)) = ControlMessage::decode(bytes) else { return None };
            Some(notify)
        }
        _ => None,
    });
    told.collect()
}

fn acknowledge(world: &mut World, notify: &MapNotify) {
    let ack = ControlMessage::MapNotifyAck(notify.clone());
    world.datagram(1, "192.0.2.1:4342", &auth::seal(&ack, &xtr_key(), TagForm::Truncated).unwrap());
}

fn subscribe(world: &mut World, nonce: u64) -> MapNotify {
    let told = told(&world.datagram(1, ITR, &ecm(&subscribing(nonce))));
    let [notify] = told.as_slice() else { panic!("{told:?}") };
    acknowledge(world, notify);
    notify.clone()
}

fn site_says(world: &mut World, nonce: u64, records: Vec<MappingRecord>) {
    world.datagram(0, ETR, &sealed(nonce, records));
}

/// Lets time pass in which the site goes on to register `rloc`; what the xTR is told, and acknowledges.
fn hour(world: &mut World, nonces: &mut u64, minutes: u64, rloc: &str) -> Vec<MapNotify> {
    let mut heard = Vec::new();
    for _ in 0..minutes {
        *nonces += 1;
        site_says(world, *nonces, vec![record(prefix(SITE), &[rloc])]);
        for notify in told(&world.pass(Duration::from_secs(60))) {
            acknowledge(world, &notify);
            // Again, before the acknowledgement came.
            if heard.last() != Some(&notify) {
                heard.push(notify);
            }
        }
    }
    heard
}

#[test]
fn a_higher_sequence_in_the_dht_becomes_a_map_notify_within_a_third_of_its_life() {
    let mut world = world();
    let mut nonces = 1;
    site_says(&mut world, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    world.pass(Duration::from_secs(11));
    let confirmed = subscribe(&mut world, 50);
    assert_eq!((confirmed.nonce.0, locators(&confirmed.records[0])), (50, vec!["198.51.100.1".to_owned()]));
    assert_eq!(hour(&mut world, &mut nonces, 60, "198.51.100.1"), [], "signed anew is not changed");
    let heard = hour(&mut world, &mut nonces, 21, "198.51.100.2");
    let [change] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((change.nonce.0, locators(&change.records[0])), (51, vec!["198.51.100.2".to_owned()]));
    assert!(change.records[0].ttl <= Ttl(60), "not past its signature");
}

#[test]
fn what_is_withdrawn_from_the_dht_is_told_with_ttl_0() {
    let mut world = world();
    site_says(&mut world, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    world.pass(Duration::from_secs(11));
    subscribe(&mut world, 50);
    let heard = told(&world.pass(Duration::from_secs(21 * 60)));
    let change = heard.first().expect("the site fell silent");
    assert_eq!((change.nonce.0, change.records[0].ttl, change.records[0].locators.len()), (51, Ttl(0), 0));
}

/// A registration of these locators; the second part of them are names.
fn with_names(eid: &str, rlocs: &[&str], names: &[&str]) -> MappingRecord {
    let mut record = record(prefix(eid), rlocs);
    let name = |name: &&str| LocatorRecord { rloc: Address::Name(name.as_bytes().into()), ..locator("198.51.100.1") };
    record.locators.extend(names.iter().map(name));
    record
}

#[test]
fn a_mapping_that_gets_locators_the_dht_cannot_say_is_told_by_its_map_server_and_not_as_if_it_were_gone() {
    for (before, rlocs) in [(true, &["198.51.100.1"][..]), (true, &[]), (false, &[])] {
        let mut world = world();
        if before {
            site_says(&mut world, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
        }
        world.pass(Duration::from_secs(11));
        subscribe(&mut world, 50);
        let mut heard = Vec::new();
        for nonce in 2..24 {
            site_says(&mut world, nonce, vec![with_names(SITE, rlocs, &["rtr"])]);
            heard.extend(told(&world.pass(Duration::from_secs(60))));
        }
        let [ended] = heard.as_slice() else { panic!("{heard:?}") };
        let said = &ended.records[0];
        assert_eq!((ended.nonce.0, said.action, said.locators.len()), (50, Action::DropAuthFailure, 0));
        let resolver = &world.benches[1].engine;
        assert_eq!((resolver.subscriptions().len(), resolver.tally().get(Refusal::SubscribeNotProxied)), (0, 1));
        // What it asks then goes to the Map-Server, where it may subscribe.
        let asked = forwarded(&world.datagram(1, ITR, &ecm(&subscribing(60))), "203.0.113.1:4342");
        assert_eq!(asked, [subscribing(60)]);
    }
}

const PART: &str = "2001:db8:a:1::/64";

/// The xTR has subscribed to the site, which may register parts.
fn world_of_parts() -> World {
    world_of_parts_and_resolver().0
}

/// The same, and the Map-Resolver for a restart.
fn world_of_parts_and_resolver() -> (World, Config) {
    let registrar_key = operational();
    let cn = registrar_key.cn();
    let prefixes = vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }];
    let resolver = || Config { subscribers: vec![subscriber()], ..resolver(vec![anchor(SITE, cn)]) };
    let mut world = World::new(vec![registrar(registrar_key, vec![Site { prefixes, ..site_a() }]), resolver()]);
    site_says(&mut world, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    world.pass(Duration::from_secs(11));
    assert_eq!(subscribe(&mut world, 50).records[0].eid, prefix(SITE).into());
    (world, resolver())
}

/// Longer than anybody has anything of before in a cache: the site says this all the time; what the xTR is told, and acknowledges.
fn for_an_hour(world: &mut World, nonces: &mut u64, records: &[MappingRecord]) -> Vec<MappingRecord> {
    let mut heard = Vec::new();
    for _ in 0..64 {
        *nonces += 1;
        site_says(world, *nonces, records.to_vec());
        for notify in told(&world.pass(Duration::from_secs(60))) {
            acknowledge(world, &notify);
            // Again, before the acknowledgement came.
            if heard.last() != Some(&notify) {
                heard.push(notify);
            }
        }
    }
    heard.into_iter().flat_map(|notify| notify.records).collect()
}

/// What the xTR is told, and acknowledges, when somebody asks for a host of the part.
fn when_asked_for(world: &mut World, nonce: u64) -> Vec<MappingRecord> {
    let mut outputs = world.datagram(1, ITR, &ecm(&request(nonce, &[host("2001:db8:a:1::2")], &[RLOC])));
    outputs.extend(world.pass(Duration::from_secs(1)));
    let heard = told(&outputs);
    heard.iter().for_each(|notify| acknowledge(world, notify));
    heard.into_iter().flat_map(|notify| notify.records).collect()
}

#[test]
fn of_a_more_specific_that_the_dht_cannot_say_a_subscriber_hears_once_that_it_is_to_be_asked_for() {
    let (mut world, mut nonces) = (world_of_parts(), 1);
    let site = record(prefix(SITE), &["198.51.100.1"]);
    let unsaid = [site.clone(), with_names(PART, &[], &["rtr"])];
    assert_eq!(for_an_hour(&mut world, &mut nonces, &unsaid), [], "nobody has looked for it");
    let heard = when_asked_for(&mut world, 9);
    let [said] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((&said.eid, said.action, said.locators.len()), (&prefix(PART).into(), Action::SendMapRequest, 0));
    assert_eq!(world.benches[1].engine.subscriptions().len(), 1);
    for nonce in 10..13 {
        assert_eq!(for_an_hour(&mut world, &mut nonces, &unsaid), []);
        assert_eq!(when_asked_for(&mut world, nonce), [], "not with each lookup");
    }
    for_an_hour(&mut world, &mut nonces, &[site, record(prefix(PART), &["198.51.100.7"])]);
    let heard = when_asked_for(&mut world, 20);
    let [said] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((&said.eid, locators(said)), (&prefix(PART).into(), vec!["198.51.100.7".to_owned()]));
}

#[test]
fn what_is_subscribed_to_is_told_and_ends_as_a_whole_though_there_is_a_more_specific_in_it() {
    let (mut world, mut nonces) = (world_of_parts(), 1);
    let part = record(prefix(PART), &["198.51.100.7"]);
    let before = [record(prefix(SITE), &["198.51.100.1"]), part.clone()];
    assert_eq!(for_an_hour(&mut world, &mut nonces, &before), []);
    assert_eq!(for_an_hour(&mut world, &mut nonces, &before), [], "what it has already, is not told again");
    let heard = for_an_hour(&mut world, &mut nonces, &[record(prefix(SITE), &["198.51.100.2"]), part.clone()]);
    let [said] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((&said.eid, locators(said)), (&prefix(SITE).into(), vec!["198.51.100.2".to_owned()]));
    let heard = for_an_hour(&mut world, &mut nonces, &[with_names(SITE, &[], &["rtr"]), part]);
    let [said] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((&said.eid, said.action), (&prefix(SITE).into(), Action::DropAuthFailure));
    let resolver = &world.benches[1].engine;
    assert_eq!((resolver.subscriptions().len(), resolver.tally().get(Refusal::SubscribeNotProxied)), (0, 1));
}

#[test]
fn an_end_is_told_to_the_xtr_too_while_somebody_else_asks_in_its_name() {
    let mut world = world();
    site_says(&mut world, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    world.pass(Duration::from_secs(11));
    subscribe(&mut world, 50);
    let mut heard = Vec::new();
    for n in 0..300 {
        site_says(&mut world, 2 + n, vec![with_names(SITE, &[], &["rtr"])]);
        let outputs = world.datagram(1, ITR, &ecm(&subscribing((1 << 60) + n)));
        heard.extend(told(&outputs).into_iter().chain(told(&world.pass(Duration::from_secs(5)))));
    }
    let farewells = heard.iter().filter(|notify| notify.records[0].action == Action::DropAuthFailure);
    let (own, other): (Vec<u64>, Vec<u64>) = farewells.map(|notify| notify.nonce.0).partition(|nonce| *nonce < 1000);
    assert!(own.len() == 1 && !other.is_empty(), "{own:?} {other:?}");
    assert_eq!(world.benches[1].engine.tally().get(Refusal::SubscribeNotProxied), 1);
}

#[test]
fn what_is_withdrawn_is_told_as_a_whole_though_there_is_a_more_specific_in_it() {
    let (mut world, mut nonces) = (world_of_parts(), 1);
    let part = record(prefix(PART), &["198.51.100.7"]);
    let before = [record(prefix(SITE), &["198.51.100.1"]), part.clone()];
    assert_eq!(for_an_hour(&mut world, &mut nonces, &before), []);
    let gone = MappingRecord { ttl: Ttl(0), ..record(prefix(SITE), &[]) };
    nonces += 1;
    site_says(&mut world, nonces, vec![gone]);
    let heard = for_an_hour(&mut world, &mut nonces, &[part]);
    let [said] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((&said.eid, said.ttl, said.locators.len()), (&prefix(SITE).into(), Ttl(0), 0));
}

#[test]
fn what_is_subscribed_to_is_heard_of_and_withdrawn_though_more_specifics_have_its_first_eids() {
    let (mut world, mut nonces) = (world_of_parts(), 1);
    let parts = ["2001:db8:a::/64", PART].map(|part| record(prefix(part), &["198.51.100.7"]));
    let with = |rloc: &str| [&[record(prefix(SITE), &[rloc])][..], &parts].concat();
    for_an_hour(&mut world, &mut nonces, &with("198.51.100.1"));
    assert_eq!(for_an_hour(&mut world, &mut nonces, &with("198.51.100.1")), [], "nothing is told twice");
    let heard = for_an_hour(&mut world, &mut nonces, &with("198.51.100.2"));
    let [said] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((&said.eid, locators(said)), (&prefix(SITE).into(), vec!["198.51.100.2".to_owned()]));
    nonces += 1;
    site_says(&mut world, nonces, vec![MappingRecord { ttl: Ttl(0), ..record(prefix(SITE), &[]) }]);
    let heard = for_an_hour(&mut world, &mut nonces, &parts);
    let of_site: Vec<_> = heard.iter().filter(|said| said.eid == prefix(SITE).into()).map(|said| said.ttl).collect();
    assert_eq!(of_site.first(), Some(&Ttl(0)), "{heard:?}");
}

/// What the site says behind forty more-specifics in a row.
fn behind_forty(rloc: &str) -> Vec<MappingRecord> {
    let part = |number: u16| record(prefix(&format!("2001:db8:a:{number:x}::/64")), &["198.51.100.7"]);
    [record(prefix(SITE), &[rloc])].into_iter().chain((0..40).map(part)).collect()
}

fn of_site(heard: &[MappingRecord]) -> Vec<Vec<String>> {
    heard.iter().filter(|said| said.eid == prefix(SITE).into()).map(locators).collect()
}

#[test]
fn what_is_subscribed_to_is_heard_of_behind_forty_more_specifics_in_a_row_and_after_a_restart() {
    let (mut world, resolver) = world_of_parts_and_resolver();
    let mut nonces = 1;
    for _ in 0..3 {
        let heard = for_an_hour(&mut world, &mut nonces, &behind_forty("198.51.100.1"));
        assert_eq!(of_site(&heard), Vec::<Vec<String>>::new(), "it has not changed");
    }
    for rloc in ["198.51.100.2", "198.51.100.3"] {
        let heard = for_an_hour(&mut world, &mut nonces, &behind_forty(rloc));
        assert_eq!(of_site(&heard), [[rloc]], "where it was found it is read once in each round");
    }
    let kept = world.marks.iter().rev().find_map(|mark| match mark {
        Mark::Subscription(kept) => Some((**kept).clone()),
        _ => None,
    });
    let subscriptions = vec![kept.unwrap()];
    world.restart(1, resolver, Memory { subscriptions, ..Memory::default() });
    let heard = for_an_hour(&mut world, &mut nonces, &behind_forty("198.51.100.4"));
    assert_eq!(of_site(&heard), [["198.51.100.4"]], "where it was found before");
}

#[test]
fn a_more_specific_that_has_the_first_eid_is_heard_of_again_and_again() {
    let (mut world, mut nonces) = (world_of_parts(), 1);
    let first = "2001:db8:a::/64";
    for rloc in ["198.51.100.7", "198.51.100.8", "198.51.100.9"] {
        let records = [record(prefix(SITE), &["198.51.100.1"]), record(prefix(first), &[rloc])];
        let heard = for_an_hour(&mut world, &mut nonces, &records);
        let [said] = heard.as_slice() else { panic!("{rloc}: {heard:?}") };
        assert_eq!((&said.eid, locators(said)), (&prefix(first).into(), vec![rloc.to_owned()]));
    }
}

#[test]
fn a_more_specific_that_is_known_already_keeps_what_is_subscribed_to_from_ending() {
    let (mut world, mut nonces) = (world_of_parts(), 1);
    let part = record(prefix(PART), &["198.51.100.7"]);
    let before = [record(prefix(SITE), &["198.51.100.1"]), part.clone()];
    assert_eq!(for_an_hour(&mut world, &mut nonces, &before), []);
    assert_eq!(when_asked_for(&mut world, 9).len(), 1, "told of it once");
    assert_eq!(for_an_hour(&mut world, &mut nonces, &before), []);
    let until = |world: &World| world.benches[1].engine.subscriptions().iter().find_map(|(_, known)| known.until);
    nonces += 1;
    site_says(&mut world, nonces, vec![MappingRecord { ttl: Ttl(0), ..record(prefix(SITE), &[]) }, part.clone()]);
    for _ in 0..20 {
        nonces += 1;
        site_says(&mut world, nonces, vec![part.clone()]);
        told(&world.pass(Duration::from_secs(60))).iter().for_each(|notify| acknowledge(&mut world, notify));
        if until(&world).is_some() {
            break;
        }
    }
    assert!(until(&world).is_some(), "nothing is at its first EID");
    assert_eq!(when_asked_for(&mut world, 10), []);
    assert_eq!(until(&world), None);
}

#[test]
fn a_temporary_subscription_in_the_dht_hears_of_the_registration() {
    let mut world = world();
    world.pass(Duration::from_secs(11));
    let confirmed = subscribe(&mut world, 50);
    let negative = &confirmed.records[0];
    assert_eq!((negative.action, negative.ttl), (Action::NativelyForward, Ttl(15)));
    let mut nonces = 1;
    let heard = hour(&mut world, &mut nonces, 10, "198.51.100.1");
    let [change] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((change.nonce.0, change.records[0].locators.len()), (51, 1));
    let heard = hour(&mut world, &mut nonces, 30, "198.51.100.9");
    assert_eq!(heard.len(), 1, "and goes on: {heard:?}");
}

#[test]
fn without_an_answer_of_the_dht_nothing_is_told_and_the_subscription_stays() {
    let mut world = world();
    site_says(&mut world, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    world.pass(Duration::from_secs(11));
    subscribe(&mut world, 50);
    world.mode = Mode::Unreachable;
    assert_eq!(told(&world.pass(Duration::from_secs(3600))), []);
    assert_eq!(world.benches[1].engine.subscriptions().len(), 1);
}

#[test]
fn only_a_verified_subscription_is_sent_on_to_the_map_server_of_a_site() {
    let mut world = world();
    let own = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    world.datagram(0, ETR, &seal(own, &site_key()));
    world.pass(Duration::from_secs(11));
    let asked = ecm(&subscribing(50));
    let outputs = world.datagram(1, ITR, &asked);
    let is_forwarded = |output: &Output| matches!(output, Output::Send { remote, bytes, .. } if (*remote, bytes) == (address("203.0.113.1:4342"), &asked));
    assert!(outputs.iter().any(is_forwarded), "{outputs:?}");
    let stranger = MapRequest { xtr_identity: Some(XtrIdentity { site_id: 1, ..identity() }), ..subscribing(51) };
    let (_, denied) = reply(&world.datagram(1, ITR, &ecm(&stranger)));
    assert_eq!(denied.records[0].action, Action::DropPolicyDenied);
    assert_eq!(world.benches[1].engine.tally().get(Refusal::SubscribeUnknownXtr), 1);
}

/// The Map-Requests that were sent on to `to`.
fn forwarded(outputs: &[Output], to: &str) -> Vec<MapRequest> {
    let ecms = outputs.iter().filter_map(|output| match output {
        Output::Send { remote, bytes, .. } if *remote == address(to) => Ecm::decode(bytes).ok(),
        _ => None,
    });
    ecms.filter_map(|ecm| match ControlMessage::decode(&ecm.message) {
        Ok(ControlMessage::MapRequest(request)) => Some(request),
        _ => None,
    })
    .collect()
}

fn stranger(nonce: u64) -> MapRequest {
    MapRequest { xtr_identity: Some(XtrIdentity { site_id: 1, ..identity() }), ..subscribing(nonce) }
}

#[test]
fn to_a_conventional_map_resolver_only_a_verified_n_bit_is_sent_on() {
    let addresses = vec![address("203.0.113.80:4342")];
    let foreign = ForeignResolver { prefix: prefix("10.0.0.0/8"), addresses };
    let mut config = Config { subscribers: vec![subscriber()], ..resolver(vec![]) };
    config.ddt.resolvers = vec![foreign];
    let mut world = World::new(vec![config]);
    let records = vec![EidRequest { notify: true, eid: host("10.1.1.1").into() }];
    for (request, is_verified) in [(stranger(5), false), (subscribing(6), true)] {
        let request = MapRequest { records: records.clone(), ..request };
        let outputs = world.datagram(0, ITR, &ecm(&request));
        let mut expected = request;
        expected.records[0].notify = is_verified;
        assert_eq!(forwarded(&outputs, "203.0.113.80:4342"), [expected]);
    }
}

#[test]
fn an_unverified_n_bit_is_not_sent_on_for_the_sake_of_another_record() {
    let mut world = world();
    let own = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    world.datagram(0, ETR, &seal(own, &site_key()));
    world.pass(Duration::from_secs(11));
    for (request, is_verified) in [(stranger(50), false), (subscribing(51), true)] {
        let plain = EidRequest { notify: false, eid: host(EID).into() };
        let wanted = EidRequest { notify: true, eid: host("2001:db8:a::3").into() };
        let asked = MapRequest { records: vec![plain, wanted], ..request };
        let sent_on = forwarded(&world.datagram(1, ITR, &ecm(&asked)), "203.0.113.1:4342");
        let [sent_on] = sent_on.as_slice() else { panic!("{sent_on:?}") };
        let expected = if is_verified { &[false, true][..] } else { &[false] };
        assert_eq!(sent_on.records.iter().map(|record| record.notify).collect::<Vec<_>>(), expected);
        world.pass(Duration::from_secs(30));
    }
}

#[test]
fn the_end_of_a_subscription_goes_where_the_subscription_went() {
    let mut world = world();
    let own = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    world.datagram(0, ETR, &seal(own, &site_key()));
    world.pass(Duration::from_secs(11));
    assert_eq!(forwarded(&world.datagram(1, ITR, &ecm(&subscribing(50))), "203.0.113.1:4342").len(), 1);
    let leaving = MapRequest { itr_rlocs: vec![Address::None], ..subscribing(51) };
    let outputs = world.datagram(1, ITR, &ecm(&leaving));
    assert_eq!(forwarded(&outputs, "203.0.113.1:4342"), [leaving]);
    assert_eq!(told(&outputs), [], "who has it confirms its end");
    // Where it can only be here, it ends here.
    let elsewhere = vec![EidRequest { notify: true, eid: host("2001:db8:77::1").into() }];
    let leaving = MapRequest { itr_rlocs: vec![Address::None], records: elsewhere, ..subscribing(52) };
    assert_eq!(told(&world.datagram(1, ITR, &ecm(&leaving))).len(), 1);
}
