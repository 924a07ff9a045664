// SPDX-License-Identifier: GPL-2.0-or-later
//! What tshark reads of our messages.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

/// An IPv4 packet from port 4342 of `from`.
fn packet(from: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = |octets: usize| u16::try_from(octets).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend(length(28 + payload.len()));
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(from.octets());
    packet.extend([127, 0, 57, 9]);
    packet.extend(4342u16.to_be_bytes());
    packet.extend(61000u16.to_be_bytes());
    packet.extend(length(8 + payload.len()));
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// What tshark reads of these messages; `None` where there is none, which CI does not suffer.
pub(crate) fn witness(folder: &Path, messages: &[(&str, Vec<u8>)]) -> Option<String> {
    let path = folder.join("messages.pcap");
    let header = PcapHeader { datalink: DataLink::RAW, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(std::fs::File::create(&path).unwrap(), header).unwrap();
    for (from, bytes) in messages {
        let data = packet(from.parse().unwrap(), bytes);
        let length = u32::try_from(data.len()).unwrap();
        writer.write_packet(&PcapPacket::new(Duration::ZERO, length, &data)).unwrap();
    }
    drop(writer);
    match Command::new("tshark").arg("-r").arg(&path).arg("-V").output() {
        Ok(output) if output.status.success() => Some(String::from_utf8(output.stdout).unwrap()),
        other => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "tshark is missing: {other:?}");
            eprintln!("SKIP: tshark is missing, so nobody else reads our messages");
            None
        }
    }
}
