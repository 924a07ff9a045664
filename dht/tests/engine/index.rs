// SPDX-License-Identifier: GPL-2.0-or-later
//! Prefix authorities: what their pages say is what they delegated, however it is cut.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::common::{LAB, Person, delegation, prefix, seconds, site, start, sub_page};
use cgeid::Cn;
use dht::index::{Ledger, LedgerError, Plan, PlanError, Round, Status};
use dht::limits;
use dht::publish::{self, PageKind, Publication};
use dht::record::{Class, Entry, Index, RecordKey, Subject, Target, Version};
use dht::resolve::{Anchors, Failure, Outcome, Resolver, TrustAnchor};
use proptest::prelude::*;
use wire::address::{EidPrefix, InstanceId};

/// A page size at which a few dozen delegations make several levels.
const SMALL: usize = 420;

/// An authority, what it has published, and everything under its keys.
struct Authority {
    person: Person,
    covering: EidPrefix,
    ledger: Ledger,
    values: BTreeMap<RecordKey, Vec<u8>>,
}

impl Authority {
    fn new(covering: EidPrefix) -> Self {
        Self { person: Person::new(100), covering, ledger: Ledger::default(), values: BTreeMap::new() }
    }

    fn plan(&self, delegations: &[Entry]) -> Result<Plan, PlanError> {
        Plan::with_page_size(self.person.cn(), self.covering, delegations.to_vec(), SMALL)
    }

    /// Signs and puts what a round gives out; the pages in the order in which they were put.
    fn publish(&mut self, plan: Plan, after: u64) -> Vec<EidPrefix> {
        let now = start() + seconds(after);
        let mut round = Round::new(plan, self.ledger.clone(), now, self.person.key.epoch(), limits::INDEX_RENEWAL);
        let mut put = Vec::new();
        loop {
            let given = round.poll();
            if given.is_empty() {
                break;
            }
            for page in given {
                let publication = sign(&mut self.person, &page, after);
                round.stored(&page, Version { epoch: self.person.key.epoch(), sequence: publication.sequence });
                put.push(page.covering());
                self.values.insert(publication.key, publication.value);
            }
        }
        assert!(round.is_complete());
        for gone in round.to_withdraw() {
            let sequence = &mut self.person.sequence;
            let publication = publish::withdraw_index(&self.person.key, LAB, gone, now, sequence).unwrap();
            self.values.insert(publication.key, publication.value);
            round.withdrawn(&gone);
        }
        self.ledger = round.into_ledger();
        put
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(LAB, Anchors::new([TrustAnchor { aggregate: self.covering, cn: self.person.cn() }]))
    }

    /// What a reader finds, and the keys that it asked for.
    fn resolve(&self, resolver: &mut Resolver, eid: EidPrefix, after: u64) -> (Outcome, BTreeSet<RecordKey>) {
        let mut asked = BTreeSet::new();
        let outcome = resolver.resolve(eid, start() + seconds(after), |key| {
            asked.insert(*key);
            self.values.get(key).cloned().into_iter().collect()
        });
        (outcome.0, asked)
    }
}

fn sign(person: &mut Person, page: &Index, after: u64) -> Publication {
    let now = start() + seconds(after);
    publish::index(&person.key, LAB, page.clone(), PageKind::Delegations, now, &mut person.sequence).unwrap()
}

fn covers_strictly(one: &EidPrefix, other: &EidPrefix) -> bool {
    one != other && one.covers(other)
}

/// Of the list itself: the entry that counts for an EID, and the largest prefix round it of which nothing else is said.
fn obvious<'a>(list: &'a [Entry], covering: &EidPrefix, eid: &EidPrefix) -> (Option<&'a Entry>, EidPrefix) {
    let longest =
        list.iter().filter(|entry| entry.prefix.covers(eid)).max_by_key(|entry| entry.prefix.net.prefix_len());
    let bound = longest.map_or(*covering, |entry| entry.prefix);
    let reach = (bound.net.prefix_len()..=eid.net.prefix_len())
        .filter_map(|length| EidPrefix::new(eid.iid, eid.net.addr(), length))
        .find(|round| list.iter().all(|entry| entry.prefix.covers(eid) || !round.covers(&entry.prefix)));
    (longest, reach.unwrap())
}

/// Whether a reader finds what the list says.
fn check(authority: &Authority, resolver: &mut Resolver, list: &[Entry], eid: EidPrefix, after: u64) {
    let (entry, reach) = obvious(list, &authority.covering, &eid);
    let (outcome, asked) = authority.resolve(resolver, eid, after);
    match entry.map(|entry| (entry.prefix, &entry.target)) {
        None => assert_eq!(outcome, Outcome::Hole { prefix: reach }, "{eid}"),
        Some((prefix, Target::Site { registrars, .. })) => {
            assert_eq!(outcome, Outcome::Unregistered { prefix: reach }, "{eid}");
            let keys = registrars.iter().map(|cn| RecordKey::prefix(LAB, *cn, prefix));
            let records = asked.into_iter().filter(|key| matches!(key.subject, Subject::Prefix(_)));
            assert_eq!(records.collect::<BTreeSet<_>>(), keys.collect(), "{eid}");
        }
        Some((prefix, Target::Delegation { child, .. })) => {
            let key = RecordKey::index(LAB, *child, prefix);
            assert_eq!(outcome, Outcome::Failed(Failure::PageMissing(key)), "{eid}");
        }
        Some((prefix, Target::Page { .. })) => panic!("{prefix} is no delegation"),
    }
}

/// A family and an instance: a covering prefix, and how 16 bits behind it make an address.
#[derive(Debug, Clone, Copy)]
struct Space {
    iid: InstanceId,
    is_v4: bool,
}

impl Space {
    const FIXED: u8 = 8;

    fn address(self, bits: u16) -> IpAddr {
        if self.is_v4 {
            Ipv4Addr::from_bits(10 << 24 | u32::from(bits) << 8).into()
        } else {
            Ipv6Addr::from_bits(0x26 << 120 | u128::from(bits) << 104).into()
        }
    }

    fn prefix(self, bits: u16, length: u8) -> EidPrefix {
        EidPrefix::new(self.iid, self.address(bits), Self::FIXED + length).unwrap()
    }

    fn host(self, bits: u16) -> EidPrefix {
        EidPrefix::host(self.iid, self.address(bits))
    }
}

fn cn(number: u8) -> Cn {
    Cn([number; 12])
}

fn target() -> impl Strategy<Value = (BTreeSet<Cn>, bool)> {
    (proptest::collection::btree_set((1u8..40).prop_map(cn), 1..=4), proptest::bool::weighted(0.2))
}

/// Delegations that nest, crowd together, and leave holes.
fn delegations() -> impl Strategy<Value = (Space, Vec<Entry>)> {
    let space = (prop_oneof![Just(0), Just(7)], any::<bool>());
    let net = (any::<u16>(), 0u8..=16, any::<bool>());
    let list = proptest::collection::vec((net, target()), 0..120);
    (space, list).prop_map(|((iid, is_v4), list)| {
        let space = Space { iid: InstanceId(iid), is_v4 };
        let mut entries: BTreeMap<EidPrefix, Entry> = BTreeMap::new();
        for ((bits, length, is_crowded), (cns, is_child)) in list {
            // Half of them lie in one 64th, so that pages are cut at uneven depths.
            let (bits, length) = if is_crowded { (bits >> 6 | 0x5400, length.max(6)) } else { (bits, length) };
            let prefix = space.prefix(bits, length);
            let target = match cns.first() {
                Some(child) if is_child => Target::Delegation { child: *child, lowest: 0 },
                _ => Target::Site { registrars: cns, max_plen: prefix.net.prefix_len() },
            };
            entries.insert(prefix, Entry { prefix, target });
        }
        (space, entries.into_values().collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pages_say_what_the_list_says((space, list) in delegations(), eids in proptest::collection::vec(any::<u16>(), 24)) {
        let mut authority = Authority::new(space.prefix(0, 0));
        let plan = match authority.plan(&list) {
            Ok(plan) => plan,
            Err(PlanError::TooDeep(_)) => return Err(TestCaseError::reject("pages of 420 octets do not do")),
            Err(error) => panic!("{error}"),
        };
        prop_assert!(plan.levels() <= limits::PAGE_DEPTH);
        authority.publish(plan, 0);
        let mut resolver = authority.resolver();
        let edges = list.iter().map(|entry| EidPrefix::host(space.iid, entry.prefix.net.addr()));
        for eid in eids.iter().map(|bits| space.host(*bits)).chain(edges.step_by(5)) {
            check(&authority, &mut resolver, &list, eid, 0);
        }
    }

    /// A page that is in both plans differs only if the change lies inside it.
    #[test]
    fn a_change_changes_the_pages_on_its_way((_, list) in delegations(), at in any::<prop::sample::Index>()) {
        prop_assume!(!list.is_empty());
        let authority = Authority::new(EidPrefix::new(list[0].prefix.iid, list[0].prefix.net.addr(), Space::FIXED).unwrap());
        let mut less = list.clone();
        let gone = less.remove(at.index(list.len()));
        let (Ok(one), Ok(other)) = (authority.plan(&list), authority.plan(&less)) else { return Ok(()) };
        let pages: BTreeMap<EidPrefix, &[Entry]> =
            other.pages().iter().map(|page| (page.covering, &page.entries[..])).collect();
        for page in one.pages() {
            let same = pages.get(&page.covering).is_none_or(|entries| *entries == page.entries);
            prop_assert!(same || page.covering.covers(&gone.prefix), "{} for {}", page.covering, gone.prefix);
        }
    }

    /// Sub-pages are named once, lie inside, and sizes are those of what is signed.
    #[test]
    fn a_plan_knows_the_size_of_what_will_be_signed((_, list) in delegations()) {
        prop_assume!(!list.is_empty());
        let mut person = Person::new(100);
        let covering = EidPrefix::new(list[0].prefix.iid, list[0].prefix.net.addr(), Space::FIXED).unwrap();
        let plan = Plan::new(person.cn(), covering, list.clone()).unwrap();
        let mut named = BTreeSet::from([covering]);
        let mut listed = 0;
        for page in plan.pages() {
            let index = Index::new(page.covering, page.entries.clone()).unwrap();
            let publication = sign(&mut person, &index, 0);
            let bundle = dht::record::Bundle::decode(&publication.value).unwrap();
            prop_assert_eq!(bundle.section(Class::Index).unwrap().encode().unwrap().len(), page.octets);
            for entry in &page.entries {
                let is_page = matches!(entry.target, Target::Page { .. });
                prop_assert!(!is_page || (covers_strictly(&page.covering, &entry.prefix) && named.insert(entry.prefix)));
                listed += usize::from(!is_page);
            }
        }
        prop_assert_eq!(named, plan.pages().iter().map(|page| page.covering).collect());
        prop_assert_eq!(listed, list.len());
    }
}

fn site_at(space: Space, bits: u16, length: u8, registrar: Cn) -> Entry {
    let prefix = space.prefix(bits, length);
    let target = Target::Site { registrars: [registrar].into(), max_plen: prefix.net.prefix_len() };
    Entry { prefix, target }
}

const V6: Space = Space { iid: InstanceId(0), is_v4: false };

/// 300 sites of 30 registrars, which take several levels of small pages.
fn crowd() -> Vec<Entry> {
    (0..300).map(|number: u16| site_at(V6, number.wrapping_mul(40_503), 16, cn((number % 30) as u8))).collect()
}

#[test]
fn a_hundred_thousand_delegations_take_three_levels() {
    // A /32 has 65,536 /48 in it: two of them, under a /31, have twice as many.
    let covering = prefix("2001:db8::/31");
    let list: Vec<Entry> = (0..100_000_u32)
        .map(|number| {
            let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number) << 80);
            let mut registrar = cn(0);
            registrar.0[..4].copy_from_slice(&number.to_be_bytes());
            let prefix = EidPrefix::new(InstanceId(0), address.into(), 48).unwrap();
            Entry { prefix, target: Target::Site { registrars: [registrar].into(), max_plen: 48 } }
        })
        .collect();
    let plan = Plan::new(cn(99), covering, list.clone()).unwrap();
    println!("{} pages in {} levels, each site with a registrar of its own", plan.pages().len(), plan.levels());
    assert!(plan.levels() <= 3 && plan.pages().len() < 1000);
    assert!(plan.pages().iter().all(|page| page.octets <= Class::Index.max_size()));
    let shared = list.into_iter().map(|mut entry| {
        entry.target = Target::Site { registrars: [cn(1)].into(), max_plen: 48 };
        entry
    });
    let plan = Plan::new(cn(99), covering, shared.collect()).unwrap();
    println!("{} pages in {} levels, all sites with one registrar", plan.pages().len(), plan.levels());
    assert_eq!(plan.levels(), 2);
}

#[test]
fn a_list_that_an_authority_cannot_publish_is_refused() {
    let (own, covering) = (cn(99), prefix("2001:db8::/32"));
    let plan = |list: Vec<Entry>| Plan::new(own, covering, list).map(|plan| plan.pages().len());
    assert_eq!(plan(vec![]), Ok(1), "that nothing is delegated is a statement too");
    let one = site("2001:db8:a::/48", &[cn(1)], 48);
    assert_eq!(plan(vec![one.clone(), one.clone()]), Err(PlanError::Twice(one.prefix)));
    let outside = site("2001:db9::/48", &[cn(1)], 48);
    assert_eq!(plan(vec![outside.clone()]), Err(PlanError::Outside { prefix: outside.prefix, covering }));
    assert_eq!(plan(vec![sub_page("2001:db8:a::/48", 0)]), Err(PlanError::Own(one.prefix)));
    assert_eq!(plan(vec![delegation("2001:db8:a::/48", own, 0)]), Err(PlanError::Own(one.prefix)));
    let short = site("2001:db8:a::/48", &[cn(1)], 40);
    assert!(matches!(plan(vec![short]), Err(PlanError::Entry { .. })));
    let many = (0..=limits::DELEGATIONS).map(|number| {
        let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | (number as u128) << 64);
        Entry { prefix: EidPrefix::new(InstanceId(0), address.into(), 64).unwrap(), target: one.target.clone() }
    });
    assert_eq!(plan(many.collect()), Err(PlanError::TooMany(limits::DELEGATIONS + 1)));
}

#[test]
fn a_site_holds_between_the_more_specifics_that_fill_sub_pages() {
    // The provider's own site is the answer wherever its customers have none, however many they are.
    let mut list = crowd();
    list.push(site_at(V6, 0, 0, cn(200)));
    let mut authority = Authority::new(V6.prefix(0, 0));
    let plan = authority.plan(&list).unwrap();
    assert!(plan.levels() >= 3, "{} levels", plan.levels());
    authority.publish(plan, 0);
    let mut resolver = authority.resolver();
    for bits in (0..=u16::MAX).step_by(101) {
        check(&authority, &mut resolver, &list, V6.host(bits), 0);
    }
}

#[test]
fn a_page_does_not_take_the_key_of_the_writers_own_live_page() {
    let own = Person::new(100).cn();
    let mut list = crowd();
    for bits in [0x0000, 0x4000, 0x8000] {
        let prefix = V6.prefix(bits, 2);
        list.push(Entry { prefix, target: Target::Site { registrars: [own].into(), max_plen: 30 } });
    }
    let plan = Authority::new(V6.prefix(0, 0)).plan(&list).unwrap();
    assert!(
        plan.pages()
            .iter()
            .all(|page| ![0x0000, 0x4000, 0x8000].map(|bits| V6.prefix(bits, 2)).contains(&page.covering))
    );
}

#[test]
fn a_change_is_put_with_what_points_to_it_and_nothing_else() {
    let mut list = crowd();
    let mut authority = Authority::new(V6.prefix(0, 0));
    let plan = authority.plan(&list).unwrap();
    let pages = plan.pages().len();
    let put = authority.publish(plan, 0);
    assert_eq!(put.len(), pages);
    assert_eq!(put.last(), Some(&authority.covering), "whoever points to others comes after them");
    let mut resolver = authority.resolver();
    check(&authority, &mut resolver, &list, V6.host(0), 0);

    // The same list again is no news.
    assert_eq!(authority.publish(authority.plan(&list).unwrap(), 60), []);
    // Another registrar for one site.
    list[7].target = Target::Site { registrars: [cn(3)].into(), max_plen: list[7].prefix.net.prefix_len() };
    let plan = authority.plan(&list).unwrap();
    let way = plan.pages().iter().filter(|page| page.covering.covers(&list[7].prefix)).map(|page| page.covering);
    let way: Vec<EidPrefix> = way.collect();
    assert_eq!(authority.publish(plan, 120), way);
    assert!(way.len() >= 3 && way.len() < pages);
    // A reader that has the old pages sees it when they are old, and one that has none at once.
    let eid = EidPrefix::host(InstanceId(0), list[7].prefix.net.addr());
    check(&authority, &mut authority.resolver(), &list, eid, 120);
    check(&authority, &mut resolver, &list, eid, 120 + limits::PAGE_LIFE.as_secs());

    // All of them are renewed together before they expire, and that is no change to those that point to them.
    let changed = |authority: &Authority| authority.ledger.iter().map(|(_, page)| page.changed).collect::<Vec<_>>();
    let before = changed(&authority);
    assert_eq!(authority.publish(authority.plan(&list).unwrap(), 21_600).len(), pages);
    assert_eq!(changed(&authority), before);
    assert_eq!(authority.publish(authority.plan(&list).unwrap(), 21_660), []);
    check(&authority, &mut authority.resolver(), &list, eid, 86_400 + 60);
}

#[test]
fn a_page_that_is_not_needed_any_more_goes_when_no_reader_is_led_to_it() {
    let list = crowd();
    let mut authority = Authority::new(V6.prefix(0, 0));
    let plan = authority.plan(&list).unwrap();
    let pages = plan.pages().len();
    authority.publish(plan, 0);
    let mut resolver = authority.resolver();
    list.iter().step_by(7).for_each(|entry| {
        check(&authority, &mut resolver, &list, EidPrefix::host(InstanceId(0), entry.prefix.net.addr()), 0);
    });
    // Two sites are left; the rest has no page of its own any more.
    let few = list[..2].to_vec();
    authority.publish(authority.plan(&few).unwrap(), 60);
    assert_eq!(authority.ledger.iter().count(), pages);
    // Whoever has the old pages still finds what they say: no hole where there was a site a moment ago.
    let eid = EidPrefix::host(InstanceId(0), list[70].prefix.net.addr());
    check(&authority, &mut resolver, &list, eid, 300);
    check(&authority, &mut authority.resolver(), &few, eid, 300);
    let after = 60 + limits::RETIREMENT.as_secs();
    assert_eq!(authority.publish(authority.plan(&few).unwrap(), after), []);
    assert_eq!(authority.ledger.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [authority.covering]);
    // A page that was withdrawn is no hole to whoever still holds what led there.
    let (outcome, _) = authority.resolve(&mut resolver, eid, 300 + limits::PAGE_LIFE.as_secs() - 1);
    assert!(!matches!(outcome, Outcome::Mapping(_)), "{outcome:?}");
    check(&authority, &mut resolver, &few, eid, after + limits::PAGE_LIFE.as_secs());
}

#[test]
fn nothing_points_to_a_page_that_nobody_took() {
    let list = crowd();
    let mut authority = Authority::new(V6.prefix(0, 0));
    let plan = authority.plan(&list).unwrap();
    let refused = plan.pages()[0].covering;
    let mut round = Round::new(plan.clone(), Ledger::default(), start(), 1, limits::INDEX_RENEWAL);
    loop {
        let given = round.poll();
        if given.is_empty() {
            break;
        }
        for page in given {
            match page.covering() == refused {
                true => round.failed(&refused),
                false => {
                    let sequence = sign(&mut authority.person, &page, 0).sequence;
                    round.stored(&page, Version { epoch: 1, sequence });
                }
            }
        }
    }
    assert!(!round.is_complete() && round.to_withdraw().is_empty());
    for page in plan.pages() {
        let expected = match () {
            () if page.covering == refused => Status::Failed,
            () if page.covering.covers(&refused) => Status::HeldBack,
            () => Status::Stored,
        };
        assert_eq!(round.status(&page.covering), expected, "{}", page.covering);
    }
    // The next round does what is left.
    let ledger = round.into_ledger();
    let mut round = Round::new(plan, ledger, start() + seconds(60), 1, limits::INDEX_RENEWAL);
    assert_eq!(round.poll().iter().map(Index::covering).collect::<Vec<_>>(), [refused]);
}

#[test]
fn a_later_key_signs_all_pages_anew() {
    let list = crowd();
    let mut authority = Authority::new(V6.prefix(0, 0));
    let plan = authority.plan(&list).unwrap();
    let pages = plan.pages().len();
    authority.publish(plan, 0);
    authority.person.key = authority.person.identity.delegate_revision(start(), 0, 1).unwrap();
    assert_eq!(authority.publish(authority.plan(&list).unwrap(), 60).len(), pages);
    check(&authority, &mut authority.resolver(), &list, V6.host(9), 60);
}

#[test]
fn a_ledger_outlives_the_process() {
    let list = crowd();
    let mut authority = Authority::new(V6.prefix(0, 0));
    authority.publish(authority.plan(&list).unwrap(), 0);
    authority.publish(authority.plan(&list[..2]).unwrap(), 60);
    let own = authority.person.cn();
    let text = authority.ledger.encode(own);
    assert_eq!(Ledger::decode(&text, own).unwrap(), authority.ledger);
    assert!(authority.ledger.iter().any(|(_, page)| page.retired.is_some()));
    assert_eq!(Ledger::decode(&text, cn(1)), Err(LedgerError::Writer));
    assert_eq!(Ledger::decode("", own), Err(LedgerError::Magic));
    assert_eq!(Ledger::decode(&text[..text.len() - 20], own), Err(LedgerError::Magic));
    assert_eq!(Ledger::decode(&text.replace("2600::/9 ", "2600::/9  "), own), Err(LedgerError::Line(3)));
    let deadline = authority.ledger.next_deadline(limits::INDEX_RENEWAL);
    assert_eq!(deadline, Some(start() + seconds(60) + limits::RETIREMENT));
}

proptest! {
    #[test]
    fn no_text_panics_a_ledger(text in "(index-pages 1 [0-9a-f]{0,24}\n)?([0-9a-f:/\\[\\] .]{0,60}\n){0,4}(end\n)?") {
        let _ = Ledger::decode(&text, cn(1));
    }
}
