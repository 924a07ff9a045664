// SPDX-License-Identifier: GPL-2.0-or-later
//! The labs of interworking and of two providers: what crosses them, and what does not get lost in them.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::Path;
use std::time::Duration;

use interop::hold::{self, LabName};
use interop::lab::privilege::Privilege;
use interop::lab::{Lab, netlink, process};
use interop::limits::COMMAND_TIME;
use interop::probe::ping::{Ping, PingReport, ping};
use interop::probe::tcp::{Bulk, bulk};

/// Each site's host, and the host beyond, IPv4 and IPv6.
const SITE: [&str; 2] = ["198.18.1.2", "2001:db8:a::2"];
const OTHER: [&str; 2] = ["198.18.2.2", "2001:db8:b::2"];
const LEGACY: [&str; 2] = ["203.0.113.130", "2001:db8:1e::2"];
const INTERVAL: Duration = Duration::from_millis(25);

fn pings(lab: &Lab, ends: [(&str, &str); 2], count: u16) -> anyhow::Result<PingReport> {
    let [(from, source), (to, destination)] = ends;
    let series = Ping { source: source.parse()?, destination: destination.parse()?, count, interval: INTERVAL };
    ping(lab.namespace(from)?, lab.namespace(to)?, series)
}

/// The counters of a router that are not zero, as a person sees them.
fn counters(lab: &Lab, node: &str, control: &Path) -> anyhow::Result<String> {
    let mut command = std::process::Command::new(Path::new(support::built_programs()).join("lisp-xtr"));
    command.args(["show", "counters", "--control"]).arg(control);
    Ok(process::output(lab.namespace(node)?, command, COMMAND_TIME)?.stdout)
}

#[test]
fn a_host_without_lisp_and_a_site_reach_each_other_through_pitr_and_petr() {
    if !support::root_or_skip() {
        return;
    }
    let _alone = support::alone();
    let programs = Path::new(support::built_programs());
    let keep: hold::Keep<'_> = &|lab, controls, check| {
        for (site, legacy) in SITE.into_iter().zip(LEGACY) {
            let (site, legacy) = (("host-a", site), ("legacy", legacy));
            for ends in [[legacy, site], [site, legacy]] {
                let report = pings(lab, ends, 8)?;
                assert_eq!(report.received(), 8, "{ends:?}: {report:?}");
                let [(from, source), (to, destination)] = ends;
                let time = Duration::from_secs(5);
                let octets = 2 << 20;
                let transfer = Bulk { source: source.parse()?, destination: destination.parse()?, octets, time };
                assert_eq!(bulk(lab.namespace(from)?, lab.namespace(to)?, transfer)?.octets, octets, "{ends:?}");
            }
        }
        let [site, proxy] = ["xtr-a", "proxy"].map(|node| counters(lab, node, &controls[node]));
        let (site, proxy) = (site?, proxy?);
        // All that left the site was taken by the PETR, and nothing found another way.
        assert!(proxy.contains("petr-packets") && !site.contains("native-packets"), "{site}{proxy}");
        assert!(["native-packets", "drop-core", "drop-pitr"].iter().all(|name| !proxy.contains(name)), "{proxy}");
        assert!(!site.contains("drop-core"), "{site}");
        Ok(check()?)
    };
    hold::stand(LabName::Legacy, programs, Privilege::Root, keep).unwrap();
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

/// Pings, of which so many go on after something has failed.
fn failover(lab: &Lab, v6: usize, count: u16, fails: impl Fn() + Sync) -> anyhow::Result<()> {
    let ends = [("host-a", SITE[v6]), ("host-b", OTHER[v6])];
    assert_eq!(pings(lab, ends, 4)?.received(), 4);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(INTERVAL * u32::from(BEFORE));
            fails();
        });
        pings(lab, ends, BEFORE + count)
    })?;
    let gap = longest_gap(&report);
    println!("without an answer for {gap:?}");
    assert!(gap < Duration::from_secs(4) && report.pings.last().unwrap().answered.is_some(), "{gap:?}");
    Ok(())
}

/// A provider's router forwards, or drops everything without a word.
fn forward(lab: &Lab, isp: &str, on: bool) {
    let write = move || std::fs::write("/proc/sys/net/ipv4/ip_forward", if on { "1" } else { "0" });
    lab.namespace(isp).unwrap().run(write).unwrap().unwrap();
}

/// The preferred provider fails beyond the link, of which nobody is told; then it is well again, and the other link goes down.
#[test]
fn a_site_with_two_providers_goes_on_within_four_seconds_whichever_of_them_fails() {
    if !support::root_or_skip() {
        return;
    }
    let _alone = support::alone();
    let programs = Path::new(support::built_programs());
    let keep: hold::Keep<'_> = &|lab, controls, check| {
        failover(lab, 1, 180, || forward(lab, "isp-1", false))?;
        let counted = counters(lab, "xtr-a", &controls["xtr-a"])?;
        assert!(counted.contains("uplinks-changed"), "{counted}");
        forward(lab, "isp-1", true);
        failover(lab, 0, 120, || netlink::down(lab.namespace("xtr-a").unwrap(), "two").unwrap())?;
        Ok(check()?)
    };
    hold::stand(LabName::TwoProviders, programs, Privilege::Root, keep).unwrap();
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
    if !support::root_or_skip() {
        return;
    }
    let _alone = support::alone();
    let programs = Path::new(support::built_programs());
    let keep: hold::Keep<'_> = &|lab, _, check| {
        failover(lab, 1, 180, || netlink::remove(lab.namespace("xtr-a").unwrap(), "one").unwrap())?;
        check()?;
        plug_in(lab)?;
        // Registered again, and told to the other site.
        std::thread::sleep(Duration::from_secs(10));
        failover(lab, 0, 180, || netlink::remove(lab.namespace("xtr-a").unwrap(), "two").unwrap())?;
        Ok(check()?)
    };
    hold::stand(LabName::TwoProviders, programs, Privilege::Root, keep).unwrap();
}

/// Solicit-Map-Requests that have come to a router.
fn solicited(lab: &Lab, node: &str, control: &Path) -> anyhow::Result<u64> {
    let counted = counters(lab, node, control)?;
    let line = counted.lines().find(|line| line.contains("smrs-received"));
    Ok(line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or(0))
}

/// Waits for more of them than there were.
fn is_solicited_again(lab: &Lab, node: &str, control: &Path, before: u64) -> anyhow::Result<u64> {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let count = solicited(lab, node, control)?;
        if count > before {
            return Ok(count);
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "no more SMRs than {before} come to {node}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The link to the preferred provider goes, and comes back when nothing crosses him: both change the mapping, and the other site has to
/// hear of both by way of the other provider.
#[test]
fn a_site_whose_preferred_provider_is_dead_solicits_through_the_other() {
    if !support::root_or_skip() {
        return;
    }
    let _alone = support::alone();
    let programs = Path::new(support::built_programs());
    let keep: hold::Keep<'_> = &|lab, controls, check| {
        let site = lab.namespace("xtr-a")?;
        assert_eq!(pings(lab, [("host-a", SITE[1]), ("host-b", OTHER[1])], 8)?.received(), 8);
        forward(lab, "isp-1", false);
        let control = &controls["xtr-b"];
        let before = solicited(lab, "xtr-b", control)?;
        netlink::down(site, "one")?;
        is_solicited_again(lab, "xtr-b", control, before)?;
        // Each change is told twice, three seconds apart, and has two EID-prefixes.
        std::thread::sleep(Duration::from_secs(15));
        let before = solicited(lab, "xtr-b", control)?;
        netlink::up(site, "one")?;
        is_solicited_again(lab, "xtr-b", control, before)?;
        Ok(check()?)
    };
    hold::stand(LabName::TwoProviders, programs, Privilege::Root, keep).unwrap();
}
