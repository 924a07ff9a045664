// SPDX-License-Identifier: GPL-2.0-or-later
//! Which of the operational keys that were signed ahead is to be used now, and until when they last. Names and clock are
//! arguments.
//!
//! `cgeid` names the key for now `<CN>.op.p12` and those for later months `<CN>.op.<EPOCH>.p12`: the epoch tells when a
//! key begins without opening its file, which takes a third of a second.

use std::time::SystemTime;

use crate::cn::Cn;
use crate::epoch;
use crate::limits::OPERATIONAL_LIFETIME;

/// Follows the CN.
const OPERATIONAL: &str = ".op";
/// Ends the name.
const CONTAINER: &str = ".p12";

/// The CN that a file is named after.
pub fn cn_in(name: &str) -> Option<Cn> {
    let (cn, rest) = name.split_once(OPERATIONAL)?;
    rest.ends_with(CONTAINER).then(|| cn.parse().ok())?
}

/// The epoch of a key signed ahead for `cn`, if that is what the name says.
pub fn epoch_in(name: &str, cn: Cn) -> Option<u32> {
    let rest = name.strip_prefix(&cn.to_string())?.strip_prefix(OPERATIONAL)?.strip_suffix(CONTAINER)?;
    let digits = rest.strip_prefix('.')?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Those of `epochs` whose month has begun at `now` and that supersede epoch `above`, if there is one; the highest first.
pub fn due(cn: Cn, now: SystemTime, above: Option<u32>, epochs: &[u32]) -> Vec<u32> {
    let has_begun = |epoch: &&u32| begins(cn, **epoch).is_some_and(|begin| begin <= now);
    let supersedes = |epoch: &&u32| above.is_none_or(|above| **epoch > above);
    let mut due: Vec<u32> = epochs.iter().filter(has_begun).filter(supersedes).copied().collect();
    due.sort_unstable_by(|a, b| b.cmp(a));
    due
}

/// Until when there is a key at all times: the one in use ends at `end`, and those of later `epochs` follow. A month
/// without one ends it.
pub fn covered(cn: Cn, in_use: u32, end: SystemTime, epochs: &[u32]) -> SystemTime {
    let mut later: Vec<u32> = epochs.iter().filter(|epoch| **epoch > in_use).copied().collect();
    later.sort_unstable();
    let mut covered = end;
    for begin in later.into_iter().map_while(|epoch| begins(cn, epoch)) {
        if begin > covered {
            break;
        }
        covered = begin.checked_add(OPERATIONAL_LIFETIME).map_or(covered, |end| end.max(covered));
    }
    covered
}

fn begins(cn: Cn, number: u32) -> Option<SystemTime> {
    epoch::period_start(cn, number / epoch::REVISIONS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    const CN: Cn = Cn([0x42; 12]);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn start(period: u32) -> SystemTime {
        epoch::period_start(CN, period).unwrap()
    }

    #[test]
    fn names_say_whose_key_it_is_and_from_when() {
        let name = |end: &str| format!("{CN}{end}");
        assert_eq!(cn_in(&name(".op.p12")), Some(CN));
        assert_eq!(cn_in(&name(".op.179200.p12")), Some(CN));
        assert_eq!(epoch_in(&name(".op.179200.p12"), CN), Some(179_200));
        for other in [".op.p12", ".p12", ".op..p12", ".op.+7.p12", ".op.7.p12.new", ".op.99999999999.p12"] {
            assert_eq!(epoch_in(&name(other), CN), None, "{other}");
        }
        assert_eq!(epoch_in(&name(".op.179200.p12"), Cn([1; 12])), None);
        for other in ["me.op.p12", ".op.p12", "identity.p12"] {
            assert_eq!(cn_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_key_is_due_from_the_first_second_of_its_month() {
        let epochs = [701 * 256, 702 * 256, 700 * 256 + 1];
        let due_at = |now| due(CN, now, Some(700 * 256), &epochs);
        assert_eq!(due_at(start(701) - Duration::from_secs(1)), [700 * 256 + 1]);
        assert_eq!(due_at(start(701)), [701 * 256, 700 * 256 + 1]);
        assert_eq!(due(CN, start(702), Some(702 * 256), &epochs), [] as [u32; 0], "never a lower one, nor the same");
        assert_eq!(due(CN, start(701), None, &epochs), [701 * 256, 700 * 256 + 1], "whatever the one in use is");
    }

    #[test]
    fn keys_last_until_the_first_month_without_one() {
        let end = start(700) + 35 * DAY;
        assert_eq!(covered(CN, 700 * 256, end, &[]), end);
        assert_eq!(covered(CN, 700 * 256, end, &[702 * 256, 701 * 256]), start(702) + OPERATIONAL_LIFETIME);
        assert_eq!(covered(CN, 700 * 256, end, &[702 * 256]), end, "a month is missing");
        assert_eq!(covered(CN, 700 * 256, end, &[699 * 256]), end, "what is over covers nothing");
    }
}
