// SPDX-License-Identifier: GPL-2.0-or-later
//! Prefixes: pages, registrars, holes, instances.

use dht::record::{Entry, Target};
use serde_json::Value;

use super::{Hall, now};
use crate::suite::fleet::Node;
use crate::suite::person::{Person, prefix, prefix_in, seconds, site};
use crate::suite::probe::{Fault, Judgement, Probe, expect, must, should};

const PREFIXES: &str = "lisp-signed-dht 8.2";

pub(super) const PROBES: &[Probe<Hall>] = &[
    must("DH-06.1", PREFIXES, "`lisp-dht index` delegates a site, whose registrar says where it is", by_index),
    should("DH-06.2", PREFIXES, "an address that nobody was given", hole),
    must("DH-06.3", PREFIXES, "a site whose registrar has said nothing", unregistered),
    must("DH-06.4", PREFIXES, "two registrars: the newest word counts", registrars),
    must("DH-06.5", PREFIXES, "two registrars: a withdrawal speaks for its own only", withdrawal),
    must("DH-06.6", PREFIXES, "a registrar that the page does not name", stranger),
    must("DH-06.7", PREFIXES, "an anchor that nobody trusts", untrusted),
    must("DH-06.8", PREFIXES, "IPv4", ipv4),
    must("DH-06.9", PREFIXES, "one prefix in two instances", instances),
    must("DH-06.10", PREFIXES, "a site and a part of it, both registered: the longest prefix", longest),
    must("DH-06.11", PREFIXES, "a registrar that lists a longer prefix than it was granted", beyond_its_grant),
    must("DH-06.12", PREFIXES, "a page that is older than the one above it knows", outdated),
];

/// An anchor whose page names these registrars for one site.
fn anchor(near: &Node, hall: &Hall, registrars: &[&Person]) -> Result<String, Fault> {
    let anchor = Person::new(now())?;
    let entries = vec![site(prefix("2001:db8:a::/48")?, registrars, 48)];
    hall.fleet.publish(near, &anchor.page(now(), prefix("2001:db8::/32")?, entries)?)?;
    Ok(format!("2001:db8::/32={}", anchor.key.cn()))
}

fn gives(found: &Value, last: u8) -> Judgement {
    let sections = found["record"]["sections"].as_array().into_iter().flatten();
    let of_prefix = sections.filter(|section| section["class"] == "prefix");
    let locators: Vec<_> = of_prefix.map(|section| section["body"]["locators"][0]["address"].to_string()).collect();
    let wanted = format!("\"192.0.2.{last}\"");
    expect(
        found["result"] == "mapping" && locators == [wanted.clone()],
        format!("{wanted} expected; came {} {locators:?}", found["result"]),
    )
}

fn is(found: &Value, result: &str) -> Judgement {
    expect(found["result"] == result, format!("{result} expected; came {} ({})", found["result"], found["why"]))
}

const EID: &str = "2001:db8:a::1";

fn by_index(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let (anchor, registrar) = (Person::new(now())?, Person::new(now())?);
    let key = hall.fleet.keep(&anchor)?;
    let delegation = format!("2001:db8:a::/48={}", registrar.key.cn());
    let index = ["index", "2001:db8::/32", "--identity", &key, "--delegate", &delegation];
    hall.fleet.run(&[&index[..], &["--bootstrap", &near.address, "--json"]].concat())?.held("stored")?;
    hall.fleet.publish(near, &registrar.prefix(now(), prefix("2001:db8:a::/48")?, 21)?)?;
    gives(&hall.fleet.resolve(far, &format!("2001:db8::/32={}", anchor.key.cn()), EID, &[])?, 21)
}

fn hole(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let anchor = anchor(near, hall, &[&Person::new(now())?])?;
    is(&hall.fleet.resolve(far, &anchor, "2001:db8:8000::1", &[])?, "hole")
}

fn unregistered(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let anchor = anchor(near, hall, &[&Person::new(now())?])?;
    let found = hall.fleet.resolve(far, &anchor, EID, &[])?;
    expect(
        found["result"] != "mapping" && found["result"].is_string(),
        format!("no mapping expected; came {} ({})", found["result"], found["why"]),
    )
}

fn registrars(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let (one, two) = (Person::new(now())?, Person::new(now())?);
    let (anchor, net) = (anchor(near, hall, &[&one, &two])?, prefix("2001:db8:a::/48")?);
    hall.fleet.publish(near, &one.prefix(now() - seconds(30), net, 22)?)?;
    hall.fleet.publish(near, &two.prefix(now(), net, 23)?)?;
    gives(&hall.fleet.resolve(far, &anchor, EID, &[])?, 23)
}

fn withdrawal(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let (one, two) = (Person::new(now())?, Person::new(now())?);
    let (anchor, net) = (anchor(near, hall, &[&one, &two])?, prefix("2001:db8:a::/48")?);
    hall.fleet.publish(near, &one.prefix(now() - seconds(30), net, 24)?)?;
    hall.fleet.publish(near, &two.withdraw_prefix(now(), net)?)?;
    gives(&hall.fleet.resolve(far, &anchor, EID, &[])?, 24)
}

fn stranger(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let (named, stranger) = (Person::new(now())?, Person::new(now())?);
    let (anchor, net) = (anchor(near, hall, &[&named])?, prefix("2001:db8:a::/48")?);
    hall.fleet.publish(near, &named.prefix(now() - seconds(30), net, 25)?)?;
    hall.fleet.publish(near, &stranger.prefix(now(), net, 26)?)?;
    gives(&hall.fleet.resolve(far, &anchor, EID, &[])?, 25)
}

fn untrusted(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let registrar = Person::new(now())?;
    anchor(near, hall, &[&registrar])?;
    hall.fleet.publish(near, &registrar.prefix(now(), prefix("2001:db8:a::/48")?, 27)?)?;
    let other = format!("2001:db8::/32={}", Person::new(now())?.key.cn());
    let found = hall.fleet.resolve(far, &other, EID, &[])?;
    expect(found["result"] == "not-found", format!("not-found expected; came {} ({})", found["result"], found["why"]))
}

fn ipv4(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let (anchor, registrar) = (Person::new(now())?, Person::new(now())?);
    let (covering, net) = (prefix("10.0.0.0/8")?, prefix("10.1.0.0/16")?);
    hall.fleet.publish(near, &anchor.page(now(), covering, vec![site(net, &[&registrar], 16)])?)?;
    hall.fleet.publish(near, &registrar.prefix(now(), net, 28)?)?;
    let trust = format!("10.0.0.0/8={}", anchor.key.cn());
    gives(&hall.fleet.resolve(far, &trust, "10.1.2.3", &[])?, 28)?;
    is(&hall.fleet.resolve(far, &trust, "10.2.0.1", &[])?, "hole")
}

fn instances(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let (anchor, registrar) = (Person::new(now())?, Person::new(now())?);
    for (iid, last) in [(7, 29), (8, 30)] {
        let (covering, net) = (prefix_in(iid, "10.0.0.0/8")?, prefix_in(iid, "10.1.0.0/16")?);
        hall.fleet.publish(near, &anchor.page(now(), covering, vec![site(net, &[&registrar], 16)])?)?;
        hall.fleet.publish(near, &registrar.prefix(now(), net, last)?)?;
    }
    let in_instance = |iid: &str| {
        let trust = format!("[{iid}]10.0.0.0/8={}", anchor.key.cn());
        hall.fleet.resolve(far, &trust, "10.1.2.3", &["--iid", iid])
    };
    gives(&in_instance("7")?, 29)?;
    gives(&in_instance("8")?, 30)
}

/// A site that may be registered down to /56, and a part of it in the registrar's page; what each leads to.
fn site_and_part(hall: &Hall, part: &str, of_site: u8, of_part: u8) -> Result<Value, Fault> {
    let (near, far) = hall.ends()?;
    let (anchor, registrar) = (Person::new(now())?, Person::new(now())?);
    let (net, part) = (prefix("2001:db8:a::/48")?, prefix(part)?);
    let delegated = vec![site(net, &[&registrar], 56)];
    hall.fleet.publish(near, &anchor.page(now(), prefix("2001:db8::/32")?, delegated)?)?;
    let live = [net, part].map(|live| site(live, &[&registrar], live.net.prefix_len()));
    hall.fleet.publish(near, &registrar.page(now(), net, live.to_vec())?)?;
    for (registered, last) in [(net, of_site), (part, of_part)] {
        hall.fleet.publish(near, &registrar.prefix(now(), registered, last)?)?;
    }
    hall.fleet.resolve(far, &format!("2001:db8::/32={}", anchor.key.cn()), EID, &[])
}

fn longest(hall: &Hall) -> Judgement {
    gives(&site_and_part(hall, "2001:db8:a::/56", 31, 32)?, 32)
}

fn beyond_its_grant(hall: &Hall) -> Judgement {
    gives(&site_and_part(hall, "2001:db8:a::/64", 33, 34)?, 33)
}

/// Whoever holds back a writer's newer page, as long as the older one is signed, changes nothing but that there is no answer.
fn outdated(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let (anchor, child, registrar) = (Person::new(now())?, Person::new(now())?, Person::new(now())?);
    let (covering, net) = (prefix("2001:db8::/32")?, prefix("2001:db8:a::/48")?);
    let of_child = vec![site(net, &[&registrar], 48)];
    let older = child.page(now() - seconds(30), net, of_child.clone())?;
    let newer = child.page(now(), net, of_child)?;
    let target = Target::Delegation { child: child.key.cn(), lowest: newer.sequence };
    hall.fleet.publish(near, &anchor.page(now(), covering, vec![Entry { prefix: net, target }])?)?;
    hall.fleet.publish(near, &registrar.prefix(now(), net, 35)?)?;
    hall.fleet.publish(near, &older)?;
    let asked = || hall.fleet.resolve(far, &format!("2001:db8::/32={}", anchor.key.cn()), EID, &[]);
    let found = asked()?;
    let is_refused = found["result"] != "mapping" && found["result"] != "hole" && found["result"].is_string();
    expect(is_refused, format!("an older page than {} leads to {}", newer.sequence, found["result"]))?;
    hall.fleet.publish(near, &newer)?;
    gives(&asked()?, 35)
}
