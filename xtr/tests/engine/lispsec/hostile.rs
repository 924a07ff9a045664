// SPDX-License-Identifier: GPL-2.0-or-later
//! Whoever changes octets.

use proptest::prelude::*;
use wire::control::lispsec::{Asked, HmacAlgorithm, HmacId, KdfId, SecError, verify_reply};
use xtr::map_cache::Update;
use xtr::resolve::Demand;

use super::etr::{OURS, SERVER, ad, ecm, etr, for_us, itr_otk};
use super::itr::{SITE, ask, from_resolver, itr, mappings};
use crate::double::prefix;

proptest! {
    #[test]
    fn no_octet_of_a_protected_answer_can_be_changed(at in 0..200_usize, flip in 1..=255_u8, cut in 0..40_usize) {
        let mut node = itr(Demand::Require);
        let question = ask(&mut node);
        let answer = question.answer(&[SITE], &[(SITE, 1440)]);
        let mut changed = answer.clone();
        let at = at % changed.len();
        changed[at] ^= flip;
        from_resolver(&mut node, &changed);
        from_resolver(&mut node, &answer[..answer.len() - 1 - cut]);
        prop_assert_eq!(node.updates(), []);
        prop_assert!(node.control.tally().total() >= 2);
        from_resolver(&mut node, &answer);
        prop_assert_eq!(mappings(&node), [(prefix(SITE), true)]);
    }

    #[test]
    fn changed_authentication_data_give_no_answer_that_is_believed(at in 0..80_usize, flip in 1..=255_u8) {
        let mut security = ad(HmacAlgorithm::Sha256, for_us);
        let at = at % security.len();
        security[at] ^= flip;
        let mut node = etr();
        // What cannot be encoded cannot be sent.
        if let Ok(bytes) = ecm(Some(security.clone())).encode() {
            node.bytes(SERVER, &bytes);
        }
        let asked = Asked { hmac: HmacId(2), kdf: KdfId(2) };
        for (_, _, answer) in &node.sent {
            match verify_reply(answer, &itr_otk(), asked) {
                // Octets that RFC 9303 leaves unassigned, and the low bit of a number that nobody has.
                Ok(proven) => {
                    let eids: Vec<_> = proven.reply.records.iter().filter_map(|r| r.eid.ip_prefix()).collect();
                    prop_assert_eq!(eids, [prefix(OURS), prefix("10.2.2.128/25")]);
                    prop_assert!(at < 4 && security[0] == 1, "{}", at);
                }
                Err(error) => prop_assert!(matches!(error, SecError::Hmac(_) | SecError::HmacId(_) | SecError::KdfId(_))),
            }
        }
    }

    #[test]
    fn no_authentication_data_upset_the_engine(octets in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut bytes = ecm(Some(ad(HmacAlgorithm::Sha256, for_us))).encode().unwrap();
        let end = bytes.len().min(4 + octets.len());
        bytes[4..end].copy_from_slice(&octets[..end - 4]);
        let mut node = etr();
        node.bytes(SERVER, &bytes);
        let mut asking = itr(Demand::Require);
        let question = ask(&mut asking);
        let mut answer = question.answer(&[SITE], &[(SITE, 1440)]);
        answer.truncate(12);
        answer.extend(octets);
        from_resolver(&mut asking, &answer);
        let is_installed = asking.updates().iter().any(|update| matches!(update, Update::Upsert { .. }));
        prop_assert!(!is_installed);
    }
}
