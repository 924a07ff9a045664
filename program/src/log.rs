// SPDX-License-Identifier: GPL-2.0-or-later
//! What is logged, and where: a level, or levels of parts of a program, as in `warn,xtr=debug`, on standard error.
//!
//! Whatever becomes of standard error - a full disk, a pipe whose reader has ended, a terminal that is gone - ends no program.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Stderr, Write as _};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::fmt::format::{DefaultFields, Format};

/// What is none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no part of a program: levels are of parts, as in warn,xtr=debug; there are none of spans and fields")]
pub struct NoPart(pub String);

/// The list as it is, if all that it names can be the name of a part. The filter that reads it takes whatever it does not know for such a name, and
/// nothing is logged of what is not there.
///
/// # Errors
/// Says what cannot.
pub fn parts(list: &str) -> Result<&str, NoPart> {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | ':');
    let mut names = list.split(',').map(|directive| directive.split('=').next().unwrap_or_default());
    names.find(|name| !name.chars().all(is_of_name)).map_or(Ok(list), |name| Err(NoPart(name.to_owned())))
}

/// A log on standard error, in colours on a terminal, of whatever the filter that is put in front of it lets through.
pub fn to_stderr() -> SubscriberBuilder<DefaultFields, Format, LevelFilter, fn() -> Stderr> {
    let logging =
        tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(io::stderr as fn() -> Stderr);
    // Otherwise a line that cannot be written is told by eprintln!, which panics.
    logging.log_internal_errors(false).with_ansi(io::stderr().is_terminal())
}

/// Says why a program ends.
pub fn last_words(program: &str, error: &dyn Display) {
    // The exit status says so too.
    let _ = writeln!(io::stderr(), "{program}: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_the_name_of_a_part_is_named() {
        for list in ["", "info", "warn,xtr=debug", "libp2p_swarm=error,dht::store=trace", "off"] {
            assert_eq!(parts(list), Ok(list));
        }
        for (list, name) in
            [("info,x[=1", "x["), ("[{peer}]=debug", "[{peer}]"), ("warn, xtr=debug", " xtr"), ("a/b", "a/b")]
        {
            assert_eq!(parts(list), Err(NoPart(name.to_owned())));
        }
    }
}
