// SPDX-License-Identifier: GPL-2.0-or-later
//! INDEX: packed entries, how a long list is split, and which pages a resolver takes.

use dht::index::Plan;
use dht::memory;
use dht::record::{Class, Entry, Target};
use dht::resolve::{Anchors, Outcome, Resolver, TrustAnchor};
use wire::address::{EidPrefix, InstanceId};

use super::{Desk, Kind};
use crate::suite::person::{LAB, prefix, site};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must};

const PAGE: &str = "lisp-signed-dht 5.7";
const PLAN: &str = "lisp-signed-dht 8.4";
const COVERING: u16 = 0x0701;
const ENTRIES: u16 = 0x0702;
/// Octets of a page's one CN with its count; the entry comes next: kind, length, two octets of address, max-plen, CN.
const FIRST: usize = 13;

pub(super) const PROBES: &[Probe<Desk>] = &[
    must("RC-16.01", PAGE, "no covering prefix", |d| {
        d.refuses(Kind::Index, "malformed", "covering prefix missing", |s| s.remove(COVERING))
    }),
    must("RC-16.02", PAGE, "no entries: everything is a hole", |d| d.takes(Kind::Index, |s| s.remove(ENTRIES))),
    must("RC-16.03", PAGE, "an entry's reserved bit", |d| {
        d.refuses(Kind::Index, "malformed", "index entry", |s| s.value(ENTRIES)[FIRST] |= 0x08)
    }),
    must("RC-16.04", PAGE, "an entry of a kind that there is not", |d| {
        d.refuses(Kind::Index, "malformed", "index entry", |s| s.value(ENTRIES)[FIRST] = 0xc0)
    }),
    must("RC-16.05", PAGE, "a site without registrar", |d| {
        d.refuses(Kind::Index, "malformed", "", |s| {
            s.value(ENTRIES)[FIRST] = 0;
            s.value(ENTRIES).pop();
        })
    }),
    must("RC-16.06", PAGE, "a reference to a CN that is not there", |d| {
        d.refuses(Kind::Index, "malformed", "CN reference", |s| {
            s.value(ENTRIES).last_mut().into_iter().for_each(|octet| *octet = 9);
        })
    }),
    must("RC-16.07", PAGE, "a CN that nothing refers to", |d| {
        d.refuses(Kind::Index, "malformed", "canonical", |s| {
            let entries = s.value(ENTRIES);
            entries[0] = 2;
            entries.splice(FIRST..FIRST, [0xff; 12]);
        })
    }),
    must("RC-16.08", PAGE, "max-plen below the site's length, and beyond the family's", |d| {
        d.refuses(Kind::Index, "malformed", "max-plen", |s| s.value(ENTRIES)[FIRST + 4] = 47)?;
        d.refuses(Kind::Index, "malformed", "max-plen", |s| s.value(ENTRIES)[FIRST + 4] = 129)
    }),
    must("RC-16.09", PAGE, "an entry wider than the page", |d| {
        d.refuses(Kind::Index, "malformed", "", |s| {
            let entries = s.value(ENTRIES);
            entries[FIRST + 1] = 31;
            entries.splice(FIRST + 2..FIRST + 4, [0xb8]);
        })
    }),
    must("RC-16.10", PAGE, "a sub-page of the page's own length", |d| {
        d.refuses(Kind::Index, "malformed", "sub-page", |s| *s.value(ENTRIES) = [&[0, 0x80, 32][..], &[0; 8]].concat())
    }),
    must("RC-16.11", PAGE, "one entry twice", |d| {
        d.refuses(Kind::Index, "malformed", "index entry: too many", |s| {
            let entry = s.value(ENTRIES)[FIRST..].to_vec();
            s.value(ENTRIES).extend(entry);
        })
    }),
    must("RC-16.12", PAGE, "entries in the other order", |d| {
        d.refuses(Kind::Index, "malformed", "canonical", |s| {
            let mut entry = s.value(ENTRIES)[FIRST..].to_vec();
            entry[3] = 9;
            s.value(ENTRIES).extend(entry);
        })
    }),
    must("RC-16.13", PAGE, "cut in an entry", |d| {
        d.refuses(Kind::Index, "malformed", "truncated", |s| _ = s.value(ENTRIES).pop())
    }),
    must("RC-16.14", PAGE, "400 sites of one registrar", |d| {
        let covering = prefix("2001:db8::/32")?;
        let publication = d.one.page(d.now, covering, sites(d, 400)?)?;
        d.verify(&publication.key, &publication.value, d.now).map_err(broken)?;
        Ok(format!("to be taken; taken, {} octets", publication.value.len()))
    }),
    must("RC-17.1", PLAN, "2000 sites", split),
    must("RC-17.2", PLAN, "one site more changes few pages", few_pages),
    must("RC-17.3", PLAN, "the longest entry counts", longest),
    must("RC-17.4", PLAN, "no entry: a hole, as wide as the page proves", hole),
    must("RC-17.5", PLAN, "a page older than the entry that points to it", lowest),
];

fn sites(d: &Desk, count: u32) -> Result<Vec<Entry>, Fault> {
    (0..count).map(|number| Ok(site(prefix(&format!("2001:db8:{number:x}::/48"))?, &[&d.two], 48))).collect()
}

fn plan(d: &Desk, count: u32) -> Result<Plan, Fault> {
    Plan::new(d.one.key.cn(), prefix("2001:db8::/32")?, sites(d, count)?).map_err(broken)
}

fn split(d: &Desk) -> Judgement {
    let plan = plan(d, 2000)?;
    let listed = plan.pages().iter().flat_map(|page| &page.entries);
    let count = listed.filter(|entry| matches!(entry.target, Target::Site { .. })).count();
    let fits = plan.pages().iter().all(|page| page.octets <= Class::Index.max_size());
    let found = format!("{} pages in {} levels list {count} sites", plan.pages().len(), plan.levels());
    expect(fits && count == 2000 && plan.pages().len() > 4 && plan.levels() <= 4, found)
}

fn few_pages(d: &Desk) -> Judgement {
    let (before, after) = (plan(d, 2000)?, plan(d, 2001)?);
    let changed = after
        .pages()
        .iter()
        .filter(|page| !before.pages().iter().any(|old| old.covering == page.covering && old.entries == page.entries));
    let changed = changed.count();
    expect((1..=3).contains(&changed), format!("{changed} of {} pages changed, to be at most 3", after.pages().len()))
}

/// What a resolver finds for an EID where the pages and prefixes of a network are these.
fn resolved(d: &Desk, pages: &[(&str, Vec<Entry>)], eid: &str) -> Result<Outcome, Fault> {
    let mut network = memory::Network::new(LAB, 8, 4);
    for (covering, entries) in pages {
        let page = d.one.page(d.now, prefix(covering)?, entries.clone())?;
        network.put(d.now, &page.key, &page.value).map_err(broken)?;
    }
    for (net, last) in [("2001:db8:a::/48", 1), ("2001:db8:a:b::/64", 2)] {
        let site = d.two.prefix(d.now, prefix(net)?, last)?;
        network.put(d.now, &site.key, &site.value).map_err(broken)?;
    }
    let anchors = Anchors::new([TrustAnchor { aggregate: prefix("2001:db8::/32")?, cn: d.one.key.cn() }]);
    let eid = EidPrefix::host(InstanceId(0), eid.parse().map_err(broken)?);
    Ok(network.resolve(&mut Resolver::new(LAB, anchors), d.now, eid).0)
}

fn longest(d: &Desk) -> Judgement {
    let entries =
        vec![site(prefix("2001:db8:a::/48")?, &[&d.two], 48), site(prefix("2001:db8:a:b::/64")?, &[&d.two], 64)];
    match resolved(d, &[("2001:db8::/32", entries)], "2001:db8:a:b::1")? {
        Outcome::Mapping(found) => {
            expect(found.prefix == prefix("2001:db8:a:b::/64")?, format!("{}, to be the /64", found.prefix))
        }
        other => Err(broken(format!("{other:?}"))),
    }
}

fn hole(d: &Desk) -> Judgement {
    let entries = vec![site(prefix("2001:db8:a::/48")?, &[&d.two], 48)];
    match resolved(d, &[("2001:db8::/32", entries)], "2001:db8:8000::1")? {
        Outcome::Hole { prefix: found, .. } => {
            expect(found == prefix("2001:db8:8000::/33")?, format!("{found}, to be 2001:db8:8000::/33"))
        }
        other => Err(broken(format!("{other:?}"))),
    }
}

fn lowest(d: &Desk) -> Judgement {
    let below = prefix("2001:db8::/33")?;
    let sub = vec![site(prefix("2001:db8:a::/48")?, &[&d.two], 48)];
    let at = d.one.page(d.now, below, sub.clone())?.sequence;
    let with = |lowest: u64| vec![("2001:db8::/32", vec![Entry { prefix: below, target: Target::Page { lowest } }])];
    let pages = |lowest: u64| [with(lowest), vec![("2001:db8::/33", sub.clone())]].concat();
    let taken = resolved(d, &pages(at), "2001:db8:a::1")?;
    let refused = resolved(d, &pages(at + 1), "2001:db8:a::1")?;
    let holds = matches!(taken, Outcome::Mapping(_)) && !matches!(refused, Outcome::Mapping(_) | Outcome::Hole { .. });
    expect(holds, format!("with its own sequence {}, with one more {refused:?}", matches!(taken, Outcome::Mapping(_))))
}
