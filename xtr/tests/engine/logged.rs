// SPDX-License-Identifier: GPL-2.0-or-later
//! What the operator reads in the log of what packets have shown (RFC 6040, section 4.2), and of messages that were dropped (RFC 9301, section 5.1;
//! RFC 9306, section 3).

use std::sync::Arc;

use crate::double::{Node, RESOLVER, key, prefix, reply_to};
use crate::log::logged;
use wire::control::auth::{Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, Ecm, MapReply, Nonce};
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

fn warnings(run: impl FnOnce()) -> Vec<String> {
    logged(run).into_iter().filter(|line| line.starts_with("WARN")).collect()
}

/// The answer to a Map-Request, with an AFI that nobody knows in its EID-Prefix.
fn of_an_unknown_afi(reply: &MapReply) -> Vec<u8> {
    let mut message = ControlMessage::from(reply.clone()).encode().unwrap();
    // Type and nonce (12 octets), Record TTL, counts and version of the record (10).
    assert_eq!(message[22..24], [0, 1]);
    message[22..24].copy_from_slice(&0x7777_u16.to_be_bytes());
    message
}

#[test]
fn messages_that_are_malformed_or_forged_are_a_line_of_each_kind_that_says_how_many_were_left_out() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Truncated);
    let (_, register) = node.register();
    let unknown = of_an_unknown_afi(&MapReply {
        nonce: Nonce(1),
        ..reply_to(&Node::plain().miss("10.2.0.1/32").1, &[("10.2.0.0/16", 60)])
    });
    let cut = Ecm::wrap("[::1]:1".parse().unwrap(), "[::1]:4342".parse().unwrap(), vec![0x10, 0, 0]).encode().unwrap();
    let wrong = AuthKey { secret: Secret::new("wrongkey"), ..key(Algorithm::HmacSha256) };
    let flood = |node: &mut Node| {
        warnings(|| {
            for _ in 0..100 {
                node.bytes("203.0.113.9:4342", &unknown);
                node.bytes("203.0.113.9:61000", &cut);
                node.notify_with(&register, &wrong, |notify| notify);
            }
        })
    };
    let lines = flood(&mut node);
    let malformed = "WARN control message refused from=203.0.113.9:4342 reason=\"malformed\" \
                     error=AFI at offset 22: value 30583 not allowed";
    let forged = format!("WARN control message refused from={}:4342 reason=\"notify-bad-tag\"", crate::double::SERVER);
    assert_eq!(lines, [malformed, &forged]);
    node.now += limits::LOG_PAUSE;
    assert_eq!(flood(&mut node), [format!("{malformed} left_out=199"), format!("{forged} left_out=99")]);
}

#[test]
fn what_an_ecm_has_in_it_is_named_if_that_cannot_be_read() {
    let mut node = Node::plain();
    let cut = Ecm::wrap("[::1]:1".parse().unwrap(), "[::1]:4342".parse().unwrap(), vec![0x10, 0, 0]).encode().unwrap();
    let lines = warnings(|| node.bytes("203.0.113.9:61000", &cut));
    assert!(matches!(lines.as_slice(), [line] if line.contains("error=") && line.contains("truncated")), "{lines:?}");
}

#[test]
fn late_answers_are_no_warnings() {
    let mut node = Node::plain();
    let (_, request) = node.miss("10.2.0.1/32");
    let reply = reply_to(&request, &[("10.2.0.0/16", 60)]);
    let lines = warnings(|| (0..3).for_each(|_| node.reply_from(RESOLVER, &reply)));
    assert_eq!(node.refused(xtr::refusal::Refusal::ReplyUnasked), 2);
    assert_eq!(lines, Vec::<String>::new());
}
