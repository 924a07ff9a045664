// SPDX-License-Identifier: GPL-2.0-or-later
//! How long an authority with 100,000 delegations takes to plan, to sign, and readers to find their way:
//! `cargo bench -p dht --bench index`.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::hint::black_box;
use std::net::Ipv6Addr;
use std::time::{Instant, SystemTime};

use cgeid::{Cn, Identity, Network, OperationalKey};
use dht::index::{Ledger, Plan, Round};
use dht::limits;
use dht::publish::{self, PageKind, Sequence};
use dht::record::{Entry, RecordKey, Target, Version};
use dht::resolve::{Anchors, Resolver, TrustAnchor};
use wire::address::{EidPrefix, InstanceId};

/// Delegations; a /32 has 65,536 /48 in it, a /31 twice as many.
const SITES: u32 = 100_000;
/// EIDs that are resolved.
const LOOKUPS: u32 = 2000;

fn main() {
    let now = SystemTime::now();
    let key = Identity::generate_ed25519(Network::LAB, now).unwrap().delegate(now, 0).unwrap();
    println!("{SITES} sites under one /31, {LOOKUPS} lookups");
    for (name, registrars) in [("one registrar", 1), ("100 registrars", 100), ("each its own", SITES)] {
        run(&key, now, name, registrars);
    }
}

fn run(key: &OperationalKey, now: SystemTime, name: &str, registrars: u32) {
    let covering = EidPrefix::new(InstanceId(0), address(0), 31).unwrap();
    let list: Vec<Entry> = (0..SITES).map(|number| site(number, number % registrars)).collect();
    let begin = Instant::now();
    let plan = Plan::new(key.cn(), covering, list).unwrap();
    let planned = begin.elapsed();
    let begin = Instant::now();
    let (pages, levels) = (plan.pages().len(), plan.levels());
    let mut round = Round::new(plan, Ledger::default(), now, key.epoch(), limits::INDEX_RENEWAL);
    let (mut values, mut sequence) = (HashMap::<RecordKey, Vec<u8>>::new(), Sequence::default());
    loop {
        let given = round.poll();
        if given.is_empty() {
            break;
        }
        for page in given {
            let body = page.clone();
            let signed = publish::index(key, Network::LAB, body, PageKind::Delegations, now, &mut sequence).unwrap();
            round.stored(&page, Version { epoch: key.epoch(), sequence: signed.sequence });
            values.insert(signed.key, signed.value);
        }
    }
    let signed = begin.elapsed();
    let anchor = TrustAnchor { aggregate: covering, cn: key.cn() };
    let mut resolver = Resolver::new(Network::LAB, Anchors::new([anchor]));
    let begin = Instant::now();
    for number in 0..LOOKUPS {
        let eid = EidPrefix::host(InstanceId(0), address(number.wrapping_mul(2_654_435_761) % SITES));
        black_box(resolver.resolve(eid, now, |asked| values.get(asked).cloned().into_iter().collect()));
    }
    let each = begin.elapsed() / LOOKUPS;
    println!(
        "  {name:<15} {pages:>5} pages, {levels} levels: planned {planned:.0?}, signed {signed:.0?}, lookup {each:.0?}"
    );
}

fn address(number: u32) -> std::net::IpAddr {
    Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number) << 80).into()
}

fn site(number: u32, registrar: u32) -> Entry {
    let mut cn = Cn([0xff; Cn::LENGTH]);
    cn.0[..4].copy_from_slice(&registrar.to_be_bytes());
    let prefix = EidPrefix::new(InstanceId(0), address(number), 48).unwrap();
    Entry { prefix, target: Target::Site { registrars: [cn].into(), max_plen: 48 } }
}
