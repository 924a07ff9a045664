// SPDX-License-Identifier: GPL-2.0-or-later
//! Which flow a packet belongs to: what source ports and locators are chosen by (RFC 9300, section 12).

use std::net::IpAddr;

use super::{IpPacket, protocol};

/// Addresses, and for TCP, UDP and SCTP the protocol and ports. Fragments have addresses only, so that all fragments of a
/// packet go the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol, source port and destination port.
    pub ports: Option<(u8, u16, u16)>,
}

impl FlowKey {
    /// The key of a packet.
    #[inline(always)]
    pub fn of(packet: &IpPacket<'_>) -> Self {
        let ports = match packet.transport() {
            Some((number @ (protocol::TCP | protocol::UDP | protocol::SCTP), &[s0, s1, d0, d1, ..])) => {
                Some((number, u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
            }
            _ => None,
        };
        Self { source: packet.source(), destination: packet.destination(), ports }
    }

    /// 64 well-mixed bits, the same for the same key in every process: packets of one flow keep their port over restarts.
    #[inline(always)]
    pub fn hash(&self) -> u64 {
        let (protocol, source, destination) = self.ports.unwrap_or_default();
        let ports = u64::from(protocol) << 32 | u64::from(source) << 16 | u64::from(destination);
        // Addresses and ports are folded beside each other, not one after the other, and mixed once.
        let addresses = fold(self.source, SOURCE_KEY) ^ fold(self.destination, DESTINATION_KEY);
        mix(addresses ^ ports.wrapping_mul(PORTS_KEY))
    }
}

/// Digits of pi: constants with nothing up their sleeves.
const SOURCE_KEY: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];
const DESTINATION_KEY: [u64; 2] = [0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];
const PORTS_KEY: u64 = 0x4528_21e6_38d0_1377;

/// The product of both halves, each under its key, folded to 64 bits: every bit of the address counts.
#[inline(always)]
fn fold(address: IpAddr, key: [u64; 2]) -> u64 {
    let [high, low] = match address {
        IpAddr::V4(a) => [0, u64::from(u32::from(a))],
        IpAddr::V6(a) => halves(u128::from(a)),
    };
    let [high, low] = halves(u128::from(high ^ key[0]) * u128::from(low ^ key[1]));
    high ^ low
}

#[inline]
fn halves(bits: u128) -> [u64; 2] {
    let low = u128::from(u64::MAX);
    // Neither has more than 64 bits left.
    [bits >> 64, bits & low].map(|half| u64::try_from(half).unwrap_or_default())
}

/// The finaliser of SplitMix64: each input bit changes each output bit with probability one half.
#[inline]
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Ipv4Header, TrafficClass};
    use super::*;

    fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = Ipv4Header {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 1, 2].into(),
            protocol,
            ttl: 64,
            class: TrafficClass(0),
            dont_fragment: false,
        };
        [header.emit(payload.len()).unwrap().as_slice(), payload].concat()
    }

    fn key(octets: &[u8]) -> FlowKey {
        IpPacket::parse(octets).unwrap().flow()
    }

    #[test]
    fn ports_count_for_tcp_udp_and_sctp_only() {
        for number in [protocol::TCP, protocol::UDP, protocol::SCTP] {
            assert_eq!(key(&packet(number, &[1, 2, 3, 4, 5])).ports, Some((number, 0x0102, 0x0304)));
        }
        assert_eq!(key(&packet(protocol::ICMP, &[8, 0, 3, 4])).ports, None);
        assert_eq!(key(&packet(protocol::UDP, &[1, 2, 3])).ports, None);
    }

    #[test]
    fn every_fragment_of_a_packet_has_the_same_key() {
        let mut first = packet(protocol::UDP, &[1, 2, 3, 4]);
        first[6] = 0x20;
        let mut second = packet(protocol::UDP, &[9, 9, 9, 9]);
        second[7] = 185;
        assert_eq!(key(&first), key(&second));
    }

    #[test]
    fn hashes_spread_over_ports_and_addresses() {
        let base = key(&packet(protocol::UDP, &[1, 2, 3, 4]));
        let mut low_bits = std::collections::HashSet::new();
        for port in 0..1000 {
            low_bits.insert(FlowKey { ports: Some((17, port, 53)), ..base }.hash() & 0x3fff);
        }
        assert!(low_bits.len() > 900, "{} of 1000", low_bits.len());
    }

    #[test]
    fn every_bit_of_the_key_changes_half_of_the_hash() {
        let addresses: [[IpAddr; 2]; 2] = [
            [[10, 0, 0, 1].into(), [10, 0, 1, 2].into()],
            ["2001:db8:a::1".parse().unwrap(), "2001:db8:b::1".parse().unwrap()],
        ];
        for [source, destination] in addresses {
            let base = FlowKey { source, destination, ports: Some((17, 40_000, 53)) };
            let flip = |address: IpAddr, bit: u32| match address {
                IpAddr::V4(a) => (bit < 32).then(|| IpAddr::from((u32::from(a) ^ 1 << (bit % 32)).to_be_bytes())),
                IpAddr::V6(a) => Some(IpAddr::from((u128::from(a) ^ 1 << bit).to_be_bytes())),
            };
            let of_source = (0..128).filter_map(|bit| Some(FlowKey { source: flip(source, bit)?, ..base }));
            let of_target = (0..128).filter_map(|bit| Some(FlowKey { destination: flip(destination, bit)?, ..base }));
            let of_ports = (0..16).map(|bit| FlowKey { ports: Some((17, 40_000 ^ 1 << bit, 53)), ..base });
            for key in of_source.chain(of_target).chain(of_ports) {
                let changed = (key.hash() ^ base.hash()).count_ones();
                assert!((14..=50).contains(&changed), "{changed} bits: {key:?}");
            }
        }
    }
}
