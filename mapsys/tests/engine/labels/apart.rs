// SPDX-License-Identifier: GPL-2.0-or-later
//! Names, MAC addresses and pairs are in nobody's way: not in the DHT, not in holes, not in the tree of RFC 8111, not subscribed to.

use std::time::Duration;

use cgeid::{Identity, Network, OperationalKey};
use mapsys::engine::Config;
use mapsys::refusal::Refusal;
use mapsys::register::label::Spelling;
use wire::record::MappingRecord;

use super::*;

fn operational() -> OperationalKey {
    let now = std::time::SystemTime::now();
    Identity::generate_ed25519(Network::LAB, now).unwrap().delegate(now, 0).unwrap()
}

/// How often an engine publishes in an hour, and what it says then about EIDs that nothing is registered for.
fn an_hour(eids: &[Eid]) -> (usize, Vec<MappingRecord>) {
    let identities = vec![operational()];
    let mut bench = Bench::new(Config { identities, ..config(vec![machines()]) });
    let is_put = |output: &Output| matches!(output, Output::DhtPut { .. });
    let mut puts = bench.pass(Duration::ZERO).into_iter().filter(is_put).count();
    for minute in 0..60 {
        for (number, eid) in (0..).zip(eids) {
            let outputs = bench.datagram(ETR, &sealed(minute * 100 + number + 1, eid.clone(), RLOC));
            puts += outputs.into_iter().filter(is_put).count();
        }
        puts += bench.pass(Duration::from_secs(60)).into_iter().filter(is_put).count();
    }
    let holes = ["2001:db8:a::1", "2001:db8:b::1", "200:5e00::1", "2.0.94.0"].map(|text| {
        let outputs = bench.datagram(ITR, &ecm(&request(9, &[host(text)], &["192.0.2.1"])));
        reply(&outputs).1.records.remove(0)
    });
    (puts, holes.to_vec())
}

#[test]
fn neither_the_dht_nor_a_hole_knows_of_them() {
    let pair = |rule: LabelRule| rule.label.eid(Spelling::default());
    let (group, flow) = (pairs(0, true, "0.0.0.0/0", "239.1.1.1/32"), pairs(5, false, "::/0", "2001:db8::/32"));
    let singles = [name("printer"), mac("02:00:5e:00:00:01/48"), mac("02:00:5e:00:00:00/24"), within(5, name("a"))];
    let eids: Vec<Eid> = singles.into_iter().chain([pair(group), pair(flow)]).collect();
    let (without, with) = (an_hour(&[]), an_hour(&eids));
    assert_eq!(without, with);
    assert!(without.0 > 0, "the index page is published");
}

#[test]
fn a_subscription_to_one_is_counted_and_answered_as_if_it_were_none() {
    for eid in [name("printer"), pairs(0, true, "0.0.0.0/0", "239.1.1.1/32").label.eid(Spelling::default())] {
        a_subscription_to_it_is_none(&eid);
    }
}

fn a_subscription_to_it_is_none(eid: &Eid) {
    let mut bench = bench();
    notify(&bench.datagram(ETR, &sealed(1, eid.clone(), RLOC)));
    let mut request = request_of(7, std::slice::from_ref(eid));
    request.records[0].notify = true;
    request.xtr_identity = Some(XtrIdentity { xtr_id: [1; 16], site_id: 2 });
    let (_, told) = reply(&bench.datagram(ITR, &wrapped(&request)));
    assert_eq!(rlocs(&told.records[0]), [RLOC]);
    assert_eq!(bench.only_refused(Refusal::SubscribeEidNotIp), 1);
    assert_eq!(bench.engine.subscriptions().len(), 0);
    // What is to end there is nothing of, and no answer.
    let leaving = MapRequest { itr_rlocs: vec![Address::None], nonce: Nonce(8), ..request };
    assert_eq!(bench.datagram(ITR, &wrapped(&leaving)), []);
    assert_eq!(bench.only_refused(Refusal::SubscribeEidNotIp), 2);
}

#[test]
fn the_n_bit_is_not_sent_on_to_an_etr() {
    let mut bench = bench();
    let message = MapRegister { proxy_reply: false, ..register(1, vec![record_of(name("printer"), &[RLOC])]) };
    bench.datagram(ETR, &seal(message, &site_key()));
    let plain = request_of(7, &[name("printer")]);
    let mut asking = plain.clone();
    asking.records[0].notify = true;
    let outputs = bench.datagram(ITR, &wrapped(&asking));
    let [Output::Send { bytes, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(Ecm::decode(bytes).unwrap().message, plain.encode().unwrap());
}

#[test]
fn a_ddt_client_is_not_referred() {
    let mut bench = bench();
    notify(&bench.datagram(ETR, &sealed(1, name("printer"), RLOC)));
    let pair = pairs(0, true, "0.0.0.0/0", "239.1.1.1/32").label.eid(Spelling::default());
    notify(&bench.datagram(ETR, &sealed(2, pair.clone(), RLOC)));
    for eid in [name("printer"), pair] {
        let mut asked = wrapped(&request_of(7, &[eid]));
        asked[0] |= 0x04;
        assert_eq!(bench.datagram(ITR, &asked), []);
    }
    assert_eq!(bench.only_refused(Refusal::RequestEidNotIp), 2);
}

#[test]
fn a_router_of_this_node_registers_none() {
    let pipe_key = key(1, Algorithm::HkdfSha256, "random at every start");
    let mut bench = Bench::new(Config { pipe_key: Some(pipe_key.clone()), ..config(vec![machines()]) });
    for (nonce, eid) in (1..).zip([name("printer"), name("other")]) {
        let message = register(nonce, vec![record_of(eid, &[RLOC])]);
        assert_eq!(bench.pipe(&seal(message, &pipe_key)), []);
    }
    assert_eq!(bench.only_refused(Refusal::RegisterEidNotConfigured), 2);
}
