// SPDX-License-Identifier: GPL-2.0-or-later
//! Fixed identities, and a DER writer that can also write what ours never would.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::{Identity, Network};

/// A key made for these tests alone: making one takes seconds. It protects nothing.
pub(crate) const RSA_KEY: &[u8] = include_bytes!("../data/rsa4096-test-key.pk8");

pub(crate) static RSA: LazyLock<Identity> =
    LazyLock::new(|| Identity::from_pkcs8(RSA_KEY, Network::LAB, now()).unwrap());
pub(crate) static ED25519: LazyLock<Identity> =
    LazyLock::new(|| Identity::from_seed(&[7; 32], Network::LAB, now()).unwrap());
pub(crate) static STRANGER: LazyLock<Identity> =
    LazyLock::new(|| Identity::from_seed(&[8; 32], Network::LAB, now()).unwrap());

/// 2027-01-15 08:00:00 UTC, and a bit.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}

pub(crate) fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Whether all the commands run, so that their programs can be witnesses. In CI they must.
pub(crate) fn present(commands: &[&str]) -> bool {
    let runs = |command: &&str| {
        let mut words = command.split(' ');
        Command::new(words.next().unwrap()).args(words).output().is_ok_and(|output| output.status.success())
    };
    let Some(missing) = commands.iter().find(|command| !runs(command)) else { return true };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing} does not run: install it");
    eprintln!("SKIP: {missing} does not run, so there is nothing to compare with");
    false
}

/// A program with arguments that have no spaces in them.
pub(crate) fn run(folder: &Path, program: &str, arguments: &str) -> Output {
    Command::new(program).args(arguments.split(' ')).current_dir(folder).output().unwrap()
}

/// What a program prints when all is well.
pub(crate) fn output(folder: &Path, program: &str, arguments: &str) -> Vec<u8> {
    let output = run(folder, program, arguments);
    let [out, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{program} {arguments}: {out}{error}");
    output.stdout
}

/// A certificate in PEM.
pub(crate) fn pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap()
}

/// One DER element.
pub(crate) fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut out = vec![tag];
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(body);
    out
}

/// The elements in `body`, each whole.
pub(crate) fn elements(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let (header, length) = match body[1] {
            short @ 0..=0x7f => (2, usize::from(short)),
            0x81 => (3, usize::from(body[2])),
            _ => (4, usize::from(body[2]) << 8 | usize::from(body[3])),
        };
        found.push(body[..header + length].to_vec());
        body = &body[header + length..];
    }
    found
}

/// What is inside an element.
pub(crate) fn inside(element: &[u8]) -> &[u8] {
    match element[1] {
        0..=0x7f => &element[2..],
        0x81 => &element[3..],
        _ => &element[4..],
    }
}

/// Positions in a TBSCertificate of version 3.
pub(crate) mod at {
    pub(crate) const VERSION: usize = 0;
    pub(crate) const SERIAL: usize = 1;
    pub(crate) const ALGORITHM: usize = 2;
    pub(crate) const ISSUER: usize = 3;
    pub(crate) const VALIDITY: usize = 4;
    pub(crate) const SUBJECT: usize = 5;
    pub(crate) const KEY: usize = 6;
    pub(crate) const EXTENSIONS: usize = 7;
}

/// Changes a certificate and has `signer` sign the result, so that only the change is wrong with it.
pub(crate) fn forge(der: &[u8], signer: &Identity, edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let parts = elements(inside(der));
    let mut fields = elements(inside(&parts[0]));
    edit(&mut fields);
    let tbs = tlv(0x30, &fields.concat());
    let signature = [&[0][..], &signer.sign(&tbs).unwrap()].concat();
    let algorithm = fields[if fields[0][0] == 0xa0 { at::ALGORITHM } else { at::ALGORITHM - 1 }].clone();
    tlv(0x30, &[tbs, algorithm, tlv(0x03, &signature)].concat())
}

/// Changes the list of extensions.
pub(crate) fn edit_extensions(fields: &mut [Vec<u8>], edit: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let mut extensions = elements(inside(inside(&fields[at::EXTENSIONS])));
    edit(&mut extensions);
    fields[at::EXTENSIONS] = tlv(0xa3, &tlv(0x30, &extensions.concat()));
}

/// A name of relative names with one common name each.
pub(crate) fn name(tag: u8, texts: &[&str]) -> Vec<u8> {
    let relative = |text: &&str| {
        let attribute = [tlv(0x06, &[0x55, 0x04, 0x03]), tlv(tag, text.as_bytes())].concat();
        tlv(0x31, &tlv(0x30, &attribute))
    };
    tlv(0x30, &texts.iter().flat_map(relative).collect::<Vec<_>>())
}

/// RSA SubjectPublicKeyInfo of any modulus and exponent.
pub(crate) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = tlv(0x30, &[tlv(0x02, modulus), tlv(0x02, exponent)].concat());
    let algorithm = tlv(0x30, &hex("06092a864886f70d0101010500"));
    tlv(0x30, &[algorithm, tlv(0x03, &[&[0][..], &key].concat())].concat())
}
