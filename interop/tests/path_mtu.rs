// SPDX-License-Identifier: GPL-2.0-or-later
//! Links that become narrow, and links that go, while a connection crosses them.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use interop::hold::{self, LabName};
use interop::lab::privilege::Privilege;
use interop::lab::{Lab, netlink, process};
use interop::limits::COMMAND_TIME;
use interop::probe::tcp::{Bulk, bulk};
use serde_json::Value;

/// The hosts of both sites, IPv4 and IPv6.
const SITE: [&str; 2] = ["198.18.1.2", "2001:db8:a::2"];
const OTHER: [&str; 2] = ["198.18.2.2", "2001:db8:b::2"];

fn show(lab: &Lab, control: &Path, table: &str) -> anyhow::Result<Value> {
    let mut command = std::process::Command::new(Path::new(support::built_programs()).join("lisp-xtr"));
    command.args(["show", table, "--json", "--control"]).arg(control);
    Ok(serde_json::from_str(&process::output(lab.namespace("xtr-a")?, command, COMMAND_TIME)?.stdout)?)
}

/// A counter of one half of the router.
fn counted(lab: &Lab, control: &Path, half: &str, name: &str) -> anyhow::Result<u64> {
    Ok(show(lab, control, "counters")?["counters"][half][name].as_u64().unwrap())
}

/// What packets to the other site keep to.
fn path_mtu(lab: &Lab, control: &Path) -> anyhow::Result<u64> {
    let shown = show(lab, control, "locators")?;
    let remote = shown["remote"].as_array().unwrap().iter().find(|it| it["address"] == "198.51.100.2").unwrap();
    Ok(remote["path_mtu"].as_u64().unwrap())
}

/// Transfers megabytes from one site to the other.
fn transfer(lab: &Lab, v6: usize, megabytes: u64) -> anyhow::Result<Duration> {
    let octets = megabytes << 20;
    // A connection that hangs sends less and less often: what is found after half a minute moves it after a whole one.
    let time = Duration::from_secs(120);
    let transfer = Bulk { source: SITE[v6].parse()?, destination: OTHER[v6].parse()?, octets, time };
    let report = bulk(lab.namespace("host-a")?, lab.namespace("host-b")?, transfer)?;
    assert_eq!(report.octets, octets);
    println!("{megabytes} MiB in {:?}", report.time);
    Ok(report.time)
}

/// What is longer than the MTU of the interface that it comes in by is dropped without a word.
#[test]
fn tcp_completes_over_a_link_that_drops_long_packets_and_no_router_says_so() {
    if !support::root_or_skip() {
        return;
    }
    let _alone = support::alone();
    let programs = Path::new(support::built_programs());
    let keep: hold::Keep<'_> = &|lab, controls, check| {
        let control = &controls["xtr-a"];
        // A hole that is there from the start, wide enough for each packet of IPv6 that every link takes.
        let core = lab.namespace("isp-1")?;
        netlink::set_mtu(core, "site", 1340)?;
        let time = transfer(lab, 1, 4)?;
        // One that hung for half a minute would take a whole one.
        assert!(time < Duration::from_secs(45), "{time:?}");
        transfer(lab, 0, 4)?;
        let found = path_mtu(lab, control)?;
        assert!((1316..=1344).contains(&found), "{found}");
        // It becomes narrower.
        netlink::set_mtu(core, "site", 1280)?;
        transfer(lab, 0, 4)?;
        let found = path_mtu(lab, control)?;
        assert!((1280..=1284).contains(&found), "{found}");
        assert_eq!(counted(lab, control, "control", "black-holes")?, 2);
        Ok(check()?)
    };
    hold::stand(LabName::TwoProviders, programs, Privilege::Root, keep).unwrap();
}

/// A router on the way, and then the kernel of the xTR, speak of the probes alone: nothing else is sent.
#[test]
fn on_a_quiet_way_the_path_mtu_that_a_router_names_is_known_and_no_black_hole() {
    if !support::root_or_skip() {
        return;
    }
    let _alone = support::alone();
    let programs = Path::new(support::built_programs());
    let keep: hold::Keep<'_> = &|lab, controls, check| {
        let control = &controls["xtr-a"];
        // The other site is known from then on, and is shown within a second.
        transfer(lab, 0, 1)?;
        std::thread::sleep(Duration::from_secs(2));
        let before = counted(lab, control, "control", "long-probes-too-big")?;
        for (namespace, port, mtu) in [("isp-1", "core", 1340), ("xtr-a", "one", 1300)] {
            netlink::set_mtu(lab.namespace(namespace)?, port, mtu)?;
            let changed = Instant::now();
            // A long probe is sent every half a minute.
            while path_mtu(lab, control)? != u64::from(mtu) {
                assert!(changed.elapsed() < Duration::from_secs(45), "{} of {mtu}", path_mtu(lab, control)?);
                std::thread::sleep(Duration::from_millis(500));
            }
            println!("{mtu} of {namespace} after {:?}", changed.elapsed());
        }
        assert!(counted(lab, control, "control", "long-probes-too-big")? >= before + 2);
        assert_eq!(counted(lab, control, "control", "black-holes")?, 0);
        Ok(check()?)
    };
    hold::stand(LabName::TwoProviders, programs, Privilege::Root, keep).unwrap();
}

/// The interface of the router itself gets a lower MTU, as the other end of its cable does: the kernel says so.
#[test]
fn a_connection_goes_on_when_the_mtu_of_the_underlay_shrinks_under_load() {
    if !support::root_or_skip() {
        return;
    }
    let _alone = support::alone();
    let programs = Path::new(support::built_programs());
    let keep: hold::Keep<'_> = &|lab, controls, check| {
        for (v6, mtu) in [(1, 1350), (0, 1300)] {
            std::thread::scope(|scope| -> anyhow::Result<()> {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_secs(2));
                    netlink::set_mtu(lab.namespace("xtr-a").unwrap(), "one", mtu).unwrap();
                    netlink::set_mtu(lab.namespace("isp-1").unwrap(), "site", mtu).unwrap();
                });
                let (source, destination) = (SITE[v6].parse()?, OTHER[v6].parse()?);
                let load = Bulk { source, destination, octets: u64::MAX, time: Duration::from_secs(8) };
                let report = bulk(lab.namespace("host-a")?, lab.namespace("host-b")?, load)?;
                println!("{:.0} Mbit/s", report.mbit_s());
                Ok(())
            })?;
        }
        let control = &controls["xtr-a"];
        assert!(counted(lab, control, "packets", "path-mtu-changes")? >= 2);
        assert_eq!(counted(lab, control, "control", "black-holes")?, 0);
        Ok(check()?)
    };
    hold::stand(LabName::TwoProviders, programs, Privilege::Root, keep).unwrap();
}
