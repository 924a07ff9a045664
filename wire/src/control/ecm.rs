// SPDX-License-Identifier: GPL-2.0-or-later
//! Encapsulated Control Message (RFC 9301, section 5.8).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::auth::Authentication;
use super::rtr::RtrAd;
use super::security::{check_kept_whole, skip_counted};
use super::{bit, first_word, message_type, open};
use crate::DATA_PORT;
use crate::data::{checksum, protocol};
use crate::error::{DecodeError, EncodeError, Problem};
use crate::reader::Reader;
use crate::writer::{Writer, to_u16};

/// A control message inside IP and UDP headers of its own, as sent to the mapping system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ecm {
    /// D: from a DDT resolver.
    pub ddt: bool,
    /// R: for an RTR, which relays it (draft-ermagan-lisp-nat-traversal, section 4.3).
    pub for_rtr: bool,
    /// N: relayed by an RTR (the same).
    pub by_rtr: bool,
    /// S: authentication data, kept whole: of LISP-SEC (RFC 9303; [`EcmAd`](super::lispsec::EcmAd) is what it says), or of an RTR and its
    /// Map-Server ([`RtrAd`](super::rtr::RtrAd)).
    pub security: Option<Vec<u8>>,
    /// Source of the inner headers: replies go to its port.
    pub source: SocketAddr,
    /// Destination of the inner headers: the EID asked for, port 4342. Same family as `source`.
    pub destination: SocketAddr,
    /// TTL or hop limit of the inner IP header.
    pub ttl: u8,
    /// What else the inner IP header says, so that it can be forwarded unchanged.
    pub header: InnerHeader,
    /// The message, undecoded: forwarded unchanged (RFC 9301, section 8.3).
    pub message: Vec<u8>,
}

/// Fields of the inner IP header that mean nothing to LISP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InnerHeader {
    /// Type of service or traffic class.
    pub traffic_class: u8,
    /// IPv4 only: identification.
    pub identification: u16,
    /// IPv4 only: DF.
    pub dont_fragment: bool,
    /// IPv6 only: flow label, 20 bits.
    pub flow_label: u32,
}

/// An atomic datagram of no special class or flow.
impl Default for InnerHeader {
    fn default() -> Self {
        Self { traffic_class: 0, identification: 0, dont_fragment: true, flow_label: 0 }
    }
}

/// S and D of the first word; R and N are the NAT traversal draft's, which RFC 9301 has reserved.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Type=8 |S|D|R|N|                 Reserved                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
const SECURITY: u32 = 0x0800_0000;
const DDT: u32 = 0x0400_0000;
const FOR_RTR: u32 = 0x0200_0000;
const BY_RTR: u32 = 0x0100_0000;

/// ECM AD Type of LISP-SEC (RFC 9303, section 6.1).
const LISP_SEC: u8 = 1;

/// Hop limit of the inner headers that we make.
const INNER_TTL: u8 = 64;

const IPV4_WORD: usize = 4;
const IPV4_HEADER: usize = 20;
const IPV4_DONT_FRAGMENT: u16 = 0x4000;
const IPV4_MORE_OR_OFFSET: u16 = 0x3fff;
const IPV6_VERSION: u32 = 6;
const FLOW_LABEL: u32 = 0x000f_ffff;
const UDP_HEADER: usize = 8;

impl Ecm {
    /// Message type.
    pub const TYPE: u8 = 8;

    /// Puts a message, usually a Map-Request, into inner headers from `source` to `destination`; both must be of one
    /// family, or encoding fails.
    pub fn wrap(source: SocketAddr, destination: SocketAddr, message: Vec<u8>) -> Self {
        let header = InnerHeader::default();
        let (ddt, for_rtr, by_rtr, security) = (false, false, false, None);
        Self { ddt, for_rtr, by_rtr, security, source, destination, ttl: INNER_TTL, header, message }
    }

    /// Decodes a UDP payload, and checks the inner headers, their lengths and checksums.
    ///
    /// # Errors
    /// Names the first field that is not as its RFC says. An inner UDP checksum of zero, port 4341, a fragment and an
    /// ECM inside the ECM are errors.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (mut reader, word) = open(bytes, Self::TYPE)?;
        let security = if word & SECURITY != 0 { Some(read_security(&mut reader)?) } else { None };
        let mut inner = read_ip(&mut reader)?;
        let (source_port, destination_port, message) = inner.read_udp()?;
        Ok(Self {
            ddt: word & DDT != 0,
            for_rtr: word & FOR_RTR != 0,
            by_rtr: word & BY_RTR != 0,
            security,
            source: SocketAddr::new(inner.source, source_port),
            destination: SocketAddr::new(inner.destination, destination_port),
            ttl: inner.ttl,
            header: inner.header,
            message,
        })
    }

    /// Encodes to a UDP payload; the checksums are computed.
    ///
    /// # Errors
    /// When the families differ, a length exceeds its field, a port is 4341, the message is itself an ECM, or the
    /// security part is not as long as it says.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        self.check_ports()?;
        if message_type(&self.message) == Some(Self::TYPE) {
            return Err(EncodeError { field: "ECM inside an ECM", count: 2, limit: 1 });
        }
        let mut writer = Writer::new();
        writer.u32(first_word(Self::TYPE, self.bits(), 0)?);
        if let Some(security) = &self.security {
            check_kept_whole("ECM AD", security, read_security)?;
            writer.put(security);
        }
        let udp_length = UDP_HEADER + self.message.len();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                writer.put(&self.ipv4_header(source, destination, udp_length)?);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.write_ipv6_header(&mut writer, source, destination, udp_length)?;
            }
            _ => return Err(EncodeError { field: "families of the inner addresses", count: 2, limit: 1 }),
        }
        let mut udp = Writer::new();
        udp.u16(self.source.port());
        udp.u16(self.destination.port());
        udp.u16(to_u16("inner UDP Length", udp_length)?);
        udp.u16(0);
        udp.put(&self.message);
        let mut udp = udp.finish();
        let checksum = checksum::udp(self.source.ip(), self.destination.ip(), &udp);
        udp[6..UDP_HEADER].copy_from_slice(&checksum.to_be_bytes());
        writer.put(&udp);
        Ok(writer.finish())
    }

    fn bits(&self) -> u32 {
        bit(self.security.is_some(), SECURITY)
            | bit(self.ddt, DDT)
            | bit(self.for_rtr, FOR_RTR)
            | bit(self.by_rtr, BY_RTR)
    }

    fn check_ports(&self) -> Result<(), EncodeError> {
        if [self.source.port(), self.destination.port()].contains(&DATA_PORT) {
            return Err(EncodeError { field: "inner UDP port", count: DATA_PORT.into(), limit: 0 });
        }
        Ok(())
    }

    fn ipv4_header(&self, source: Ipv4Addr, destination: Ipv4Addr, payload: usize) -> Result<Vec<u8>, EncodeError> {
        let mut header = Writer::new();
        header.put(&[0x45, self.header.traffic_class]);
        header.u16(to_u16("inner Total Length", IPV4_HEADER + payload)?);
        header.u16(self.header.identification);
        header.u16(if self.header.dont_fragment { IPV4_DONT_FRAGMENT } else { 0 });
        header.put(&[self.ttl, protocol::UDP, 0, 0]);
        header.put(&source.octets());
        header.put(&destination.octets());
        let mut header = header.finish();
        let checksum = checksum::internet(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        Ok(header)
    }

    fn write_ipv6_header(
        &self,
        writer: &mut Writer,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        payload: usize,
    ) -> Result<(), EncodeError> {
        let label = self.header.flow_label;
        if label > FLOW_LABEL {
            let limit = usize::try_from(FLOW_LABEL).unwrap_or(usize::MAX);
            let count = usize::try_from(label).unwrap_or(usize::MAX);
            return Err(EncodeError { field: "inner Flow Label", count, limit });
        }
        writer.u32(IPV6_VERSION << 28 | u32::from(self.header.traffic_class) << 20 | label);
        writer.u16(to_u16("inner Payload Length", payload)?);
        writer.put(&[protocol::UDP, self.ttl]);
        writer.put(&source.octets());
        writer.put(&destination.octets());
        Ok(())
    }
}

/// OTK-AD and EID-AD (RFC 9303, section 6.1), or what an RTR is shown. Another type has no length that we could know.
fn read_security(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let start = reader.clone();
    let [kind, ..] = reader.array::<4>("ECM AD Type")?;
    match kind {
        LISP_SEC => {}
        RtrAd::TYPE => {
            Authentication::read(reader)?;
            return Ok(start.until(reader).to_vec());
        }
        _ => return Err(start.error("ECM AD Type", Problem::Value(kind.into()))),
    }
    // Unlike its neighbours, OTK Length leaves out its own word.
    let otk = reader.u16("OTK Length")?;
    reader.u16("Key ID")?;
    reader.take("One-Time-Key", otk.into())?;
    skip_counted("EID-AD Length", reader)?;
    Ok(start.until(reader).to_vec())
}

/// An inner IP header and a cursor over what it carries.
struct Inner<'a> {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    header: InnerHeader,
    payload: Reader<'a>,
}

fn read_ip<'a>(reader: &mut Reader<'a>) -> Result<Inner<'a>, DecodeError> {
    match reader.peek().first().map(|octet| octet >> 4) {
        Some(4) => read_ipv4(reader),
        Some(6) => read_ipv6(reader),
        Some(version) => Err(reader.error("inner IP version", Problem::Value(version.into()))),
        None => Err(reader.error("inner IP header", Problem::Truncated { needed: 1, available: 0 })),
    }
}

fn read_ipv4<'a>(reader: &mut Reader<'a>) -> Result<Inner<'a>, DecodeError> {
    let start = reader.clone();
    let [version_ihl, traffic_class] = reader.array("inner IHL")?;
    let header_length = usize::from(version_ihl & 0x0f) * IPV4_WORD;
    let total_length = usize::from(reader.u16("inner Total Length")?);
    if header_length < IPV4_HEADER || total_length < header_length {
        return Err(start.error("inner IHL", Problem::Length(header_length)));
    }
    let identification = reader.u16("inner Identification")?;
    let fragment = reader.u16("inner Fragment Offset")?;
    if fragment & IPV4_MORE_OR_OFFSET != 0 {
        return Err(reader.error_behind("inner Fragment Offset", 2, Problem::Value(fragment.into())));
    }
    let [ttl, protocol, _, _] = reader.array("inner Protocol")?;
    if protocol != protocol::UDP {
        return Err(reader.error_behind("inner Protocol", 3, Problem::Value(protocol.into())));
    }
    let source = Ipv4Addr::from(reader.array::<4>("inner Source Address")?).into();
    let destination = Ipv4Addr::from(reader.array::<4>("inner Destination Address")?).into();
    reader.take("inner Options", header_length - IPV4_HEADER)?;
    if checksum::internet(start.until(reader)) != 0 {
        return Err(start.error("inner Header Checksum", Problem::Checksum));
    }
    let payload = reader.sub("inner Total Length", total_length - header_length)?;
    let dont_fragment = fragment & IPV4_DONT_FRAGMENT != 0;
    let header = InnerHeader { traffic_class, identification, dont_fragment, flow_label: 0 };
    Ok(Inner { source, destination, ttl, header, payload })
}

fn read_ipv6<'a>(reader: &mut Reader<'a>) -> Result<Inner<'a>, DecodeError> {
    let word = reader.u32("inner Flow Label")?;
    let [traffic_class, ..] = (word << 4).to_be_bytes();
    let payload_length = usize::from(reader.u16("inner Payload Length")?);
    let [next_header, ttl] = reader.array("inner Next Header")?;
    if next_header != protocol::UDP {
        return Err(reader.error_behind("inner Next Header", 2, Problem::Value(next_header.into())));
    }
    let source = Ipv6Addr::from(reader.array::<16>("inner Source Address")?).into();
    let destination = Ipv6Addr::from(reader.array::<16>("inner Destination Address")?).into();
    let payload = reader.sub("inner Payload Length", payload_length)?;
    let flow_label = word & FLOW_LABEL;
    let header = InnerHeader { traffic_class, flow_label, identification: 0, dont_fragment: true };
    Ok(Inner { source, destination, ttl, header, payload })
}

impl Inner<'_> {
    /// Source port, destination port and message.
    fn read_udp(&mut self) -> Result<(u16, u16, Vec<u8>), DecodeError> {
        let start = self.payload.clone();
        let reader = &mut self.payload;
        let ports = [reader.u16("inner Source Port")?, reader.u16("inner Destination Port")?];
        if ports.contains(&DATA_PORT) {
            return Err(start.error("inner UDP port", Problem::Value(DATA_PORT.into())));
        }
        let length = usize::from(reader.u16("inner UDP Length")?);
        let checksum = reader.u16("inner UDP Checksum")?;
        let message =
            length.checked_sub(UDP_HEADER).ok_or_else(|| start.error("inner UDP Length", Problem::Length(length)))?;
        let message = reader.take("inner UDP Length", message)?;
        let sum = checksum::transport(self.source, self.destination, protocol::UDP, start.until(reader));
        if checksum == 0 || sum != 0 {
            return Err(start.error("inner UDP Checksum", Problem::Checksum));
        }
        if message_type(message) == Some(Ecm::TYPE) {
            return Err(start.error("message of the ECM", Problem::Nesting));
        }
        let [source, destination] = ports;
        Ok((source, destination, message.to_vec()))
    }
}
