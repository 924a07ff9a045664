// SPDX-License-Identifier: GPL-2.0-or-later
//! Nodes on one link find each other with no configuration at all: each is a process in a network namespace, on one bridge.

use std::time::Duration;

use interop::lab::{Node, Topology};

use crate::field::{Field, is_possible, wait_for};

/// From the start of the first node until all know all: less than until the next Hello of who is not asked, 90 s at least.
const LIMIT: Duration = Duration::from_secs(60);

fn one_link(addresses: [&str; 4]) -> Topology {
    let names = ["one", "two", "three", "quiet"];
    names.iter().zip(addresses).fold(Topology::default().switch("link"), |topology, (name, address)| {
        topology.with(Node::host(name).port("eth0", "link", &[address]))
    })
}

fn find_each_other(addresses: [&str; 4], by: [&str; 2]) {
    if !is_possible(&[]) {
        return;
    }
    let field = Field::new(&one_link(addresses));
    let names = ["one", "two", "three"];
    let mut nodes: Vec<_> = names.iter().map(|name| field.node(name, &[])).collect();
    let quiet = field.node("quiet", &["--discovery", "off"]);
    wait_for("three nodes know each other", LIMIT, || names.iter().all(|name| field.peers(name) == 2));
    let cn = field.put("one", by[0]);
    assert!(field.finds("three", cn, by[1]));
    assert_eq!(field.peers("quiet"), 0, "who does not want to be found is not: {}", field.known("quiet"));
    drop(quiet);
    // A newcomer asks, so that it need not wait for the next Hello of the others; one that has gone is missed.
    drop(nodes.pop());
    wait_for("the one that left is out", LIMIT, || field.peers("one") == 1);
    nodes.push(field.node("three", &[]));
    wait_for("it is back", LIMIT, || names.iter().all(|name| field.peers(name) == 2));
}

#[test]
fn three_nodes_on_a_link_find_each_other_over_ipv4() {
    find_each_other(["10.7.0.1/24", "10.7.0.2/24", "10.7.0.3/24", "10.7.0.4/24"], ["10.7.0.1:43420", "10.7.0.3:43420"]);
}

#[test]
fn three_nodes_on_a_link_find_each_other_over_ipv6() {
    find_each_other(
        ["fd00:7::1/64", "fd00:7::2/64", "fd00:7::3/64", "fd00:7::4/64"],
        ["[fd00:7::1]:43420", "[fd00:7::3]:43420"],
    );
}
