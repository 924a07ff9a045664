// SPDX-License-Identifier: GPL-2.0-or-later
//! 100,000 mutated certificates. Those whose signature no longer fits must all be refused. Where the owner signs the
//! mutated contents anew, the certificate may differ in what an owner decides: serial number, dates, epoch, extensions
//! that we ignore, the order of extensions. Name, key, address and profile it may not.

use std::sync::LazyLock;
use std::time::SystemTime;

use cgeid::{Cn, Identity, IdentityCertificate, Network, OperationalCertificate, certificate};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::common::{ED25519, RSA, STRANGER, at, edit_extensions, elements, forge, inside, now, tlv};
use crate::tree::mutate;
use crate::{Outcome, Wrong, run};

/// What a certificate says to its reader.
#[derive(Debug, PartialEq)]
struct Meaning {
    cn: Cn,
    network: Network,
    key: Vec<u8>,
    not_before: SystemTime,
    not_after: SystemTime,
    epoch: Option<u32>,
}

/// A certificate to mutate.
struct Original {
    der: Vec<u8>,
    signer: &'static Identity,
    operational: bool,
}

impl Original {
    /// What `der` says, if it is taken in the place of this one.
    fn read(&self, der: &[u8]) -> Option<Meaning> {
        let _ = certificate::kind(der);
        if self.operational {
            let read = OperationalCertificate::verify(der, self.signer.certificate(), now()).ok()?;
            let key = read.key().spki().to_vec();
            let (not_before, not_after) = (read.not_before(), read.not_after());
            let network = self.signer.certificate().network();
            return Some(Meaning { cn: read.cn(), network, key, not_before, not_after, epoch: Some(read.epoch()) });
        }
        let read = IdentityCertificate::verify(der, Network::LAB, now()).ok()?;
        let key = read.key().spki().to_vec();
        let (not_before, not_after) = (read.not_before(), read.not_after());
        Some(Meaning { cn: read.cn(), network: read.network(), key, not_before, not_after, epoch: None })
    }
}

/// Both kinds of certificate of both kinds of identity; the same octets in every run.
static ORIGINALS: LazyLock<Vec<Original>> = LazyLock::new(|| {
    [&*RSA, &*ED25519]
        .into_iter()
        .flat_map(|signer| {
            let identity = Original { der: signer.certificate().der().to_vec(), signer, operational: false };
            [identity, Original { der: operational(signer), signer, operational: true }]
        })
        .collect()
});

/// An operational certificate of a fixed key: new ones have random keys.
fn operational(signer: &Identity) -> Vec<u8> {
    let key = STRANGER.certificate().key();
    let made = signer.delegate(now(), 0).unwrap();
    forge(made.certificate_der(), signer, |fields| {
        fields[at::KEY] = key.spki().to_vec();
        let identifier = tlv(0x04, &tlv(0x04, &key.fingerprint()[..20]));
        edit_extensions(fields, |extensions| {
            extensions[2] = tlv(0x30, &[tlv(0x06, &[0x55, 0x1d, 0x0e]), identifier].concat());
        });
    })
}

/// One of the certificates, another one to take parts from.
fn draw(random: &mut StdRng) -> (&'static Original, &'static Original) {
    (&ORIGINALS[random.random_range(0..ORIGINALS.len())], &ORIGINALS[random.random_range(0..ORIGINALS.len())])
}

#[test]
fn the_originals_are_taken() {
    for original in ORIGINALS.iter() {
        let meaning = original.read(&original.der).unwrap();
        assert_eq!(meaning.cn, original.signer.cn());
        assert_eq!(meaning.epoch.is_some(), original.operational);
        assert_eq!(differences(&original.der, &original.der, original.operational), Ok(Vec::new()));
    }
}

#[test]
fn no_mutated_certificate_is_taken() {
    let taken = run("certificates", 80_000, |random| {
        let (original, donor) = draw(random);
        let (change, file) = mutate(random, &original.der, &donor.der);
        match original.read(&file) {
            Some(meaning) => {
                let why = format!("taken with {change}: {meaning:?}, not {:?}", original.read(&original.der));
                Err(Wrong { why, file })
            }
            None => Ok(Outcome::Refused),
        }
    });
    assert!(taken.is_empty(), "{taken:?}");
}

#[test]
fn what_an_owner_signs_anew_differs_only_in_what_owners_decide() {
    let taken = run("signed-anew", 20_000, |random| {
        let (mut original, donor) = draw(random);
        // RSA takes a hundred times as long to sign, and the frame around the key is the same.
        if !std::ptr::eq(original.signer, &*ED25519) && random.random_bool(0.9) {
            original = if original.operational { &ORIGINALS[3] } else { &ORIGINALS[2] };
        }
        let (parts, donated) = (elements(inside(&original.der)), elements(inside(&donor.der)));
        let (change, tbs) = mutate(random, &parts[0], &donated[0]);
        let signature = [&[0][..], &original.signer.sign(&tbs).unwrap()].concat();
        let file = tlv(0x30, &[tbs, parts[1].clone(), tlv(0x03, &signature)].concat());
        let Some(meaning) = original.read(&file) else { return Ok(Outcome::Refused) };
        let was = original.read(&original.der).unwrap();
        let judged = differences(&original.der, &file, original.operational).and_then(|differences| {
            let differs = |what| differences.contains(&what);
            let same = meaning.cn == was.cn
                && meaning.network == was.network
                && meaning.key == was.key
                && (differs("dates") || (meaning.not_before, meaning.not_after) == (was.not_before, was.not_after))
                && (differs("epoch") || meaning.epoch == was.epoch);
            if same { Ok(differences.join(" + ")) } else { Err("it means something else".to_owned()) }
        });
        match judged {
            Ok(explanation) => Ok(Outcome::Explained(explanation)),
            Err(why) => Err(Wrong { why: format!("taken with {change}: {why}: {meaning:?}, not {was:?}"), file }),
        }
    });
    // The signature hides nothing here: were none taken, the test would look at nothing but broken syntax.
    if crate::given("MUTATION_CASE").is_none() {
        assert!(taken.values().sum::<u64>() > 100, "{taken:?}");
    }
}

/// In which of the things that owners decide two certificates differ; an error names a difference in anything else.
fn differences(original: &[u8], changed: &[u8], operational: bool) -> Result<Vec<&'static str>, String> {
    let fields = |der: &[u8]| elements(inside(&elements(inside(der))[0]));
    let (before, after) = (fields(original), fields(changed));
    if after.len() != before.len() {
        return Err("another number of fields".to_owned());
    }
    let mut found = Vec::new();
    for field in 0..at::EXTENSIONS {
        match field {
            _ if before[field] == after[field] => (),
            at::SERIAL => found.push("serial"),
            at::VALIDITY => found.push("dates"),
            _ => return Err(format!("another field {field}")),
        }
    }
    let extensions = |fields: &[Vec<u8>]| elements(inside(inside(&fields[at::EXTENSIONS])));
    let (before, after) = (extensions(&before), extensions(&after));
    let identifier = |extension: &[u8]| elements(inside(extension))[0].clone();
    let mut missing: Vec<_> = before.iter().filter(|extension| !after.contains(extension)).collect();
    // The epoch is the last one that we write.
    if operational && missing == [&before[5]] {
        let epochs = after.iter().filter(|extension| identifier(extension) == identifier(&before[5]));
        if epochs.count() != 1 {
            return Err("no epoch, or several".to_owned());
        }
        missing.clear();
        found.push("epoch");
    }
    if !missing.is_empty() {
        return Err("an extension of the profile is missing".to_owned());
    }
    let profile: Vec<_> = before.iter().map(|extension| identifier(extension)).collect();
    let others: Vec<_> = after.iter().filter(|extension| !profile.contains(&identifier(extension))).collect();
    if others.len() + before.len() != after.len() {
        return Err("an extension of the profile appears twice".to_owned());
    }
    if others.iter().any(|extension| elements(inside(extension)).iter().any(|part| part[0] == 0x01)) {
        return Err("an unknown critical extension".to_owned());
    }
    if !others.is_empty() {
        found.push("unknown extension");
    } else if before
        .iter()
        .map(|extension| identifier(extension))
        .ne(after.iter().map(|extension| identifier(extension)))
    {
        found.push("order of extensions");
    }
    Ok(found)
}
