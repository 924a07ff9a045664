// SPDX-License-Identifier: GPL-2.0-or-later
//! The Map-Server's part in NAT traversal: Info-Requests of its sites, and Map-Registers that an RTR relays.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::time::{Instant, SystemTime};

use common::{Bench, SERVER, address, config, key, locator, prefix, record, register, seal, site};
use mapsys::engine::{Engine, Memory, Output};
use mapsys::nat::Rtr;
use mapsys::refusal::Refusal;
use mapsys::transport::Now;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, TagForm};
use wire::control::rtr::RtrAd;
use wire::control::{ControlMessage, Ecm, Info, MapNotify, Nonce};

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
    let [Output::Send { local, remote, bytes }] = outputs.as_slice() else { panic!("{outputs:?}") };
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
