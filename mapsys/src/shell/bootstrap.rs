// SPDX-License-Identifier: GPL-2.0-or-later
//! Which of the DHT node's addresses others are told as `--bootstrap`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use dht::shell::node::Node;

/// The system reports the addresses of all interfaces one by one, without an end: most come within this time.
const SETTLE: Duration = Duration::from_millis(300);
/// Longest wait for an address that was asked for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The addresses that others can join by: those the map system serves on, if the DHT node has them. Waits up to a second
/// until they are known.
pub(super) async fn addresses(node: &Node, serves: &[IpAddr], dht_listen: &[IpAddr]) -> Vec<String> {
    let asked = if dht_listen.is_empty() { serves } else { dht_listen };
    let is_open = asked.iter().any(IpAddr::is_unspecified);
    let begun = Instant::now();
    loop {
        let known: Vec<String> = node.listen_addrs().iter().map(ToString::to_string).collect();
        let has = |wanted: &IpAddr| known.iter().any(|address| ip(address) == Some(*wanted));
        let is_complete = asked.iter().all(|wanted| wanted.is_unspecified() || has(wanted));
        let waited = begun.elapsed();
        if waited >= PATIENCE || is_complete && (!is_open || waited >= SETTLE) {
            return choose(known, serves);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Those served on; else those that are good beyond this machine and link; else, on a machine with no network, all.
fn choose(known: Vec<String>, serves: &[IpAddr]) -> Vec<String> {
    let is_served = |address: &&String| ip(address).is_some_and(|ip| serves.iter().any(|served| covers(*served, ip)));
    let is_routable = |address: &&String| ip(address).is_some_and(is_routable);
    let served: Vec<String> = known.iter().filter(is_served).cloned().collect();
    if !served.is_empty() {
        return served;
    }
    let routable: Vec<String> = known.iter().filter(is_routable).cloned().collect();
    if routable.is_empty() { known } else { routable }
}

/// The address itself, or one that stands for all of the family.
fn covers(served: IpAddr, ip: IpAddr) -> bool {
    served == ip || served.is_unspecified() && served.is_ipv4() == ip.is_ipv4() && is_routable(ip)
}

fn is_routable(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !ip.is_loopback() && !ip.is_unspecified() && !is_link_local
}

/// The IP address that a multiaddress begins with.
fn ip(multiaddr: &str) -> Option<IpAddr> {
    let mut parts = multiaddr.split('/').skip(1);
    matches!(parts.next()?, "ip4" | "ip6").then(|| parts.next()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chosen(known: &[&str], serves: &[&str]) -> Vec<String> {
        let multiaddr = |ip: &&str| {
            let family = if ip.contains(':') { "ip6" } else { "ip4" };
            format!("/{family}/{ip}/udp/43420/quic-v1/p2p/12D3")
        };
        let serves: Vec<IpAddr> = serves.iter().map(|text| text.parse().unwrap()).collect();
        let chosen = choose(known.iter().map(multiaddr).collect(), &serves);
        chosen.iter().map(|address| ip(address).unwrap().to_string()).collect()
    }

    #[test]
    fn addresses_served_on_come_before_all_others() {
        let known = ["127.0.0.1", "192.0.2.1", "198.51.100.1", "::1", "fe80::1", "2001:db8::1"];
        assert_eq!(chosen(&known, &["192.0.2.1"]), ["192.0.2.1"]);
        assert_eq!(chosen(&known, &["127.0.0.1"]), ["127.0.0.1"], "who serves on loopback is joined there");
        assert_eq!(chosen(&known, &["0.0.0.0"]), ["192.0.2.1", "198.51.100.1"]);
        assert_eq!(chosen(&known, &["203.0.113.9"]), ["192.0.2.1", "198.51.100.1", "2001:db8::1"]);
        assert_eq!(chosen(&known, &["::", "192.0.2.1"]), ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn loopback_is_better_than_nothing() {
        assert_eq!(chosen(&["127.0.0.1", "::1"], &["0.0.0.0"]), ["127.0.0.1", "::1"]);
    }
}
