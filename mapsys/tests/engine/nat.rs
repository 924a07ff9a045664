// SPDX-License-Identifier: GPL-2.0-or-later
//! The Map-Server's part in NAT traversal: Info-Requests of its sites, and Map-Registers that an RTR relays.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use crate::common::{Bench, SERVER, address, config, key, locator, prefix, record, register, seal, site};
use mapsys::engine::{Engine, Input, Memory, Output};
use mapsys::nat::Rtr;
use mapsys::refusal::Refusal;
use mapsys::register::site::{Publish, Site, SitePrefix};
use mapsys::transport::{Now, Via};
use wire::control::auth::{self, Accept, Algorithm, AuthKey, TagForm};
use wire::control::rtr::RtrAd;
use wire::control::{ControlMessage, Ecm, Info, MapNotify, MapRegister, Nonce, XtrIdentity};
use wire::record::{MappingRecord, Ttl};

const RTR: &str = "203.0.113.2:4342";
const NAT: &str = "192.0.2.2:50001";
const XTR: &str = "10.0.0.2:4342";

fn of_site() -> AuthKey {
    key(1, Algorithm::HkdfSha256, "of the site")
}

fn of_rtr() -> AuthKey {
    key(3, Algorithm::HmacSha256, "of the rtr")
}

fn bench() -> Bench {
    let now = Now { monotonic: Instant::now(), wall: SystemTime::now() };
    let sites = vec![site("a", 1, "of the site", &[prefix("2001:db8:a::/48")])];
    let rtr = Rtr { addresses: vec![address(RTR).ip(), "2001:db8:7::7".parse().unwrap()], key: of_rtr() };
    Bench { engine: Engine::new(now, config(sites), Memory::default()).unwrap().with_rtrs(vec![rtr]), now }
}

fn info(eid: &str) -> ControlMessage {
    ControlMessage::from(Info { nonce: Nonce(77), eid: prefix(eid).into(), ..Info::default() })
}

fn relayed(message: Vec<u8>) -> Vec<u8> {
    Ecm { by_rtr: true, ..Ecm::wrap(address(XTR), address(SERVER), message) }.encode().unwrap()
}

#[test]
fn a_site_hears_how_it_is_seen_and_of_the_rtrs() {
    let mut bench = bench();
    let request = auth::seal(&info("2001:db8:a::/48"), &of_site(), TagForm::Truncated).unwrap();
    let outputs = bench.datagram(NAT, &request);
    let [Output::Send { local, remote, bytes, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((*local, *remote), (address(SERVER), address(NAT)));
    assert!(bytes.len() <= 3 * request.len());
    assert_eq!(auth::verify(bytes, &of_site(), Accept::STRICT), Ok(()), "under the key of the site");
    let reply = Info::decode(bytes).unwrap();
    let nat = reply.nat().unwrap();
    assert!(reply.reply && reply.nonce == Nonce(77));
    assert_eq!((nat.global_etr.ip(), nat.etr_port), (Some(address(NAT).ip()), 50_001));
    let rtrs: Vec<_> = nat.rtrs.iter().filter_map(|rtr| rtr.ip()).map(|rtr| rtr.to_string()).collect();
    assert_eq!(rtrs, ["203.0.113.2", "2001:db8:7::7"], "those of the asker's family first");
}

#[test]
fn nobody_else_hears_anything() {
    let mut bench = bench();
    let ask = |bench: &mut Bench, eid: &str, key: &AuthKey| {
        bench.datagram(NAT, &auth::seal(&info(eid), key, TagForm::Truncated).unwrap())
    };
    let own = "2001:db8:a::/48";
    assert_eq!(ask(&mut bench, own, &key(1, Algorithm::HkdfSha256, "of somebody")), []);
    assert_eq!(bench.only_refused(Refusal::InfoBadTag), 1);
    let mut bench = self::bench();
    assert_eq!(ask(&mut bench, "2001:db8:b::/48", &of_site()), []);
    assert_eq!(bench.only_refused(Refusal::InfoUnknownSite), 1);
    let mut bench = self::bench();
    assert_eq!(bench.datagram(NAT, &info(own).encode().unwrap()), [], "without a tag");
    assert_eq!(bench.only_refused(Refusal::RegisterUnknownKey), 1);
    let mut without = Bench::new(config(vec![site("a", 1, "of the site", &[prefix(own)])]));
    assert_eq!(ask(&mut without, own, &of_site()), []);
    assert_eq!(without.only_refused(Refusal::InfoNoRtr), 1);
    let mut bench = self::bench();
    let answered = (0..500).filter(|_| !ask(&mut bench, own, &of_site()).is_empty()).count();
    assert_eq!(answered, 100);
}

#[test]
fn who_has_no_key_uses_up_nothing_of_a_site() {
    let mut bench = bench();
    let own = "2001:db8:a::/48";
    let forged = auth::seal(&info(own), &key(1, Algorithm::HkdfSha256, "of somebody"), TagForm::Truncated).unwrap();
    for _ in 0..1000 {
        assert_eq!(bench.datagram(NAT, &forged), []);
    }
    let real = auth::seal(&info(own), &of_site(), TagForm::Truncated).unwrap();
    assert_eq!(bench.datagram(NAT, &real).len(), 1, "in the same second");
}

#[test]
fn what_an_rtr_relays_is_registered_and_confirmed_to_the_rtr_under_its_key() {
    let mut bench = bench();
    let message = seal(register(9, vec![record(prefix("2001:db8:a::/48"), &["203.0.113.2"])]), &of_site());
    let outputs = bench.datagram(RTR, &relayed(message));
    assert_eq!(bench.registered(), [prefix("2001:db8:a::/48")]);
    let sent = outputs.iter().filter_map(|output| match output {
        Output::Send { remote, bytes, .. } => Some((*remote, bytes)),
        _ => None,
    });
    let [(remote, bytes)] = sent.collect::<Vec<_>>()[..] else { panic!("{outputs:?}") };
    assert_eq!(remote, address(RTR));
    let ecm = Ecm::decode(bytes).unwrap();
    assert!(ecm.for_rtr && !ecm.by_rtr);
    assert_eq!((ecm.source, ecm.destination), (address(SERVER), address(XTR)));
    let ad = RtrAd::decode(ecm.security.as_deref().unwrap()).unwrap();
    assert_eq!(ad.verify(&ecm.message, &of_rtr()), Ok(()));
    assert_eq!(auth::verify(&ecm.message, &of_site(), Accept::STRICT), Ok(()));
    let notify = MapNotify::decode(&ecm.message).unwrap();
    assert_eq!((notify.nonce, notify.records[0].locators[0].rloc.clone()), (Nonce(9), locator("203.0.113.2").rloc));
}

#[test]
fn an_rtr_cannot_register_for_a_site_and_nobody_relays_but_rtrs() {
    let mut bench = bench();
    let records = || vec![record(prefix("2001:db8:a::/48"), &["203.0.113.2"])];
    assert_eq!(
        bench.datagram(RTR, &relayed(seal(register(9, records()), &key(1, Algorithm::HkdfSha256, "of the rtr")))),
        []
    );
    assert_eq!(bench.only_refused(Refusal::RegisterBadTag), 1);
    let mut bench = self::bench();
    assert_eq!(bench.datagram(NAT, &relayed(seal(register(9, records()), &of_site()))), []);
    assert_eq!(bench.only_refused(Refusal::RelayUnknownRtr), 1);
    let mut bench = self::bench();
    assert_eq!(bench.datagram(RTR, &relayed(vec![0x20, 0, 0, 1])), []);
    assert_eq!(bench.only_refused(Refusal::RelayNotRegister), 1);
    assert_eq!(bench.registered(), []);
}

// --- what an xTR behind a NAT is told of the Map-Server's own accord

const SITE: &str = "2001:db8:a::/48";
const HOST: &str = "2001:db8:a::7/128";
const ELSEWHERE: &str = "198.51.100.2:4342";
const OTHER_RTR: &str = "203.0.113.3:4342";

/// A Map-Server whose site may have parts of its prefix at several xTRs.
fn bench_of_parts() -> Bench {
    let mut bench = bench();
    let parts = Site {
        prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 128 }],
        publish: Publish::Aggregate,
        ..site("a", 1, "of the site", &[])
    };
    let rtr = Rtr { addresses: vec![address(RTR).ip(), address(OTHER_RTR).ip()], key: of_rtr() };
    let engine = Engine::new(bench.now, config(vec![parts]), Memory::default()).unwrap();
    bench.engine = engine.with_rtrs(vec![rtr]);
    bench
}

fn says(xtr: u8, nonce: u64, eid: &str, rlocs: &[&str]) -> Vec<u8> {
    let xtr_identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 });
    let ttl = if rlocs.is_empty() { Ttl(0) } else { Ttl(1440) };
    let record = MappingRecord { ttl, ..record(prefix(eid), rlocs) };
    seal(MapRegister { xtr_identity, ..register(nonce, vec![record]) }, &of_site())
}

/// What comes of a datagram to that address of ours.
fn at(bench: &mut Bench, local: &str, remote: &str, bytes: Vec<u8>) -> Vec<Output> {
    let via = Via::Socket { local: address(local), remote: address(remote) };
    bench.engine.handle(bench.now, Input::Datagram { via, bytes });
    bench.drain()
}

/// What an RTR is to relay, after its tag was looked at.
fn told(outputs: &[Output]) -> Vec<(SocketAddr, Ecm, MapNotify)> {
    let ecms = outputs.iter().filter_map(|output| match output {
        Output::Send { remote, bytes, .. } => Some((*remote, Ecm::decode(bytes).ok()?)),
        _ => None,
    });
    ecms.map(|(remote, ecm)| {
        assert!(ecm.for_rtr && !ecm.by_rtr);
        let ad = RtrAd::decode(ecm.security.as_deref().unwrap()).unwrap();
        assert_eq!(ad.verify(&ecm.message, &of_rtr()), Ok(()));
        assert_eq!(auth::verify(&ecm.message, &of_site(), Accept::STRICT), Ok(()));
        let notify = MapNotify::decode(&ecm.message).unwrap();
        (remote, ecm, notify)
    })
    .collect()
}

/// The Map-Notify-Ack of the xTR, as its RTR relays it.
fn acknowledgement(notify: &MapNotify, key: &AuthKey) -> Vec<u8> {
    relayed(auth::seal(&ControlMessage::MapNotifyAck(notify.clone()), key, TagForm::Truncated).unwrap())
}

#[test]
fn who_had_a_prefix_behind_a_nat_hears_by_his_rtr_who_has_it_and_when_it_is_free() {
    let mut bench = bench_of_parts();
    // From another port than the one that an RTR takes messages at.
    bench.datagram("203.0.113.2:50000", &relayed(says(1, 1, SITE, &["203.0.113.2"])));
    let moved = told(&bench.datagram(ELSEWHERE, &says(2, 2, SITE, &["198.51.100.2"])));
    let [(remote, ecm, notify)] = moved.as_slice() else { panic!("{moved:?}") };
    assert_eq!((*remote, ecm.source, ecm.destination), (address(RTR), address(SERVER), address(XTR)));
    assert_eq!(notify.records[0].locators[0].rloc, locator("198.51.100.2").rloc);
    let identity = Some(XtrIdentity { xtr_id: [1; 16], site_id: 1 });
    assert_eq!(notify.xtr_identity, identity, "two xTRs may have that address, each behind a NAT");
    let again = told(&bench.pass(Duration::from_secs(3)));
    assert_eq!(again.len(), 1, "it was not acknowledged");
    // By somebody else than the RTR, or without the key of the site.
    bench.datagram(NAT, &acknowledgement(notify, &of_site()));
    bench.datagram(RTR, &acknowledgement(notify, &key(1, Algorithm::HkdfSha256, "of the rtr")));
    let refused = |bench: &Bench, refusal| bench.engine.tally().get(refusal);
    assert_eq!((refused(&bench, Refusal::RelayUnknownRtr), refused(&bench, Refusal::NotifyAckBadTag)), (1, 1));
    assert_eq!(bench.datagram(RTR, &acknowledgement(notify, &of_site())), []);
    assert_eq!(told(&bench.pass(Duration::from_secs(30))), []);
    let free = told(&bench.datagram(ELSEWHERE, &says(2, 3, SITE, &[])));
    assert_eq!((free.len(), free[0].0, free[0].1.destination), (1, address(RTR), address(XTR)));
    assert_eq!((free[0].2.records[0].ttl, free[0].2.records[0].locators.len()), (Ttl(0), 0));
    assert_eq!(free[0].2.xtr_identity, identity);
    assert!(free[0].2.nonce > notify.nonce, "an RTR takes rising nonces only");
}

#[test]
fn each_rtr_of_an_xtr_hears_what_has_moved_until_it_brings_the_acknowledgement() {
    let mut bench = bench_of_parts();
    for (nonce, rtr) in [(1, RTR), (2, OTHER_RTR), (3, RTR)] {
        bench.datagram(rtr, &relayed(says(1, nonce, SITE, &["203.0.113.2", "203.0.113.3"])));
    }
    let moved = told(&bench.datagram(ELSEWHERE, &says(2, 9, SITE, &["198.51.100.2"])));
    let to: Vec<_> = moved.iter().map(|(remote, _, notify)| (*remote, notify.nonce)).collect();
    assert_eq!(to, [(address(RTR), moved[0].2.nonce), (address(OTHER_RTR), moved[0].2.nonce)], "the last one first");
    // The copy to the other one is lost: it goes on sending to the former xTR.
    assert_eq!(bench.datagram(RTR, &acknowledgement(&moved[0].2, &of_site())), []);
    let again: Vec<_> = told(&bench.pass(Duration::from_secs(3))).iter().map(|(remote, ..)| *remote).collect();
    assert_eq!(again, [address(OTHER_RTR)]);
    assert_eq!(bench.datagram(OTHER_RTR, &acknowledgement(&moved[0].2, &of_site())), []);
    assert_eq!(told(&bench.pass(Duration::from_secs(100))), []);
    assert_eq!(bench.engine.tally().total(), 0);
    // One that the xTR has left brings nothing: it is sent to as often as anybody, and nobody counts as silent.
    let mut bench = bench_of_parts();
    for (nonce, rtr) in [(1, OTHER_RTR), (2, RTR)] {
        bench.datagram(rtr, &relayed(says(1, nonce, SITE, &["203.0.113.2"])));
    }
    let moved = told(&bench.datagram(ELSEWHERE, &says(2, 9, SITE, &["198.51.100.2"])));
    assert_eq!(bench.datagram(RTR, &acknowledgement(&moved[0].2, &of_site())), []);
    let mut again = 0;
    for _ in 0..100 {
        again += told(&bench.pass(Duration::from_secs(1))).len();
    }
    assert_eq!((again, bench.engine.tally().total()), (6, 0));
    // One that registers straight meanwhile is behind no NAT any more.
    let mut bench = bench_of_parts();
    bench.datagram(RTR, &relayed(says(1, 1, SITE, &["203.0.113.2"])));
    bench.datagram(NAT, &says(1, 2, SITE, &["192.0.2.2"]));
    assert_eq!(told(&bench.datagram(ELSEWHERE, &says(2, 9, SITE, &["198.51.100.2"]))), []);
}

#[test]
fn an_xtr_that_merges_is_told_by_each_of_its_rtrs() {
    let mut bench = bench();
    let merging = |xtr: u8, nonce, rloc: &str| {
        let xtr_identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 });
        let message = register(nonce, vec![record(prefix(SITE), &[rloc])]);
        seal(MapRegister { merge: true, xtr_identity, ..message }, &of_site())
    };
    let rtrs = vec![Rtr { addresses: vec![address(RTR).ip(), address(OTHER_RTR).ip()], key: of_rtr() }];
    bench.engine = bench.engine.with_rtrs(rtrs);
    bench.datagram(OTHER_RTR, &relayed(merging(1, 1, "203.0.113.2")));
    bench.datagram(RTR, &relayed(merging(1, 2, "203.0.113.2")));
    let both = told(&bench.datagram(ELSEWHERE, &merging(2, 9, "198.51.100.2")));
    let to: Vec<_> = both.iter().map(|(remote, ..)| *remote).collect();
    assert_eq!(to, [address(RTR), address(OTHER_RTR)]);
    assert_eq!(both[0].2.records[0].locators.len(), 2);
    assert_eq!(both[0].2.xtr_identity, Some(XtrIdentity { xtr_id: [1; 16], site_id: 1 }));
}

#[test]
fn each_rtr_is_told_from_the_address_that_it_relays_to_wherever_the_mover_registers() {
    const SECOND: &str = "192.0.2.54:4342";
    for mover in [("192.0.2.55:4342", ELSEWHERE), ("[2001:db8:53::53]:4342", "[2001:db8:9::2]:4342")] {
        let mut bench = bench_of_parts();
        at(&mut bench, SERVER, OTHER_RTR, relayed(says(1, 1, SITE, &["203.0.113.2"])));
        at(&mut bench, SECOND, RTR, relayed(says(1, 2, SITE, &["203.0.113.2"])));
        let moved = at(&mut bench, mover.0, mover.1, says(2, 9, SITE, &["198.51.100.2"]));
        let ways = moved.iter().filter_map(|output| match output {
            Output::Send { local, remote, .. } if *remote != address(mover.1) => Some((*local, *remote)),
            _ => None,
        });
        let ways: Vec<_> = ways.collect();
        assert_eq!(ways, [(address(SECOND), address(RTR)), (address(SERVER), address(OTHER_RTR))]);
    }
}

#[test]
fn a_part_is_told_by_the_rtr_too_and_nothing_goes_to_one_that_is_known_no_longer() {
    let mut bench = bench_of_parts();
    bench.datagram(RTR, &relayed(says(1, 1, SITE, &["203.0.113.2"])));
    let moved = told(&bench.datagram(ELSEWHERE, &says(2, 2, HOST, &["198.51.100.2"])));
    assert_eq!(moved[0].2.records[0].eid.ip_prefix(), Some(prefix(HOST)));
    assert_eq!(moved[0].1.destination, address(XTR));
    let Bench { engine, now } = bench;
    let mut bench = Bench { engine: engine.with_rtrs(vec![]), now };
    assert_eq!(bench.pass(Duration::from_secs(4)), []);
    assert_eq!(bench.only_refused(Refusal::RelayUnknownRtr), 1);
}

#[test]
fn a_relayed_map_register_that_comes_again_is_confirmed_only_while_its_xtr_is_reached_by_that_rtr() {
    let confirmed = |outputs: &[Output]| told(outputs).len();
    let mut bench = bench_of_parts();
    let first = relayed(says(1, 1, SITE, &["203.0.113.2"]));
    assert_eq!(confirmed(&bench.datagram(RTR, &first)), 1);
    assert_eq!(confirmed(&bench.datagram(RTR, &first)), 1, "the answer may have been lost");
    // As somebody has seen it go by, and sends it to another RTR, or with another address behind the NAT.
    assert_eq!(confirmed(&bench.datagram(OTHER_RTR, &first)), 0);
    let message = Ecm::decode(&first).unwrap().message;
    let other = Ecm { by_rtr: true, ..Ecm::wrap(address("10.0.0.9:4342"), address(SERVER), message) };
    assert_eq!(confirmed(&bench.datagram(RTR, &other.encode().unwrap())), 0);
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 2);
    // Another has the prefix since.
    bench.datagram(ELSEWHERE, &says(2, 2, SITE, &["198.51.100.2"]));
    assert_eq!(confirmed(&bench.datagram(RTR, &first)), 0);
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 3);
    // As long as an answer is waited for: an RTR that was started again would believe it of anybody.
    let mut late = bench_of_parts();
    assert_eq!(confirmed(&late.datagram(RTR, &first)), 1);
    late.pass(Duration::from_millis(7900));
    assert_eq!(confirmed(&late.datagram(RTR, &first)), 1);
    late.pass(Duration::from_millis(200));
    assert_eq!(confirmed(&late.datagram(RTR, &first)), 0);
    assert_eq!(late.only_refused(Refusal::RegisterReplayed), 1);
    // That it is taken back is confirmed as often as it comes.
    let over = relayed(says(1, 3, SITE, &[]));
    assert_eq!(confirmed(&bench.datagram(RTR, &over)), 1);
    assert_eq!(confirmed(&bench.datagram(RTR, &over)), 1);
}
