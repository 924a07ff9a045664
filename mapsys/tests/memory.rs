// SPDX-License-Identifier: GPL-2.0-or-later
//! What a registration costs in memory; `REGISTRATIONS=1000000` for the reach itself. A process of its own, whose resident
//! memory is read before and after.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::Ipv6Addr;

use common::*;
use ipnet::IpNet;
use mapsys::register::label::grants::LabelRule;
use mapsys::register::label::pair::Pair;
use mapsys::register::label::{Label, Spelling};
use mapsys::register::site::{Publish, Site, SitePrefix};
use wire::address::{Address, Eid, EidPrefix, InstanceId};
use wire::control::auth::Algorithm;
use wire::record::MappingRecord;

/// Octets of resident memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// The n-th /48, the way a hash scatters them: neighbours do not come one after the other.
fn scattered(n: u32) -> EidPrefix {
    let bits = 0x2400_u128 << 112 | u128::from(n.wrapping_mul(0x9e37_79b1)) << 80;
    EidPrefix::new(InstanceId(0), Ipv6Addr::from_bits(bits).into(), 48).unwrap()
}

/// One kind after the other, and all stay: what is read is the memory of the process, and what one leaves the next one would use.
#[test]
fn a_registration_takes_less_than_400_octets_and_one_of_a_label_less_than_600() {
    let count = std::env::var("REGISTRATIONS").ok().map_or(50_000, |count| count.parse::<u32>().unwrap());
    let _kept = take_less_than(400, "EID-prefixes", count, |n| scattered(n).into());
    let _kept = take_less_than(600, "names", 25_000, |n| {
        Label::name(InstanceId(0), format!("station-{n:x}.example").as_bytes()).unwrap().eid(Spelling::default())
    });
    let _kept = take_less_than(600, "MAC addresses", 25_000, |n| Eid { address: Address::Mac(mac(n)), mask_len: 48 });
    let _kept = take_less_than(600, "pairs", 25_000, |n| Label::Pair(pair(n)).eid(Spelling::default()));
}

/// Neighbours do not come one after the other.
fn mac(n: u32) -> [u8; 6] {
    let [a, b, c, d] = n.wrapping_mul(0x9e37_79b1).to_be_bytes();
    [2, 0, a, b, c, d]
}

/// A source of many, and one of a few groups.
fn pair(n: u32) -> Pair {
    let group = Ipv6Addr::from_bits(0xff3e << 112 | u128::from(n % 64));
    let [source, group] = [scattered(n).net.addr(), group.into()].map(IpNet::from);
    Pair::multicast(InstanceId(0), source, group).unwrap()
}

/// A site that may register all of these.
fn site_of_all() -> Site {
    let everything = SitePrefix { prefix: prefix("2400::/16"), max_len: 48 };
    let names = LabelRule { label: Label::name(InstanceId(0), b"station-").unwrap(), is_open: true };
    let macs = LabelRule::block(Label::of(&Eid { address: Address::Mac([2, 0, 0, 0, 0, 0]), mask_len: 8 }).unwrap());
    let all = Pair::multicast(InstanceId(0), "::/0".parse().unwrap(), "ff3e::/16".parse().unwrap()).unwrap();
    let labels = vec![names, macs, LabelRule::block(Label::Pair(all))];
    Site { publish: Publish::Aggregate, prefixes: vec![everything], labels, ..site("a", 1, "secret", &[]) }
}

fn take_less_than(most: usize, kind: &str, count: u32, eid: impl Fn(u32) -> Eid) -> Bench {
    let mut bench = Bench::new(config(vec![site_of_all()]));
    let key = key(1, Algorithm::HmacSha256, "secret");
    let mut nonce = 0;
    let mut register_all = |bench: &mut Bench| {
        for first in (0..count).step_by(50) {
            nonce += 1;
            let of = |n| MappingRecord { eid: eid(n), ..record(scattered(0), &["198.51.100.1"]) };
            let batch = (first..count.min(first + 50)).map(of);
            bench.datagram("198.51.100.1:4342", &seal(register(nonce, batch.collect()), &key));
        }
    };
    let registered = |bench: &Bench| {
        let server = bench.engine.server();
        u32::try_from(server.registrations().len() + server.labels().len()).unwrap()
    };
    let before = resident();
    register_all(&mut bench);
    assert_eq!(registered(&bench), count, "{kind}");
    let each = |now: usize| now.saturating_sub(before) / usize::try_from(count).unwrap();
    let first = each(resident());
    // Refreshed every minute, as sites do.
    for _ in 0..3 {
        bench.pass(std::time::Duration::from_secs(60));
        register_all(&mut bench);
    }
    bench.pass(std::time::Duration::from_secs(60));
    let steady = each(resident());
    println!("{count} {kind}: {first} octets each at first, {steady} after four minutes");
    assert!(steady < most, "{kind}: {steady}");
    assert_eq!(registered(&bench), count, "{kind}");
    bench
}
