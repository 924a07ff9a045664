// SPDX-License-Identifier: GPL-2.0-or-later
//! Property: whatever is delegated and served, a hole is right, and as large as it can be (RFC 8111, section 7.1.2).

use mapsys::ddt::{Config as Ddt, Delegation, Kind, Server};
use mapsys::engine::Config;
use proptest::prelude::*;
use wire::address::{EidPrefix, InstanceId};
use wire::control::ReferralAction;

use super::world::*;
use crate::common::*;

/// Few bits, so that prefixes nest: 10.0.0.0 to 10.0.0.255.
fn net(bits: u8, len: u8) -> EidPrefix {
    EidPrefix::new(InstanceId(0), [10, 0, 0, bits].into(), len).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_referral_says_what_a_walk_through_the_configuration_says(
        eid: u8,
        delegated in proptest::collection::btree_set((any::<u8>(), 25u8..=32), 0..6),
        sites in proptest::collection::btree_set((any::<u8>(), 25u8..=32), 0..6),
    ) {
        let whole = net(0, 24);
        let eid = net(eid, 32);
        let delegated: std::collections::BTreeSet<_> = delegated.into_iter().map(|(bits, len)| net(bits, len)).collect();
        let sites: std::collections::BTreeSet<_> = sites.into_iter().map(|(bits, len)| net(bits, len)).collect();
        let delegated: Vec<_> = delegated.difference(&sites).copied().collect();
        let servers = vec![Server { address: [192, 0, 2, 1].into(), priority: 1, weight: 1, keys: vec![] }];
        let delegations = delegated.iter().map(|prefix| Delegation { prefix: *prefix, kind: Kind::Node, servers: servers.clone() });
        let ddt = Ddt { authoritative: vec![whole], delegations: delegations.collect(), ..Ddt::default() };
        let all: Vec<_> = sites.iter().copied().collect();
        let own = if all.is_empty() { vec![] } else { vec![site("s", 1, "secret", &all)] };
        let mut bench = Bench::new(Config { ddt, ..config(own) });
        let outputs = bench.datagram("203.0.113.53:4342", &super::world::ddt(&request(1, &[eid], &[RLOC])));
        let (_, referral) = referral(&outputs);
        let said = referral.eid.ip_prefix().unwrap();
        prop_assert!(said.covers(&eid));
        let longest = |of: &[EidPrefix]| of.iter().copied().filter(|p| p.covers(&eid)).max_by_key(|p| p.net.prefix_len());
        match (longest(&delegated), longest(&all)) {
            (Some(to), at) if at.is_none_or(|at| at.net.prefix_len() < to.net.prefix_len()) => {
                prop_assert_eq!((referral.action, said), (ReferralAction::NodeReferral, to));
            }
            (_, at) => {
                let within = at.unwrap_or(whole);
                let expected = if at.is_some() { ReferralAction::MsNotRegistered } else { ReferralAction::DelegationHole };
                prop_assert_eq!(referral.action, expected);
                prop_assert!(within.covers(&said));
                let inside: Vec<_> = delegated.iter().chain(&all).filter(|p| within.covers(p) && **p != within).collect();
                prop_assert!(inside.iter().all(|p| !p.covers(&said) && !said.covers(p)));
                if let Some(wider) = said.net.supernet().map(|net| EidPrefix { net, ..said }) {
                    prop_assert!(!within.covers(&wider) || inside.iter().any(|p| p.covers(&wider) || wider.covers(p)));
                }
            }
        }
    }
}
