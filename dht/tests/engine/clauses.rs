// SPDX-License-Identifier: GPL-2.0-or-later
//! Clauses of the draft that no other test is about.

use std::time::Duration;

use crate::common::{LAB, Person, seconds, site, start};
use dht::error::PublishError;
use dht::limits;
use dht::publish::{PageKind, Sequence};
use dht::record::{Bundle, CertificateCache, Class, Section, verify};
use dht::store::{Admission, Origin, Store};

/// A section signed again by the operational key, whatever it says.
fn signed(person: &Person, key: &dht::record::RecordKey, section: Section) -> Section {
    let signature = person.key.sign(&section.signed_bytes(key).unwrap()).into();
    Section { signature, ..section }
}

#[test]
fn an_identity_is_never_withdrawn() {
    let mut person = Person::new(1);
    let said = person.mapping(start(), 1);
    let again = |withdrawn| {
        let sections = Bundle::decode(&said.value).unwrap().into_sections().into_iter().map(|mut section| {
            section.flags.withdrawn = withdrawn && section.class() == Class::Identity;
            signed(&person, &said.key, section)
        });
        let value = Bundle::new(sections.collect()).unwrap().encode().unwrap();
        verify(LAB, &said.key, &value, start(), &mut CertificateCache::new())
    };
    assert!(again(false).is_ok(), "signed again as it was");
    assert_eq!(again(true).unwrap_err().name(), "flags");
}

#[test]
fn what_is_refused_takes_nothing_of_the_quota() {
    let (mut person, mut store) = (Person::new(1), Store::new(LAB, [0; 32]));
    let put = |store: &mut Store, key: &[u8], value: &[u8]| store.put(start(), Origin::Unknown, key, value);
    for last in 1..=100 {
        let said = person.mapping(start(), last);
        let mut forged = said.value.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(put(&mut store, &said.key.encode(), &forged).unwrap_err().name(), "signature");
    }
    for last in 1..=5 {
        let said = person.mapping(start(), last);
        assert_eq!(put(&mut store, &said.key.encode(), &said.value), Ok(Admission::Stored), "change {last}");
    }
    let said = person.mapping(start(), 6);
    assert_eq!(put(&mut store, &said.key.encode(), &said.value).unwrap_err().name(), "quota");
}

#[test]
fn a_live_page_holds_for_an_hour_and_one_of_delegations_for_a_day() {
    let mut person = Person::new(1);
    let mut life = |kind| {
        let entries = vec![site("2001:db8:a::/48", &[person.cn()], 48)];
        let page = person.page(start(), "2001:db8::/32", entries, kind);
        let bundle = Bundle::decode(&page.value).unwrap();
        bundle.section(Class::Index).unwrap().lifetime
    };
    assert_eq!(life(PageKind::Live), limits::LIVE_INDEX_LIFETIME);
    assert_eq!(life(PageKind::Delegations), limits::INDEX_LIFETIME);
}

#[test]
fn nothing_is_signed_that_would_be_from_the_future() {
    let now = start();
    let millis = |time: std::time::SystemTime| {
        u64::try_from(time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
    };
    let last = |ahead: Duration| Sequence(millis(now + ahead));
    assert_eq!(last(seconds(0)).next(now).unwrap(), millis(now) + 1, "one more than the last");
    assert_eq!(
        last(limits::CLOCK_SKEW - Duration::from_millis(1)).next(now).unwrap(),
        millis(now + limits::CLOCK_SKEW)
    );
    let mut behind = last(limits::CLOCK_SKEW);
    assert!(matches!(behind.next(now), Err(PublishError::ClockBehind(_))));
    assert_eq!(behind, last(limits::CLOCK_SKEW), "and nothing was used up");
}

#[test]
fn an_identity_names_the_key_that_signs_it_and_no_other() {
    let mut person = Person::new(1);
    let next = person.identity.delegate(start(), 1).unwrap();
    assert!(next.epoch() > person.key.epoch());
    let said = Bundle::decode(&person.mapping(start(), 1).value).unwrap();
    let certificates = match &said.section(Class::Identity).unwrap().body {
        dht::record::Body::Identity(identity) => identity.operational.clone(),
        _ => Vec::new(),
    };
    assert_eq!(certificates, [person.key.certificate_der().into()]);
}

#[test]
fn what_does_not_fit_its_section_is_not_published() {
    let mut person = Person::new(1);
    let locators = |count| dht::record::Mapping::new((0..count).map(crate::common::rloc), wire::record::Ttl(60));
    let mut say = |mapping| dht::publish::mapping(&person.key, LAB, mapping, start(), &mut person.sequence);
    assert!(say(locators(32)).is_ok());
    assert!(matches!(say(locators(33)), Err(PublishError::Encode(_))));
    let sites = (0..400).map(|n| site(&format!("2001:db8:{n:x}::/48"), &[person.cn()], 48)).collect();
    let page = dht::record::Index::new(crate::common::prefix("2001:db8::/32"), sites).unwrap();
    let wide = dht::publish::index(&person.key, LAB, page, PageKind::Delegations, start(), &mut person.sequence);
    assert!(wide.is_ok(), "400 entries fit");
    let sites = (0..1000).map(|n| site(&format!("2001:db8:{n:x}::/48"), &[person.cn()], 48)).collect();
    let page = dht::record::Index::new(crate::common::prefix("2001:db8::/32"), sites).unwrap();
    let wide = dht::publish::index(&person.key, LAB, page, PageKind::Delegations, start(), &mut person.sequence);
    assert!(matches!(wide, Err(PublishError::TooLarge(Class::Index, _))), "{wide:?}");
}

#[test]
fn a_value_that_has_expired_counts_as_none() {
    use dht::resolve::{Selection, newest};
    let said = Person::new(1).mapping(start(), 1);
    let at = |after, values: &[Vec<u8>]| {
        newest(LAB, &said.key, Class::Mapping, values, start() + after, &mut CertificateCache::new())
    };
    let (hour, rubbish) = (seconds(3600), vec![0; 7]);
    assert!(matches!(at(seconds(3599), std::slice::from_ref(&said.value)), Selection::Newest(_)));
    assert!(matches!(at(hour, std::slice::from_ref(&said.value)), Selection::Absent));
    assert!(matches!(at(hour, &[said.value.clone(), rubbish]), Selection::Refused(_)));
}
