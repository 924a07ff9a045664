// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads the recorded exchanges beside this file, for the tests that replay them against an engine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use wire::control::{ControlMessage, MapReply, MapRequest, message_type};

/// Makes a test of each rule: the function judges each of the captures. `conformance/captures/judges.json` says which files
/// have a capture in such a table.
macro_rules! judged {
    ($($rule:ident: $judge:path = [$($name:literal),+ $(,)?];)+) => {
        $(
            #[test]
            fn $rule() {
                for name in [$($name),+] {
                    $judge(name);
                }
            }
        )+
    };
}
pub(crate) use judged;

/// A recorded UDP datagram.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    /// Since whenever.
    pub(crate) at: Duration,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const MAP_REQUEST: u8 = 1;
pub(crate) const MAP_REPLY: u8 = 2;
pub(crate) const MAP_REGISTER: u8 = 3;
pub(crate) const MAP_NOTIFY: u8 = 4;
pub(crate) const MAP_REFERRAL: u8 = 6;
pub(crate) const ECM: u8 = 8;

const ETHERNET_HEADER: usize = 14;
const COOKED_HEADER: usize = 20;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;

/// The control datagrams of a capture, in order. Those in Linux cooked form were taken on a router, which saw each packet twice.
pub(crate) fn capture(name: &str) -> Vec<Datagram> {
    let path = format!("{}/../conformance/captures/{name}.pcap", env!("CARGO_MANIFEST_DIR"));
    let mut reader = PcapReader::new(std::fs::File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"))).unwrap();
    let (header, each) = match reader.header().datalink {
        DataLink::ETHERNET => (ETHERNET_HEADER, 1),
        DataLink::LINUX_SLL2 => (COOKED_HEADER, 2),
        other => panic!("{name}: {other:?}"),
    };
    let packets = std::iter::from_fn(|| reader.next_packet().map(|packet| packet.unwrap().into_owned()));
    let datagrams: Vec<_> =
        packets.step_by(each).filter_map(|packet| datagram(packet.timestamp, &packet.data[header..])).collect();
    assert!(!datagrams.is_empty(), "{name}");
    datagrams
}

/// UDP from or to the control port, in IPv4 or IPv6.
fn datagram(at: Duration, ip: &[u8]) -> Option<Datagram> {
    let word = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
    let v4 = |at: usize| IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap()));
    let v6 = |at: usize| IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap()));
    let (from, to, udp) = match ip[0] >> 4 {
        4 if ip[9] == UDP => (v4(12), v4(16), usize::from(ip[0] & 0x0f) * 4),
        6 if ip[6] == UDP => (v6(8), v6(24), 40),
        _ => return None,
    };
    let end = udp + usize::from(word(udp + 4));
    let (from, to) = (SocketAddr::new(from, word(udp)), SocketAddr::new(to, word(udp + 2)));
    let payload = ip[udp + UDP_HEADER..end].to_vec();
    [from.port(), to.port()].contains(&wire::CONTROL_PORT).then_some(Datagram { at, from, to, payload })
}

impl Datagram {
    /// The type of the message.
    pub(crate) fn kind(&self) -> u8 {
        message_type(&self.payload).unwrap()
    }

    pub(crate) fn message(&self) -> ControlMessage {
        ControlMessage::decode(&self.payload).unwrap()
    }

    /// The Map-Reply that this is.
    pub(crate) fn reply(&self) -> MapReply {
        match self.message() {
            ControlMessage::MapReply(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// The Map-Request that this is, or that is in the ECM.
    pub(crate) fn request(&self) -> MapRequest {
        let message = match self.message() {
            ControlMessage::Ecm(ecm) => ControlMessage::decode(&ecm.message).unwrap(),
            other => other,
        };
        match message {
            ControlMessage::MapRequest(request) => request,
            other => panic!("{other:?}"),
        }
    }

    /// What a datagram with a Map-Request was answered with.
    pub(crate) fn answer<'a>(&self, datagrams: &'a [Datagram]) -> Option<&'a Datagram> {
        let nonce = self.request().nonce;
        datagrams.iter().find(|other| other.kind() == MAP_REPLY && other.reply().nonce == nonce)
    }
}
