// SPDX-License-Identifier: GPL-2.0-or-later
//! A kernel that takes no merged datagrams.
#![allow(clippy::unwrap_used)]

use std::io;
use std::net::IpAddr;
use std::sync::mpsc::sync_channel;

use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ipv4Header, TrafficClass, UdpHeader, checksum};

use super::*;
use crate::etr::{EtrConfig, OuterInfo};
use crate::offload::VnetHeader;
use crate::shell::relay::relay;

#[derive(Debug, Default)]
struct Site {
    got: Vec<Vec<u8>>,
    refused: usize,
}

impl SuperDevice for Site {
    fn recv(&mut self, _: &mut [u8]) -> io::Result<Option<usize>> {
        Ok(None)
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let written: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let (vnet, octets) = VnetHeader::parse(&written).unwrap();
        if vnet.gso.is_some() {
            self.refused += 1;
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.got.push(octets.to_vec());
        Ok(())
    }
}

/// Each time the same datagrams arrive.
#[derive(Debug)]
struct Core(Vec<Vec<u8>>);

impl DatagramSockets for Core {
    fn recv(&mut self, memory: &mut [u8], received: &mut Vec<Datagrams>) -> io::Result<bool> {
        let mut start = 0;
        for inner in &self.0 {
            let payload = [&[0; LispHeader::LENGTH], inner.as_slice()].concat();
            let octets = start..start + payload.len();
            memory[octets.clone()].copy_from_slice(&payload);
            let outer = OuterInfo {
                source: [192, 0, 2, 2].into(),
                destination: [192, 0, 2, 1].into(),
                source_port: 50_000,
                ttl: 60,
                class: TrafficClass(0),
            };
            received.push(Datagrams { outer, octets: octets.clone(), size: payload.len() });
            start = octets.end;
        }
        Ok(true)
    }

    fn set_rlocs(&mut self, _: &[IpAddr]) {}
}

fn datagram(fill: u8) -> Vec<u8> {
    let (source, destination) = ([10, 0, 1, 1].into(), [10, 0, 0, 1].into());
    let mut udp = UdpHeader { source: 9, destination: 99, checksum: 0 };
    let segment = [udp.emit(30).unwrap().as_slice(), &[fill; 30]].concat();
    udp.checksum = checksum::udp(IpAddr::V4(source), IpAddr::V4(destination), &segment);
    let class = TrafficClass(0);
    let header = Ipv4Header { source, destination, protocol: 17, ttl: 9, class, dont_fragment: true };
    [header.emit(segment.len()).unwrap().as_slice(), &udp.emit(30).unwrap(), &[fill; 30]].concat()
}

#[test]
fn datagrams_that_the_kernel_refuses_merged_are_written_one_by_one_and_no_more_are_merged() {
    let counters = Arc::new(Counters::default());
    let mut etr = Etr::new(EtrConfig::default(), counters.clone());
    let prefix = EidPrefix { iid: InstanceId(0), net: "10.0.0.0/24".parse().unwrap() };
    etr.update(&Update::LocalEids(vec![prefix]));
    let (_updates, received) = sync_channel(1);
    let core = Core((0..10).map(datagram).collect());
    let mut decap = DecapLoop::new(etr, (Site::default(), core), received, counters.clone(), true);
    decap.turn();
    let payloads = |site: &Site| -> Vec<Vec<u8>> { site.got.iter().map(|packet| packet[20..].to_vec()).collect() };
    let expected: Vec<Vec<u8>> = decap.core.0.iter().map(|packet| packet[20..].to_vec()).collect();
    assert_eq!((decap.site.refused, payloads(&decap.site)), (1, expected.clone()));
    assert!(decap.site.got.iter().all(|packet| checksum::internet(&packet[..20]) == 0));
    decap.turn();
    assert_eq!((decap.site.refused, payloads(&decap.site)), (1, [expected.clone(), expected].concat()));
    assert_eq!((counters.dropped(DropReason::SiteSend), counters.get(Count::Decapsulated)), (0, 20));
}

#[test]
fn what_a_full_relay_has_no_room_for_is_named_so_and_was_never_for_the_site() {
    let counters = Arc::new(Counters::default());
    let mut etr = Etr::new(EtrConfig { relays: true, ..EtrConfig::default() }, counters.clone());
    let prefix = EidPrefix { iid: InstanceId(0), net: "10.0.0.0/24".parse().unwrap() };
    etr.update(&Update::Relayed { prefix, nats: [Some([192, 0, 2, 9].into()), None] });
    let (mut out, back) = relay().unwrap();
    while out.send(&[IoSlice::new(&[0; 60_000])]).is_ok() {}
    let (_updates, received) = sync_channel(1);
    let core = Core((0..10).map(datagram).collect());
    let decap = DecapLoop::new(etr, (Site::default(), core), received, counters.clone(), true);
    let mut decap = decap.with_relay(Some(out));
    decap.turn();
    let dropped = [DropReason::RelayQueue, DropReason::SiteSend].map(|reason| counters.dropped(reason));
    assert_eq!((counters.get(Count::Relayed), dropped), (10, [10, 0]));
    drop(back);
}
