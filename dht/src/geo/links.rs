// SPDX-License-Identifier: GPL-2.0-or-later
//! Which links count: those that both ends name. Anybody can say that somebody is its neighbour.

use std::collections::{BTreeMap, BTreeSet};

use cgeid::Cn;

use crate::record::{Medium, Quality, Topology};

/// A link that both ends name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MutualLink {
    /// Its ends, ascending.
    pub ends: [Cn; 2],
    /// What it goes through, as far as one end says.
    pub medium: Medium,
    /// How good each end finds it, in the order of the ends.
    pub seen: [Quality; 2],
}

impl MutualLink {
    /// What both ends agree that it is at least.
    pub fn quality(&self) -> Quality {
        self.seen[0].worse(self.seen[1])
    }
}

/// The mutual links among these nodes, ascending by their ends; at most as many as one end of each may name. An end that does
/// not say what a link goes through agrees with the other.
pub fn mutual_links(nodes: &BTreeMap<Cn, &Topology>) -> Vec<MutualLink> {
    let mut links = Vec::new();
    for (&one, topology) in nodes {
        let named: BTreeSet<Cn> = topology.neighbours.keys().map(|neighbour| neighbour.cn).collect();
        // Each pair once, and nobody is its own neighbour.
        for other in named.into_iter().filter(|other| *other > one) {
            if let Some(back) = nodes.get(&other) {
                links.extend(between(one, topology, other, back));
            }
        }
    }
    links
}

fn between(one: Cn, there: &Topology, other: Cn, back: &Topology) -> Vec<MutualLink> {
    let there: BTreeMap<Medium, Quality> = there.links_to(other).collect();
    let back: BTreeMap<Medium, Quality> = back.links_to(one).collect();
    let said: BTreeSet<Medium> =
        there.keys().chain(back.keys()).copied().filter(|medium| *medium != Medium::UNKNOWN).collect();
    let seen = |link: &BTreeMap<Medium, Quality>, medium: Medium| {
        link.get(&medium).or_else(|| link.get(&Medium::UNKNOWN)).copied()
    };
    let link = |medium: Medium| {
        Some(MutualLink { ends: [one, other], medium, seen: [seen(&there, medium)?, seen(&back, medium)?] })
    };
    let mut links: Vec<MutualLink> = said.into_iter().filter_map(link).collect();
    if links.is_empty() {
        links.extend(link(Medium::UNKNOWN));
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Loss, Neighbour, Rate};

    const A: Cn = Cn([1; 12]);
    const B: Cn = Cn([2; 12]);

    fn quality(metric: u16) -> Quality {
        Quality { metric, loss: Loss(metric), rate: Rate(1000) }
    }

    fn naming(links: &[(Cn, Medium, u16)]) -> Topology {
        let neighbours = links.iter().map(|&(cn, medium, metric)| (Neighbour { cn, medium }, quality(metric)));
        Topology { neighbours: neighbours.collect(), ..Topology::default() }
    }

    fn media(one: &[(Cn, Medium, u16)], other: &[(Cn, Medium, u16)]) -> Vec<Medium> {
        let (one, other) = (naming(one), naming(other));
        mutual_links(&[(A, &one), (B, &other)].into()).into_iter().map(|link| link.medium).collect()
    }

    #[test]
    fn a_link_counts_only_if_both_ends_name_each_other() {
        let radio = Medium::RADIO;
        assert_eq!(media(&[(B, radio, 1)], &[(A, radio, 2)]), [radio]);
        assert!(media(&[(B, radio, 1)], &[]).is_empty());
        assert!(media(&[(B, radio, 1)], &[(Cn([3; 12]), radio, 2)]).is_empty());
        assert!(media(&[(A, radio, 1)], &[(B, radio, 2)]).is_empty(), "nobody is its own neighbour");
        let alone = naming(&[(B, radio, 1)]);
        assert!(mutual_links(&[(A, &alone)].into()).is_empty());
    }

    #[test]
    fn each_medium_is_a_link_of_its_own() {
        let (radio, laser, unknown) = (Medium::RADIO, Medium::LASER, Medium::UNKNOWN);
        assert_eq!(media(&[(B, radio, 1), (B, laser, 1)], &[(A, laser, 2), (A, radio, 3)]), [radio, laser]);
        assert_eq!(media(&[(B, radio, 1), (B, laser, 1)], &[(A, laser, 2)]), [laser]);
        assert!(media(&[(B, radio, 1)], &[(A, laser, 2)]).is_empty());
        assert_eq!(media(&[(B, radio, 1)], &[(A, unknown, 2)]), [radio]);
        assert_eq!(media(&[(B, unknown, 1)], &[(A, unknown, 2)]), [unknown]);
    }

    #[test]
    fn the_worse_of_two_views_counts() {
        let one = Quality { metric: 1, loss: Loss(50), rate: Rate(0) };
        let other = Quality { metric: 9, loss: Loss(3), rate: Rate(700) };
        let link = MutualLink { ends: [A, B], medium: Medium::WIRE, seen: [one, other] };
        assert_eq!(link.quality(), Quality { metric: 9, loss: Loss(50), rate: Rate(700) });
    }
}
