// SPDX-License-Identifier: GPL-2.0-or-later
//! The bench of the map system, small: every case is answered, rightly, and nothing is lost. How quickly is for a quiet machine.

use std::process::Command;

use serde_json::Value;

use crate::support;

#[test]
fn every_case_of_the_bench_is_answered_and_rightly() {
    if !support::root_or_skip() {
        return;
    }
    let _alone = support::alone();
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop"));
    command.args(["bench", "map-system", "--json", "--bin-dir", support::built_programs()]);
    command.args(["--rounds", "1", "--turn", "200", "--sites", "2", "--clients", "64", "--outstanding", "4"]);
    command.args(["--registrations", "3000", "--registering", "60", "--registering-time", "2"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["results"].as_array().unwrap();
    for row in rows {
        for key in ["replies_per_s", "p50_us", "p99_us", "ratio_to_floor"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key} of {row}");
        }
        assert_eq!(row["outstanding"], 4, "{row}");
    }
    let of = |server: &str| -> Vec<Value> { rows.iter().filter(|row| row["server"] == server).cloned().collect() };
    let (floors, cases) = (of("floor"), of("ours"));
    assert_eq!(rows.len(), floors.len() + cases.len());
    for (floor, case) in floors.iter().zip(&cases) {
        assert_eq!((&floor["case"], &floor["ratio_to_floor"]), (&case["case"], &1.0.into()));
        assert_eq!((&floor["replies_per_s"], &case["ratio_to_floor"]), (&case["floor_per_s"], &case["ratio"][0]));
    }
    assert_eq!(
        cases.iter().map(|it| &it["case"]).collect::<Vec<_>>(),
        ["registered", "dht-cache", "limited", "million"]
    );
    for case in &cases {
        assert_eq!(case["wrong"], 0, "{case}");
        for rate in ["replies_per_s", "floor_per_s"] {
            assert!(case[rate].as_f64().unwrap() > 0.0, "{case}");
        }
    }
    for case in [&cases[0], &cases[1], &cases[3]] {
        assert_eq!(case["lost"], 0, "no limit holds for the configured client: {case}");
    }
    let flood = &report["flood"];
    let figure = |pointer: &str| flood.pointer(pointer).and_then(Value::as_f64).unwrap();
    for key in ["/wanted_per_s", "/sink_ratio/0", "/shares/answering/cores", "/shares/client/cores"] {
        assert!(figure(key) > 0.0, "{key} of {flood}");
    }
    assert!(figure("/lookups/gets") <= figure("/lookups/most"), "{flood}");
    // The flood takes a processor from nobody, and may get none for a whole turn beside other tests.
    if figure("/flood_per_s") > figure("/wanted_per_s") / 2.0 {
        assert!(figure("/shares/flood/cores") > 0.0, "{flood}");
        assert!(figure("/lookups/refused") > 0.0, "half of the flood would be looked up: {flood}");
    } else {
        eprintln!("SKIP the flood: others had the processors, and it sent {} a second", figure("/flood_per_s"));
    }
    assert_eq!(report["million"]["registrations"], 3000);
    assert!(report["million"]["of_registered"].as_f64().unwrap() > 0.0, "{report}");
    let registering = &report["registering"];
    assert_eq!((&registering["sites"], &registering["lost"]), (&60.into(), &0.into()), "all are confirmed: {report}");
    let cores = |key: &str| registering[key].as_f64().unwrap();
    // A decimal fraction is not always the sum that it was written from.
    assert!((cores("all_cores") - cores("cores") - cores("dht_cores")).abs() < 1e-9, "{report}");
    assert!(registering["p50_us"].as_f64().unwrap() > 0.0, "{report}");
    let first = &report["first_answer"];
    assert!(first["p50_us"].as_f64().unwrap() <= first["longest_us"].as_f64().unwrap(), "{report}");
    let promised: Vec<_> = report["promises"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(
        promised,
        [
            "registered",
            "dht-cache",
            "random-eids",
            "random-eids-read",
            "random-eids-lookups",
            "million",
            "million-memory",
            "sites-a-minute",
            "register-to-answer"
        ]
    );
}
