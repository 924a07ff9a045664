// SPDX-License-Identifier: GPL-2.0-or-later
//! The labs of interworking and of two providers: what crosses them, and what does not get lost in them.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use interop::hold::LabName;
use interop::lab::{Lab, netlink, process};
use interop::limits::COMMAND_TIME;
use interop::probe::ping::PingReport;

use crate::sites::{Ends, INTERVAL, SITE, Stage, ends, stand};
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

/// The longest time without an answer while packets went on.
fn longest_gap(report: &PingReport) -> Duration {
    let mut gap = (0, 0);
    for fate in &report.pings {
        gap.0 = if fate.answered.is_some() { 0 } else { gap.0 + 1 };
        gap.1 = gap.1.max(gap.0);
    }
    INTERVAL * gap.1
}

/// Pings that go before something fails: until both ends have probed each other.
const BEFORE: u16 = 60;
/// The longest time without an answer: twice what is promised, which the bench of the data plane measures, of debug builds beside
/// other tests.
const LONGEST_GAP: Duration = Duration::from_secs(8);

/// Pings, of which so many go on after something has failed.
fn failover(stage: &Stage<'_>, family: usize, count: u16, fails: impl Fn() + Sync) -> anyhow::Result<()> {
    failover_between(stage, ends(family), count, fails)
}

fn failover_between(stage: &Stage<'_>, ends: Ends<'_>, count: u16, fails: impl Fn() + Sync) -> anyhow::Result<()> {
    assert_eq!(stage.pings(ends, 4)?.received(), 4);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(INTERVAL * u32::from(BEFORE));
            fails();
        });
        stage.pings(ends, BEFORE + count)
    })?;
    let gap = longest_gap(&report);
    println!("without an answer for {gap:?}");
    assert!(gap < LONGEST_GAP && report.pings.last().unwrap().answered.is_some(), "{gap:?}");
    Ok(())
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
        failover(stage, 1, 180, || forward(stage.lab, "isp-1", false))?;
        assert!(stage.counted("xtr-a", "control", "uplinks-changed")? > 0);
        forward(stage.lab, "isp-1", true);
        failover(stage, 0, 120, || netlink::down(stage.lab.namespace("xtr-a").unwrap(), "two").unwrap())
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
        failover_between(stage, [there, here], 180, || lose_routes(stage.lab))?;
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
        failover(stage, 1, 180, || netlink::remove(stage.lab.namespace("xtr-a").unwrap(), "one").unwrap())?;
        plug_in(stage.lab)?;
        // Registered again, and told to the other site.
        std::thread::sleep(Duration::from_secs(10));
        failover(stage, 0, 180, || netlink::remove(stage.lab.namespace("xtr-a").unwrap(), "two").unwrap())
    });
}

/// Solicit-Map-Requests that have come to the other site.
fn solicited(stage: &Stage<'_>) -> anyhow::Result<u64> {
    stage.counted("xtr-b", "control", "smrs-received")
}

/// Waits for more of them than there were.
fn is_solicited_again(stage: &Stage<'_>, before: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while solicited(stage)? <= before {
        anyhow::ensure!(Instant::now() < deadline, "no more SMRs than {before} come to the other site");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
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
        // Each change is told twice, three seconds apart, and has two EID-prefixes.
        std::thread::sleep(Duration::from_secs(15));
        let before = solicited(stage)?;
        netlink::up(site, "one")?;
        is_solicited_again(stage, before)
    });
}
