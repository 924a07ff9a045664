// SPDX-License-Identifier: GPL-2.0-or-later
//! Networks in which part of the nodes are hostile: real nodes in the bench, modelled ones in the model.

use serde_json::Value;

use crate::suite::fleet::Fleet;
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, should};

const SYBIL: &str = "lisp-signed-dht 9.8";
/// Right lookups in percent, at least.
const RIGHT: u64 = 95;

pub(super) const PROBES: &[Probe<Fleet>] = &[
    must("AD-03.1", SYBIL, "bench of 60 nodes, a fifth of them hostile", |fleet| {
        bench(fleet, &["--nodes", "60", "--hostile", "0.2"])
    }),
    must("AD-03.2", SYBIL, "bench of 60 nodes, 40 ids in 2 networks aimed at one record", |fleet| {
        bench(fleet, &["--nodes", "60", "--eclipse", "40", "--networks", "2"])
    }),
    must("AD-03.3", SYBIL, "bench of 12 nodes, 2000 PUTs by free identities from 16 networks", |fleet| {
        bench(fleet, &["--nodes", "12", "--hostile-puts", "2000"])
    }),
    should("AD-04.1", SYBIL, "model of 200 nodes, a fifth of them hostile", |fleet| model(fleet, "hostile")),
    must("AD-04.2", SYBIL, "model of 200 nodes, 40 ids aimed at one record", |fleet| model(fleet, "eclipse")),
];

pub(in crate::suite) fn judged(report: &Value, least: u64) -> Judgement {
    let count = |name: &str| report[name].as_u64();
    let (Some(lookups), Some(correct)) = (count("lookups"), count("correct")) else {
        return Err(broken(format!("no figures: {report}")));
    };
    let figures = ["stale", "missing", "hostile", "hostile_asked", "hostile_puts", "p50_us", "p99_us"]
        .into_iter()
        .filter(|name| !report[name].is_null())
        .map(|name| format!(", {name} {}", report[name]));
    let holds = lookups > 0 && correct * 100 >= lookups * least;
    expect(holds, format!("{correct} of {lookups} right, {least} % at least{}", figures.collect::<String>()))
}

fn bench(fleet: &Fleet, attack: &[&str]) -> Judgement {
    let lab = ["lab", "--memory", "--lookups", "100", "--json"];
    let answer = fleet.run(&[&lab[..], attack].concat())?;
    if answer.report.is_null() {
        return Err(answer.came("figures"));
    }
    let hostile: Result<u64, Fault> =
        Ok(["hostile_asked", "hostile_puts"].iter().filter_map(|name| answer.report[name].as_u64()).sum());
    if hostile? == 0 {
        return Err(answer.came("an attack that was seen"));
    }
    judged(&answer.report, RIGHT)
}

fn model(fleet: &Fleet, scenario: &str) -> Judgement {
    let sim = ["sim", scenario, "--nodes", "200", "--lookups", "200", "--seed", "7", "--json"];
    let answer = fleet.run(&sim)?;
    let holds = answer.code == Some(0) && answer.report["ok"] == true && answer.report["instrument"] == "model";
    if holds { Ok(format!("seed 7: {}", answer.report["reports"][0])) } else { Err(answer.came("a model that holds")) }
}
