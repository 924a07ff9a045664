// SPDX-License-Identifier: GPL-2.0-or-later
//! Any datagram, any flipped bit, and a whole day.

use std::time::Duration;

use crate::double::{Node, prefix, reply_to};
use proptest::prelude::*;
use wire::control::ControlMessage;
use wire::control::auth::{Algorithm, TagForm};
use xtr::map_cache::Update;

const EID: &str = "2001:db8:b::2/128";

proptest! {
    #[test]
    fn no_datagram_panics_or_changes_state(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..16) {
        let mut node = Node::plain();
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x0f | kind << 4;
        }
        node.bytes("198.51.100.1:4342", &bytes);
        prop_assert_eq!(node.updates(), []);
    }

    #[test]
    fn no_flipped_bit_of_a_reply_installs_what_was_not_asked(bit in 0usize..8 * 60) {
        let mut node = Node::plain();
        let (_, request) = node.miss(EID);
        let mut bytes = ControlMessage::from(reply_to(&request, &[("2001:db8:b::/48", 1440)])).encode().unwrap();
        let index = bit / 8 % bytes.len();
        bytes[index] ^= 1 << (bit % 8);
        node.bytes("203.0.113.53:4342", &bytes);
        for update in node.updates() {
            let (Update::Upsert { prefix: touched, .. } | Update::Remove { prefix: touched }) = update else { panic!("{update:?}") };
            prop_assert!(touched.covers(&prefix(EID)), "{touched}");
        }
    }
}

#[test]
fn a_virtual_day_is_quiet() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let mut registers = 0;
    let start = node.now;
    while node.now - start < Duration::from_secs(24 * 3600) {
        for (_, register) in node.registers() {
            registers += 1;
            node.notify(&register, |notify| notify);
        }
        node.run_to_deadline();
    }
    assert_eq!(registers, 24 * 60);
    assert_eq!(node.control.tally().total(), 0);
}
