// SPDX-License-Identifier: GPL-2.0-or-later
//! Names as nobody should write them.

use mapsys::refusal::Refusal;
use proptest::collection::vec;
use proptest::prelude::*;
use wire::control::ControlMessage;

use super::*;

/// A name as octets, whatever they are, with this mask-len.
fn octets(text: &[u8], mask_len: u8) -> Eid {
    Eid { address: Address::Name(text.into()), mask_len }
}

fn length(octets: usize) -> u8 {
    u8::try_from(octets * 8).unwrap_or(u8::MAX)
}

#[test]
fn an_over_long_name_is_refused_and_counted() {
    let mut bench = bench();
    let wild = |eid| within(5, eid);
    let names = [octets(&[b'x'; 31], 248), octets(&[b'x'; 200], 255)];
    for (nonce, eid) in (1..).zip(names) {
        assert_eq!(bench.datagram(ETR, &sealed(nonce, wild(eid.clone()), RLOC)), []);
        assert_eq!(asks(&mut bench, nonce, &wild(eid)), []);
    }
    let tally = bench.engine.tally();
    assert_eq!((tally.get(Refusal::RegisterName), tally.get(Refusal::RequestName), tally.total()), (2, 2, 4));
    let longest = wild(octets(&[b'x'; 30], 248));
    notify(&bench.datagram(ETR, &sealed(9, longest.clone(), RLOC)));
    assert_eq!(answer(&mut bench, 9, &longest)[0].eid, longest);
}

#[test]
fn a_name_that_does_not_end_or_has_a_nul_inside_is_malformed() {
    let mut bench = bench();
    let asked = request_of(1, &[name("printer")]).encode().unwrap();
    let without_nul = asked[..asked.len() - 1].to_vec();
    let mut with_nul = asked.clone();
    let at = with_nul.len() - 4;
    with_nul[at] = 0;
    for bytes in [without_nul, with_nul] {
        assert_eq!(bench.datagram(ITR, &wrapped_octets(bytes)), []);
    }
    assert_eq!(bench.only_refused(Refusal::Malformed), 2);
}

/// RFC 9735, section 3: a name of a NUL alone is taken.
#[test]
fn the_empty_name_answers_for_all_names_of_its_site() {
    let mut bench = bench();
    let none = within(5, octets(b"", 8));
    notify(&bench.datagram(ETR, &sealed(1, none.clone(), RLOC)));
    for (nonce, asked) in (2..).zip([none.clone(), within(5, octets(b"", 0)), within(5, name("a"))]) {
        let records = answer(&mut bench, nonce, &asked);
        let spelled = if asked.mask_len == 0 { within(5, octets(b"", 0)) } else { none.clone() };
        assert_eq!((records.len(), &records[0].eid, records[0].locators.len()), (1, &spelled, 1));
    }
    // Beside a longer one it is told for what was asked alone, or with that.
    notify(&bench.datagram(ETR, &sealed(9, within(5, name("a")), RLOC)));
    let records = answer(&mut bench, 10, &within(5, name("b")));
    assert!(records.len() == 2 || records[0].eid == within(5, name("b")), "{records:?}");
    // Where no rule has all names it is of no site.
    assert_eq!(bench.datagram(ETR, &sealed(11, octets(b"", 8), RLOC)), []);
    assert_eq!(bench.only_refused(Refusal::RegisterEidNotConfigured), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_name_is_registered_and_found_again_or_refused_by_name(
        text in vec(1..=u8::MAX, 0..40), counts_nul: bool, odd in proptest::option::of(any::<u8>())
    ) {
        let mask_len = odd.unwrap_or(length(text.len() + usize::from(counts_nul)));
        let eid = within(5, octets(&text, mask_len));
        let mut bench = bench();
        // A mask-len beyond the name has no encoding, and is no message that anybody gets.
        let message = register(1, vec![record_of(eid.clone(), &[RLOC])]);
        let Ok(bytes) = wire::control::auth::seal(&message.into(), &site_key(), wire::control::auth::TagForm::Truncated) else {
            return Ok(());
        };
        let outputs = bench.datagram(ETR, &bytes);
        let is_name = text.len() <= 30 && [text.len() * 8, text.len() * 8 + 8].contains(&mask_len.into());
        prop_assert_eq!(!outputs.is_empty(), is_name);
        prop_assert_eq!(labels(&bench).len(), usize::from(is_name));
        prop_assert!(labels(&bench).iter().all(|label| label.is_ascii() && !label.contains(|c: char| c.is_ascii_control())));
        let outputs = asks(&mut bench, 2, &eid);
        prop_assert_eq!(!outputs.is_empty(), is_name);
        if is_name {
            let (_, reply) = reply(&outputs);
            prop_assert_eq!(&reply.records[0].eid, &eid);
            prop_assert_eq!(rlocs(&reply.records[0]), [RLOC]);
        } else {
            let tally = bench.engine.tally();
            prop_assert_eq!((tally.get(Refusal::RegisterName), tally.get(Refusal::RequestName), tally.total()), (1, 1, 2));
        }
    }

    #[test]
    fn a_nul_anywhere_in_a_name_makes_it_malformed_or_a_shorter_one(
        text in vec(b'a'..=b'z', 2..30), at in any::<prop::sample::Index>(), in_instance: bool
    ) {
        let eid = octets(&text, length(text.len() + 1));
        let eid = if in_instance { within(5, eid) } else { eid };
        let mut bytes = request_of(1, &[eid]).encode().unwrap();
        let start = bytes.len() - text.len() - 1;
        bytes[start + at.index(text.len())] = 0;
        prop_assert!(ControlMessage::decode(&bytes).is_err(), "its mask-len is that of the whole");
        let mut bench = bench();
        prop_assert_eq!(bench.datagram(ITR, &wrapped_octets(bytes)), []);
        prop_assert_eq!(bench.only_refused(Refusal::Malformed), 1);
    }

    #[test]
    fn what_is_registered_is_what_a_walk_through_all_finds(
        known in vec(vec(b'a'..=b'b', 1..5), 0..8), asked in vec(b'a'..=b'b', 1..6)
    ) {
        let mut bench = bench();
        for (nonce, text) in (1..).zip(&known) {
            let eid = within(5, octets(text, length(text.len() + 1)));
            notify(&bench.datagram(ETR, &sealed(nonce, eid, RLOC)));
        }
        let best = known.iter().filter(|known| asked.starts_with(known)).max_by_key(|known| known.len());
        let records = answer(&mut bench, 9, &within(5, octets(&asked, length(asked.len() + 1))));
        prop_assert_eq!(records.iter().any(|record| !record.locators.is_empty()), best.is_some());
        if let Some(best) = best {
            let is_best = records[0].eid == within(5, octets(best, length(best.len() + 1)));
            prop_assert!(is_best || records.len() == 1 && records[0].eid.mask_len == length(asked.len() + 1), "{:?}", records);
        }
    }
}
