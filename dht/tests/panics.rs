// SPDX-License-Identifier: GPL-2.0-or-later
//! A database that makes redb panic at each attempt. A program of its own: who hears of panics is the same for all threads.
#![cfg(feature = "shell")]
#![allow(clippy::panic, missing_docs)]

#[path = "../../program/tests/support/log.rs"]
mod log;

use std::sync::atomic::{AtomicUsize, Ordering};

use dht::shell::database::guarded;
use log::logged;

#[test]
fn a_database_that_panics_each_time_is_a_line_in_the_log_and_nothing_on_standard_error() {
    static PRINTED: AtomicUsize = AtomicUsize::new(0);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PRINTED.fetch_add(1, Ordering::Relaxed);
        usual(info);
    }));
    let lines = logged(|| {
        for _ in 0..100 {
            let failed = guarded::<()>(|| panic!("page {} of the file", 7));
            assert!(matches!(failed, Err(redb::Error::Corrupted(_))));
        }
    });
    let expected = "ERROR redb has panicked said=\"page 7 of the file\" at=dht/tests/panics.rs:";
    assert!(matches!(lines.as_slice(), [line] if line.starts_with(expected)), "{lines:?}");
    assert_eq!(PRINTED.load(Ordering::Relaxed), 0);

    assert!(std::panic::catch_unwind(|| panic!("elsewhere")).is_err());
    assert_eq!(PRINTED.load(Ordering::Relaxed), 1, "what has nothing to do with it is printed");
    assert!(guarded(|| Ok(5)).is_ok_and(|five| five == 5));
    assert!(std::panic::catch_unwind(|| panic!("afterwards")).is_err());
    assert_eq!(PRINTED.load(Ordering::Relaxed), 2);
}
