// SPDX-License-Identifier: GPL-2.0-or-later
//! A site behind a strict NAT is reached through the RTR, begins connections through it, and is reached again when the NAT has
//! forgotten it, or loses everything: by the second uplink then. When one of two RTRs dies it is reached by the other. What it has moves to an xTR elsewhere, and so does what it sends to.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use interop::demo::Controls;
use interop::lab::{Lab, process};
use interop::limits::{COMMAND_TIME, PING_WAIT, WHOLE_WAIT};
use interop::nat::{self, FAR, NAT, NEAR, ROAMING, ROAMING_PREFIX, RTR, SECOND_RLOC, Site};
use interop::probe::crossing::{self, ECHO, Echo};
use interop::probe::ping::{Ping, ping};
use interop::probe::tcp::{Bulk, bulk};
use serde_json::Value;

use crate::support;

/// A keepalive, which comes each 20 seconds, and the time of another for what follows from it on a machine that others use.
const HEALED_WITHIN: Duration = Duration::from_secs(40);
/// How long an uplink that loses everything may cost: eight seconds and the way to the Map-Server, and as much again for a machine that others
/// use.
const FAILED_OVER_WITHIN: Duration = Duration::from_secs(18);
/// What a move may cost on a machine that others use. The two seconds that are promised are measured by `interop bench data-plane`, on one that is
/// quiet (convergence, an EID-prefix moves), and by nothing here; what is printed says how long it was.
const LONGEST_GAP: Duration = Duration::from_secs(5);
/// What the death of an RTR may cost while another lives, on a machine that others use; on one that is quiet it is four seconds at most, and
/// what is printed says how long it was.
const RTR_LEFT_WITHIN: Duration = Duration::from_secs(8);
/// How long packets are sent behind a move, at least.
const CROSSING: Duration = Duration::from_secs(4);
/// The same to see whether they cross, and how long none may.
const LOOK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(500));

/// Whether there is what these tests need; says so if not.
fn can_run() -> bool {
    if !support::root_or_skip() {
        return false;
    }
    for program in ["nft", "conntrack"] {
        if Command::new(program).arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "CI is set, and this test needs {program}");
            println!("SKIP: needs {program}");
            return false;
        }
    }
    true
}

#[test]
fn a_site_behind_a_strict_nat_is_reached_and_found_again() {
    if !can_run() {
        return;
    }
    let _beside_others = support::beside_others();
    nat::hold(Path::new(support::built_programs()), &|lab, controls, check| {
        await_answer(lab, (&NEAR, &FAR), 0)?;
        for (from, to) in [(&NEAR, &FAR), (&FAR, &NEAR)] {
            for family in [0, 1] {
                assert_eq!(answered(lab, (from, to), family, 8)?, 8, "from {} in family {family}", from.host);
                let (source, destination) = (from.hosts[family].parse()?, to.hosts[family].parse()?);
                let load = Bulk { source, destination, octets: 2_000_000, time: Duration::from_secs(60) };
                let report = bulk(lab.namespace(from.host)?, lab.namespace(to.host)?, load)?;
                assert!(report.octets >= 2_000_000, "from {} in family {family}", from.host);
            }
        }
        assert_eq!(asked_through_nat(lab)?, serde_json::json!(["natively-forward", nat::MAP_SYSTEM]));
        let show = |node: &str| shown(lab, &controls, node, "locators");
        let nat = show(NEAR.xtr)?["nat"].clone();
        assert_eq!((&nat["state"], &nat["rtrs"][0]), (&"behind".into(), &nat::RTR_ADDRESS.into()), "{nat}");
        let before = show(RTR)?["relayed"].clone();
        let prefixes: Vec<_> = before.as_array().unwrap().iter().map(|row| row["prefix"].as_str().unwrap()).collect();
        assert_eq!(prefixes, NEAR.prefixes, "{before}");
        assert_eq!((&before[0]["address"], &before[0]["private"]), (&"192.0.2.2".into(), &NEAR.rloc.into()));
        assert_ne!(before[0]["port"], 4341, "the NAT takes another port");

        let mut forget = Command::new("conntrack");
        forget.arg("-F");
        let forgotten = process::output(lab.namespace(NAT)?, forget, COMMAND_TIME)?;
        assert!(forgotten.status.is_some_and(|status| status.success()), "{}", forgotten.stderr);
        let since = Instant::now();
        while answered(lab, (&FAR, &NEAR), 1, 1)? == 0 {
            assert!(since.elapsed() < HEALED_WITHIN, "not reached again after {:?}", since.elapsed());
        }
        println!("reached again after {:?}", since.elapsed());
        let after = show(RTR)?["relayed"].clone();
        assert_ne!(after[0]["port"], before[0]["port"], "the NAT has another binding");
        assert_eq!(answered(lab, (&NEAR, &FAR), 0, 4)?, 4);
        check().map_err(Into::into)
    })
    .unwrap();
}

#[test]
fn a_site_with_two_uplinks_is_reached_by_the_second_when_the_nat_of_the_first_loses_everything() {
    if !can_run() {
        return;
    }
    let _beside_others = support::beside_others();
    nat::hold(Path::new(support::built_programs()), &|lab, controls, check| {
        await_answer(lab, (&FAR, &NEAR), 1)?;
        assert_eq!(answered(lab, (&FAR, &NEAR), 1, 4)?, 4);
        let used = || Ok::<_, anyhow::Error>(shown(lab, &controls, RTR, "locators")?["relayed"][0]["private"].clone());
        assert_eq!(used()?, NEAR.rloc);
        let mut lose = Command::new("nft");
        lose.args(["insert", "rule", "ip", "filter", "forward", "drop"]);
        run(lab, NAT, lose)?;
        let since = Instant::now();
        for (from, to) in [(&FAR, &NEAR), (&NEAR, &FAR)] {
            while answered(lab, (from, to), 1, 1)? == 0 {
                assert!(since.elapsed() < FAILED_OVER_WITHIN, "not reached again after {:?}", since.elapsed());
            }
        }
        println!("reached by the other uplink after {:?}", since.elapsed());
        assert_eq!(used()?, SECOND_RLOC);
        let seen = shown(lab, &controls, NEAR.xtr, "locators")?["nat"]["seen"].clone();
        let by_rtr = seen.as_array().unwrap().iter().find(|row| row["by"] == nat::RTR_ADDRESS);
        assert_eq!(by_rtr.map(|row| &row["from"]), Some(&SECOND_RLOC.into()), "{seen}");
        for family in [0, 1] {
            assert_eq!(answered(lab, (&FAR, &NEAR), family, 4)?, 4);
            assert_eq!(answered(lab, (&NEAR, &FAR), family, 4)?, 4);
        }
        check().map_err(Into::into)
    })
    .unwrap();
}

/// One that is gone with its machine says nothing. Of one that ends the kernel says that nobody takes packets there.
#[test]
fn an_rtr_that_dies_is_left_for_another_one_within_seconds() {
    if !can_run() {
        return;
    }
    let _beside_others = support::beside_others();
    nat::hold_with_two_rtrs(Path::new(support::built_programs()), &|lab, controls, check| {
        let has_both = || {
            let nat = shown(lab, &controls, NEAR.xtr, "locators")?["nat"].clone();
            Ok::<_, anyhow::Error>(nat["rtrs"] == serde_json::json!([nat::RTR_ADDRESS, nat::SECOND_RTR_ADDRESS]))
        };
        let await_both = || {
            let since = Instant::now();
            while !has_both()? {
                assert!(since.elapsed() < HEALED_WITHIN, "both RTRs are not heard after {:?}", since.elapsed());
                std::thread::sleep(LOOK.0);
            }
            Ok::<_, anyhow::Error>(())
        };
        await_both()?;
        let hosts = [NEAR.hosts[0], FAR.hosts[0]].map(|host| host.parse::<IpAddr>().unwrap());
        let _echoes = [(NEAR.host, hosts[0]), (FAR.host, hosts[1])]
            .map(|(node, host)| Echo::start(lab.namespace(node).unwrap(), host).unwrap());
        while crossing(lab, (&NEAR, &FAR), 0, LOOK, || Ok(()))?.0 < 10 {
            check()?;
        }
        let silence =
            "add table ip dead; add chain ip dead input { type filter hook input priority filter; policy drop; }";
        let nft = |arguments: &[&str]| {
            let mut command = Command::new("nft");
            command.args(arguments);
            run(lab, RTR, command)
        };
        let silent = both_ways(lab, &|| nft(&[silence]))?;
        println!("an RTR is silent: no packet out for {:?}, none in for {:?}", silent[0], silent[1]);
        assert!(!has_both()?, "it is left");
        nft(&["delete", "table", "ip", "dead"])?;
        await_both()?;
        check()?;
        let ended = both_ways(lab, &|| kill(&controls[RTR]))?;
        println!("an RTR has ended: no packet out for {:?}, none in for {:?}", ended[0], ended[1]);
        assert!(!has_both()?, "it is left");
        assert!(silent.into_iter().chain(ended).all(|gap| gap < RTR_LEFT_WITHIN), "{silent:?}, {ended:?}");
        Ok(())
    })
    .unwrap();
}

/// The longest times for which no packet came back out of the site behind the NAT, and into it, with a change in between. Hosts of both
/// send by themselves.
fn both_ways(lab: &Lab, change: &dyn Fn() -> anyhow::Result<()>) -> anyhow::Result<[Duration; 2]> {
    let socket = |from: &Site| {
        let source: IpAddr = from.hosts[0].parse()?;
        Ok::<_, anyhow::Error>(lab.namespace(from.host)?.run(move || UdpSocket::bind((source, 0)))??)
    };
    let (out, inward) = (socket(&NEAR)?, socket(&FAR)?);
    let to = |site: &Site| Ok::<_, anyhow::Error>((site.hosts[0].parse::<IpAddr>()?, ECHO).into());
    let (far, near) = (to(&FAR)?, to(&NEAR)?);
    let times = (RTR_LEFT_WITHIN, RTR_LEFT_WITHIN);
    std::thread::scope(|scope| {
        let inward = scope.spawn(|| crossing::crossing(&inward, near, times, || ()));
        let (changed, _, out) = crossing::crossing(&out, far, times, change)?;
        changed?;
        let ((), _, inward) = inward.join().unwrap()?;
        Ok([out, inward])
    })
}

/// Kills the program of this control socket, without a warning.
fn kill(control: &Path) -> anyhow::Result<()> {
    let folder = control.parent().unwrap().to_str().unwrap();
    let is_it = |process: &Path| {
        let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let mut arguments = arguments.split(|octet| *octet == 0);
        arguments.next().is_some_and(|program| program.ends_with(b"lisp-xtr"))
            && arguments.any(|argument| argument == folder.as_bytes())
    };
    let mut processes = std::fs::read_dir("/proc")?.filter_map(|process| Some(process.ok()?.path()));
    let process = processes.find(|process| is_it(process)).unwrap();
    let id = process.file_name().unwrap().to_str().unwrap().parse()?;
    Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL)?)
}

/// How many of so many pings are answered. One alone is sent to see whether any is.
fn answered(lab: &Lab, (from, to): (&Site, &Site), family: usize, count: u16) -> anyhow::Result<usize> {
    let (source, destination) = (from.hosts[family].parse()?, to.hosts[family].parse()?);
    let wait = if count == 1 { PING_WAIT } else { WHOLE_WAIT };
    let probe = Ping { source, destination, count, interval: Duration::from_millis(50), wait };
    Ok(ping(lab.namespace(from.host)?, lab.namespace(to.host)?, probe)?.received())
}

/// Waits until the first ping is answered.
fn await_answer(lab: &Lab, between: (&Site, &Site), family: usize) -> anyhow::Result<()> {
    let since = Instant::now();
    while answered(lab, between, family, 1)? == 0 {
        anyhow::ensure!(since.elapsed() < HEALED_WITHIN, "not reached after {:?}", since.elapsed());
    }
    Ok(())
}

#[test]
fn what_a_site_behind_a_nat_sends_to_and_what_it_has_move_to_another_xtr_while_packets_cross() {
    if !can_run() {
        return;
    }
    let _beside_others = support::beside_others();
    nat::hold(Path::new(support::built_programs()), &|lab, controls, check| {
        let counter = |node: &str, name: &str| -> anyhow::Result<u64> {
            Ok(shown(lab, &controls, node, "counters")?["counters"]["control"][name].as_u64().unwrap())
        };
        // The sender is behind the NAT; then what moves is.
        for (from, to, family) in [(&NEAR, &FAR, 0), (&FAR, &NEAR, 1)] {
            let host: IpAddr = to.hosts[family].parse()?;
            let mut echoes = vec![Echo::start(lab.namespace(to.host)?, host)?];
            while crossing(lab, (from, to), family, LOOK, || Ok(()))?.0 < 10 {
                check()?;
            }
            let (count, gap) = crossing(lab, (from, to), family, (CROSSING, LONGEST_GAP), || {
                // Whoever goes on to send to the former xTR hears nothing.
                let local = format!("{host}/{}", [24, 64][family]);
                for (node, verb, address, port) in
                    [(to.host, "del", local, "eth0"), (ROAMING, "add", host.to_string(), "lo")]
                {
                    let mut command = Command::new("ip");
                    command.args(["address", verb, &address, "dev", port]);
                    run(lab, node, command)?;
                }
                echoes.push(Echo::start(lab.namespace(ROAMING)?, host)?);
                let prefixes = [ROAMING_PREFIX, to.prefixes[family]];
                std::fs::write(controls[ROAMING].with_file_name("lisp-xtr.toml"), nat::prefixes_of(&prefixes))?;
                let mut command = Command::new(Path::new(support::built_programs()).join("lisp-xtr"));
                command.args(["reload", "--control"]).arg(&controls[ROAMING]);
                run(lab, ROAMING, command)
            })?;
            println!("{} moves to another xTR, {} sends: {count} packets, and none for {gap:?}", to.host, from.host);
            assert!(gap < LONGEST_GAP, "{count} packets, and none for {gap:?}");
            let rows = shown(lab, &controls, to.xtr, "registrations")?["registrations"].clone();
            let left =
                |row: &&Value| row["moved"] == true && row["prefixes"] == serde_json::json!([to.prefixes[family]]);
            assert_eq!(rows.as_array().unwrap().iter().filter(left).count(), 1, "the former xTR leaves it: {rows}");
        }
        let solicited = counter(RTR, "smrs-sent")?;
        assert!(
            (1..=2).contains(&solicited),
            "the one that sent to what has moved, as often as it was heard: {solicited}"
        );
        assert_eq!(counter(NEAR.xtr, "notify-unasked")?, 0);
        let relayed = shown(lab, &controls, RTR, "locators")?["relayed"].clone();
        assert_eq!((relayed.as_array().unwrap().len(), &relayed[0]["prefix"]), (1, &NEAR.prefixes[0].into()));
        check().map_err(Into::into)
    })
    .unwrap();
}

/// What `lig` behind the NAT hears of an EID of nobody, and from whom: its ITR-RLOC is a private one, and its port is another one outside.
fn asked_through_nat(lab: &Lab) -> anyhow::Result<Value> {
    let mut command = Command::new(Path::new(support::built_programs()).join("lig"));
    command.args(["2001:db8:ffff::1", "--json", "--source", NEAR.rloc, "--map-resolver", nat::MAP_SYSTEM]);
    let output = process::output(lab.namespace(NEAR.xtr)?, command, COMMAND_TIME)?;
    let answer: Value = serde_json::from_str(&output.stdout)?;
    Ok(serde_json::json!([answer["action"], answer["from"]]))
}

/// A table of a running xTR.
fn shown(lab: &Lab, controls: &Controls, node: &str, table: &str) -> anyhow::Result<Value> {
    let mut command = Command::new(Path::new(support::built_programs()).join("lisp-xtr"));
    command.args(["show", table, "--json", "--control"]).arg(&controls[node]);
    let output = process::output(lab.namespace(node)?, command, COMMAND_TIME)?;
    Ok(serde_json::from_str(&output.stdout)?)
}

fn run(lab: &Lab, node: &str, command: Command) -> anyhow::Result<()> {
    let output = process::output(lab.namespace(node)?, command, COMMAND_TIME)?;
    anyhow::ensure!(output.status.is_some_and(|status| status.success()), "{node}: {}{}", output.stdout, output.stderr);
    Ok(())
}

/// Packets at a steady pace from one host to the other, with `change` in between: how many came back, and the longest time that none
/// did. They go on for the first of these times behind it, and while none comes for the second.
fn crossing(
    lab: &Lab,
    (from, to): (&Site, &Site),
    family: usize,
    times: (Duration, Duration),
    change: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<(u32, Duration)> {
    let (source, host): (IpAddr, IpAddr) = (from.hosts[family].parse()?, to.hosts[family].parse()?);
    let socket = lab.namespace(from.host)?.run(move || UdpSocket::bind((source, 0)))??;
    let (changed, count, gap) = crossing::crossing(&socket, (host, ECHO).into(), times, change)?;
    changed.map(|()| (count, gap))
}
