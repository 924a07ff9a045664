// SPDX-License-Identifier: GPL-2.0-or-later
//! What another configuration takes, among very many sites and registrations: nobody is answered meanwhile.

use std::time::Duration;

use crate::common::*;
use mapsys::engine::Reconfiguration;
use mapsys::limit::Foreign;
use mapsys::register::site::{Publish, Site, SitePrefix};
use mapsys::subscribe::subscriber::Policy;
use nix::time::{ClockId, clock_gettime};
use wire::control::auth::Algorithm;

/// Names of one length: none of them is known to be another one without a look.
fn name(number: usize) -> String {
    format!("a site with a name of usual length, number {number:05}")
}

/// So many sites, and behind them one that registers more-specifics.
fn sites(count: usize) -> Vec<Site> {
    let others = (0..count).map(|n| {
        let net = format!("10.{}.{}.0/24", n / 256, n % 256);
        site(&name(n), 1, "secret", &[prefix(&net)])
    });
    let wide = vec![SitePrefix { prefix: prefix("2001:db8::/32"), max_len: 64 }];
    let last = Site { publish: Publish::Aggregate, prefixes: wide, ..site(&name(count), 1, "secret of many", &[]) };
    others.chain([last]).collect()
}

fn newer(sites: Vec<Site>) -> Reconfiguration {
    let (trust_anchors, clients, subscribers) = (vec![], vec![], vec![]);
    let (foreign, pubsub) = (Foreign::FromItrRloc, Policy::default());
    let (ddt, lisp_sec) = (mapsys::ddt::Config::default(), vec![]);
    Reconfiguration { sites, trust_anchors, clients, foreign, subscribers, pubsub, ddt, lisp_sec }
}

/// How long this thread has had a processor, whoever else had one meanwhile.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// How long a reload works; the shortest of three.
fn reload(of_sites: usize, registrations: usize) -> Duration {
    let mut bench = Bench::new(config(sites(of_sites)));
    let key = key(1, Algorithm::HmacSha256, "secret of many");
    let prefixes: Vec<_> = (0..registrations).map(|n| prefix(&format!("2001:db8:0:{n:x}::/64"))).collect();
    for (nonce, some) in (1..).zip(prefixes.chunks(60)) {
        let records = some.iter().map(|prefix| record(*prefix, &["198.51.100.1"])).collect();
        bench.datagram("198.51.100.1:4342", &seal(register(nonce, records), &key));
    }
    assert_eq!(bench.registered().len(), registrations);
    let times = (0..3).map(|_| {
        let newer = newer(sites(of_sites));
        let before = worked();
        let done = bench.engine.reconfigure(bench.now, newer).unwrap();
        assert_eq!((done.kept, done.ended), (registrations, 0));
        worked() - before
    });
    times.min().unwrap()
}

#[test]
fn a_reload_looks_at_each_site_and_at_each_registration_once() {
    const SITES: usize = 5000;
    const REGISTRATIONS: usize = 10_000;
    let apart = reload(SITES, 0) + reload(1, REGISTRATIONS);
    let both = reload(SITES, REGISTRATIONS);
    assert!(both < 3 * apart, "{both:?} for both, {apart:?} for each by itself");
}
