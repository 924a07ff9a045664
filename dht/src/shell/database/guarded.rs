// SPDX-License-Identifier: GPL-2.0-or-later
//! redb where it may panic. A file that makes it do so does at each attempt, once in a second: what it says goes to the log at a pace, not to
//! standard error each time.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{LazyLock, Mutex, Once, PoisonError};
use std::thread;
use std::time::Instant;

use crate::pause::Pause;

/// What a thread does with redb.
#[derive(Debug, Clone, Copy)]
enum State {
    Nothing,
    Acts,
    Panics,
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Nothing) };
}

/// Acts with redb, which trusts some of what it reads: a page that is not as it wrote it may end in an assertion of its own. What was done
/// may be half done then, and is not to be used any more.
///
/// # Errors
/// What redb says; that the file is corrupted, if it panics.
pub fn guarded<T>(act: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    listen();
    let before = STATE.replace(State::Acts);
    let outcome = panic::catch_unwind(AssertUnwindSafe(act));
    STATE.set(before);
    outcome.unwrap_or_else(|_| Err(redb::Error::Corrupted("it cannot be read".to_owned())))
}

/// Hears of panics from now on, and leaves those elsewhere to who has heard of them before; so too a second one before the first is caught,
/// which ends the process.
fn listen() {
    static LISTENS: Once = Once::new();
    // Who panics may not take the place of who hears of it.
    if thread::panicking() {
        return;
    }
    LISTENS.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| match STATE.get() {
            State::Acts => {
                STATE.set(State::Panics);
                log(info);
            }
            State::Nothing | State::Panics => others(info),
        }));
    });
}

fn log(info: &PanicHookInfo<'_>) {
    static LOGGED: LazyLock<Mutex<Pause>> = LazyLock::new(Mutex::default);
    let payload = info.payload();
    let literal = payload.downcast_ref::<&str>().copied();
    let said = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let at = info.location().map(tracing::field::display);
    LOGGED.lock().unwrap_or_else(PoisonError::into_inner).line(Instant::now(), |left_out| {
        tracing::error!(said, at, left_out, "redb has panicked");
    });
}
