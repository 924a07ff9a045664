// SPDX-License-Identifier: GPL-2.0-or-later
//! The figures of a DHT node as metrics. What a node counts appears by the name of its counter, so that none is forgotten here.

use std::collections::BTreeMap;
use std::fmt;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::Value;

use super::http::Figures;
use super::node::{Node, NodeStats};

/// Prefix of all names.
const PREFIX: &str = "lisp_dht";

/// Asks the program that has the node in it for its own counters, as its `show counters` has them.
pub type Ask = Box<dyn Fn() -> BoxFuture<'static, Value> + Send + Sync>;

/// Says what keeps the program around a node from doing what it is for, if anything does.
pub type Fault = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// A node whose figures are asked for.
pub struct NodeFigures {
    node: Node,
    /// Whether it is to know others: it was given some.
    is_alone: bool,
    /// The program around it: prefix of its names, how it is asked, and which of its figures are sizes.
    program: Option<(&'static str, Ask, &'static [&'static str])>,
    /// What is wrong with that, which is said before what is wrong with the node.
    fault: Option<Fault>,
}

impl fmt::Debug for NodeFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeFigures")
            .field("node", &self.node)
            .field("is_alone", &self.is_alone)
            .finish_non_exhaustive()
    }
}

impl NodeFigures {
    /// The figures of `node`; one that `is_alone` was given nobody to know, which is no fault.
    pub fn new(node: Node, is_alone: bool) -> Self {
        Self { node, is_alone, program: None, fault: None }
    }

    /// With those of the program around it, whose names begin with `prefix`; `sizes` as in [`Shown::new`].
    #[must_use]
    pub fn with(self, prefix: &'static str, ask: Ask, sizes: &'static [&'static str]) -> Self {
        Self { program: Some((prefix, ask, sizes)), ..self }
    }

    /// With what may be wrong with the program around it.
    #[must_use]
    pub fn or_at_fault(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }
}

impl Figures for NodeFigures {
    fn registry(&self) -> BoxFuture<'_, anyhow::Result<Registry>> {
        async {
            let mut registry = Registry::default();
            let snapshot = Box::new(Snapshot::of(&self.node.stats().await?));
            registry.sub_registry_with_prefix(PREFIX).register_collector(snapshot);
            if let Some((prefix, ask, sizes)) = &self.program {
                let shown = Shown::new(ask().await, sizes);
                registry.sub_registry_with_prefix(prefix).register_collector(Box::new(shown));
            }
            Ok(registry)
        }
        .boxed()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            if let Some(why) = self.fault.as_ref().and_then(|fault| fault()) {
                return Err(why);
            }
            let stats = self.node.stats().await.map_err(|error| error.to_string())?;
            fault(&stats, self.is_alone).map_or(Ok(()), Err)
        }
        .boxed()
    }
}

/// What keeps a node from doing what it is for. That others cannot reach it is no fault: it is a client then.
fn fault(stats: &NodeStats, is_alone: bool) -> Option<String> {
    let clock = &stats.admission.clock;
    if stats.held.is_failing {
        return Some("what is stored cannot be written to disk".to_owned());
    }
    if clock.state == "wrong" {
        let behind = clock.behind_ms.unwrap_or_default();
        return Some(format!("the clock is behind that of the peers by {behind} ms: nothing is published"));
    }
    let undated = stats.admission.refused.get("dates").copied().unwrap_or_default();
    (stats.peers.is_empty() && !is_alone).then(|| match undated {
        0 => "no other node is known".to_owned(),
        _ => format!(
            "no other node is known; the certificates of {undated} hold by their clocks only: is this one right?"
        ),
    })
}

/// What was counted at one moment.
#[derive(Debug)]
struct Snapshot {
    gauges: Vec<(&'static str, &'static str, i64)>,
    counters: Vec<(String, u64)>,
    /// Counters by reason.
    families: Vec<(String, Vec<(String, u64)>)>,
}

impl Snapshot {
    fn of(stats: &NodeStats) -> Self {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let (held, admission) = (&stats.held, &stats.admission);
        let heaviest = held.heaviest.map_or(0, |(_, records)| records);
        let mut gauges = vec![
            ("peers", "Peers in the routing table", gauge(stats.peers.len())),
            ("connections", "Connections that stand", gauge(stats.connections)),
            ("records", "Bundles in the store", gauge(held.records)),
            ("records_waiting", "Bundles on disk that are from the future by this clock", gauge(held.waiting)),
            ("record_octets", "Octets of the bundles in the store", gauge(held.bytes)),
            ("keys_in_conflict", "Keys whose owners contradicted themselves, 100 at most", gauge(held.conflicts.len())),
            ("heaviest_block_records", "Bundles of the block of addresses that has put most", gauge(heaviest)),
            ("region_bits", "Bits that keys of the region share with the node", held.region_bits.unwrap_or(0).into()),
            ("disk_failing", "1 if what is stored cannot be written", held.is_failing.into()),
            ("reachable", "1 if others can find this node", stats.reachable.into()),
            ("server", "1 if it stores for others, 0 for a client", (admission.role == "server").into()),
            ("clock_wrong", "1 if the clock differs from that of the peers", (admission.clock.state == "wrong").into()),
            ("puzzle_bits", "Zero bits that the network asks of a key", admission.puzzle_bits.into()),
            ("closed", "1 if the network has a key", admission.closed.into()),
        ];
        let behind = "Milliseconds by which the clock is behind that of the peers";
        gauges.extend(admission.clock.behind_ms.map(|ms| ("clock_behind_milliseconds", behind, ms)));
        let mut snapshot = Self { gauges, counters: Vec::new(), families: Vec::new() };
        snapshot.take("", serde_json::to_value(stats.counters));
        snapshot.take("store_", serde_json::to_value(&held.store));
        // The store's refusals have their name from the time when they were all that was shown of it.
        snapshot.families = vec![("refused".to_owned(), reasons(&held.refused))];
        snapshot.take("admission_", serde_json::to_value(admission));
        snapshot
    }

    /// Takes counters by their names; those that have reasons become families.
    fn take(&mut self, prefix: &str, counted: serde_json::Result<Value>) {
        for (name, value) in counted.unwrap_or_default().as_object().into_iter().flatten() {
            if self.gauges.iter().any(|(gauge, ..)| gauge == name) || name == "clock" {
                continue;
            }
            let name = format!("{prefix}{name}");
            match value {
                Value::Object(reasons) => {
                    let counted = reasons.iter().filter_map(|(reason, count)| Some((reason.clone(), count.as_u64()?)));
                    self.families.push((name, counted.collect()));
                }
                value => self.counters.extend(value.as_u64().map(|count| (name, count))),
            }
        }
    }
}

fn reasons(counted: &BTreeMap<&'static str, u64>) -> Vec<(String, u64)> {
    counted.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in &self.gauges {
            let gauge = ConstGauge::new(*value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let help = |name: &str| format!("Since the start: {}", name.replace('_', " "));
        for (name, value) in &self.counters {
            let counter = ConstCounter::new(*value);
            counter.encode(encoder.encode_descriptor(name, &help(name), None, MetricType::Counter)?)?;
        }
        for (name, reasons) in &self.families {
            let mut family = encoder.encode_descriptor(name, &help(name), None, MetricType::Counter)?;
            for (reason, count) in reasons {
                ConstCounter::new(*count).encode(family.encode_family(&[("reason", reason.as_str())])?)?;
            }
        }
        Ok(())
    }
}

/// Of what a store holds ([`super::node::NodeStats::held`]): the names of what is there now, as against what was counted since the start.
const HELD: &[&str] = &["records", "waiting", "bytes", "region_bits"];

/// What a program shows: numbers in objects. They were counted since the start, unless their name says that they are sizes.
#[derive(Debug)]
pub struct Shown {
    shown: Value,
    sizes: &'static [&'static str],
}

impl Shown {
    /// Of what is shown, `sizes` are the names of what is there now, wherever they stand; no family is one.
    pub fn new(shown: Value, sizes: &'static [&'static str]) -> Self {
        Self { shown, sizes }
    }

    fn encode_in(&self, encoder: &mut DescriptorEncoder<'_>, prefix: &str, shown: &Value) -> Result<(), fmt::Error> {
        for (key, value) in shown.as_object().into_iter().flatten() {
            let name = format!("{prefix}{}", key.replace('-', "_"));
            let help = format!("As in `show counters`: {}", name.replace('_', " "));
            match value {
                Value::Object(inner) if inner.values().all(Value::is_number) => {
                    let mut family = encoder.encode_descriptor(&name, &help, None, MetricType::Counter)?;
                    for (label, value) in inner {
                        let label = [("name", label.as_str())];
                        let counter = ConstCounter::new(value.as_u64().unwrap_or_default());
                        counter.encode(family.encode_family(&label)?)?;
                    }
                }
                Value::Object(_) => self.encode_in(encoder, &format!("{name}_"), value)?,
                value if self.sizes.iter().chain(HELD).any(|size| *size == key.as_str()) => {
                    let Some(size) = value.as_i64() else { continue };
                    let stem = name.strip_suffix("_bytes");
                    let (name, unit) = stem.map_or((name.as_str(), None), |stem| (stem, Some(Unit::Bytes)));
                    ConstGauge::new(size).encode(encoder.encode_descriptor(
                        name,
                        &help,
                        unit.as_ref(),
                        MetricType::Gauge,
                    )?)?;
                }
                value => {
                    let Some(count) = value.as_u64() else { continue };
                    let metric = encoder.encode_descriptor(&name, &help, None, MetricType::Counter)?;
                    ConstCounter::new(count).encode(metric)?;
                }
            }
        }
        Ok(())
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_in(&mut encoder, "", &self.shown)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::shell::node::{ClockStats, Peer, PeerId};

    #[test]
    fn a_node_is_at_fault_without_peers_with_a_wrong_clock_or_a_failing_disk() {
        let well = NodeStats {
            peers: vec![Peer { id: PeerId::random(), addresses: Vec::new(), connected: true }],
            ..NodeStats::default()
        };
        assert!(!well.reachable, "which is no fault");
        assert_eq!(fault(&well, false), None);
        let says = |stats: &NodeStats, word: &str| fault(stats, false).is_some_and(|why| why.contains(word));
        let lonely = NodeStats::default();
        assert!(says(&lonely, "no other node") && !says(&lonely, "clock") && fault(&lonely, true).is_none());
        let mut doubtful = lonely;
        doubtful.admission.refused = [("dates", 1)].into();
        assert!(says(&doubtful, "is this one right?"));
        let mut late = well.clone();
        late.admission.clock = ClockStats { state: "wrong", behind_ms: Some(3_600_000) };
        assert!(says(&late, "clock"));
        let mut full = well;
        full.held.is_failing = true;
        assert!(says(&full, "disk"));
    }

    #[test]
    fn what_a_program_shows_has_its_names() {
        let shown = serde_json::json!({
            "control": { "bad-nonce": 2 },
            "map-system": {
                "refusals": { "quota": 1 }, "registrations": 3, "notifies-sent": 4,
                "dht": { "held": { "bytes": 7, "conflicts": ["x"], "store": { "stored": 5, "refused": {} } } },
            },
        });
        let mut registry = Registry::default();
        registry
            .sub_registry_with_prefix("lisp_xtr")
            .register_collector(Box::new(Shown::new(shown, &["registrations"])));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE lisp_xtr_control counter",
            "lisp_xtr_control_total{name=\"bad-nonce\"} 2",
            "lisp_xtr_map_system_refusals_total{name=\"quota\"} 1",
            "# TYPE lisp_xtr_map_system_registrations gauge",
            "lisp_xtr_map_system_registrations 3",
            "lisp_xtr_map_system_notifies_sent_total 4",
            "# UNIT lisp_xtr_map_system_dht_held_bytes bytes",
            "lisp_xtr_map_system_dht_held_bytes 7",
            "lisp_xtr_map_system_dht_held_store_stored_total 5",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}: {text}");
        }
    }

    #[test]
    fn every_counter_of_a_node_appears_in_the_text() {
        let mut stats = NodeStats::default();
        stats.counters.gets = 7;
        stats.held.records = 3;
        stats.held.refused = [("signature", 2), ("quota", 1)].into();
        stats.held.store.evicted = 9;
        stats.admission.refused = [("puzzle", 4)].into();
        stats.admission.servers = 6;
        stats.admission.clock = ClockStats { state: "wrong", behind_ms: Some(-3_600_000) };
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Snapshot::of(&stats)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("\nlisp_dht_gets_total 7\n"), "{text}");
        assert!(text.contains("\nlisp_dht_records 3\n"), "{text}");
        for line in [
            "lisp_dht_refused_total{reason=\"signature\"} 2",
            "lisp_dht_store_evicted_total 9",
            "lisp_dht_admission_refused_total{reason=\"puzzle\"} 4",
            "lisp_dht_admission_servers_total 6",
            "lisp_dht_clock_wrong 1",
            "lisp_dht_clock_behind_milliseconds -3600000",
            "lisp_dht_reachable 0",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}: {text}");
        }
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let once: std::collections::BTreeSet<&&str> = names.iter().collect();
        assert_eq!(names.len(), once.len(), "a name twice: {text}");
        let counted = serde_json::to_value(stats.counters).unwrap();
        for name in counted.as_object().unwrap().keys() {
            assert!(text.contains(&format!("# TYPE lisp_dht_{name} counter")), "{name}: {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
