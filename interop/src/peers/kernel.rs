// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel's `vxlan gpe` device as an xTR of LISP-GPE (RFC 9305): header and UDP port are LISP's, the next protocol is in it.
//!
//! It is a data plane only. Its mappings are routes, written here for both sites; its own mapping is registered by this
//! program from its locator, as an ETR of the site would.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use pcap_file::pcap::PcapReader;
use wire::address::{Address, Eid, EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapRegister, Nonce};
use wire::data::{IpPacket, LispHeader, NextProtocol, UdpHeader, protocol};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

use super::network::{SITES, Site, Underlay};
use crate::lab::namespace::Namespace;
use crate::lab::process;
use crate::limits::COMMAND_TIME;

/// Name of the device.
const DEVICE: &str = "gpe0";
/// As our own TUN device: room for the outer headers of both families in 1,500 octets.
const MTU: &str = "1360";
/// After this the Map-Register is sent again, as long as the map-server starts.
const NOTIFY_TIME: Duration = Duration::from_millis(500);
/// How often.
const ATTEMPTS: usize = 40;

/// What this machine does not have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Lacking(String);

/// Makes the device in the namespace of a border, leads the other site's EIDs through it, and registers its own.
///
/// # Errors
/// [`Lacking`] when the kernel has no such device; others when it or `ip` fails otherwise, or the map-server does not confirm.
pub(super) fn start(namespace: &Namespace, site: &Site, underlay: Underlay, key: (u8, &str)) -> anyhow::Result<()> {
    let port = wire::DATA_PORT.to_string();
    // Our ITR leaves the UDP checksum out over IPv6 too, which RFC 6935 allows to tunnels.
    let device = ["type", "vxlan", "gpe", "external", "dstport", &port, "udp6zerocsumrx"];
    ip(namespace, &[&["link", "add", DEVICE][..], &device].concat()).map_err(lacking)?;
    ip(namespace, &["link", "set", DEVICE, "mtu", MTU, "up"])?;
    let (encapsulation, hops) = match underlay {
        Underlay::V4 => ("ip", "ttl"),
        Underlay::V6 => ("ip6", "hoplimit"),
    };
    for other in SITES.iter().filter(|other| other.xtr != site.xtr) {
        for eids in &other.eids {
            let family = if eids.prefix.contains(':') { "-6" } else { "-4" };
            let tunnel = ["encap", encapsulation, "id", "0", "src", site.rloc(underlay), "dst", other.rloc(underlay)];
            ip(
                namespace,
                &[&[family, "route", "add", eids.prefix][..], &tunnel, &[hops, "64", "dev", DEVICE]].concat(),
            )?;
        }
    }
    register(namespace, site, underlay, key)
}

/// A kernel without the device says so; whatever else `ip link add` fails of is a failure.
fn lacking(error: anyhow::Error) -> anyhow::Error {
    let said = format!("{error:#}");
    if ["Operation not supported", "Unknown device type"].iter().any(|words| said.contains(words)) {
        return Lacking(format!("no vxlan gpe device: {said}")).into();
    }
    error.context("the vxlan gpe device")
}

fn ip(namespace: &Namespace, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments);
    let output = process::output(namespace, command, COMMAND_TIME)?;
    let done = output.status.is_some_and(|status| status.success());
    ensure!(done, "ip {}: {}", arguments.join(" "), output.stderr.trim());
    Ok(())
}

/// Registers the EIDs of the site behind the border's locator. They stay for a day (T): nobody refreshes them.
fn register(namespace: &Namespace, site: &Site, underlay: Underlay, (id, secret): (u8, &str)) -> anyhow::Result<()> {
    let rloc: IpAddr = site.rloc(underlay).parse()?;
    let server = SocketAddr::new(underlay.map_server().parse()?, wire::CONTROL_PORT);
    let records = site.eids.iter().map(|eids| record(eids.prefix, rloc)).collect::<anyhow::Result<_>>()?;
    let (proxy_reply, want_notify, use_ttl) = (true, true, true);
    let message = MapRegister { nonce: Nonce(1), proxy_reply, want_notify, use_ttl, records, ..MapRegister::default() };
    let key = AuthKey { id, algorithm: Algorithm::HmacSha256, secret: Secret::new(secret) };
    let sealed = auth::seal(&message.into(), &key, TagForm::Truncated)?;
    // Map-Notifies go to the control port.
    let socket = namespace.run(move || UdpSocket::bind((rloc, wire::CONTROL_PORT)))??;
    socket.set_read_timeout(Some(NOTIFY_TIME))?;
    let mut buffer = [0; 2048];
    for _ in 0..ATTEMPTS {
        socket.send_to(&sealed, server)?;
        let heard = socket.recv(&mut buffer);
        if heard.is_err() {
            // Refused at once while the map-server starts.
            std::thread::sleep(NOTIFY_TIME / 5);
        } else if let Ok(length) = heard
            && matches!(ControlMessage::decode(&buffer[..length]), Ok(ControlMessage::MapNotify(_)))
        {
            return Ok(());
        }
    }
    bail!("the map-server does not confirm the registration of {}", site.xtr)
}

fn record(prefix: &str, rloc: IpAddr) -> anyhow::Result<MappingRecord> {
    let locator = LocatorRecord {
        priority: 1,
        weight: 100,
        mpriority: LocatorRecord::UNUSABLE,
        mweight: 0,
        local: true,
        probed: false,
        reachable: true,
        rloc: Address::from(rloc),
    };
    Ok(MappingRecord {
        ttl: Ttl::DEFAULT,
        action: Action::NoAction,
        authoritative: false,
        map_version: MapVersion::default(),
        eid: Eid::from(EidPrefix { iid: InstanceId(0), net: prefix.parse()? }),
        locators: vec![locator],
    })
}

/// Every data packet of the captures must be LISP-GPE, and name the protocol that is inside.
///
/// # Errors
/// Names a packet that is not so.
pub(super) fn judge(captures: &[PathBuf]) -> anyhow::Result<String> {
    let (mut v4, mut v6) = (0, 0);
    for capture in captures {
        for (number, next, inner) in data_packets(capture)? {
            let named = next.with_context(|| format!("{}: frame {number} is no LISP-GPE", capture.display()))?;
            match (named, inner) {
                (NextProtocol::IPV4, 4) => v4 += 1,
                (NextProtocol::IPV6, 6) => v6 += 1,
                other => bail!("{}: frame {number} says and is {other:?}", capture.display()),
            }
        }
    }
    ensure!(v4 > 0 && v6 > 0, "{v4} LISP-GPE packets with IPv4, {v6} with IPv6");
    Ok(format!("{v4} LISP-GPE packets with IPv4, {v6} with IPv6, none without P"))
}

/// Number, next protocol and inner version of the data packets of a capture.
fn data_packets(capture: &Path) -> anyhow::Result<Vec<(usize, Option<NextProtocol>, u8)>> {
    const ETHERNET: usize = 14;
    let mut reader = PcapReader::new(File::open(capture)?)?;
    let (mut found, mut number) = (Vec::new(), 0);
    while let Some(frame) = reader.next_packet() {
        let frame = frame?;
        number += 1;
        let Some(Ok(packet)) = frame.data.get(ETHERNET..).map(IpPacket::parse) else { continue };
        let Some((protocol::UDP, segment)) = packet.transport() else { continue };
        let Ok((udp, payload)) = UdpHeader::parse(segment) else { continue };
        if udp.destination == wire::DATA_PORT {
            let (header, inner) = LispHeader::parse(payload)?;
            found.push((number, header.next_protocol, inner.first().map_or(0, |first| first >> 4)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kernel_without_the_device_lacks_it() {
        let is_lacking = |said: &'static str| lacking(anyhow::anyhow!("ip link add: {said}")).is::<Lacking>();
        assert!(is_lacking("RTNETLINK answers: Operation not supported"));
        assert!(is_lacking("Error: Unknown device type."));
        for said in
            ["RTNETLINK answers: File exists", "RTNETLINK answers: Operation not permitted", "unknown command \"gpe\"?"]
        {
            assert!(!is_lacking(said), "{said}");
        }
    }
}
