// SPDX-License-Identifier: GPL-2.0-or-later
//! PITR and PETR (RFC 6832) beside a site, in both tiers.

use super::*;
use crate::interwork::Petrs;
use wire::record::Action;

for_both_tiers! {
    a_petr_lets_out_what_sites_send_that_may_use_it,
    a_petr_counts_what_it_does_not_let_out_by_its_reason,
    a_petr_lets_nobody_speak_for_a_site_and_trusts_no_pitr_in_it,
    what_is_no_site_goes_through_the_petr_and_back_to_the_kernel_without_one,
    a_pitr_takes_packets_of_anybody_and_none_to_where_no_site_is,
}

const HOST: &str = "10.0.0.1";
const LEGACY: &str = "203.0.113.9";

fn datagram(source: &str, destination: &str, ttl: u8) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (source.parse().unwrap(), destination.parse().unwrap()) else {
        panic!("IPv4")
    };
    let class = TrafficClass(0);
    let header = Ipv4Header { source, destination, protocol: 17, ttl, class, dont_fragment: true };
    [header.emit(12).unwrap().as_slice(), &[7; 12]].concat()
}

/// A PETR for the site that [`super::pair`] has first.
fn petr<T: Tier>(now: Instant, sources: SourcePolicy) -> Node<T> {
    let etr = EtrConfig { sources, petr_for: vec![prefix("10.0.0.0/24")], ..EtrConfig::default() };
    let mut petr = Node::<T>::with_etr(now, "192.0.2.2", &[], 8, etr);
    petr.packets.turn(now);
    petr
}

/// The site, which sends everything to 192.0.2.2.
fn site<T: Tier>(now: Instant) -> Node<T> {
    let (mut site, _) = pair::<T>(now);
    site.map(now, "0.0.0.0/0", "192.0.2.2");
    site.packets.turn(now);
    site
}

fn a_petr_lets_out_what_sites_send_that_may_use_it<T: Tier>() {
    let now = Instant::now();
    let (mut site, mut petr) = (site::<T>(now), petr::<T>(now, SourcePolicy::default()));
    site.offer([datagram(HOST, LEGACY, 33)]);
    site.packets.offer(Offered::segments(connection(true, true, 20, 1300)));
    site.packets.turn(now);
    // On the way to the PETR an outer header loses hops; the PETR itself is one hop less in the kernel, and not before.
    let mut carried = site.packets.take_sent();
    assert_eq!(carried.len(), 21);
    for packet in carried.iter_mut().filter(|packet| packet[8] == 33) {
        let octets: &mut Vec<u8> = packet;
        octets[8] = 30;
        octets[10..12].fill(0);
        let sum = checksum::internet(&octets[..20]);
        octets[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    petr.packets.arrive(carried);
    petr.packets.turn(now);
    let got = petr.packets.got();
    let first = got.iter().find(|packet| packet[9] == 17).unwrap();
    assert_eq!(first[..], datagram(HOST, LEGACY, 30)[..]);
    assert_eq!((got.len(), petr.counters.get(Count::Petr), petr.counters.get(Count::Decapsulated)), (21, 21, 21));
}

fn a_petr_counts_what_it_does_not_let_out_by_its_reason<T: Tier>() {
    let now = Instant::now();
    let (mut site, mut petr) = (site::<T>(now), petr::<T>(now, SourcePolicy::default()));
    site.offer([datagram("10.0.7.1", LEGACY, 33)]);
    site.packets.turn(now);
    let mut carried = site.packets.take_sent();
    for inner in [datagram(HOST, "224.0.0.5", 9), datagram(HOST, "127.0.0.1", 9), datagram("10.0.0.255", "0.0.0.9", 9)]
    {
        carried.push([&carried[0][..36], &inner].concat());
    }
    let mut foreign = [&carried[0][..36], &datagram(HOST, LEGACY, 9)].concat();
    (foreign[28], foreign[34]) = (8, 5);
    carried.push(foreign);
    petr.packets.arrive(carried);
    petr.packets.turn(now);
    let dropped = |reason| petr.counters.dropped(reason);
    assert_eq!(petr.packets.got().len(), 0);
    assert_eq!((dropped(DropReason::CorePetrSource), dropped(DropReason::CorePetrDestination)), (1, 3));
    assert_eq!((dropped(DropReason::CoreInstance), petr.counters.get(Count::Petr)), (1, 0));
    // A node that is none says what it said before.
    let mut other = Node::<T>::new(now, "192.0.2.2", &["10.0.1.0/24"], 8);
    other.packets.turn(now);
    site.offer([datagram(HOST, LEGACY, 33)]);
    site.packets.turn(now);
    carry(&mut site, &mut other);
    other.packets.turn(now);
    assert_eq!((other.packets.got().len(), other.counters.dropped(DropReason::CoreNotOurs)), (0, 1));
}

fn a_petr_lets_nobody_speak_for_a_site_and_trusts_no_pitr_in_it<T: Tier>() {
    let now = Instant::now();
    let rloc: IpAddr = "192.0.2.1".parse().unwrap();
    let policy = SourcePolicy { mode: SourceMode::Strict, cgeid_network: None, pitrs: vec![rloc] };
    let (mut site, mut petr) = (site::<T>(now), petr::<T>(now, policy));
    site.offer([datagram(HOST, LEGACY, 33)]);
    site.packets.turn(now);
    carry(&mut site, &mut petr);
    petr.packets.turn(now);
    assert_eq!((petr.packets.got().len(), petr.counters.get(Count::SourceWaited)), (0, 1));
    let eid = prefix("10.0.0.1/32");
    assert_eq!(petr.events.try_recv(), Ok(Event::Source { eid, rloc, is_known: false }));
    let ask = now + Duration::from_secs(60);
    petr.packets.update(Update::Source { eid, prefix: eid, rloc, verdict: SourceVerdict::Here, ask });
    petr.packets.turn(now);
    assert_eq!((petr.packets.got().len(), petr.counters.get(Count::Petr)), (1, 1));
    petr.packets.update(Update::Source { eid, prefix: eid, rloc, verdict: SourceVerdict::Elsewhere, ask });
    site.offer([datagram(HOST, LEGACY, 33)]);
    site.packets.turn(now);
    carry(&mut site, &mut petr);
    petr.packets.turn(now);
    assert_eq!((petr.packets.got().len(), petr.counters.dropped(DropReason::CoreSourceElsewhere)), (1, 1));
}

fn what_is_no_site_goes_through_the_petr_and_back_to_the_kernel_without_one<T: Tier>() {
    let now = Instant::now();
    let address = "192.0.2.2".parse().unwrap();
    let petrs = Petrs::new(vec![Locator { address, priority: 1, weight: 100 }]);
    for (petrs, leaves_by) in [(petrs, 1), (Petrs::default(), 0)] {
        let (mut site, _) = pair::<T>(now);
        site.offer([datagram(HOST, LEGACY, 33)]);
        site.packets.turn(now);
        let negative = Forwarding::Negative(Action::NativelyForward);
        let entry = petrs.lead(Entry { forwarding: negative, expires: now + Duration::from_secs(60) });
        site.packets.update(Update::Upsert { prefix: prefix("203.0.113.0/24"), entry });
        site.packets.turn(now);
        site.packets.offer(Offered::whole(datagram(HOST, LEGACY, 33)));
        site.packets.turn(now);
        let counts = [Count::Encapsulated, Count::Native].map(|count| site.counters.get(count));
        assert_eq!(counts, [2 * leaves_by, 2 * (1 - leaves_by)]);
        assert_eq!(site.packets.take_sent().len() as u64, 2 * leaves_by);
    }
}

fn a_pitr_takes_packets_of_anybody_and_none_to_where_no_site_is<T: Tier>() {
    let now = Instant::now();
    let mut pitr = Node::<T>::new(now, "192.0.2.2", &[], 8);
    pitr.packets.update(Update::PitrFor(vec![prefix("10.0.0.0/16")]));
    pitr.map(now, "10.0.0.0/24", "192.0.2.1");
    pitr.install(now, "10.0.8.0/21", Forwarding::Negative(Action::NativelyForward));
    pitr.install(now, "11.0.0.0/8", Forwarding::Negative(Action::NativelyForward));
    pitr.packets.turn(now);
    pitr.offer([datagram(LEGACY, HOST, 33), datagram(LEGACY, "10.0.9.1", 33), datagram(LEGACY, "11.0.0.1", 33)]);
    pitr.packets.turn(now);
    let sent = pitr.packets.take_sent();
    assert_eq!((sent.len(), &sent[0][36..]), (1, &datagram(LEGACY, HOST, 33)[..]));
    assert_eq!((pitr.counters.dropped(DropReason::PitrNoSite), pitr.counters.get(Count::Native)), (1, 1));
    // The legacy host is told that nobody is there.
    let got = pitr.packets.got();
    assert!(
        got.iter().any(|packet| packet[9] == protocol::ICMP && packet[16..20] == [203, 0, 113, 9] && packet[20] == 3)
    );
    pitr.packets.update(Update::PitrFor(vec![]));
    pitr.packets.turn(now);
    pitr.offer([datagram(LEGACY, "10.0.9.1", 33)]);
    pitr.packets.turn(now);
    assert_eq!((pitr.counters.dropped(DropReason::PitrNoSite), pitr.counters.get(Count::Native)), (1, 2));
}
