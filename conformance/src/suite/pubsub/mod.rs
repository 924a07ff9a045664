// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `pubsub`: what RFC 9437 asks of a Map-Server, against the program `lisp-mapsys`.

mod asking;
mod ending;
mod keeping;
mod making;
mod office;
mod publishing;
mod quiet;
mod settings;
mod theirs;

use super::Listed;
use super::probe::{self, Probe};
use crate::check::Check;
use office::Office;

fn probes() -> Vec<&'static Probe<Office>> {
    let of_pace = [asking::PROBES, publishing::PROBES, quiet::PROBES, ending::PROBES];
    of_pace.into_iter().chain([keeping::PROBES, making::PROBES]).flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    probe::run_as("pubsub", &probes(), wanted, Office::open, theirs::judge)
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_something_is_a_check() {
        for (id, _) in theirs::NEEDS {
            assert!(probes().iter().any(|probe| probe.id == *id), "{id}");
        }
    }
}
