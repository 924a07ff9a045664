// SPDX-License-Identifier: GPL-2.0-or-later
//! The UDP checksum of control messages (RFC 9301, section 5). What is wrong is sent past the kernel, which would put it right.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use wire::data::{Ipv4Header, TrafficClass, UdpHeader, checksum};

use super::registered;
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
/// Until what comes of a message would have come.
const PATIENCE: Duration = Duration::from_millis(300);

fn wrong_checksum(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let server = room.common()?.first()?;
    let question = |room: &Room| xtr.ecm(&request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]));
    send(&xtr, server, &question(room)?, |right| right)?;
    if xtr.hear_all(PATIENCE)?.len() != 1 {
        return Err(broken("a question with the right checksum is not answered"));
    }
    send(&xtr, server, &question(room)?, |right| if right == 0xffff { 1 } else { right + 1 })?;
    let came = xtr.hear_all(PATIENCE)?.len();
    room.works()?;
    expect(came == 0, format!("answered if it is right; if it is not, {came} answers"))
}

/// Sends a payload from the xTR's address and port, with what `checksum` makes of the right checksum.
fn send(xtr: &Xtr, to: SocketAddr, payload: &[u8], changed: impl Fn(u16) -> u16) -> Result<(), Fault> {
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
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(WHOLE)));
    let socket = socket.map_err(|error| missing(format!("a raw socket: {error}")))?;
    socket.set_header_included_v4(true).map_err(missing)?;
    socket.send_to(&[&header[..], &segment].concat(), &to.into()).map(drop).map_err(missing)
}

fn v4(address: SocketAddr) -> Result<Ipv4Addr, Fault> {
    match address.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(missing("a map system with an IPv4 address")),
    }
}
