// SPDX-License-Identifier: GPL-2.0-or-later
//! What a registration costs in memory; `REGISTRATIONS=1000000` for the reach itself. A process of its own, whose resident
//! memory is read before and after.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::Ipv6Addr;

use common::*;
use mapsys::register::site::{Publish, Site, SitePrefix};
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::Algorithm;

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

#[test]
fn a_registration_takes_less_than_400_octets() {
    let count = std::env::var("REGISTRATIONS").ok().map_or(50_000, |count| count.parse::<u32>().unwrap());
    let everything = SitePrefix { prefix: prefix("2400::/16"), max_len: 48 };
    let site = Site { publish: Publish::Aggregate, prefixes: vec![everything], ..site("a", 1, "secret", &[]) };
    let mut bench = Bench::new(config(vec![site]));
    let key = key(1, Algorithm::HmacSha256, "secret");
    let mut nonce = 0;
    let mut register_all = |bench: &mut Bench| {
        for first in (0..count).step_by(50) {
            nonce += 1;
            let batch = (first..count.min(first + 50)).map(|n| record(scattered(n), &["198.51.100.1"]));
            bench.datagram("198.51.100.1:4342", &seal(register(nonce, batch.collect()), &key));
        }
    };
    let before = resident();
    register_all(&mut bench);
    assert_eq!(bench.engine.server().registrations().len(), usize::try_from(count).unwrap());
    let each = |now: usize| now.saturating_sub(before) / usize::try_from(count).unwrap();
    let first = each(resident());
    // Refreshed every minute, as sites do.
    for _ in 0..3 {
        bench.pass(std::time::Duration::from_secs(60));
        register_all(&mut bench);
    }
    bench.pass(std::time::Duration::from_secs(60));
    let steady = each(resident());
    println!("{count} registrations: {first} octets each at first, {steady} after four minutes");
    assert!(steady < 400, "{steady}");
    assert_eq!(bench.engine.server().registrations().len(), usize::try_from(count).unwrap());
}
