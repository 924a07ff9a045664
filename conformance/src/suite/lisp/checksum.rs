// SPDX-License-Identifier: GPL-2.0-or-later
//! The UDP checksum of control messages (RFC 9301, section 5). What is wrong is sent past the kernel, which would put it right.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use wire::data::{Ipv4Header, TrafficClass, UdpHeader, checksum};

use super::registered;
use crate::exchange;
use crate::suite::mapsys::{Room, Xtr, request};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, missing, must};

pub(super) const PROBES: &[Probe<Room>] = &[must(
    "LI-003.1",
    "9301 5",
    "a question whose UDP checksum is right, and one whose checksum is not",
    wrong_checksum,
)];

/// Protocol number of UDP.
const UDP: u8 = 17;
/// What a raw socket of whole packets is opened with: IPPROTO_RAW.
const WHOLE: i32 = 255;

fn wrong_checksum(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let server = room.common()?.first()?;
    let question = |room: &Room| xtr.ecm(&request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]));
    let socket = room.opened(open)?.map_err(|error| missing(format!("a raw socket: {error}")))?;
    send(&socket, &xtr, server, &question(room)?, |right| right)?;
    if xtr.hear(xtr.patience())?.is_none() {
        return Err(broken("a question with the right checksum is not answered"));
    }
    send(&socket, &xtr, server, &question(room)?, |right| if right == 0xffff { 1 } else { right + 1 })?;
    room.works()?;
    let came = xtr.hear_all(room.grace())?.len();
    expect(came == 0, format!("answered if it is right; if it is not, {came} answers"))
}

/// A raw socket that sends whole packets.
fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(WHOLE)))?;
    socket.set_header_included_v4(true)?;
    Ok(socket)
}

/// Sends a payload from the xTR's address and port, with what `checksum` makes of the right checksum.
fn send(socket: &Socket, xtr: &Xtr, to: SocketAddr, payload: &[u8], changed: impl Fn(u16) -> u16) -> Result<(), Fault> {
    let (source, destination) = (v4(xtr.address)?, v4(to)?);
    let header = |checksum| UdpHeader { source: xtr.address.port(), destination: to.port(), checksum };
    let segment = |checksum| {
        let header = header(checksum).emit(payload.len()).ok_or_else(|| broken("a message that fits no datagram"))?;
        Ok::<_, Fault>([&header[..], payload].concat())
    };
    let right = checksum::udp(source.into(), destination.into(), &segment(0)?);
    let segment = segment(changed(right))?;
    let header =
        Ipv4Header { source, destination, protocol: UDP, ttl: 64, class: TrafficClass(0), dont_fragment: false };
    let header = header.emit(segment.len()).ok_or_else(|| broken("a message that fits no packet"))?;
    let packet = [&header[..], &segment].concat();
    exchange::packet_sent(&packet);
    socket.send_to(&packet, &to.into()).map(drop).map_err(missing)
}

fn v4(address: SocketAddr) -> Result<Ipv4Addr, Fault> {
    match address.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(missing("a map system with an IPv4 address")),
    }
}
