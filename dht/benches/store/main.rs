// SPDX-License-Identifier: GPL-2.0-or-later
//! What a full store takes on disk, and how soon it serves again after SIGKILL: `cargo bench -p dht --bench store`, or a part of
//! it: `... --bench store -- rsa4096`.
//!
//! * `ed25519`, `rsa4096`: a child process fills a store of 200,000 bundles through the node's own shelf (housekeeping after every
//!   thousand, as the node does every second), then renews bundles at random until each was written twice more on average, and
//!   is killed. Another opens the same file and answers for one key; the time runs from its start. All bundles are valid and as
//!   long as real ones of sites: PREFIX records with the whole chain of their writer. The writers are few, since a key of
//!   RSA-4096 takes seconds to make: each of them has thousands of sites.
//! * `day`: the database file alone, through a day of renewals every 20 minutes, by night half of them, with compaction each hour.
//!   The day passes in a minute or two; the signatures are left out, which would take an hour. It is killed in the end too.
//!
//! Reach: at most twice the octets of the records on disk, and 3 seconds. `BUNDLES=20000` or `TURNS=0` makes it quicker; a day
//! has 50,000 bundles unless `BUNDLES` says otherwise.
#![allow(clippy::unwrap_used)]

mod child;
mod day;
mod fill;

use std::path::Path;

/// Most that the file may take for each octet of its records.
const ROOM: f64 = 2.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [child::FILL, folder, kind, count] => fill::fill(Path::new(folder), kind, count.parse().unwrap()),
        [child::SERVE, folder] => fill::serve(Path::new(folder)),
        [child::DAY, folder, count] => day::pass(Path::new(folder), count.parse().unwrap()),
        ref parts => {
            let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
            fill::KINDS.iter().filter(|kind| wanted(kind)).for_each(|kind| fill::measure(kind));
            if wanted("day") {
                day::measure();
            }
        }
    }
}

/// The number that a variable of the environment names.
fn set(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

fn verdict(is_reached: bool) -> &'static str {
    if is_reached { "reached" } else { "missed" }
}
