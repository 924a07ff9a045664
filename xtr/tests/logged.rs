// SPDX-License-Identifier: GPL-2.0-or-later
//! What the operator reads in the log of what packets have shown (RFC 6040, section 4.2).
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod double;
#[path = "../../program/tests/support/log.rs"]
mod log;

use std::sync::Arc;

use double::{Node, prefix};
use log::logged;
use wire::data::{Ecn, Ipv4Header, LispHeader, TrafficClass};
use xtr::counters::{Count, Counters, DropReason};
use xtr::etr::{Etr, EtrConfig, OuterInfo};
use xtr::limits;

/// An ETR, and the control half that hears of what came to it.
struct Bench {
    etr: Etr,
    counters: Arc<Counters>,
    node: Node,
}

impl Bench {
    fn new() -> Self {
        let (counters, node) = (Arc::new(Counters::default()), Node::plain());
        let mut etr = Etr::new(EtrConfig::default(), counters.clone());
        etr.set_local_eids(&[prefix("10.1.0.0/16")]);
        etr.advance(node.now);
        Self { etr, counters, node }
    }

    /// Takes so many packets with these fields, and has control hear of them.
    fn takes(&mut self, packets: usize, inner: Ecn, outer: Ecn) {
        let class = TrafficClass::new(10, inner);
        let (source, destination) = ([10, 2, 0, 1].into(), [10, 1, 0, 1].into());
        let header = Ipv4Header { source, destination, protocol: 17, ttl: 9, class, dont_fragment: true };
        let octets = [LispHeader::default().emit().as_slice(), &header.emit(4).unwrap(), &[1, 2, 3, 4]].concat();
        let (source, destination) = ([198, 51, 100, 7].into(), [192, 0, 2, 1].into());
        let outer = OuterInfo { source, destination, source_port: 50_000, ttl: 9, class: TrafficClass::new(10, outer) };
        for _ in 0..packets {
            self.etr.receive(&outer, &mut octets.clone());
            while let Some(event) = self.etr.poll_event() {
                self.node.event(event);
            }
        }
    }

    /// The lines about ECN that this leaves.
    fn lines(&mut self, packets: usize, inner: Ecn, outer: Ecn) -> Vec<String> {
        let lines = logged(|| self.takes(packets, inner, outer));
        lines.into_iter().filter(|line| line.starts_with("WARN packets have an outer ECN field")).collect()
    }
}

#[test]
fn each_pair_of_ecn_fields_that_nobody_should_make_is_logged_and_no_other_is() {
    let mut bench = Bench::new();
    let unused = [
        (Ecn::NotEct, Ecn::Ect0),
        (Ecn::NotEct, Ecn::Ect1),
        (Ecn::NotEct, Ecn::Ce),
        (Ecn::Ect1, Ecn::Ect0),
        (Ecn::Ce, Ecn::Ect1),
    ];
    for inner in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
        for outer in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
            let lines = bench.lines(1, inner, outer);
            let expected = format!("inner={inner:?} outer={outer:?} packets=1");
            match lines.as_slice() {
                [] => assert!(!unused.contains(&(inner, outer)), "{expected}"),
                [line] => {
                    assert!(unused.contains(&(inner, outer)) && line.contains(&expected), "{line}");
                    assert!(line.contains("198.51.100.7"), "{line}");
                }
                more => panic!("{more:?}"),
            }
        }
    }
}

#[test]
fn a_flood_of_odd_ecn_fields_is_a_line_a_minute() {
    let mut bench = Bench::new();
    assert_eq!(bench.lines(1000, Ecn::NotEct, Ecn::Ce).len(), 1);
    bench.node.now += limits::ECN_SAID;
    bench.etr.advance(bench.node.now);
    let lines = bench.lines(1000, Ecn::NotEct, Ecn::Ce);
    assert!(matches!(lines.as_slice(), [line] if line.contains("packets=1000")), "{lines:?}");
    assert_eq!(bench.counters.dropped(DropReason::CoreEcn), 2000);
}

#[test]
fn the_lines_about_ecn_can_be_switched_off_and_the_counters_go_on() {
    let mut bench = Bench::new();
    bench.node.control = bench.node.control.logging_ecn(false);
    assert_eq!(bench.lines(3, Ecn::Ce, Ecn::Ect1), Vec::<String>::new());
    assert_eq!(bench.counters.get(Count::EcnEct1OverCe), 3);
}
