// SPDX-License-Identifier: GPL-2.0-or-later
//! What our codec makes of bytes: of a capture, of a vectors file, of hexadecimal text.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use serde::Serialize;
use wire::control::ControlMessage;
use wire::data::{IpPacket, LispHeader, UdpHeader, protocol};
use wire::{CONTROL_PORT, DATA_PORT, DecodeError};

use crate::vectors::{VectorsFile, from_hex};

/// One message, or one that the codec refuses.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Frame of the capture, identifier of the vector, or line of the text.
    pub id: String,
    /// Whether the codec takes it.
    pub ok: bool,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why the codec refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A file of any of the three forms.
///
/// # Errors
/// When it is none of them.
pub fn file(bytes: &[u8]) -> anyhow::Result<Vec<Line>> {
    if is_pcap(bytes) {
        return pcap(bytes);
    }
    let text = std::str::from_utf8(bytes).context("neither a pcap file, nor a vectors file, nor hexadecimal text")?;
    if text.trim_start().starts_with('{') {
        let file: VectorsFile = serde_json::from_str(text).context("not a vectors file")?;
        return Ok(file.vectors.iter().map(|vector| line(vector.id.clone(), packet(&vector.packet))).collect());
    }
    hex_text(text)
}

/// Source and destination of a whole IP packet, with ports where it has them.
pub fn ends(octets: &[u8]) -> Option<(String, String)> {
    let ip = IpPacket::parse(octets).ok()?;
    let udp = ip.transport().filter(|(number, _)| *number == protocol::UDP);
    let (source, destination) = (ip.source(), ip.destination());
    Some(match udp.and_then(|(_, segment)| UdpHeader::parse(segment).ok()) {
        Some((udp, _)) => {
            (SocketAddr::new(source, udp.source).to_string(), SocketAddr::new(destination, udp.destination).to_string())
        }
        None => (source.to_string(), destination.to_string()),
    })
}

/// What a UDP payload between two ports says, or why our codec refuses it.
pub fn payload(ports: (u16, u16), octets: &[u8]) -> String {
    let said = if ports.1 == DATA_PORT { data(octets) } else { control(octets) };
    said.unwrap_or_else(|error| format!("our codec refuses it: {error}"))
}

/// What a whole IP packet says.
pub fn whole(octets: &[u8]) -> String {
    match packet(octets) {
        Some(Ok(message)) => message,
        Some(Err(error)) => format!("our codec refuses it: {error}"),
        None => plain(octets),
    }
}

/// A packet that is not LISP, in a line.
fn plain(octets: &[u8]) -> String {
    let Ok(ip) = IpPacket::parse(octets) else { return "no IP packet".into() };
    let name = match ip.transport() {
        Some((protocol::UDP, _)) => "UDP".to_owned(),
        Some((protocol::ICMP, message)) => of_icmp("ICMP", message),
        Some((protocol::ICMPV6, message)) => of_icmp("ICMPv6", message),
        Some((number, _)) => format!("protocol {number}"),
        None => "a fragment".to_owned(),
    };
    format!("{name}, {} octets", ip.octets().len())
}

fn of_icmp(name: &str, message: &[u8]) -> String {
    match message {
        [kind, code, ..] => format!("{name} type {kind} code {code}"),
        _ => name.to_owned(),
    }
}

/// A data packet's UDP payload: the LISP header and the packet inside.
///
/// # Errors
/// The field that is wrong.
pub fn data(payload: &[u8]) -> Result<String, DecodeError> {
    let (header, inner) = LispHeader::parse(payload)?;
    if header.key_id != 0 {
        return Ok(format!("data: {}, {} octets encrypted", flags(&header), inner.len()));
    }
    let inner = IpPacket::parse(inner)?;
    let (source, destination) = (inner.source(), inner.destination());
    Ok(format!("data: {}, {source} to {destination}, {} octets", flags(&header), inner.octets().len()))
}

fn flags(header: &LispHeader) -> String {
    let mut shown = Vec::new();
    if let Some(nonce) = header.nonce {
        shown.push(format!("N nonce {nonce:#08x}{}", if header.echo { " E" } else { "" }));
    }
    if let Some(versions) = header.versions {
        shown.push(format!("V versions {:#05x} {:#05x}", versions.source.0, versions.destination.0));
    }
    if let Some(iid) = header.iid {
        shown.push(format!("I instance {iid}"));
    }
    if let Some(bits) = header.status_bits {
        shown.push(format!("L status bits {bits:#x}"));
    }
    if let Some(next) = header.next_protocol {
        shown.push(format!("P next protocol {}", next.0));
    }
    if header.key_id != 0 {
        shown.push(format!("KK {}", header.key_id));
    }
    if shown.is_empty() { "no flags".into() } else { shown.join(", ") }
}

/// `None` for what is not LISP.
type Dissected = Option<Result<String, DecodeError>>;

/// A whole IP packet.
fn packet(octets: &[u8]) -> Dissected {
    let ip = match IpPacket::parse(octets) {
        Ok(ip) => ip,
        Err(error) => return Some(Err(error)),
    };
    let (protocol::UDP, segment) = ip.transport()? else { return None };
    let (udp, payload) = match UdpHeader::parse(segment) {
        Ok(parsed) => parsed,
        Err(error) => return Some(Err(error)),
    };
    match (udp.source, udp.destination) {
        (_, DATA_PORT) => Some(data(payload)),
        (CONTROL_PORT, _) | (_, CONTROL_PORT) => Some(control(payload)),
        _ => None,
    }
}

fn control(payload: &[u8]) -> Result<String, DecodeError> {
    let message = ControlMessage::decode(payload)?;
    let ControlMessage::Ecm(ecm) = &message else { return Ok(message.to_string()) };
    // It is told with the ECM, unless it is none.
    ControlMessage::decode(&ecm.message)?;
    Ok(message.to_string())
}

fn line(id: String, dissected: Dissected) -> Line {
    match dissected {
        Some(Ok(message)) => Line { id, ok: true, message: Some(message), error: None },
        Some(Err(error)) => Line { id, ok: false, message: None, error: Some(error.to_string()) },
        None => Line { id, ok: true, message: Some("not LISP".into()), error: None },
    }
}

/// Magic numbers of pcap: either byte order, micro- or nanoseconds.
fn is_pcap(bytes: &[u8]) -> bool {
    let magic =
        [[0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0xc3, 0xd4], [0x4d, 0x3c, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d]];
    magic.iter().any(|magic| bytes.starts_with(magic))
}

fn pcap(bytes: &[u8]) -> anyhow::Result<Vec<Line>> {
    let mut reader = PcapReader::new(bytes).context("pcap header")?;
    let link = reader.header().datalink;
    let mut lines = Vec::new();
    while let Some(frame) = reader.next_packet() {
        let id = format!("frame {}", lines.len() + 1);
        let frame = frame.with_context(|| id.clone())?;
        let Some(octets) = network_layer(link, &frame.data)? else {
            lines.push(line(id, None));
            continue;
        };
        lines.push(line(id, packet(octets)));
    }
    Ok(lines)
}

/// The IP packet of a frame; `None` if it holds something else.
fn network_layer(link: DataLink, frame: &[u8]) -> anyhow::Result<Option<&[u8]>> {
    const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
    const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
    let (ethertype_at, header) = match link {
        DataLink::ETHERNET => (12, 14),
        DataLink::LINUX_SLL => (14, 16),
        DataLink::LINUX_SLL2 => (0, 20),
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => return Ok(Some(frame)),
        other => bail!("link type {other:?} is not one that LISP is captured on"),
    };
    let ethertype = frame.get(ethertype_at..ethertype_at + 2);
    let is_ip = ethertype.is_some_and(|found| found == ETHERTYPE_IPV4 || found == ETHERTYPE_IPV6);
    Ok(if is_ip { frame.get(header..) } else { None })
}

/// Hexadecimal text: a hex dump with offsets is one packet, otherwise each line is one. A first octet of 0x45 to 0x4f or 0x6n
/// with a whole IP packet behind it is a packet, everything else a control message.
fn hex_text(text: &str) -> anyhow::Result<Vec<Line>> {
    let rows: Vec<_> = text.lines().map(str::trim).filter(|row| !row.is_empty() && !row.starts_with('#')).collect();
    if rows.is_empty() {
        bail!("there is nothing in it");
    }
    let is_dump =
        rows.iter().all(|row| row.split_whitespace().next().is_some_and(|word| word.len() >= 4 && word.len() <= 8))
            && rows.iter().any(|row| row.split_whitespace().count() > 1);
    let packets: Vec<String> = if is_dump {
        vec![rows.iter().flat_map(|row| row.split_whitespace().skip(1).take(16)).collect()]
    } else {
        rows.iter().map(|row| row.split_whitespace().collect()).collect()
    };
    let mut lines = Vec::new();
    for (number, digits) in (1..).zip(packets) {
        let octets = from_hex(&digits).with_context(|| format!("line {number} is not hexadecimal"))?;
        lines.push(line(number.to_string(), packet_or_message(&octets)));
    }
    Ok(lines)
}

fn packet_or_message(octets: &[u8]) -> Dissected {
    let looks_like_ip = matches!(octets.first(), Some(0x45..=0x4f | 0x60..=0x6f));
    match IpPacket::parse(octets) {
        Ok(ip) if looks_like_ip && ip.octets().len() == octets.len() => packet(octets),
        _ => Some(control(octets)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::vectors;

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    #[test]
    fn a_packet_a_payload_and_a_dump_of_it_say_the_same() {
        let vectors = vectors::shipped().unwrap();
        let c01 = vectors.vectors.iter().find(|vector| vector.id == "C01").unwrap();
        let dump: String = (0..)
            .step_by(16)
            .zip(c01.packet.chunks(16))
            .map(|(at, chunk)| {
                format!("{at:04x}  {}\n", chunk.iter().map(|octet| format!("{octet:02x} ")).collect::<String>())
            })
            .collect();
        let said: Vec<_> = [hex(&c01.packet), hex(&c01.lisp), dump]
            .iter()
            .map(|text| file(text.as_bytes()).unwrap().remove(0).message.unwrap())
            .collect();
        assert_eq!(said[0], said[1]);
        assert_eq!(said[0], said[2]);
    }

    #[test]
    fn a_refused_message_says_which_field() {
        let line = file(b"100000").unwrap().remove(0);
        assert!(!line.ok && line.error.unwrap().contains("offset"), "three octets are no message");
    }

    #[test]
    fn all_captures_decode() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
        let mut frames = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "pcap") {
                for line in file(&std::fs::read(&path).unwrap()).unwrap() {
                    assert!(line.ok, "{}: {line:?}", path.display());
                    frames += 1;
                }
            }
        }
        assert!(frames > 300, "{frames}");
    }

    #[test]
    fn what_is_nothing_of_the_three_is_an_error() {
        for bytes in [&b"\xff\xfe"[..], b"", b"{}", b"xyz"] {
            assert!(file(bytes).is_err(), "{bytes:?}");
        }
    }
}
