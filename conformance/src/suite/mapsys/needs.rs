// SPDX-License-Identifier: GPL-2.0-or-later
//! What a target has to claim before a check is made with it.

use crate::suite::probe::{Fault, unfit};
use crate::target::{Claim, Target};

/// Checks, or all of a clause, and what they need. Whatever is not here follows from RFC 9301 for every Map-Server and Map-Resolver.
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
    ("FC-003", &[Claim::InstanceId]),
    ("FC-059", &[Claim::Ipv6]),
    ("FC-117", &[Claim::Cgeid]),
    ("FC-054", &[Claim::MoreSpecifics]),
    ("FC-92.1", &[Claim::MoreSpecifics]),
    ("FC-146.1", &[Claim::MoreSpecifics]),
];

/// The target claims all that a check needs.
pub(super) fn met(id: &str, target: &Target) -> Result<(), Fault> {
    let of_check = NEEDS.iter().filter(|(known, _)| *known == id || id.split('.').next() == Some(*known));
    match of_check.flat_map(|(_, claims)| *claims).find(|claim| !target.claims(**claim)) {
        None => Ok(()),
        Some(claim) => Err(unfit(format!("{} does not claim {claim}", target.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::NEEDS;
    use crate::suite::SUITES;

    #[test]
    fn what_needs_something_is_a_check() {
        let lists = SUITES
            .iter()
            .filter(|suite| ["lisp", "facade"].contains(&suite.name))
            .filter_map(|suite| (suite.list)().ok());
        let ids: Vec<_> = lists.flatten().map(|listed| listed.id).collect();
        for (name, _) in NEEDS {
            assert!(ids.iter().any(|id| id == name || id.split('.').next() == Some(name)), "{name}");
        }
    }
}
