// SPDX-License-Identifier: GPL-2.0-or-later
//! Random histories; [`Node`] checks at every step what must always hold.

use proptest::prelude::*;

use super::node::{DAY, Faults, HOUR, MINUTE, Node, SECOND, START};

#[derive(Debug, Clone, Copy)]
enum Episode {
    Run(u64),
    Sleep(u64),
    Step(i64),
    Trust(bool),
    Restart,
    Reboot(u64),
    Faults(Faults),
}

fn episode() -> impl Strategy<Value = Episode> {
    let (year, hours) = (365 * DAY as i64, 30 * HOUR as i64);
    let faults = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0u32..3);
    let faults = faults.prop_map(|(generate, publish, assign, silence, conflicts)| Faults {
        generate,
        publish,
        assign,
        silence,
        conflicts,
    });
    prop_oneof![
        6 => (SECOND..14 * HOUR).prop_map(Episode::Run),
        2 => (SECOND..80 * HOUR).prop_map(Episode::Sleep),
        2 => (-hours..hours).prop_map(Episode::Step),
        1 => (-3 * year..3 * year).prop_map(Episode::Step),
        2 => any::<bool>().prop_map(Episode::Trust),
        2 => Just(Episode::Restart),
        1 => (SECOND..60 * HOUR).prop_map(Episode::Reboot),
        1 => faults.prop_map(Episode::Faults),
        2 => Just(Episode::Faults(Faults::default())),
    ]
}

fn history(seed: u64, start: u64, trusted: bool, episodes: &[Episode]) {
    let mut node = Node::new(seed, start, trusted);
    for episode in episodes {
        match *episode {
            Episode::Run(time) => node.run(time),
            Episode::Sleep(time) => node.sleep(time),
            Episode::Step(by) => node.step(by),
            Episode::Trust(trusted) => node.trusted = trusted,
            Episode::Restart => node.restart(),
            Episode::Reboot(off) => node.reboot(off),
            Episode::Faults(faults) => node.faults = faults,
        }
        node.run(MINUTE);
    }
    // Whatever was: once all is well, there is one address to use, and it changes at the next midnight.
    node.faults = Faults::default();
    node.trusted = true;
    node.run(2 * HOUR);
    assert_eq!(node.preferred().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_a_rule(
        seed: u64,
        start in 0..2 * DAY,
        trusted: bool,
        episodes in prop::collection::vec(episode(), 1..24),
    ) {
        history(seed, START + start, trusted, &episodes);
    }
}

#[test]
fn a_node_that_forgot_its_keys_and_was_set_back_over_a_midnight_changes_there() {
    use Episode::{Reboot, Restart, Run, Step, Trust};
    let episodes = [
        Run(37_138_243),
        Trust(false),
        Reboot(7_482_925),
        Run(1_542_026),
        Run(45_571_674),
        Step(-68_424_831),
        Restart,
        Episode::Faults(Faults::default()),
        Run(17_005_967),
        Step(-59_473_062),
        Trust(false),
        Restart,
        Episode::Faults(Faults { generate: true, publish: true, ..Faults::default() }),
        Run(28_694_184),
    ];
    history(0, START + 155_222_874, true, &episodes);
    // By less than a day, too.
    history(
        0,
        START + 22 * HOUR,
        true,
        &[Run(3 * HOUR), Trust(false), Reboot(HOUR), Step(-4 * HOUR as i64), Trust(true)],
    );
}

#[test]
fn a_clock_set_back_over_a_midnight_at_which_the_machine_was_off_is_followed() {
    use Episode::{Reboot, Restart, Run, Sleep, Step};
    let episodes = [
        Restart,
        Step(66_782_181),
        Run(920_926),
        Run(36_261_209),
        Run(44_079_340),
        Run(32_741_054),
        Sleep(55_603_096),
        Run(41_841_701),
        Run(8_534_732),
        Run(20_039_310),
        Reboot(32_948_184),
        Step(-98_018_666),
        Run(35_338_034),
    ];
    history(0, START + 91_947_267, true, &episodes);
}

#[test]
fn a_change_that_the_system_refused_counts_for_its_midnight_after_a_clock_was_set_back() {
    use Episode::{Run, Step};
    let refused = Episode::Faults(Faults { assign: true, ..Faults::default() });
    let episodes = [Run(26 * HOUR), refused, Run(22 * HOUR), Step(-75_001 - 2 * MINUTE as i64)];
    history(0, START, true, &episodes);
}

#[test]
fn one_that_the_system_refused_brings_no_second_change_after_a_clock_was_set_forward() {
    use Episode::{Run, Step};
    let refused = Episode::Faults(Faults { assign: true, ..Faults::default() });
    history(0, START, true, &[Run(15_713_948), refused, Step(510_282_661), Step(78_502_301)]);
}

#[test]
fn one_that_the_system_refused_to_confirm_is_relieved_at_once() {
    use Episode::{Restart, Step};
    let refused = Episode::Faults(Faults { assign: true, ..Faults::default() });
    history(0, START, true, &[refused, Step(86_206_001), Restart]);
    history(0, START, true, &[Episode::Trust(true), Episode::Trust(false), refused, Step(86_086_001), Restart]);
}

#[test]
fn a_change_without_a_clock_counts_for_no_midnight() {
    use Episode::{Reboot, Run, Sleep, Step, Trust};
    let episodes = [
        Run(31_769_435),
        Run(35_704_688),
        Trust(false),
        Run(38_361_134),
        Sleep(114_626_904),
        Reboot(38_108_013),
        Trust(true),
        Run(39_676_728),
        Trust(false),
        Sleep(17_808_564),
        Step(-62_015_092),
        Episode::Faults(Faults { assign: true, silence: true, conflicts: 1, ..Faults::default() }),
        Run(21_566_620),
        Run(47_021_667),
    ];
    history(0, START + 46_873_098, false, &episodes);
}
