// SPDX-License-Identifier: GPL-2.0-or-later
//! Turns of the processor for a thread that has little to do each time, and to do it at once.

#![allow(unsafe_code, reason = "sched_setattr(2) has no safe form")]

use std::io;
use std::mem;
use std::time::Duration;

/// How long a thread that answers goes on at a time, where others wait: enough for some ten datagrams. The shortest that Linux
/// grants (0.1 ms; the usual one is 1.4 ms on two cores and more on more).
pub const SHORT: Duration = Duration::from_micros(100);

/// Asks that the calling thread's turns be so short. Who wants short turns gets its next one sooner, and interrupts those who want
/// longer ones (EEVDF, Linux 6.12 and later); over time it has neither more nor less of the processor than before, so that no
/// privilege is asked. Threads that it starts later have turns of the usual length.
///
/// # Errors
/// What the system says; the thread goes on as before.
pub fn ask_for(turn: Duration) -> io::Result<()> {
    // SAFETY: the structure is plain data, for which all zero octets are a value.
    let mut attributes: libc::sched_attr = unsafe { mem::zeroed() };
    let size = u32::try_from(mem::size_of::<libc::sched_attr>()).unwrap_or_default();
    // SAFETY: the kernel writes no more than `size` octets to a local that has as many; 0 is this thread.
    ok(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) })?;
    // What is told of a thread is not all that may be said of it: the flags there are another's.
    attributes.sched_flags = RESET_ON_FORK;
    attributes.sched_runtime = u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the kernel reads as many octets of a local as its first field says, which it has filled in itself.
    ok(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// `SCHED_FLAG_RESET_ON_FORK` of sched(7).
const RESET_ON_FORK: u64 = 1;

fn ok(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The slice of the calling thread in milliseconds, where the system tells (CONFIG_SCHED_DEBUG).
    fn slice() -> Option<String> {
        let told = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
        let line = told.lines().find(|line| line.starts_with("se.slice"))?;
        Some(line.rsplit_once(':')?.1.trim().to_owned())
    }

    #[test]
    fn a_thread_may_have_short_turns_without_privilege_and_those_it_starts_have_usual_ones() {
        let usual = slice();
        std::thread::spawn(|| {
            ask_for(SHORT).unwrap();
            let short = slice();
            let started = std::thread::spawn(slice).join().unwrap();
            (short, started)
        })
        .join()
        .map(|(short, started)| {
            // Before 6.12 it is taken and changes nothing.
            assert!(short == usual || short.as_deref() == Some("100000"), "{short:?}");
            assert_eq!(started, usual);
        })
        .unwrap();
    }
}
