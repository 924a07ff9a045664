// SPDX-License-Identifier: GPL-2.0-or-later
//! Where xTRs of the suites stand that speak to a map system of others: at a cable to its namespace, or on this machine.
//!
//! ```text
//! suite (10.66.1.1 to 10.66.1.240, 2001:db8:ff66::1:1 to ::1:24) --- (10.66.0.1, 2001:db8:ff66::1) target
//! ```

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use interop::lab::{Lab, LabError, Namespace, Node, Topology};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::foreign::unspecified;
use crate::suite::probe::{Fault, missing, unfit};
use crate::target::template::Values;

/// The target's end of the cable.
const INTERFACE: &str = "rloc0";
const TARGET: &str = "target";
const SUITE: &str = "suite";
/// Addresses of xTRs: more than are in use at once, and used again only when a late answer has long come.
const V4: u8 = 240;
const V6: u16 = 24;
/// With so many IPv4 addresses none is used twice in a second or two.
const ROOMY: usize = 64;
/// The kernel notes within this time that a port runs.
const RUNNING: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

fn target_v4() -> Ipv4Addr {
    Ipv4Addr::new(10, 66, 0, 1)
}

fn target_v6() -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xff66, 0, 0, 0, 0, 1)
}

pub(in crate::suite) fn suite_v4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 66, 1, number)
}

fn suite_v6(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xff66, 0, 0, 0, 1, number)
}

/// Namespaces, or this machine; and the addresses that xTRs may have.
pub(in crate::suite) struct Place {
    lab: Option<Lab>,
    addresses: Vec<IpAddr>,
    next: Cell<usize>,
}

impl Place {
    /// Two namespaces and a cable.
    pub(in crate::suite) fn lab() -> Result<Self, Fault> {
        if !nix::unistd::Uid::effective().is_root() {
            return Err(missing("root is needed, for network namespaces"));
        }
        let addresses: Vec<IpAddr> = (1..=V4)
            .map(|number| suite_v4(number).into())
            .chain((1..=V6).map(|number| suite_v6(number).into()))
            .collect();
        let with_length = |address: &IpAddr| format!("{address}/{}", if address.is_ipv4() { 16 } else { 64 });
        let all: Vec<_> = addresses.iter().map(with_length).collect();
        let suite = Node::host(SUITE).port("eth0", "cable", &all.iter().map(String::as_str).collect::<Vec<_>>());
        let own = [with_length(&target_v4().into()), with_length(&target_v6().into())];
        let target = Node::host(TARGET).port(INTERFACE, "cable", &own.each_ref().map(String::as_str));
        let [gateway, gateway6] = [suite_v4(1).to_string(), suite_v6(1).to_string()];
        let target = target.default_route(&gateway, INTERFACE).default_route(&gateway6, INTERFACE);
        let lab = Lab::build(&Topology::default().with(suite).with(target)).map_err(missing)?;
        let place = Self { lab: Some(lab), addresses, next: Cell::new(0) };
        place.await_running()?;
        Ok(place)
    }

    /// This machine: these of its addresses, or whatever it has towards the target.
    pub(in crate::suite) fn here(targets: &[SocketAddr], from: &[IpAddr]) -> Result<Self, Fault> {
        let mut addresses = from.to_vec();
        for target in targets.iter().filter(|_| from.is_empty()) {
            match target.ip() {
                IpAddr::V4(v4) if v4.is_loopback() => {
                    addresses.extend((1..=V4).map(|number| IpAddr::V4(loopback(number))))
                }
                ip => addresses.push(towards(ip).map_err(|error| missing(format!("a way to {ip}: {error}")))?),
            }
        }
        Ok(Self { lab: None, addresses, next: Cell::new(0) })
    }

    /// Some programs look once, when they start, whether their port runs.
    fn await_running(&self) -> Result<(), Fault> {
        let begun = Instant::now();
        let runs = || -> nix::Result<bool> {
            let port = getifaddrs()?.find(|port| port.interface_name == INTERFACE);
            Ok(port.is_some_and(|port| port.flags.contains(InterfaceFlags::IFF_RUNNING)))
        };
        while !self.namespace().and_then(|namespace| namespace.run(runs)).map_err(missing)?.map_err(missing)? {
            if begun.elapsed() > RUNNING {
                return Err(missing("a cable that carries packets"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Where the target is started.
    pub(in crate::suite) fn namespace(&self) -> Result<&Namespace, LabError> {
        let nowhere = || LabError::failed(TARGET, "looked for", io::Error::other("it runs elsewhere"));
        self.lab.as_ref().ok_or_else(nowhere)?.namespace(TARGET)
    }

    /// Where a target that is started answers.
    pub(in crate::suite) fn of_target(&self) -> Vec<SocketAddr> {
        [target_v4().into(), target_v6().into()].map(|ip| SocketAddr::new(ip, wire::CONTROL_PORT)).to_vec()
    }

    /// What placeholders of a target file stand for.
    pub(in crate::suite) fn values(&self) -> Values {
        Values::from([
            ("address", target_v4().to_string()),
            ("address6", target_v6().to_string()),
            ("gateway", suite_v4(1).to_string()),
            ("gateway6", suite_v6(1).to_string()),
            ("interface", INTERFACE.to_owned()),
        ])
    }

    /// Whether each question can come from another address than those shortly before.
    pub(super) fn is_roomy(&self) -> bool {
        self.addresses.iter().filter(|address| address.is_ipv4()).count() >= ROOMY
    }

    /// The IPv4 address of this number, round and round.
    pub(in crate::suite) fn v4(&self, number: usize) -> Result<IpAddr, Fault> {
        let all: Vec<_> = self.addresses.iter().filter(|address| address.is_ipv4()).collect();
        let found = number.checked_rem(all.len()).and_then(|number| all.get(number));
        found
            .map(|address| **address)
            .ok_or_else(|| unfit("an IPv4 address of this machine is needed (`from` names them)"))
    }

    /// A socket at the next address at which this port is free.
    pub(in crate::suite) fn socket(&self, is_v4: bool, port: u16) -> Result<UdpSocket, Fault> {
        let of_family: Vec<_> = self.addresses.iter().filter(|address| address.is_ipv4() == is_v4).collect();
        for _ in 0..of_family.len() {
            let number = self.next.get();
            self.next.set(number + 1);
            if let Ok(socket) = self.bind(SocketAddr::new(*of_family[number % of_family.len()], port))? {
                return Ok(socket);
            }
        }
        let family = if is_v4 { "IPv4" } else { "IPv6" };
        Err(unfit(format!(
            "another {family} address of this machine is needed at which port {port} is free (`from` names them)"
        )))
    }

    /// A socket at this very address.
    pub(in crate::suite) fn bind(&self, address: SocketAddr) -> Result<io::Result<UdpSocket>, Fault> {
        self.opened(move || UdpSocket::bind(address))
    }

    /// What is opened where xTRs stand: what leaves there goes to the target and nowhere else.
    pub(super) fn opened<T: Send + 'static>(&self, open: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
        match &self.lab {
            None => Ok(open()),
            Some(lab) => lab.namespace(SUITE).map_err(missing)?.run(open).map_err(missing),
        }
    }
}

/// Runs beside each other have different addresses.
fn loopback(number: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 192 | high & 0x3f, low, number)
}

/// The address of this machine that it would speak from.
fn towards(target: IpAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((unspecified(target.is_ipv4()), 0))?;
    socket.connect((target, wire::CONTROL_PORT))?;
    Ok(socket.local_addr()?.ip())
}
