// SPDX-License-Identifier: GPL-2.0-or-later
//! The numbers that the draft has in its sentences, and in tables beside words, are those of the code.

use std::time::{Duration, UNIX_EPOCH};

use crate::draft_text::{requirements, source, table};
use cgeid::exchange::{MEDIA_TYPE, fingerprint, text};
use cgeid::{Cn, Identity, Network, PuzzleBits, epoch, limits};

const NETWORK: Network = Network([0x20, 0x01, 0x0d, 0xb8]);

fn draft() -> String {
    source("draft-ipv6mesh-lisp-cgeid-00.md")
}

fn ed25519() -> Identity {
    Identity::from_seed(&[7; 32], NETWORK, UNIX_EPOCH + Duration::from_secs(1_800_000_000)).unwrap()
}

/// Numbers in sentences, by the requirement that the sentence is.
#[test]
fn numbers_in_sentences() {
    let text = draft();
    let required = requirements(&text);
    let grouped = |number: u64| {
        let digits = number.to_string();
        let (high, low) = digits.split_at(digits.len() - 3);
        if high.len() > 3 {
            format!("{},{},{low}", &high[..high.len() - 3], &high[high.len() - 3..])
        } else {
            format!("{high},{low}")
        }
    };
    let seconds = |time: Duration| time.as_secs();
    let days = |time: Duration| format!("{} days", time.as_secs() / 86_400);
    let hours = |time: Duration| format!("{} hours", time.as_secs() / 3600);
    let code = [
        ("CG-009", format!("exactly {} bits", 8 * NETWORK.0.len())),
        ("ID-007", format!("leading {} bits", 8 * Cn::LENGTH)),
        ("ID-001", format!("octets 0 to {} of", Cn::LENGTH - 1)),
        ("CG-013", format!("{} octets", ed25519().certificate().key().spki().len())),
        ("CG-017", format!("{} hexadecimal digits", Cn::DIGITS)),
        ("CG-025", format!("{} octets", limits::MAX_CERTIFICATE)),
        ("CG-026", format!("at most {} octets", limits::MAX_SERIAL)),
        ("ID-019", format!("{} seconds", seconds(limits::CLOCK_SKEW))),
        ("CG-007", hours(limits::TEMPORARY_CERTIFICATE_LIFETIME)),
        ("CG-038", days(limits::OPERATIONAL_LIFETIME)),
        ("CG-043", format!("0 to {}", epoch::REVISIONS - 1)),
        ("CG-046", format!("{} periods", limits::MAX_MONTHS)),
        ("CG-057", days(dht::limits::REVOCATION_LIFETIME)),
        ("CG-006", format!("{} seconds", grouped(seconds(limits::TEMPORARY_PREFERRED)))),
        ("CG-006", format!("{} seconds", grouped(seconds(limits::TEMPORARY_VALID)))),
        ("CG-059", format!("{} seconds", seconds(limits::PUBLICATION_PATIENCE))),
        ("CG-060", format!("{} seconds", seconds(limits::TEMPORARY_OVERLAP))),
        ("CG-061", hours(limits::TEMPORARY_MAX_USE)),
        ("CG-065", format!("of {} seconds", grouped(seconds(limits::TEMPORARY_PREFERRED)))),
        ("CG-065", format!("REGEN_ADVANCE of {} seconds", seconds(limits::TEMPORARY_OVERLAP))),
        ("CG-065", format!("0 to {} seconds", grouped(seconds(limits::MAX_DESYNC)))),
        ("CG-067", format!("{} octets", limits::MAX_AUDIENCE)),
        ("CG-070", format!("{} seconds", seconds(limits::CLOCK_SKEW))),
        ("ID-013", format!("{} iterations", grouped(limits::ENCRYPTION_ROUNDS.into()))),
        ("CG-075", format!("{} iterations", grouped(limits::MAX_ROUNDS.into()))),
        ("CG-088", format!("\"{}\" and 128", fingerprint::SCHEME)),
        ("CG-082", format!("\"{}\"", text::SCHEME)),
        ("CG-083", MEDIA_TYPE.to_owned()),
        ("CG-094", days(limits::PIN_REST)),
    ];
    for (id, said) in code {
        let sentence = &required.iter().find(|one| one.id == id).unwrap().sentence;
        assert!(sentence.contains(&said), "{id} does not say {said}: {sentence}");
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        format!("derives in {} iterations", grouped(limits::MAC_ROUNDS.into())),
        format!("Files longer than {} octets", grouped(limits::MAX_CONTAINER as u64)),
        format!("the last {} seconds stay free", seconds(limits::PUBLICATION_LEAD)),
        format!("{} are usual in laboratories and {} on public networks", PuzzleBits::LAB, PuzzleBits::PUBLIC),
    ] {
        assert!(text.contains(&said), "the draft does not say: {said}");
    }
}

#[test]
fn fields_of_certificates() {
    let text = draft();
    let row = |anchor: &str, name: &str| table(&text, anchor).into_iter().find(|row| row[0] == name).unwrap();
    let hours = limits::TEMPORARY_CERTIFICATE_LIFETIME.as_secs() / 3600;
    let [_, forever, temporary] = &row("tab-identity", "notAfter")[..] else { panic!("three columns") };
    let identity = ed25519();
    let mut windows = identity.certificate().der().windows(forever.len());
    assert!(windows.any(|window| window == forever.as_bytes()), "{forever}");
    assert_eq!(*temporary, format!("notBefore and {hours} hours"));
    let begin = format!("{} s before now, or before its period begins", limits::CLOCK_SKEW.as_secs());
    assert_eq!(row("tab-operational", "notBefore")[1], begin);
    let days = limits::OPERATIONAL_LIFETIME.as_secs() / 86_400;
    assert_eq!(
        row("tab-operational", "notAfter")[1],
        format!("notBefore and {days} days, or the identity's if sooner")
    );
}

/// What attacks cost follows from the two rates.
#[test]
fn costs_of_attacks() {
    const YEAR: f64 = 365.25 * 86_400.0;
    for row in table(&draft(), "tab-attacks") {
        let work = row[1].strip_prefix("2^").unwrap().parse::<i32>().unwrap();
        for (said, rate) in [(&row[2], 7.5e9), (&row[3], 1e15)] {
            let (number, unit) = said.split_once(' ').unwrap();
            let unit = match unit {
                "years" => YEAR,
                "hours" => 3600.0,
                "s" => 1.0,
                other => panic!("{other}"),
            };
            let ratio = number.parse::<f64>().unwrap() * unit / (2f64.powi(work) / rate);
            assert!((0.9..1.1).contains(&ratio), "{}: {said} is {ratio} of what it takes", row[0]);
        }
    }
}
