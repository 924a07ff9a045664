// SPDX-License-Identifier: GPL-2.0-or-later
//! What a target has to claim before a check is made with it.

use crate::suite::probe::{Fault, unfit};
use crate::target::{Claim, Target};

/// Checks, or all of a clause, and what they need. Whatever is neither here nor in [`PROMISES`] is owed by every Map-Server and
/// Map-Resolver: RFC 9301 asks for it; or a message that is none must not end it, move others' mappings or be acted on.
const NEEDS: &[(&str, &[Claim])] = &[
    ("LI-085", &[Claim::HmacSha256]),
    ("LI-086", &[Claim::Hkdf]),
    ("LI-084.1", &[Claim::SeveralKeys]),
    ("LI-084.3", &[Claim::SeveralKeys]),
    ("LI-088", &[Claim::XtrId]),
    ("LI-096", &[Claim::XtrId]),
    ("LI-100", &[Claim::Merge, Claim::XtrId]),
    ("LI-109", &[Claim::Merge, Claim::XtrId]),
    ("LI-103.3", &[Claim::MoreSpecifics]),
    ("LI-054", &[Claim::MoreSpecifics]),
    ("LI-059.2", &[Claim::Ipv6]),
    ("LI-116.2", &[Claim::HmacSha1]),
    ("LI-248", &[Claim::Names]),
    ("LI-251", &[Claim::Mac]),
    ("LI-239", &[Claim::Multicast]),
    ("LI-242", &[Claim::SourceDest]),
    ("FC-003", &[Claim::InstanceId]),
    ("FC-059", &[Claim::Ipv6]),
    ("FC-117", &[Claim::Cgeid]),
    ("FC-92.1", &[Claim::MoreSpecifics]),
    ("FC-064.3", &[Claim::MoreSpecifics]),
];

/// What our own documents alone ask for, where RFC 9301 is silent, leaves a choice, or asks it of who sends: what comes behind a message
/// or an EID's mask, how a registration is taken back, that a lost Map-Notify is sent again for the same octets, which algorithm a site may
/// not use, what an ECM may hold, that there is one round a Map-Request, and what is answered in somebody else's name.
const PROMISES: &[&str] = &[
    "LI-013", "LI-016", "LI-037", "LI-095.2", "LI-114", "LI-116.1", "LI-131", "LI-132", "LI-134", "LI-239.3",
    "LI-239.4", "LI-239.5", "LI-242.3", "LI-251.2", "FC-054.1", "FC-146",
];

/// The target claims all that a check needs.
pub(super) fn met(id: &str, target: &Target) -> Result<(), Fault> {
    if target.is_ours() {
        return Ok(());
    }
    let is_it = |known: &str| known == id || id.split('.').next() == Some(known);
    if PROMISES.iter().any(|known| is_it(known)) {
        return Err(unfit("our own promise, which no standard asks for"));
    }
    let of_check = NEEDS.iter().filter(|(known, _)| is_it(known));
    match of_check.flat_map(|(_, claims)| *claims).find(|claim| !target.claims(**claim)) {
        None => Ok(()),
        Some(claim) => Err(unfit(format!("{} does not claim {claim}", target.name))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::suite::SUITES;

    #[test]
    fn what_needs_something_is_a_check() {
        let lists = SUITES
            .iter()
            .filter(|suite| ["lisp", "facade"].contains(&suite.name))
            .filter_map(|suite| (suite.list)().ok());
        let ids: Vec<_> = lists.flatten().map(|listed| listed.id).collect();
        for name in NEEDS.iter().map(|(name, _)| name).chain(PROMISES) {
            assert!(ids.iter().any(|id| id == name || id.split('.').next() == Some(name)), "{name}");
        }
    }

    #[test]
    fn a_promise_of_ours_is_held_against_nobody_else_also_where_the_suites_configure_it() {
        let fork = "name = \"a fork\"\nclaims = []\n[map-system]\nconfigured-as = \"lisp-mapsys\"\n";
        let fork = Target::parse(fork, std::path::Path::new("fork.toml")).unwrap();
        for id in ["FC-146.2", "LI-114.1", "LI-095.2", "LI-131.1", "FC-054.1", "FC-064.3", "LI-086.1"] {
            assert!(met(id, &fork).is_err() && met(id, &Target::ours()).is_ok(), "{id}");
        }
        assert!(met("FC-064.1", &fork).is_ok());
    }
}
