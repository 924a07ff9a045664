// SPDX-License-Identifier: GPL-2.0-or-later
//! The map-cache of a control half, as it is listed: a portion at a time.

use std::collections::BTreeSet;

use crate::double::{Node, reply_to, secs};
use wire::address::{EidPrefix, InstanceId};
use xtr::config::Table;
use xtr::shell::listing::{Portion, count};

/// All rows, as they come so many mappings at a time; each portion has no more.
fn rows(node: &Node, table: Table, size: usize) -> Vec<serde_json::Value> {
    let (mut rows, mut portion) = (Vec::new(), Portion { size, ..Portion::first(table, None) });
    loop {
        let mut answer = portion.answer(&node.control, InstanceId(0), node.now);
        let part: Vec<_> = serde_json::from_value(answer["rows"].take()).unwrap();
        assert!(part.len() <= size, "each has one locator");
        rows.extend(part);
        portion.after = behind(&mut answer);
        if portion.after.is_none() {
            return rows;
        }
    }
}

/// Those with locators, and those without, as they come so many at a time; each portion counts no more.
fn counted(node: &Node, size: usize) -> (u64, u64) {
    let (mut all, mut after) = ((0, 0), None);
    loop {
        let mut answer = count(&node.control, (after, size), node.now);
        let part = ["positive", "negative"].map(|kind| answer[kind].as_u64().unwrap());
        assert!(part.iter().sum::<u64>() <= size as u64);
        all = (all.0 + part[0], all.1 + part[1]);
        after = behind(&mut answer);
        if after.is_none() {
            return all;
        }
    }
}

/// Behind which mapping the next portion is.
fn behind(answer: &mut serde_json::Value) -> Option<EidPrefix> {
    let after: Option<(u32, ipnet::IpNet)> = serde_json::from_value(answer["after"].take()).unwrap();
    after.map(|(iid, net)| EidPrefix { iid: InstanceId(iid), net })
}

#[test]
fn each_mapping_is_in_one_portion_until_it_expires() {
    let mut node = Node::plain();
    let all: Vec<String> = (0..7).map(|number| format!("2001:db8:b{number}::/48")).collect();
    for (number, site) in all.iter().enumerate() {
        let (_, request) = node.miss(&site.replace("::/48", "::2/128"));
        node.reply(&reply_to(&request, &[(site, if number < 2 { 1 } else { 60 })]));
    }
    let prefixes = |node: &Node, table, size| {
        let rows = rows(node, table, size);
        rows.iter().map(|row| row["prefix"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for size in [1, 2, 3, 7, 100] {
        assert_eq!(prefixes(&node, Table::MapCache, size), all, "{size}");
        assert_eq!(prefixes(&node, Table::Peers, size), all, "{size}");
        assert_eq!(counted(&node, size), (7, 0), "{size}");
    }
    let addresses: BTreeSet<_> =
        rows(&node, Table::Peers, 2).iter().map(|row| row["address"].as_str().unwrap().to_owned()).collect();
    assert_eq!(addresses, BTreeSet::from(["198.51.100.1".to_owned()]));
    node.now += secs(90);
    for size in [1, 3, 100] {
        assert_eq!(counted(&node, size), (5, 0), "what has expired counts no more");
    }
    assert_eq!(
        prefixes(&node, Table::MapCache, 1),
        all[2..],
        "a portion of what has expired is empty, and not the last"
    );
}
