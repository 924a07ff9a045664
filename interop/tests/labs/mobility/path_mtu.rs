// SPDX-License-Identifier: GPL-2.0-or-later
//! Links that are or become narrow, and links that go, while something crosses them.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use interop::hold::LabName;
use interop::lab::netlink;

use crate::sites::{Stage, ends, stand};
use crate::support;

/// What packets to the other site keep to; 0 until it is shown, a second after the first of them.
fn path_mtu(stage: &Stage<'_>) -> anyhow::Result<u64> {
    let shown = stage.show("xtr-a", "locators")?;
    let remote = shown["remote"].as_array().unwrap().iter().find(|it| it["address"] == "198.51.100.2").unwrap();
    Ok(remote["path_mtu"].as_u64().unwrap_or_default())
}

/// Transfers megabytes from one site to the other.
fn transfer(stage: &Stage<'_>, family: usize, megabytes: u64) -> anyhow::Result<Duration> {
    let octets = megabytes << 20;
    // A connection that hangs sends less and less often: what is found after half a minute moves it after a whole one.
    let report = stage.transfer(ends(family), octets, Duration::from_secs(120))?;
    assert_eq!(report.octets, octets);
    println!("{megabytes} MiB in {:?}", report.time);
    Ok(report.time)
}

/// What is longer than the MTU of the interface that it comes in by is dropped without a word.
#[test]
fn tcp_completes_over_a_link_that_drops_long_packets_and_no_router_says_so() {
    stand(LabName::TwoProviders, support::beside_others, |stage| {
        // A hole that is there from the start, wide enough for each packet of IPv6 that every link takes.
        let core = stage.lab.namespace("isp-1")?;
        netlink::set_mtu(core, "site", 1340)?;
        let time = transfer(stage, 1, 4)?;
        // One that hung for half a minute would take a whole one.
        assert!(time < Duration::from_secs(45), "{time:?}");
        transfer(stage, 0, 4)?;
        let found = path_mtu(stage)?;
        assert!((1316..=1344).contains(&found), "{found}");
        // It becomes narrower.
        netlink::set_mtu(core, "site", 1280)?;
        transfer(stage, 0, 4)?;
        let found = path_mtu(stage)?;
        assert!((1280..=1284).contains(&found), "{found}");
        assert_eq!(stage.counted("xtr-a", "control", "black-holes")?, 2);
        Ok(())
    });
}

/// A router on the way speaks of the probes alone, nothing else is sent; then the interface of the xTR becomes narrower still, and wide again.
#[test]
fn on_a_quiet_way_the_path_mtu_that_a_router_names_is_known_and_no_black_hole() {
    stand(LabName::TwoProviders, support::beside_others, |stage| {
        // The other site is known from then on, and is shown within a second.
        transfer(stage, 0, 1)?;
        std::thread::sleep(Duration::from_secs(2));
        let before = stage.counted("xtr-a", "control", "long-probes-too-big")?;
        let steps = [("isp-1", "core", 1340, 1340), ("xtr-a", "one", 1300, 1300), ("xtr-a", "one", 1500, 1340)];
        for (namespace, port, mtu, expected) in steps {
            netlink::set_mtu(stage.lab.namespace(namespace)?, port, mtu)?;
            let changed = Instant::now();
            // A long probe is sent every half a minute.
            while path_mtu(stage)? != expected {
                assert!(changed.elapsed() < Duration::from_secs(45), "{} of {mtu}", path_mtu(stage)?);
                std::thread::sleep(Duration::from_millis(500));
            }
            println!("{mtu} of {namespace} after {:?}", changed.elapsed());
        }
        // The router speaks of both that are longer than its link.
        assert!(stage.counted("xtr-a", "control", "long-probes-too-big")? >= before + 2);
        assert_eq!(stage.counted("xtr-a", "control", "black-holes")?, 0);
        Ok(())
    });
}

/// Of the preferred uplink, whose interface is the narrow one, and not of the other; nothing is lost in it, and no probe has to find it.
#[test]
fn packets_are_no_longer_than_the_interface_that_they_leave_by_takes_and_become_longer_with_it() {
    stand(LabName::TwoProviders, support::beside_others, |stage| {
        transfer(stage, 0, 1)?;
        let site = stage.lab.namespace("xtr-a")?;
        for (port, mtu, expected) in
            [("two", 1280, 1500), ("one", 1300, 1300), ("one", 1380, 1380), ("one", 1500, 1500)]
        {
            netlink::set_mtu(site, port, mtu)?;
            let changed = Instant::now();
            // Probes of a routine have their time, on a machine that does other things too.
            await_path_mtu(stage, &(expected..=expected), Duration::from_secs(60))?;
            println!("{mtu} of {port} after {:?}", changed.elapsed());
            transfer(stage, 0, 1)?;
            assert_eq!(path_mtu(stage)?, expected, "{mtu}");
        }
        assert_eq!(stage.counted("xtr-a", "control", "black-holes")?, 0);
        Ok(())
    });
}

/// Waits until packets to the other site are so long.
fn await_path_mtu(stage: &Stage<'_>, expected: &RangeInclusive<u64>, time: Duration) -> anyhow::Result<()> {
    let started = Instant::now();
    while !expected.contains(&path_mtu(stage)?) {
        assert!(started.elapsed() < time, "{} after {time:?}", path_mtu(stage)?);
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{} after {:?}", path_mtu(stage)?, started.elapsed());
    Ok(())
}

#[test]
fn a_way_of_jumbo_frames_carries_long_packets_end_to_end_when_probes_have_shown_it() {
    stand(LabName::Jumbo, support::beside_others, |stage| {
        stage.pings(ends(0), 1)?;
        // What a host has heard of a narrower way it keeps to for minutes: nothing long is sent before.
        await_path_mtu(stage, &(8900..=9000), Duration::from_secs(15))?;
        let sent = stage.counted("xtr-a", "packets", "encapsulated-packets")?;
        transfer(stage, 0, 8)?;
        let sent = stage.counted("xtr-a", "packets", "encapsulated-packets")? - sent;
        // Of segments that fit usual packets there would be six thousand and more.
        println!("8 MiB in {sent} packets");
        assert!(sent < 2000, "{sent}");
        assert_eq!(stage.counted("xtr-a", "control", "black-holes")?, 0);
        Ok(())
    });
}

/// The far end of the first link drops longer packets without a word, as a switch does.
#[test]
fn behind_a_jumbo_interface_the_path_mtu_is_found_and_no_packet_is_lost_to_it() {
    for width in [1500, 4000] {
        stand(LabName::Jumbo, support::beside_others, |stage| {
            netlink::set_mtu(stage.lab.namespace("core")?, "xtr-a", width)?;
            let started = Instant::now();
            transfer(stage, 0, 4)?;
            // One that hung would take two seconds and a half at least.
            println!("a transfer of {:?}", started.elapsed());
            // Longer ones are looked for beside the packets.
            std::thread::sleep(Duration::from_secs(5));
            let width = u64::from(width);
            await_path_mtu(stage, &(width - 8..=width), Duration::from_secs(60))?;
            transfer(stage, 0, 4)?;
            assert_eq!(stage.counted("xtr-a", "control", "black-holes")?, 0);
            Ok(())
        });
    }
}

/// Octets of the payload of datagrams that always fit, and of those that fill a packet of 1340 octets in front of its outer headers.
const PAYLOADS: [usize; 2] = [64, 1312];

/// Between two datagrams of one length.
const PACE: Duration = Duration::from_millis(20);
/// Datagrams of each length, and those before something fails: ten seconds, and three of them.
const DATAGRAMS: (u32, u32) = (500, 150);

/// Datagrams of both lengths go from one site to the other, and are answered; meanwhile something `fails`. The longest time for which
/// those that were sent of each length were lost: where we have no processor nothing is sent, and nothing is missing.
fn gaps(stage: &Stage<'_>, fails: impl FnOnce() + Send) -> anyhow::Result<[Duration; 2]> {
    let bind = |node: &str, address: &'static str| -> anyhow::Result<UdpSocket> {
        Ok(stage.lab.namespace(node)?.run(move || UdpSocket::bind(address))??)
    };
    let [sender, receiver] = [bind("host-a", "198.18.1.2:7000")?, bind("host-b", "198.18.2.2:7000")?];
    receiver.set_read_timeout(Some(Duration::from_millis(100)))?;
    let (count, before) = DATAGRAMS;
    let mut arrivals = PAYLOADS.map(|_| BTreeSet::from([0]));
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut fails = Some(fails);
            for number in 1..=count {
                if let Some(fails) = fails.take_if(|_| number > before) {
                    fails();
                }
                // What is refused for want of a way is lost, as any datagram may be.
                for octets in PAYLOADS {
                    let mut datagram = vec![0; octets];
                    datagram[..4].copy_from_slice(&number.to_be_bytes());
                    drop(sender.send_to(&datagram, "198.18.2.2:7000"));
                }
                std::thread::sleep(PACE);
            }
        });
        let mut buffer = [0; 2000];
        loop {
            // All was sent before the last look.
            let is_last = sending.is_finished();
            match receiver.recv_from(&mut buffer) {
                Ok((octets, from)) => {
                    if let Some(which) = PAYLOADS.iter().position(|other| *other == octets) {
                        arrivals[which].insert(u32::from_be_bytes(buffer[..4].try_into().unwrap()));
                    }
                    drop(receiver.send_to(&[0], from));
                }
                Err(_) if is_last => break,
                Err(_) => {}
            }
        }
    });
    let longest = |numbers: BTreeSet<u32>| {
        let next = numbers.iter().skip(1).copied().chain([count + 1]);
        numbers.iter().zip(next).map(|(from, to)| PACE * (to - from - 1)).max().unwrap()
    };
    Ok(arrivals.map(longest))
}

/// Both providers drop without a word what is longer than 1340 octets, and the preferred one then drops all.
#[test]
fn long_packets_arrive_as_soon_as_short_ones_when_a_narrow_way_is_left_for_another() {
    stand(LabName::TwoProviders, support::beside_others, |stage| {
        let lab = stage.lab;
        for provider in ["isp-1", "isp-2"] {
            netlink::set_mtu(lab.namespace(provider)?, "site", 1340)?;
        }
        // The host learns no path MTU: its router splits what is too long, as far as it knows how long that is.
        let path = "/proc/sys/net/ipv4/ip_no_pmtu_disc";
        lab.namespace("host-a")?.run(move || std::fs::write(path, "1"))??;
        transfer(stage, 0, 1)?;
        let started = Instant::now();
        while path_mtu(stage)? > 1340 {
            assert!(started.elapsed() < Duration::from_secs(45), "{}", path_mtu(stage)?);
            std::thread::sleep(Duration::from_millis(500));
        }
        let known = stage.counted("xtr-a", "control", "black-holes")?;
        let forward = |on: &'static str| {
            let write = move || std::fs::write("/proc/sys/net/ipv4/ip_forward", on);
            lab.namespace("isp-1").unwrap().run(write).unwrap().unwrap();
        };
        let [short, long] = gaps(stage, || forward("0"))?;
        println!("without short ones for {short:?}, without long ones for {long:?}");
        // Without what is known of the other way long ones would wait 2.5 s more.
        assert!(short < Duration::from_secs(8) && long < short + Duration::from_millis(1500), "{short:?}, {long:?}");
        assert!(stage.counted("xtr-a", "control", "uplinks-changed")? >= 1);
        assert_eq!(stage.counted("xtr-a", "control", "black-holes")?, known);
        Ok(())
    });
}
