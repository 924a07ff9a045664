// SPDX-License-Identifier: GPL-2.0-or-later
//! The order of Map-Versions.

use wire::record::MapVersion;

/// RFC 9302, section 6, as it is written there: three steps for two versions of 12 bits.
#[test]
fn map_versions_are_ordered_on_a_circle_and_0_is_none() {
    let is_greater = |two: i32, one: i32| (two > one && two - one <= 2048) || (one > two && one - two > 2048);
    for one in (1..=4095).step_by(31).chain([1, 69, 2047, 2048, 2049, 4095]) {
        for two in 1..=4095 {
            let (older, newer) = (MapVersion(u16::try_from(one).unwrap()), MapVersion(u16::try_from(two).unwrap()));
            assert_eq!(older.is_older_than(newer), is_greater(two, one), "{one} and {two}");
            assert_eq!(newer.is_older_than(older), one != two && !is_greater(two, one), "{two} and {one}");
        }
    }
    assert!(MapVersion(69).is_older_than(MapVersion(70)) && MapVersion(69).is_older_than(MapVersion(69 + 2048)));
    assert!(MapVersion(69 + 2049).is_older_than(MapVersion(69)) && MapVersion(68).is_older_than(MapVersion(69)));
    assert!(!MapVersion(0).is_older_than(MapVersion(1)) && !MapVersion(1).is_older_than(MapVersion(0)));
    assert!((1..=4095).all(|version| MapVersion(version).next() == MapVersion(version % 4095 + 1)));
    assert_eq!((MapVersion(4095).next(), MapVersion(0).next()), (MapVersion(1), MapVersion(0)));
}
