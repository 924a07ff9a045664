// SPDX-License-Identifier: GPL-2.0-or-later
//! How long keys and key files take: `cargo bench -p cgeid`.
//!
//! * RSA-4096 keys, ours and those of `openssl genrsa 4096` in turn, ten each. How long one takes is chance (the search for
//!   two primes), so the medians are compared. Reach: no slower than openssl.
//! * Writing and reading `<CN>.p12`, for information: nearly all of it is the work that makes guessing a password dear.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network, container};

/// Keys of each kind.
const KEYS: usize = 10;
/// Files written and read.
const FILES: usize = 5;

fn main() {
    let now = SystemTime::now();
    let (mut ours, mut openssl) = (Vec::new(), Vec::new());
    for _ in 0..KEYS {
        ours.push(time(|| drop(Identity::generate_rsa4096(Network::LAB, now).unwrap())));
        openssl.extend(time_openssl());
    }
    println!("RSA-4096 key generation, {KEYS} each, in turn");
    let ours = row("ours", ours);
    if openssl.len() == KEYS {
        let ratio = ours.as_secs_f64() / row("openssl genrsa 4096", openssl).as_secs_f64();
        let verdict = if ratio <= 1.0 { "reached" } else { "missed" };
        println!("  ours / openssl: {ratio:.2} (reach: at most 1.00; {verdict})");
    } else {
        println!("  there is no openssl program to compare with");
    }

    let identities = [
        ("rsa4096", Identity::generate_rsa4096(Network::LAB, now).unwrap()),
        ("ed25519", Identity::generate_ed25519(Network::LAB, now).unwrap()),
    ];
    println!("\n<CN>.p12, {FILES} times each");
    for (name, identity) in identities {
        let file = container::save_identity(&identity, "password").unwrap();
        let save = || drop(container::save_identity(&identity, "password").unwrap());
        let load = || drop(container::load_identity(&file, "password", Network::LAB, now).unwrap());
        row(&format!("{name}, write"), (0..FILES).map(|_| time(save)).collect());
        row(&format!("{name}, read"), (0..FILES).map(|_| time(load)).collect());
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// `None` where it does not run.
fn time_openssl() -> Option<Duration> {
    let mut command = Command::new("openssl");
    command.args(["genrsa", "4096"]).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    command.status().is_ok_and(|status| status.success()).then(|| begin.elapsed())
}

/// Prints least, median and most; gives the median.
fn row(name: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    println!("  {name:<22} median {median:>8.3?}   least {least:>8.3?}   most {most:>8.3?}");
    median
}
