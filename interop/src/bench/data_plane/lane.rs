// SPDX-License-Identifier: GPL-2.0-or-later
//! A design in namespaces of its own, and the turns that are measured in it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::bare::{self, Bare};
use super::design::{Design, Kit, Test, Underlay};
use super::report::{ChecksumErrors, Loss, RoundTrip, Turn};
use super::{Options, PACE, WARM_UP};
use crate::bench::quantile;
use crate::demo::binaries::Binaries;
use crate::interrupt;
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, Namespace, netlink, offload, process};
use crate::limits::{PING_WAIT, POLL};
use crate::peers::oor;
use crate::probe::counters;
use crate::probe::load::{self, Ends, Senders, Times};
use crate::probe::ping::{Ping, ping, round_trips};
use crate::sites::{Between, CORE, CORE_PORT, Family, Place, Routers, SECRET, SITES, Site, describe};

/// MTU of the underlay, octets.
const MTU: u16 = 1500;
/// UDP and LISP headers (RFC 9300, section 5.1), octets.
const UDP_AND_LISP: u16 = 8 + 8;
/// The device of the kernel's tunnel, and its two addresses of each family.
const VXLAN: &str = "vxlan0";
const VXLAN_V4: [&str; 2] = ["198.18.3.1", "198.18.3.2"];
const VXLAN_V6: [&str; 2] = ["2001:db8:c::1", "2001:db8:c::2"];
/// Seconds between OpenOverlayRouter's probes of a locator, as it does by default.
const OOR_PROBES: u64 = 30;

/// By then packets cross a network that was just built.
const CROSSING_TIME: Duration = Duration::from_secs(30);
/// What a wire is spared by no hardware: neither TCP nor UDP is cut by it, with or without a tunnel around. What comes is put together
/// by software (the last of them): a virtual cable does that only when its other end cuts nothing either.
const WIRE_LIKE: [(&str, bool); 7] = offloads(false);
/// The kernel's defaults for virtual cables.
const SUPER_PACKETS: [(&str, bool); 7] = offloads(true);

const fn offloads(on: bool) -> [(&'static str, bool); 7] {
    [
        ("tx-tcp-segmentation", on),
        ("tx-tcp-ecn-segmentation", on),
        ("tx-tcp6-segmentation", on),
        ("tx-udp_tnl-segmentation", on),
        ("tx-udp_tnl-csum-segmentation", on),
        ("tx-udp-segmentation", on),
        ("rx-gro", !on),
    ]
}

/// Small datagrams: 64 octets of payload.
static PAYLOAD: [u8; 64] = [0x6c; 64];
/// Pause between two pings whose times are measured.
pub(super) const PING_INTERVAL: Duration = Duration::from_millis(2);

/// A design in namespaces of its own.
#[derive(Debug)]
pub(super) struct Lane {
    design: Design,
    routers: Routers,
    bare: Vec<Bare>,
    lab: Lab,
    source: IpAddr,
    destination: IpAddr,
    senders: Senders,
}

impl Lane {
    /// Builds it, and waits until packets cross in both directions: no cache is cold, and hosts know the MTU of the way.
    pub(super) fn build(
        kit: Kit,
        options: &Options,
        binaries: &Binaries,
        workspace: &Workspace,
    ) -> anyhow::Result<Self> {
        let between = if kit.design == Design::Plain { Between::Routes } else { Between::Tunnels };
        let lab = Lab::build(&describe(between).with_offloads())?;
        let (source, destination) = (SITES[0].address(options.inner)?, SITES[1].address(options.inner)?);
        let (design, routers, bare, senders) = (kit.design, Routers::default(), Vec::new(), options.senders);
        let mut lane = Self { design, routers, bare, lab, source, destination, senders };
        let built = lane.start(&kit, options.outer, binaries, workspace).and_then(|()| lane.await_crossing());
        built.with_context(|| format!("{}\n{}", kit.design, lane.routers.last_words().join("\n")))?;
        Ok(lane)
    }

    fn start(&mut self, kit: &Kit, outer: Family, binaries: &Binaries, workspace: &Workspace) -> anyhow::Result<()> {
        let place = Place { lab: &self.lab, binaries, workspace, name: kit.design.name() };
        match kit.design {
            Design::Plain => Ok(()),
            Design::Vxlan => (0..2).try_for_each(|near| vxlan(&self.lab, near, outer)),
            Design::Bare => (0..2).try_for_each(|near| {
                let (site, far) = (&SITES[near], &SITES[1 - near]);
                let (local, remote) = (site.rloc(outer).parse()?, far.rloc(outer).parse()?);
                let end = bare::End { local, remote, prefixes: far.prefixes, mtu: inner_mtu(outer) };
                self.bare.push(Bare::start(self.lab.namespace(site.xtr)?, &end)?);
                Ok(())
            }),
            Design::Tier0 | Design::Tier1 => {
                self.routers.start_map_system(&place, outer, false)?;
                let mut flags = kit.flags.clone();
                // What fits the underlay, as an operator who knows it would say.
                flags.extend(["--mtu".to_owned(), inner_mtu(outer).to_string()]);
                SITES.iter().try_for_each(|site| self.routers.start(&place, site, &[outer], &flags))?;
                self.routers.await_mapped(&place, &[outer])
            }
            Design::Oor => {
                self.routers.start_map_system(&place, outer, true)?;
                let program = kit.program.as_deref().context("INTEROP_OOR")?;
                // It looks once whether its port runs, which the kernel notes a moment after it does.
                interrupt::sleep(RUNNING_TIME)?;
                for site in &SITES {
                    let xtr = oor::Xtr {
                        prefixes: [site.prefix(Family::V6), site.prefix(Family::V4)],
                        port: CORE_PORT,
                        version: outer.version(),
                        map_server: outer.map_system(),
                        map_resolver: outer.map_system(),
                        secret: SECRET,
                        debug: 0,
                        probe_interval: OOR_PROBES,
                    };
                    let command = oor::command(program, &place.folder(site.xtr)?, &xtr.configuration())?;
                    self.routers.start_in(&place, site.xtr, command)?;
                }
                self.routers.await_mapped(&place, &[outer])
            }
        }
    }

    /// Pings until all come back, then sends as much as takes large packets.
    fn await_crossing(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + CROSSING_TIME;
        loop {
            self.check()?;
            if self.crosses()? {
                break;
            }
            ensure!(Instant::now() < deadline, "no ping crosses after {CROSSING_TIME:?}");
            interrupt::sleep(POLL)?;
        }
        load::tcp(self.ends()?, 1, Times { warm_up: Duration::ZERO, measured: WARM_UP }, Senders::default())?;
        Ok(())
    }

    /// Fails when a router has ended.
    fn check(&mut self) -> anyhow::Result<()> {
        self.bare.iter().try_for_each(Bare::check)?;
        Ok(self.routers.check()?)
    }

    /// Whether pings of both hosts are answered.
    fn crosses(&self) -> anyhow::Result<bool> {
        let Ends { from, source, to, destination } = self.ends()?;
        let series = Ping { source, destination, count: 3, interval: POLL, wait: PING_WAIT };
        let back = Ping { source: destination, destination: source, ..series };
        Ok(ping(from, to, series)?.received() == 3 && ping(to, from, back)?.received() == 3)
    }

    /// Makes the cables of both xTRs towards the core what this underlay is. The core itself forwards frame by frame.
    pub(super) fn lay(&mut self, underlay: Underlay) -> anyhow::Result<()> {
        let features: &'static [(&str, bool)] = match underlay {
            Underlay::WireLike => &WIRE_LIKE,
            Underlay::SuperPackets => &SUPER_PACKETS,
        };
        for site in &SITES {
            offload::set_features(self.lab.namespace(site.xtr)?, CORE_PORT, features)?;
            offload::set_features(self.lab.namespace(CORE)?, site.xtr, &features[..features.len() - 1])?;
        }
        self.await_crossing()
    }

    /// As much as this test can send crosses for a while.
    pub(super) fn turn(&mut self, test: Test, underlay: Underlay, time: Duration) -> anyhow::Result<Turn> {
        self.check()?;
        let (ends, times) = (self.ends()?, Times { warm_up: WARM_UP.min(time), measured: time });
        let again = counters::retransmissions(ends.from)?;
        let delivered = match test {
            Test::Tcp4 => load::tcp(ends, 4, times, self.senders),
            Test::Udp64 => load::flood(ends, &PAYLOAD, times),
            _ => load::tcp(ends, 1, times, self.senders),
        };
        let rate = delivered.with_context(|| format!("{test} by {}", self.design))?.per_second();
        // Mbit of octets.
        let rate = if test == Test::Udp64 { rate } else { rate * 8.0 / 1e6 };
        let retransmissions = counters::retransmissions(ends.from)?.saturating_sub(again);
        Ok(Turn { design: self.design, underlay, test, rate, retransmissions })
    }

    /// Datagrams at a pace that must not be too much.
    pub(super) fn paced(&mut self, underlay: Underlay, time: Duration) -> anyhow::Result<Loss> {
        self.check()?;
        let paced = load::paced(self.ends()?, &PAYLOAD, PACE, time)?;
        let (sent, lost, offered_pps) = (paced.sent, paced.lost(), paced.rate());
        Ok(Loss { underlay, design: self.design, sent, lost, offered_pps })
    }

    /// The median round-trip time of pings.
    pub(super) fn round_trips(&mut self, underlay: Underlay, count: u16) -> anyhow::Result<RoundTrip> {
        self.check()?;
        let ends = self.ends()?;
        let (source, destination) = (ends.source, ends.destination);
        let series = Ping { source, destination, count, interval: PING_INTERVAL, wait: PING_WAIT };
        let times = round_trips(ends.from, series)?;
        let us = |share| quantile(&times, share).map(|time| time.as_secs_f64() * 1e6);
        let lost = usize::from(count) - times.len();
        Ok(RoundTrip { underlay, design: self.design, p50_us: us(0.5), p99_us: us(0.99), lost })
    }

    /// The routers that are programs: design, node, process.
    pub(super) fn routers(&self) -> impl Iterator<Item = (Design, &'static str, u32)> {
        let found = move |site: &'static Site| Some((self.design, site.xtr, self.routers.of(site.xtr)?.id()));
        SITES.iter().filter_map(found)
    }

    /// What hosts and routers have found wrong since they are there.
    pub(super) fn checksum_errors(&self) -> anyhow::Result<ChecksumErrors> {
        let count = |node: &'static str| counters::checksum_errors(self.lab.namespace(node)?);
        let [a, b] = &SITES;
        let (host_a, xtr_a, xtr_b, host_b) = (count(a.host)?, count(a.xtr)?, count(b.xtr)?, count(b.host)?);
        Ok(ChecksumErrors { design: self.design, host_a, xtr_a, xtr_b, host_b })
    }

    fn ends(&self) -> anyhow::Result<Ends<'_>> {
        let host = |site: usize| -> anyhow::Result<&Namespace> { Ok(self.lab.namespace(SITES[site].host)?) };
        Ok(Ends { from: host(0)?, source: self.source, to: host(1)?, destination: self.destination })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Side by side; each takes its registration back.
        process::end_all(std::mem::take(&mut self.routers.running));
    }
}

/// What fits the underlay inside a tunnel of this family.
fn inner_mtu(outer: Family) -> u16 {
    let outer_header = if outer == Family::V4 { 20 } else { 40 };
    MTU - outer_header - UDP_AND_LISP
}

/// The kernel notes once a second whether a port runs.
const RUNNING_TIME: Duration = Duration::from_millis(1200);

/// A tunnel of the kernel from one site to the other, and the routes through it.
fn vxlan(lab: &Lab, near: usize, outer: Family) -> anyhow::Result<()> {
    let (site, far) = (&SITES[near], &SITES[1 - near]);
    let xtr = lab.namespace(site.xtr)?;
    netlink::vxlan(xtr, VXLAN, CORE_PORT, site.rloc(outer).parse()?, far.rloc(outer).parse()?)?;
    for (family, addresses, length) in [(Family::V4, VXLAN_V4, 24), (Family::V6, VXLAN_V6, 64)] {
        netlink::add_address(xtr, VXLAN, format!("{}/{length}", addresses[near]).parse()?)?;
        let (to, via) = (far.prefix(family).parse()?, Some(addresses[1 - near].parse()?));
        netlink::route(xtr, &crate::lab::topology::Route { to, via, port: VXLAN.into() })?;
    }
    Ok(())
}
