// SPDX-License-Identifier: GPL-2.0-or-later
//! What is done for every packet takes no memory from the allocator, once what it works with is there.
#![allow(clippy::unwrap_used, missing_docs)]
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ipv4Header, Ipv6Header, LispHeader, MapVersions, NextProtocol, OuterHeader, TrafficClass};
use wire::record::MapVersion;
use xtr::counters::{Count, Counters};
use xtr::etr::{Arrival, Etr, EtrConfig, OuterInfo, SourceMode, SourcePolicy};
use xtr::itr::{Itr, ItrConfig, Verdict};
use xtr::map_cache::{Entry, Event, Forwarding, Locator, OwnMapping, SourceVerdict, Update};
use xtr::trust::Trust;

thread_local! {
    /// How often this thread has asked for memory.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on as it is to the system's allocator, whose promises are kept thereby.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller keeps the rules of `alloc`, which are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System.alloc` or `System.realloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the pointer came from `System.alloc` or `System.realloc` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Packets that are counted, behind those after which all that they work with is there.
const PACKETS: u32 = 10_000;
const WARM: u32 = 12_000;
/// Between two packets: so that a second passes each time, and what is done once in it. What is due later, as that nothing is heard of a locator,
/// is for no packet.
const BETWEEN: Duration = Duration::from_micros(100);
const OWN_VERSION: MapVersion = MapVersion(7);
const PEER_VERSION: MapVersion = MapVersion(5);

/// An xTR of which nothing is known, one that takes LISP-GPE, and one whose nonces, versions and bits are believed; what a host of each has.
const PLAIN: (&str, &str) = ("192.0.2.2", "10.0.1.1");
const GPE: (&str, &str) = ("192.0.2.3", "10.0.2.1");
const TRUSTED: (&str, &str) = ("192.0.2.65", "10.0.3.1");
const SIX: (&str, &str) = ("2001:db8:c::2", "2001:db8:b::1");
const PEERS: [(&str, &str); 4] = [PLAIN, GPE, TRUSTED, SIX];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

fn trust() -> Trust {
    Trust::of(&["192.0.2.64/26".parse().unwrap()]).with_echo_nonce(true).with_status_bits(true)
}

fn updates(now: Instant) -> Vec<Update> {
    let expires = now + Duration::from_secs(86_400);
    let mapping = |(rloc, eid): (&str, &str)| {
        let locators = vec![Locator { address: ip(rloc), priority: 1, weight: 1 }];
        let entry = Entry { forwarding: Forwarding::Locators(locators), expires };
        let length = if ip(eid).is_ipv4() { 24 } else { 48 };
        Update::Upsert { prefix: EidPrefix::new(InstanceId(0), ip(eid), length).unwrap(), entry }
    };
    let rlocs = vec![ip(TRUSTED.0)].into();
    let all = [
        Update::LocalRlocs(vec![ip("192.0.2.1"), ip("2001:db8:c::1")]),
        Update::LocalEids(vec![prefix("10.0.0.0/24"), prefix("2001:db8:a::/48")]),
        Update::Own(OwnMapping { version: OWN_VERSION, status_bits: Some(1), others_end: Some(expires) }),
        Update::Peer { prefix: prefix("10.0.3.0/24"), version: PEER_VERSION, rlocs, expires },
    ];
    PEERS.map(mapping).into_iter().chain(all).collect()
}

/// A packet from one host to another.
fn packet(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let (length, class, ttl) = (100, TrafficClass(2), 60);
    let header = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4Header { source, destination, protocol: 17, ttl, class, dont_fragment: true };
            header.emit(length).unwrap().to_vec()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header { source, destination, next_header: 17, hop_limit: ttl, class, flow_label: 3 };
            header.emit(length).unwrap().to_vec()
        }
        _ => unreachable!("both are of one family"),
    };
    [header, vec![7; length]].concat()
}

fn host_of_ours(other: IpAddr) -> IpAddr {
    ip(if other.is_ipv4() { "10.0.0.1" } else { "2001:db8:a::1" })
}

/// How often the allocator is asked while so many packets are handled, after others.
fn asked(mut handle: impl FnMut(Instant), begin: Instant) -> u64 {
    let mut before = 0;
    for number in 0..WARM + PACKETS {
        if number == WARM {
            before = ASKED.get();
        }
        handle(begin + BETWEEN * number);
    }
    ASKED.get() - before
}

#[test]
fn the_allocator_that_counts_counts() {
    assert_eq!(asked(|_| drop(black_box(Box::new(1))), Instant::now()), u64::from(PACKETS));
}

#[test]
fn to_encapsulate_a_packet_takes_no_memory() {
    let now = Instant::now();
    for (_, eid) in PEERS {
        for others in [None, Some((9, 9 * 128))] {
            let counters = Arc::new(Counters::default());
            let gpe_peers = vec![ip(GPE.0)];
            let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers };
            let mut itr = Itr::new(now, config, counters.clone()).trusting(trust());
            updates(now).into_iter().for_each(|update| itr.update(now, update));
            let (packet, mut buffer) = (packet(host_of_ours(ip(eid)), ip(eid)), [0; OuterHeader::LONGEST]);
            let handle = |now| {
                let verdict = match others {
                    None => itr.handle(now, &packet),
                    Some(others) => itr.handle_first(now, &packet, others),
                };
                let Verdict::Encapsulate(header, inner) = verdict else { unreachable!("{verdict:?}") };
                black_box(header.emit(inner.len(), &mut buffer)).unwrap();
                itr.handle_timeout(now);
            };
            assert_eq!(asked(handle, now), 0, "{eid}, beside {others:?}");
            let each = others.map_or(1, |(others, _)| 1 + others);
            assert_eq!(counters.get(Count::Encapsulated), u64::from(WARM + PACKETS) * each as u64);
        }
    }
}

/// What is in front of the packets of each of these.
fn lisp_headers(rloc: &str) -> Vec<LispHeader> {
    let plain = LispHeader::default();
    match rloc {
        _ if rloc == GPE.0 => vec![LispHeader { next_protocol: Some(NextProtocol::IPV4), ..plain }],
        _ if rloc == TRUSTED.0 => {
            let versions = Some(MapVersions { source: PEER_VERSION, destination: OWN_VERSION });
            let (nonce, status_bits) = (Some(0x12_3456), Some(1));
            vec![
                LispHeader { nonce, ..LispHeader::default() },
                LispHeader { versions, ..LispHeader::default() },
                LispHeader { nonce, status_bits, ..LispHeader::default() },
                plain,
            ]
        }
        _ => vec![plain],
    }
}

#[test]
fn to_decapsulate_a_packet_takes_no_memory() {
    for mode in [SourceMode::Off, SourceMode::Loose, SourceMode::Strict] {
        let (mut now, counters) = (Instant::now(), Arc::new(Counters::default()));
        let config = EtrConfig {
            gpe_peers: vec![ip(GPE.0)],
            sources: SourcePolicy { mode, ..SourcePolicy::default() },
            trust: trust(),
            ..EtrConfig::default()
        };
        let mut etr = Etr::new(config, counters.clone());
        updates(now).iter().for_each(|update| etr.update(update));
        let mut taken = 0;
        for (rloc, eid) in PEERS {
            let source = ip(rloc);
            let destination = ip(if source.is_ipv4() { "192.0.2.1" } else { "2001:db8:c::1" });
            let outer = OuterInfo { source, destination, source_port: 50_000, ttl: 50, class: TrafficClass(2) };
            let inner = packet(ip(eid), host_of_ours(ip(eid)));
            // The first asks where it is from, if anything does.
            etr.advance(now);
            let mut first = [&LispHeader::default().emit(), inner.as_slice()].concat();
            let _ = etr.receive(&outer, &mut first);
            while let Some(event) = etr.poll_event() {
                let Event::Source { eid, rloc, .. } = event else { continue };
                let (verdict, ask) = (SourceVerdict::Here, now + Duration::from_secs(86_400));
                etr.update(&Update::Source { eid, prefix: eid, rloc, verdict, ask });
            }
            while etr.poll().is_some() {}
            taken += 1;
            for header in lisp_headers(rloc) {
                let whole = [&header.emit(), inner.as_slice()].concat();
                let mut buffer = whole.clone();
                let handle = |now| {
                    etr.advance(now);
                    buffer.copy_from_slice(&whole);
                    let arrival = etr.receive(&outer, &mut buffer);
                    assert!(matches!(arrival, Arrival::Enters(_)), "{arrival:?}");
                };
                assert_eq!(asked(handle, now), 0, "{mode:?}, {rloc}, {header:?}");
                now += BETWEEN * (WARM + PACKETS);
                taken += u64::from(WARM + PACKETS);
            }
        }
        assert_eq!(counters.get(Count::Decapsulated), taken, "{mode:?}");
    }
}
