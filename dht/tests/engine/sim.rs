// SPDX-License-Identifier: GPL-2.0-or-later
//! Small models of every scenario, with the lines of the large ones.

use std::time::Duration;

use dht::sim::{self, Report, Scenario, Settings};

fn small(nodes: usize) -> Settings {
    Settings {
        nodes,
        records: 20,
        lookups: 60,
        churn: Duration::from_secs(180),
        parted: Duration::from_secs(300),
        idle: Duration::from_secs(300),
        ..Settings::default()
    }
}

fn run(scenario: Scenario, nodes: usize) -> Report {
    let report = sim::run(scenario, &small(nodes)).unwrap();
    // Shown when something fails.
    println!("{}", report.lines().join("\n"));
    report
}

#[test]
fn every_lookup_of_an_honest_network_is_right_and_short() {
    assert!(run(Scenario::Hops, 300).held());
}

#[test]
fn a_fifth_of_hostile_nodes_hides_little() {
    assert!(run(Scenario::Hostile, 200).held());
}

#[test]
fn forty_ids_round_a_record_do_not_hide_it() {
    let report = run(Scenario::Eclipse, 200);
    assert!(report.held());
    let right = |name: &str| report.value(&format!("right, {name}")).unwrap();
    assert!(right("no defence but d = 8") < right("all"), "the attack does nothing");
}

#[test]
fn records_outlive_the_nodes_that_held_them_first() {
    let report = run(Scenario::Churn, 100);
    assert!(report.held());
    assert!(report.value("nodes replaced").unwrap() >= 25.0);
}

#[test]
fn parted_halves_agree_a_minute_after_they_meet() {
    let report = run(Scenario::Partition, 100);
    assert!(report.held());
    assert!(report.value("holders with the highest sequence while parted").unwrap() < 90.0, "nothing was parted");
}

#[test]
fn idle_nodes_say_little() {
    let report = run(Scenario::Idle, 40);
    assert!(report.held());
    assert!(report.value("24 nodes: keep-alives").unwrap() > 0.0);
}

#[test]
fn the_same_seed_gives_the_same_table_and_another_one_another() {
    let table = |seed| {
        let settings = Settings { seed, ..small(40) };
        let scenarios = [Scenario::Hostile, Scenario::Churn, Scenario::Partition];
        scenarios.map(|scenario| sim::run(scenario, &settings).unwrap())
    };
    let first = table(7);
    assert_eq!(first, table(7));
    assert_ne!(first[0].rows, table(8)[0].rows);
}

#[cfg(feature = "shell")]
mod program {
    use std::process::Command;

    use serde_json::{Value, json};

    fn sim(arguments: &[&str]) -> (Option<i32>, Value, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_lisp-dht")).arg("sim").args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), serde_json::from_str(&text).unwrap_or(Value::Null), text)
    }

    #[test]
    fn the_program_says_that_its_figures_are_a_models() {
        let (code, value, _) = sim(&["hops", "--nodes", "100", "--lookups", "20", "--json"]);
        assert_eq!((code, &value["instrument"], &value["ok"]), (Some(0), &json!("model"), &json!(true)));
        assert_eq!(value["reports"][0]["seed"], 1);
        let (code, _, text) = sim(&["hops", "--nodes", "100", "--lookups", "20", "--seed", "9"]);
        assert!(code == Some(0) && text.starts_with("model hops: 100 nodes, seed 9"), "{text}");
        assert_eq!(sim(&["weather"]).0, Some(2));
        assert_eq!(sim(&["--nodes", "1"]).0, Some(2));
    }

    #[test]
    fn figures_that_are_far_from_the_benchs_are_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bench.json");
        let bench = |rounds: u64| json!({ "nodes": 24, "lookups": 20, "correct": 20, "rounds_mean_milli": rounds, "p50_us": 900 });
        for (rounds, wanted) in [(500, Some(0)), (9000, Some(1))] {
            std::fs::write(&file, bench(rounds).to_string()).unwrap();
            let (code, _, text) = sim(&["--check-against", file.to_str().unwrap()]);
            assert_eq!(code, wanted, "{text}");
            assert!(text.contains("model") && text.contains("bench"), "{text}");
        }
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(sim(&["--check-against", file.to_str().unwrap()]).0, Some(2));
    }
}
