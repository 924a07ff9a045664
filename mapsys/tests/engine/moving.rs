// SPDX-License-Identifier: GPL-2.0-or-later
//! An EID-prefix that moves from one xTR of a site to another, which do not merge: who had it is told, and told again when he may
//! have it back.

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::*;
use mapsys::engine::{Output, Reconfiguration};
use mapsys::limit::Foreign;
use mapsys::limits::DISPLACED;
use mapsys::refusal::Refusal;
use mapsys::register::site::{Publish, Site, SitePrefix};
use mapsys::subscribe::subscriber::Policy;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRegister, XtrIdentity};
use wire::record::{MappingRecord, Ttl};

const ONE: &str = "198.51.100.1:4342";
const TWO: &str = "198.51.100.2:4342";
const SITE: &str = "2001:db8:a::/48";
const HOST: &str = "2001:db8:a::7/128";

fn site_key() -> AuthKey {
    key(1, Algorithm::HkdfSha256, "secret of a")
}

fn site_a() -> Site {
    Site {
        prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 128 }],
        publish: Publish::Aggregate,
        ..site("a", 1, "secret of a", &[])
    }
}

fn says(xtr: u8, nonce: u64, eid: &str, rlocs: &[&str]) -> Vec<u8> {
    let identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 });
    let ttl = if rlocs.is_empty() { Ttl(0) } else { Ttl(1440) };
    let record = MappingRecord { ttl, ..record(prefix(eid), rlocs) };
    seal(MapRegister { xtr_identity: identity, ..register(nonce, vec![record]) }, &site_key())
}

/// The Map-Notifies among outputs that answer no Map-Register with this nonce.
fn told(outputs: &[Output], nonce: u64) -> Vec<(SocketAddr, MapNotify)> {
    let notifies = outputs.iter().filter_map(|output| match output {
        Output::Send { remote, bytes, .. } => match ControlMessage::decode(bytes) {
            Ok(ControlMessage::MapNotify(notify)) if notify.nonce.0 != nonce => {
                assert_eq!(auth::verify(bytes, &site_key(), Accept::STRICT), Ok(()));
                Some((*remote, notify))
            }
            _ => None,
        },
        _ => None,
    });
    notifies.collect()
}

fn acknowledge(bench: &mut Bench, told: &[(SocketAddr, MapNotify)]) {
    for (to, notify) in told {
        let ack = ControlMessage::MapNotifyAck(notify.clone());
        let bytes = auth::seal(&ack, &site_key(), TagForm::Truncated).unwrap();
        assert_eq!(bench.datagram(&to.to_string(), &bytes), []);
    }
}

fn about(notify: &MapNotify) -> (String, Vec<String>, u32) {
    let [only] = notify.records.as_slice() else { panic!("{notify:?}") };
    let rlocs = only.locators.iter().map(|locator| locator.rloc.ip().unwrap().to_string()).collect();
    (only.eid.ip_prefix().unwrap().to_string(), rlocs, only.ttl.0)
}

#[test]
fn who_had_a_prefix_hears_who_has_it_and_when_it_is_free_again() {
    let mut bench = Bench::new(config(vec![site_a()]));
    bench.datagram(ONE, &says(1, 1, SITE, &["198.51.100.1"]));
    let moved = told(&bench.datagram(TWO, &says(2, 1, SITE, &["198.51.100.2"])), 1);
    assert_eq!(moved.iter().map(|(to, _)| to.to_string()).collect::<Vec<_>>(), [ONE]);
    assert_eq!(about(&moved[0].1), (SITE.into(), vec!["198.51.100.2".into()], 1440));
    acknowledge(&mut bench, &moved);
    for nonce in 2..6 {
        bench.pass(Duration::from_secs(60));
        assert_eq!(told(&bench.datagram(TWO, &says(2, nonce, SITE, &["198.51.100.2"])), nonce), [], "said already");
    }
    let free = told(&bench.datagram(TWO, &says(2, 9, SITE, &[])), 9);
    assert_eq!(free.iter().map(|(to, _)| to.to_string()).collect::<Vec<_>>(), [ONE]);
    assert_eq!(about(&free[0].1), (SITE.into(), vec![], 0));
    acknowledge(&mut bench, &free);
    assert_eq!(told(&bench.datagram(ONE, &says(1, 2, SITE, &["198.51.100.1"])), 2), []);
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn silence_frees_a_prefix_too() {
    let mut bench = Bench::new(config(vec![site_a()]));
    bench.datagram(ONE, &says(1, 1, SITE, &["198.51.100.1"]));
    let moved = told(&bench.datagram(TWO, &says(2, 1, SITE, &["198.51.100.2"])), 1);
    acknowledge(&mut bench, &moved);
    let free = told(&bench.pass(Duration::from_secs(182)), 0);
    assert_eq!(about(&free[0].1), (SITE.into(), vec![], 0));
}

#[test]
fn a_part_that_goes_to_another_xtr_is_told_to_the_one_around_it() {
    let mut bench = Bench::new(config(vec![site_a()]));
    bench.datagram(ONE, &says(1, 1, SITE, &["198.51.100.1"]));
    let moved = told(&bench.datagram(TWO, &says(2, 1, HOST, &["198.51.100.2"])), 1);
    assert_eq!((moved[0].0.to_string(), about(&moved[0].1).0), (ONE.into(), HOST.into()));
    acknowledge(&mut bench, &moved);
    bench.pass(Duration::from_secs(10));
    bench.datagram(ONE, &says(1, 2, SITE, &["198.51.100.1"]));
    let free = told(&bench.datagram(TWO, &says(2, 2, HOST, &[])), 2);
    assert_eq!((free[0].0.to_string(), about(&free[0].1)), (ONE.into(), (HOST.into(), vec![], 0)));
}

#[test]
fn what_is_not_acknowledged_comes_again_and_back_and_forth_does_not_flood() {
    let mut bench = Bench::new(config(vec![site_a()]));
    bench.datagram(ONE, &says(1, 1, SITE, &["198.51.100.1"]));
    let moved = told(&bench.datagram(TWO, &says(2, 1, SITE, &["198.51.100.2"])), 1);
    let again = told(&bench.pass(Duration::from_secs(3)), 0);
    assert_eq!(moved, again);
    let mut heard = 0;
    for nonce in 2..62 {
        let (from, xtr) = if nonce % 2 == 0 { (ONE, 1) } else { (TWO, 2) };
        let mut outputs = bench.datagram(from, &says(xtr, nonce, SITE, &[&format!("198.51.100.{xtr}")]));
        outputs.extend(bench.pass(Duration::from_millis(500)));
        let now = told(&outputs, nonce);
        heard += now.len();
        acknowledge(&mut bench, &now);
    }
    assert!((2..=23).contains(&heard), "{heard} in thirty seconds, for two receivers");
}

#[test]
fn who_cannot_be_told_apart_or_merges_is_not_told() {
    let mut bench = Bench::new(config(vec![site_a()]));
    for (nonce, from, rloc) in [(1, ONE, "198.51.100.1"), (2, TWO, "198.51.100.2")] {
        let nameless = seal(register(nonce, vec![record(prefix(SITE), &[rloc])]), &site_key());
        assert_eq!(told(&bench.datagram(from, &nameless), nonce), []);
    }
    let same = bench.datagram("198.51.100.9:4342", &says(1, 3, SITE, &["198.51.100.9"]));
    assert_eq!(told(&same, 3), [], "nobody knows who the nameless one was");
    assert_eq!(told(&bench.datagram(ONE, &says(1, 4, SITE, &["198.51.100.1"])), 4), [], "the same xTR, elsewhere");
}

#[test]
fn those_who_are_remembered_have_a_bound_and_follow_the_configuration() {
    let mut bench = Bench::new(config(vec![site_a()]));
    bench.datagram(ONE, &says(1, 1, SITE, &["198.51.100.1"]));
    for number in 0..=u64::try_from(DISPLACED).unwrap() {
        let host = format!("2001:db8:a:1::{number:x}/128");
        let moved = told(&bench.datagram(TWO, &says(2, number + 1, &host, &["198.51.100.2"])), number + 1);
        acknowledge(&mut bench, &moved);
    }
    assert_eq!(bench.only_refused(Refusal::NotifyTableFull), 1);

    let mut bench = Bench::new(config(vec![site_a()]));
    bench.datagram(ONE, &says(1, 1, SITE, &["198.51.100.1"]));
    let moved = told(&bench.datagram(TWO, &says(2, 1, SITE, &["198.51.100.2"])), 1);
    acknowledge(&mut bench, &moved);
    bench.pass(Duration::from_secs(10));
    let other = site("b", 1, "secret of b", &[prefix("2001:db8:b::/48")]);
    let newer = Reconfiguration {
        sites: vec![other, site_a()],
        trust_anchors: vec![],
        clients: vec![],
        foreign: Foreign::FromItrRloc,
        subscribers: vec![],
        pubsub: Policy::default(),
        ddt: mapsys::ddt::Config::default(),
        lisp_sec: vec![],
    };
    let now = bench.now;
    bench.engine.reconfigure(now, newer).unwrap();
    let free = told(&bench.datagram(TWO, &says(2, 2, SITE, &[])), 2);
    assert_eq!(about(&free[0].1), (SITE.into(), vec![], 0));
}
