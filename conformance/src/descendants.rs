// SPDX-License-Identifier: GPL-2.0-or-later
//! The processes that this one has started, and those that they have: ended, when there is no time for whoever holds them to do so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

/// Ends all of them at once.
pub fn end() {
    let parents: BTreeMap<i32, i32> = fs::read_dir("/proc").map_or_else(
        |_| BTreeMap::new(),
        |entries| entries.flatten().filter_map(|entry| parent(&entry.file_name().to_string_lossy())).collect(),
    );
    for id in below(getpid().as_raw(), &parents) {
        // One that has ended meanwhile is what is wanted.
        let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
    }
}

/// A process and its parent. The name of its program stands in brackets, and may hold anything.
fn parent(id: &str) -> Option<(i32, i32)> {
    let number = id.parse().ok()?;
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(')')?;
    Some((number, behind.split_whitespace().nth(1)?.parse().ok()?))
}

fn below(own: i32, parents: &BTreeMap<i32, i32>) -> BTreeSet<i32> {
    let mut found = BTreeSet::from([own]);
    loop {
        let more: Vec<_> =
            parents.iter().filter(|(id, parent)| found.contains(parent) && !found.contains(id)).collect();
        if more.is_empty() {
            found.remove(&own);
            return found;
        }
        found.extend(more.into_iter().map(|(id, _)| *id));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn children_of_children_are_below_and_others_are_not() {
        let parents = BTreeMap::from([(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 5)]);
        assert_eq!(below(2, &parents), BTreeSet::from([3, 4]));
    }

    #[test]
    fn a_child_is_found_with_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = parent(&child.id().to_string()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.1, getpid().as_raw());
    }
}
