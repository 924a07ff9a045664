// SPDX-License-Identifier: GPL-2.0-or-later
//! Whatever an xTR, a site and a forger do, in any order.

use std::collections::HashMap;

use proptest::prelude::*;
use wire::address::EidPrefix;
use wire::record::{Action, MappingRecord};

use super::xtr::*;
use crate::common::*;

#[derive(Debug, Clone)]
enum Step {
    Subscribe {
        nonce: u64,
        eid: usize,
        from_two: bool,
    },
    Leave {
        nonce: u64,
        eid: usize,
    },
    Register {
        eid: usize,
        rloc: u8,
    },
    Withdraw {
        eid: usize,
    },
    /// Acknowledges what was told as the last but so many.
    Acknowledge(usize),
    Pass(u64),
}

/// Nested EID-prefixes of the site, and hosts in them.
fn eids() -> [EidPrefix; 6] {
    let parts = [SITE, "2001:db8:a:1::/64", "2001:db8:a:8000::/49", "2001:db8:a:2::/64"].map(prefix);
    [parts[0], parts[1], parts[2], parts[3], host("2001:db8:a:1::1"), host("2001:db8:a:ffff::1")]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u64..60, 0usize..6, any::<bool>())
            .prop_map(|(nonce, eid, from_two)| Step::Subscribe { nonce, eid, from_two }),
        1 => (0u64..60, 0usize..6).prop_map(|(nonce, eid)| Step::Leave { nonce, eid }),
        3 => (0usize..4, 1u8..9).prop_map(|(eid, rloc)| Step::Register { eid, rloc }),
        1 => (0usize..4).prop_map(|eid| Step::Withdraw { eid }),
        4 => (0usize..4).prop_map(Step::Acknowledge),
        3 => prop_oneof![0u64..5, 0u64..100, 0u64..1000].prop_map(Step::Pass),
    ]
}

fn is_farewell(record: &MappingRecord) -> bool {
    record.action == Action::DropAuthFailure
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn one_nonce_says_one_thing_and_all_comes_to_rest(steps in prop::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new(served());
        let (mut said, mut last, mut site_nonce) = (HashMap::new(), Vec::new(), 0);
        for step in steps {
            site_nonce += 1;
            // No two Map-Requests have one nonce, nor one that Map-Notifies after another come to.
            let apart = |nonce: u64| nonce * 10_000 + site_nonce * 100;
            let outputs = match step {
                Step::Subscribe { nonce, eid, from_two } => {
                    let (from, rloc) = if from_two { (FROM_TWO, TWO) } else { (FROM_ONE, ONE) };
                    bench.datagram(from, &ecm(&subscribing(apart(nonce), &[eids()[eid]], &[rloc])))
                }
                Step::Leave { nonce, eid } => bench.datagram(FROM_ONE, &ecm(&leaving(apart(nonce), eids()[eid]))),
                Step::Register { eid, rloc } => {
                    let record = record(eids()[eid], &[&format!("198.51.100.{rloc}")]);
                    bench.datagram(ETR, &seal(register(site_nonce, vec![record]), &site_key()))
                }
                Step::Withdraw { eid } => {
                    bench.datagram(ETR, &seal(register(site_nonce, vec![gone(eids()[eid])]), &site_key()))
                }
                Step::Acknowledge(back) => match last.iter().rev().nth(back).cloned() {
                    Some((to, notify)) => {
                        let to: std::net::SocketAddr = to;
                        bench.datagram(&to.to_string(), &ack(&notify))
                    }
                    None => Vec::new(),
                },
                Step::Pass(time) => bench.pass(seconds(time)),
            };
            for (to, notify) in told(&outputs) {
                let first = &notify.records[0];
                // Farewells repeat the nonce that they end.
                if !is_farewell(first) {
                    let tag = said.entry(notify.nonce.0).or_insert_with(|| notify.auth.tag.clone());
                    prop_assert_eq!(&notify.auth.tag, tag, "{:?}", notify);
                }
                last.push((to, notify));
            }
        }
        // Nobody acknowledges any more, and nothing is registered: all ends, and no time is lost in between.
        bench.pass(seconds(3 * 3600));
        prop_assert_eq!(bench.engine.subscriptions().waiting(), (0, 0));
        prop_assert_eq!(subscriptions(&bench), vec![]);
    }
}
