// SPDX-License-Identifier: GPL-2.0-or-later
//! Super-packets with any headers, in tier 1, and the segments that they stand for, in tier 0.

use proptest::prelude::*;

use super::*;
use crate::offload::tests::sample::{Sample, sample};

/// What left towards the core, what the site was told, and what was counted.
type Outcome = (Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<(String, u64)>);

fn outcome<T: Tier>(sample: &Sample) -> Outcome {
    let now = Instant::now();
    let (mut a, _) = mapped_pair::<T>(now);
    a.packets.offer(Offered::cut(sample.segments(), sample.packet()));
    while a.packets.turn(now) {}
    (a.packets.take_sent(), a.packets.got(), a.counters.snapshot())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_super_packet_fares_as_its_segments_do(sample in sample()) {
        let (of_zero, of_one) = (outcome::<TierZero>(&sample), outcome::<TierOne>(&sample));
        prop_assert!(!of_zero.0.is_empty() || !of_zero.1.is_empty());
        prop_assert_eq!(of_zero, of_one);
    }
}

/// A TCP super-packet over IPv6 with these extension headers.
fn over_ipv6(extensions: Vec<u8>, size: usize, payload: usize) -> Sample {
    Sample {
        is_v6: true,
        is_tcp: true,
        class: 0,
        ttl: 64,
        port: 5000,
        dont_fragment: true,
        identification: 0,
        sequence: 1,
        flags: 0x10,
        options: 3,
        ip_options: 0,
        extensions,
        size,
        payload: vec![7; payload],
    }
}

#[test]
fn super_packets_with_long_or_many_extension_headers_cross() {
    // One of 488 octets; more than are looked at; and so long that the headers of all segments are more than a batch has room for.
    for (extensions, size, payload) in [(vec![60], 800, 40_000), (vec![0; 10], 1000, 40_000), (vec![149], 8, 60_000)] {
        let sample = over_ipv6(extensions, size, payload);
        let (sent, got, _) = outcome::<TierOne>(&sample);
        assert_eq!(got, Vec::<Vec<u8>>::new());
        let inner: Vec<&[u8]> = sent.iter().map(|outer| &outer[36..]).collect();
        assert!(inner == sample.segments(), "{size}");
    }
}
