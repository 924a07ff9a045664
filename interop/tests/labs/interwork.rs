// SPDX-License-Identifier: GPL-2.0-or-later
//! The labs of interworking and of two providers: what crosses them, and what does not get lost in them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use interop::hold::LabName;
use interop::lab::{Lab, netlink, process};
use interop::limits::COMMAND_TIME;
use interop::probe::crossing::{ECHO, Echo, Ways, crossing, rerouted};
use serde_json::Value;

use crate::sites::{Ends, SITE, Stage, ends, stand};
use crate::support;

/// The host beyond, IPv4 and IPv6.
const LEGACY: [&str; 2] = ["203.0.113.130", "2001:db8:1e::2"];

#[test]
fn a_host_without_lisp_and_a_site_reach_each_other_through_pitr_and_petr() {
    stand(LabName::Legacy, support::beside_others, |stage| {
        for (site, legacy) in SITE.into_iter().zip(LEGACY) {
            let (site, legacy) = (("host-a", site), ("legacy", legacy));
            for ends in [[legacy, site], [site, legacy]] {
                let report = stage.pings(ends, 8)?;
                assert_eq!(report.received(), 8, "{ends:?}: {report:?}");
                let octets = 2 << 20;
                assert_eq!(stage.transfer(ends, octets, Duration::from_secs(60))?.octets, octets, "{ends:?}");
            }
        }
        let (site, proxy) = (stage.has_counted("xtr-a")?, stage.has_counted("proxy")?);
        let has = |counted: &BTreeSet<String>, name: &str| counted.iter().any(|counter| counter.starts_with(name));
        // All that left the site was taken by the PETR, and nothing found another way.
        assert!(has(&proxy, "petr-packets") && !has(&site, "native-packets"), "{site:?}{proxy:?}");
        assert!(["native-packets", "drop-core", "drop-pitr"].iter().all(|name| !has(&proxy, name)), "{proxy:?}");
        assert!(!has(&site, "drop-core"), "{site:?}");
        Ok(())
    });
}

/// How long packets go on when something has failed, at least.
const BEHIND: Duration = Duration::from_secs(2);
/// The longest time without an answer: twice what is promised, which the bench of the data plane measures, of debug builds beside
/// other tests.
const LONGEST_GAP: Duration = Duration::from_secs(8);
/// How long it may take until an xTR knows of a locator what is so, on a machine that does other things too: one that has come and gone is
/// held back for half a minute.
const KNOWN: Duration = Duration::from_secs(90);
/// The locator by the preferred uplink, and that of the other site.
const PREFERRED: &str = "192.0.2.2";
const OTHER_SITE: &str = "198.51.100.2";
/// The ports of the site's router to its providers.
const PORTS: [&str; 2] = ["one", "two"];

/// Packets at a steady pace cross the two sites and come back while something fails. Those of the site leave it by the preferred uplink
/// before, and by the other one behind.
fn fails_over(stage: &Stage<'_>, ends: Ends<'_>, fails: impl FnOnce()) -> anyhow::Result<()> {
    let ways = Ways { node: stage.lab.namespace("xtr-a")?, ports: PORTS };
    crosses(stage, ends, |socket, to| Ok(rerouted(socket, to, (BEHIND, LONGEST_GAP), ways, fails)?.2))
}

/// The same where it is not said by which uplink they leave before.
fn goes_on(stage: &Stage<'_>, ends: Ends<'_>, fails: impl FnOnce()) -> anyhow::Result<()> {
    crosses(stage, ends, |socket, to| Ok(crossing(socket, to, (BEHIND, LONGEST_GAP), fails)?.2))
}

/// When both xTRs have found each other's locators to be up, packets are sent between these hosts, which tells for how long none came back.
fn crosses(
    stage: &Stage<'_>,
    ends: Ends<'_>,
    send: impl FnOnce(&UdpSocket, SocketAddr) -> anyhow::Result<Duration>,
) -> anyhow::Result<()> {
    assert_eq!(stage.pings(ends, 4)?.received(), 4);
    let [(from, source), (to, host)] = ends;
    let (source, host): (IpAddr, IpAddr) = (source.parse()?, host.parse()?);
    let _echo = Echo::start(stage.lab.namespace(to)?, host)?;
    let socket = stage.lab.namespace(from)?.run(move || UdpSocket::bind((source, 0)))??;
    await_known(stage, "xtr-a", OTHER_SITE, true)?;
    await_known(stage, "xtr-b", PREFERRED, true)?;
    let gap = send(&socket, (host, ECHO).into())?;
    println!("without an answer for {gap:?}");
    assert!(gap < LONGEST_GAP, "{gap:?}");
    Ok(())
}

/// Waits until an xTR has found this locator of the other site to be up, or not.
fn await_known(stage: &Stage<'_>, xtr: &str, locator: &str, up: bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        // Some packets each way, without which nobody looks.
        let answered = stage.pings(ends(0), 4)?.received() + stage.pings(ends(1), 4)?.received();
        let shown = stage.show(xtr, "locators")?;
        let is_it = |row: &&Value| row["address"] == locator;
        let state = shown["remote"].as_array().into_iter().flatten().find(is_it).map(|row| &row["state"]);
        if state.is_some_and(|state| state == "up") == up {
            println!("{locator} is up at {xtr}: {up}, after {:?}", begun.elapsed());
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < KNOWN, "{answered} of 8; {xtr}: {}", shown["remote"]);
    }
}

/// A provider's router forwards, or drops everything without a word.
fn forward(lab: &Lab, isp: &str, on: bool) {
    let write = move || std::fs::write("/proc/sys/net/ipv4/ip_forward", if on { "1" } else { "0" });
    lab.namespace(isp).unwrap().run(write).unwrap().unwrap();
}

/// The preferred provider fails beyond the link, of which nobody is told; then it is well again, and the other link goes down.
#[test]
fn a_site_with_two_providers_goes_on_whichever_of_them_fails() {
    stand(LabName::TwoProviders, support::beside_others, |stage| {
        fails_over(stage, ends(1), || forward(stage.lab, "isp-1", false))?;
        assert!(stage.counted("xtr-a", "control", "uplinks-changed")? > 0);
        await_known(stage, "xtr-b", PREFERRED, false)?;
        forward(stage.lab, "isp-1", true);
        goes_on(stage, ends(0), || netlink::down(stage.lab.namespace("xtr-a").unwrap(), "two").unwrap())
    });
}

/// The routes by the preferred provider go, and nothing else: the link is up, and the locator is an address of the site's router.
fn lose_routes(lab: &Lab) {
    for route in ["default table 101", "default dev one"] {
        let mut command = Command::new("ip");
        command.args(["route", "del"]).args(route.split(' '));
        let output = process::output(lab.namespace("xtr-a").unwrap(), command, COMMAND_TIME).unwrap();
        assert!(output.status.is_some_and(|status| status.success()), "{route}: {}", output.stderr);
    }
}

/// What comes from the other site still gets here, so that no silence shows that nothing leaves.
#[test]
fn a_site_whose_preferred_uplink_loses_its_routes_and_no_address_goes_on_by_the_other() {
    stand(LabName::TwoProviders, support::beside_others, |stage| {
        let [here, there] = ends(1);
        fails_over(stage, [there, here], || lose_routes(stage.lab))?;
        assert!(stage.counted("xtr-a", "control", "uplinks-changed")? > 0);
        Ok(())
    });
}

/// Lays the cable to the preferred provider again, as the lab had it.
fn plug_in(lab: &Lab) -> anyhow::Result<()> {
    let (site, isp) = (lab.namespace("xtr-a")?, lab.namespace("isp-1")?);
    let gateway = "192.0.2.1".parse()?;
    netlink::cable((site, "one"), (isp, "site"))?;
    netlink::add_address(isp, "site", "192.0.2.1/25".parse()?)?;
    netlink::add_address(site, "one", "192.0.2.2/25".parse()?)?;
    netlink::default_route_in(site, gateway, "one", 101)?;
    let main = 254;
    Ok(netlink::default_route_in(site, gateway, "one", main)?)
}

/// The interface of the preferred locator is taken away, and with it the default route; then it is back, and the other one goes.
#[test]
fn a_site_goes_on_when_an_interface_is_taken_away_under_load_and_uses_it_again_when_it_is_back() {
    stand(LabName::TwoProviders, support::beside_others, |stage| {
        fails_over(stage, ends(1), || netlink::remove(stage.lab.namespace("xtr-a").unwrap(), "one").unwrap())?;
        await_known(stage, "xtr-b", PREFERRED, false)?;
        plug_in(stage.lab)?;
        goes_on(stage, ends(0), || netlink::remove(stage.lab.namespace("xtr-a").unwrap(), "two").unwrap())
    });
}

/// Solicit-Map-Requests that have come to the other site.
fn solicited(stage: &Stage<'_>) -> anyhow::Result<u64> {
    stage.counted("xtr-b", "control", "smrs-received")
}

/// Waits for more of them than there were.
fn is_solicited_again(stage: &Stage<'_>, before: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + COMMAND_TIME;
    while solicited(stage)? <= before {
        anyhow::ensure!(Instant::now() < deadline, "no more SMRs than {before} come to the other site");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Waits until no more come: each change is told twice, three seconds apart, of each of two EID-prefixes. How many have come.
fn is_solicited_no_more(stage: &Stage<'_>) -> anyhow::Result<u64> {
    let (begun, mut seen) = (Instant::now(), (solicited(stage)?, Instant::now()));
    while seen.1.elapsed() < Duration::from_secs(7) {
        anyhow::ensure!(begun.elapsed() < KNOWN, "SMRs come to the other site without end: {}", seen.0);
        std::thread::sleep(Duration::from_millis(200));
        let now = solicited(stage)?;
        seen = if now == seen.0 { seen } else { (now, Instant::now()) };
    }
    Ok(seen.0)
}

/// The link to the preferred provider goes, and comes back when nothing crosses him: both change the mapping, and the other site has to
/// hear of both by way of the other provider.
#[test]
fn a_site_whose_preferred_provider_is_dead_solicits_through_the_other() {
    stand(LabName::TwoProviders, support::beside_others, |stage| {
        let site = stage.lab.namespace("xtr-a")?;
        assert_eq!(stage.pings(ends(1), 8)?.received(), 8);
        forward(stage.lab, "isp-1", false);
        let before = solicited(stage)?;
        netlink::down(site, "one")?;
        is_solicited_again(stage, before)?;
        let before = is_solicited_no_more(stage)?;
        netlink::up(site, "one")?;
        is_solicited_again(stage, before)
    });
}
