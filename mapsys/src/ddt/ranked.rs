// SPDX-License-Identifier: GPL-2.0-or-later
//! Whom of a Referral Set a search asks first: by priority, and among equals by weight (RFC 8111, section 6.4; RFC 9301, section 5.4).

use std::net::SocketAddr;

/// A server of a Referral Set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranked {
    /// Where it is.
    pub address: SocketAddr,
    /// Lower is better.
    pub priority: u8,
    /// Its share among those of one priority: 0 beside others is none, and 0 of all is the same share for each.
    pub weight: u8,
}

impl Ranked {
    /// One that stands alone.
    pub(super) fn only(address: SocketAddr) -> Self {
        Self { address, priority: 1, weight: 1 }
    }
}

/// The order in which one search asks them. Among those of one priority each is first as often as its weight says, then the next of those
/// that are left; `draw` gives a number of chance for each.
pub(super) fn in_order(mut left: Vec<Ranked>, mut draw: impl FnMut() -> u64) -> Vec<SocketAddr> {
    let mut order = Vec::with_capacity(left.len());
    while let Some(best) = left.iter().map(|server| server.priority).min() {
        let equals: Vec<usize> = (0..left.len()).filter(|at| left[*at].priority == best).collect();
        let weights: Vec<u64> = equals.iter().map(|at| left[*at].weight.into()).collect();
        let chosen = if equals.len() == 1 { 0 } else { chosen(&weights, draw()) };
        order.push(left.remove(equals[chosen]).address);
    }
    order
}

/// The place that a number of chance falls into.
fn chosen(weights: &[u64], chance: u64) -> usize {
    let total: u64 = weights.iter().sum();
    let share = |weight: u64| if total == 0 { 1 } else { weight };
    let all = weights.iter().map(|weight| share(*weight)).sum::<u64>().max(1);
    let mut point = chance % all;
    for (at, weight) in weights.iter().enumerate() {
        match point.checked_sub(share(*weight)) {
            Some(beyond) => point = beyond,
            None => return at,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u8, priority: u8, weight: u8) -> Ranked {
        Ranked { address: SocketAddr::new([192, 0, 2, n].into(), wire::CONTROL_PORT), priority, weight }
    }

    /// How often each was at this place of a thousand orders.
    fn at(place: usize, servers: &[Ranked]) -> Vec<usize> {
        let mut draws = (0..).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11);
        let mut draw = || draws.next().unwrap_or_default();
        let orders: Vec<_> = (0..1000).map(|_| in_order(servers.to_vec(), &mut draw)).collect();
        servers.iter().map(|server| orders.iter().filter(|order| order[place] == server.address).count()).collect()
    }

    #[test]
    fn the_best_priority_is_first_and_each_of_it_as_often_as_its_weight_says() {
        let servers = [server(1, 2, 100), server(2, 1, 75), server(3, 1, 25)];
        let first = at(0, &servers);
        assert!(first[0] == 0 && (700..800).contains(&first[1]), "{first:?}");
        assert_eq!(at(2, &servers), [1000, 0, 0], "nobody is left out");
    }

    #[test]
    fn without_weights_all_have_the_same_share_and_one_without_beside_others_is_last() {
        let first = at(0, &[server(1, 1, 0), server(2, 1, 0)]);
        assert!((400..600).contains(&first[0]), "{first:?}");
        assert_eq!(at(1, &[server(1, 1, 0), server(2, 1, 1)]), [1000, 0]);
    }
}
