// SPDX-License-Identifier: GPL-2.0-or-later
//! The figures of a DHT node as metrics. What a node counts appears by the name of its counter, so that none is forgotten here.

use std::fmt;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::Value;

use super::http::Figures;
use super::node::{Node, NodeStats};

/// Prefix of all names.
const PREFIX: &str = "lisp_dht";

/// A node whose figures are asked for.
#[derive(Debug)]
pub struct NodeFigures {
    node: Node,
    /// Whether it is to know others: it was given some.
    is_alone: bool,
}

impl NodeFigures {
    /// The figures of `node`; one that `is_alone` was given nobody to know, which is no fault.
    pub fn new(node: Node, is_alone: bool) -> Self {
        Self { node, is_alone }
    }
}

impl Figures for NodeFigures {
    fn registry(&self) -> BoxFuture<'_, anyhow::Result<Registry>> {
        async {
            let mut registry = Registry::with_prefix(PREFIX);
            registry.register_collector(Box::new(Snapshot::of(&self.node.stats().await?)));
            Ok(registry)
        }
        .boxed()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            let stats = self.node.stats().await.map_err(|error| error.to_string())?;
            if stats.peers.is_empty() && !self.is_alone {
                return Err("no other node is known".to_owned());
            }
            Ok(())
        }
        .boxed()
    }
}

/// What was counted at one moment.
#[derive(Debug)]
struct Snapshot {
    gauges: Vec<(&'static str, &'static str, i64)>,
    counters: Vec<(String, u64)>,
    refused: Vec<(&'static str, u64)>,
}

impl Snapshot {
    fn of(stats: &NodeStats) -> Self {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let counted = serde_json::to_value(stats.counters).unwrap_or_default();
        let counted = counted.as_object().into_iter().flatten();
        Self {
            gauges: vec![
                ("peers", "Peers in the routing table", gauge(stats.peers.len())),
                ("connections", "Connections that stand", gauge(stats.connections)),
                ("records", "Bundles in the store", gauge(stats.held.records)),
                ("record_octets", "Octets of the bundles in the store", gauge(stats.held.bytes)),
            ],
            counters: counted.filter_map(|(name, value)| Some((name.clone(), Value::as_u64(value)?))).collect(),
            refused: stats.held.refused.iter().map(|(name, count)| (*name, *count)).collect(),
        }
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in &self.gauges {
            let gauge = ConstGauge::new(*value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        for (name, value) in &self.counters {
            let help = format!("Since the start: {}", name.replace('_', " "));
            let counter = ConstCounter::new(*value);
            counter.encode(encoder.encode_descriptor(name, &help, None, MetricType::Counter)?)?;
        }
        let help = "Values that the store refused since the start, by reason";
        let mut refused = encoder.encode_descriptor("refused", help, None, MetricType::Counter)?;
        for (reason, count) in &self.refused {
            ConstCounter::new(*count).encode(refused.encode_family(&[("reason", *reason)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_counter_of_a_node_appears_in_the_text() {
        let mut stats = NodeStats::default();
        stats.counters.gets = 7;
        stats.held.records = 3;
        stats.held.refused = [("signature", 2), ("quota", 1)].into();
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Snapshot::of(&stats)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("\nlisp_dht_gets_total 7\n"), "{text}");
        assert!(text.contains("\nlisp_dht_records 3\n"), "{text}");
        assert!(text.contains("lisp_dht_refused_total{reason=\"signature\"} 2\n"), "{text}");
        let counted = serde_json::to_value(stats.counters).unwrap();
        for name in counted.as_object().unwrap().keys() {
            assert!(text.contains(&format!("# TYPE lisp_dht_{name} counter")), "{name}: {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
