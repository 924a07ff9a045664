// SPDX-License-Identifier: GPL-2.0-or-later
//! A site behind a strict NAT is reached through the RTR, begins connections through it, and is reached again when the NAT has
//! forgotten it.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use interop::lab::{Lab, process};
use interop::nat::{self, FAR, NAT, NEAR, RTR, Site};
use interop::probe::ping::{Ping, ping};
use interop::probe::tcp::{Bulk, bulk};
use serde_json::Value;

/// A keepalive, and a moment for what follows from it.
const HEALED_WITHIN: Duration = Duration::from_secs(25);

#[test]
fn a_site_behind_a_strict_nat_is_reached_and_found_again() {
    if !support::root_or_skip() {
        return;
    }
    for program in ["nft", "conntrack"] {
        if Command::new(program).arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "CI is set, and this test needs {program}");
            return println!("SKIP: needs {program}");
        }
    }
    let _alone = support::alone();
    nat::hold(Path::new(support::built_programs()), &|lab, controls, check| {
        for (from, to) in [(&NEAR, &FAR), (&FAR, &NEAR)] {
            for family in [0, 1] {
                assert_eq!(answered(lab, (from, to), family, 8)?, 8, "from {} in family {family}", from.host);
                let (source, destination) = (from.hosts[family].parse()?, to.hosts[family].parse()?);
                let load = Bulk { source, destination, octets: 2_000_000, time: Duration::from_secs(20) };
                let report = bulk(lab.namespace(from.host)?, lab.namespace(to.host)?, load)?;
                assert!(report.octets >= 2_000_000, "from {} in family {family}", from.host);
            }
        }
        let show = |node: &str| -> anyhow::Result<Value> {
            let mut command = Command::new(Path::new(support::built_programs()).join("lisp-xtr"));
            command.args(["show", "locators", "--json", "--control"]).arg(&controls[node]);
            let output = process::output(lab.namespace(node)?, command, Duration::from_secs(5))?;
            Ok(serde_json::from_str(&output.stdout)?)
        };
        let nat = show(NEAR.xtr)?["nat"].clone();
        assert_eq!((&nat["state"], &nat["rtrs"][0]), (&"behind".into(), &nat::RTR_ADDRESS.into()), "{nat}");
        let before = show(RTR)?["relayed"].clone();
        let prefixes: Vec<_> = before.as_array().unwrap().iter().map(|row| row["prefix"].as_str().unwrap()).collect();
        assert_eq!(prefixes, NEAR.prefixes, "{before}");
        assert_eq!((&before[0]["address"], &before[0]["private"]), (&"192.0.2.2".into(), &NEAR.rloc.into()));
        assert_ne!(before[0]["port"], 4341, "the NAT takes another port");

        let mut forget = Command::new("conntrack");
        forget.arg("-F");
        let forgotten = process::output(lab.namespace(NAT)?, forget, Duration::from_secs(5))?;
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

fn answered(lab: &Lab, (from, to): (&Site, &Site), family: usize, count: u16) -> anyhow::Result<usize> {
    let (source, destination) = (from.hosts[family].parse()?, to.hosts[family].parse()?);
    let probe = Ping { source, destination, count, interval: Duration::from_millis(50) };
    Ok(ping(lab.namespace(from.host)?, lab.namespace(to.host)?, probe)?.received())
}
