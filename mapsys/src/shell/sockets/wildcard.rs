// SPDX-License-Identifier: GPL-2.0-or-later
//! Sockets that listen on all addresses of a family: the system says to which of them a datagram came (`IP_PKTINFO`,
//! `IPV6_PKTINFO`), and is told from which one the answer leaves. A socket that is bound to one address needs nothing of this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError};

use nix::cmsg_space;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, RecvMsg, SockaddrStorage, setsockopt, sockopt};
use tokio::net::UdpSocket;

use super::remote_of;
use crate::limit::bounded::Bounded;
use crate::transport::{is_private, unspecified};

/// Peers of whom it is remembered which of our addresses they used last, for what is sent to them unasked; at some 200 octets each.
/// More than the xTRs of a large site table. Only who has proven himself is remembered: a source can be made up.
const PEERS: usize = 16_384;
/// Addresses of this machine that others are told of: an operator who has more names those that count.
const OWN: usize = 64;

/// Which of our addresses an xTR that has proven itself has used last.
#[derive(Debug)]
pub(super) struct Faces(Mutex<Bounded<IpAddr, IpAddr>>);

impl Faces {
    /// Has the system say to which address a datagram came.
    pub(super) fn of(socket: &UdpSocket, local: SocketAddr) -> nix::Result<Self> {
        match local {
            SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
        Ok(Self(Mutex::new(Bounded::new(PEERS))))
    }

    /// Takes note that an xTR has proven itself at this address of ours.
    pub(super) fn note(&self, remote: IpAddr, ours: IpAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).renew(remote, ours);
    }

    /// The address from which a datagram leaves: the one that it names, else the one that its receiver used last. `None` leaves it to
    /// the system.
    pub(super) fn towards(&self, local: SocketAddr, remote: IpAddr) -> Option<IpAddr> {
        if !local.ip().is_unspecified() {
            return Some(local.ip());
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&remote).copied()
    }
}

/// Room for what the system says of a datagram that came.
pub(super) fn room() -> Vec<u8> {
    // The larger of the two.
    cmsg_space!(libc::in6_pktinfo)
}

/// Our address that a datagram came to, if an answer can leave from it: not those of groups and broadcasts, and not those that mean
/// nothing without their link.
pub(super) fn asked_at(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<IpAddr> {
    let told = message.cmsgs().ok()?.find_map(|told| match told {
        // The address of ours that the system would answer from: the receiver's own, but for broadcasts.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr))))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr))),
        _ => None,
    });
    told.filter(|ours| !ours.is_unspecified() && !ours.is_multicast() && !is_link_local(*ours))
}

/// What tells the system from which address to send.
pub(super) enum Source {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

impl Source {
    pub(super) fn new(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let address = libc::in_addr { s_addr: v4.to_bits().to_be() };
                Self::V4(libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: address })
            }
            IpAddr::V6(v6) => {
                let address = libc::in6_addr { s6_addr: v6.octets() };
                Self::V6(libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 })
            }
        }
    }

    pub(super) fn message(&self) -> ControlMessage<'_> {
        match self {
            Self::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Self::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        }
    }

    /// Room for the message, and no more: the system takes what is left for another one.
    pub(super) fn room(&self) -> Vec<u8> {
        match self {
            Self::V4(_) => cmsg_space!(libc::in_pktinfo),
            Self::V6(_) => cmsg_space!(libc::in6_pktinfo),
        }
    }
}

/// Whether the system may not send from an address because this machine has it no longer.
pub(super) fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH))
}

/// The address of ours from which the system would send to `remote`, which has the way there; nothing is sent. `None` if there is no way.
pub(in crate::shell) fn leading_to(remote: SocketAddr) -> Option<IpAddr> {
    let mut any = unspecified(remote);
    any.set_port(0);
    let socket = std::net::UdpSocket::bind(any).ok()?;
    socket.connect(remote).ok()?;
    let own = socket.local_addr().ok()?.ip();
    Some(own).filter(|own| !own.is_unspecified())
}

/// Where sockets that listen on all addresses can be reached from elsewhere, which is what others are told: where there are public
/// addresses, of either family, nothing but these, none that `is_eid`, and none that soon is another's.
pub fn addresses(locals: &[SocketAddr], is_eid: impl Fn(IpAddr) -> bool) -> Vec<SocketAddr> {
    if locals.iter().any(|local| local.ip().is_unspecified()) { tellable(locals, &own(), is_eid) } else { Vec::new() }
}

/// The addresses that this machine has, and will have for a while; none if it does not say.
pub(in crate::shell) fn own() -> Vec<IpAddr> {
    static IS_SAID: Once = Once::new();
    let interfaces =
        getifaddrs().map_err(|error| tracing::warn!(%error, "the addresses of this machine are not known"));
    let told = interfaces.into_iter().flatten().filter_map(|interface| remote_of(&interface.address?));
    lasting(told.map(|address| address.ip()).collect(), Path::new(IPV6_ADDRESSES), &IS_SAID)
}

/// Those of our addresses that the file `flags` does not call passing. Where it cannot be read all are taken for lasting, and the log warns
/// once, if there are any that it should be about.
fn lasting(mut own: Vec<IpAddr>, flags: &Path, is_said: &Once) -> Vec<IpAddr> {
    match std::fs::read_to_string(flags) {
        Ok(table) => {
            let passing = passing(&table);
            own.retain(|own| !passing.contains(own));
        }
        Err(error) if own.iter().any(|own| own.is_ipv6() && is_told(*own)) => is_said.call_once(|| {
            let path = flags.display();
            tracing::warn!(%path, %error, "temporary, deprecated and tentative IPv6 addresses are not known, and others are told of them too");
        }),
        Err(_) => {}
    }
    own
}

/// Those of these addresses that others are told of, behind the sockets that listen on all of them.
pub(in crate::shell) fn tellable(
    locals: &[SocketAddr],
    own: &[IpAddr],
    is_eid: impl Fn(IpAddr) -> bool,
) -> Vec<SocketAddr> {
    let (open, bound): (Vec<SocketAddr>, Vec<SocketAddr>) =
        locals.iter().partition(|local| local.ip().is_unspecified());
    let is_public = bound.iter().any(|local| is_told(local.ip()) && !is_private(local.ip()));
    choose(&open, is_public, own.iter().copied().filter(|own| !is_eid(*own)))
}

/// Where Linux shows the flags of its IPv6 addresses; a kernel without IPv6 has no such file.
const IPV6_ADDRESSES: &str = "/proc/net/if_inet6";
/// `IFA_F_TEMPORARY`, `IFA_F_OPTIMISTIC`, `IFA_F_DADFAILED`, `IFA_F_DEPRECATED`, `IFA_F_TENTATIVE`.
const PASSING: u32 = 0x01 | 0x04 | 0x08 | 0x20 | 0x40;

/// The addresses that this machine will not have for long (RFC 8981; RFC 4862, section 5.5.4), or does not have yet.
fn passing(table: &str) -> Vec<IpAddr> {
    let row = |line: &str| {
        // Address, interface, length of the prefix, scope, flags, name.
        let mut columns = line.split_whitespace();
        let address = u128::from_str_radix(columns.next()?, 16).ok()?;
        let flags = u32::from_str_radix(columns.nth(3)?, 16).ok()?;
        (flags & PASSING != 0).then(|| IpAddr::V6(Ipv6Addr::from_bits(address)))
    };
    table.lines().filter_map(row).collect()
}

/// The addresses among `own` behind the sockets that are `open`. A private one is no help to who knows a public one: most who try it
/// come to somebody else, or to nobody. With `is_public` a socket is bound to one anyway.
fn choose(open: &[SocketAddr], is_public: bool, own: impl Iterator<Item = IpAddr>) -> Vec<SocketAddr> {
    let is_open = |own: &IpAddr| open.iter().any(|local| local.is_ipv4() == own.is_ipv4());
    let mut own: Vec<IpAddr> = own.filter(|own| is_told(*own) && is_open(own)).collect();
    let has_public = is_public || own.iter().any(|own| !is_private(*own));
    own.retain(|own| !has_public || !is_private(*own));
    own.sort_unstable();
    own.dedup();
    let at = |own: IpAddr| open.iter().map(move |local| SocketAddr::new(own, local.port()));
    let of_family = |at: &SocketAddr| open.contains(&unspecified(*at));
    own.into_iter().flat_map(at).filter(of_family).take(OWN).collect()
}

/// Whether an address means anything to others.
fn is_told(address: IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !is_link_local(address)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::shell::log::logged;

    fn open_at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn temporary_deprecated_and_tentative_addresses_are_none_to_be_told_of() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     20010db8000000000000000000000001 02 40 00 80     eth0\n\
                     20010db8000000000000000000000002 02 40 00 01     eth0\n\
                     20010db8000000000000000000000003 02 40 00 20     eth0\n\
                     20010db8000000000000000000000004 02 40 00 40     eth0\n\
                     20010db8000000000000000000000005 02 40 00 880     eth0\nwhat is this\n";
        let passing: Vec<String> = passing(table).iter().map(ToString::to_string).collect();
        assert_eq!(passing, ["2001:db8::2", "2001:db8::3", "2001:db8::4"]);
    }

    #[test]
    fn where_nobody_says_which_ipv6_addresses_pass_the_log_warns_once_if_there_are_any() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("if_inet6");
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let (is_said, all) = (Once::new(), parse(&["192.0.2.1", "2001:db8::1", "2001:db8::2"]));
        let lasting = |own: &[IpAddr]| {
            let mut found = vec![];
            (logged(|| found = lasting(own.to_vec(), &file, &is_said)), found)
        };
        // As of a kernel without IPv6, and of a machine that has no address but its own loopback.
        for own in [parse(&["192.0.2.1"]), parse(&["::1", "fe80::1"])] {
            assert_eq!(lasting(&own), (vec![], own));
        }
        let (lines, found) = lasting(&all);
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(line.starts_with("WARN temporary, deprecated and tentative IPv6 addresses are not known"), "{line}");
        assert!(line.contains("if_inet6") && line.contains("No such file"), "{line}");
        assert_eq!(found, all);
        assert_eq!(lasting(&all), (vec![], all.clone()), "once");
        std::fs::write(&file, "20010db8000000000000000000000002 02 40 00 01     eth0\n").unwrap();
        assert_eq!(lasting(&all), (vec![], all[..2].to_vec()));
    }

    #[test]
    fn others_are_told_of_public_addresses_if_there_are_any_and_of_none_that_mean_nothing_to_them() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let own =
            parse(&["127.0.0.1", "10.0.0.1", "192.0.2.1", "169.254.1.1", "::1", "fe80::1", "fd00::1", "2001:db8::1"]);
        let choose = |open: &[&str], own: &[IpAddr]| -> Vec<String> {
            let open: Vec<SocketAddr> = open.iter().map(|text| open_at(text)).collect();
            tellable(&open, own, |_| false).iter().map(ToString::to_string).collect()
        };
        let both = ["0.0.0.0:4342", "[::]:5000"];
        assert_eq!(choose(&both, &own), ["192.0.2.1:4342", "[2001:db8::1]:5000"]);
        // A public one of the other family is better than one behind a NAT, if anybody listens there.
        let behind_nat = parse(&["10.0.0.1", "100.64.0.1", "fe80::1", "2001:db8::1", "fd00::1"]);
        assert_eq!(choose(&both, &behind_nat), ["[2001:db8::1]:5000"]);
        assert_eq!(choose(&both[..1], &behind_nat), ["10.0.0.1:4342", "100.64.0.1:4342"]);
        assert_eq!(choose(&["0.0.0.0:4342", "[2001:db8::1]:4342"], &behind_nat), [""; 0]);
        assert_eq!(choose(&["0.0.0.0:4342", "[::1]:4342"], &behind_nat[..1]), ["10.0.0.1:4342"]);
        assert_eq!(addresses(&["192.0.2.53:4342".parse().unwrap()], |_| false), []);
    }
}
