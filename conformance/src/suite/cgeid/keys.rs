// SPDX-License-Identifier: GPL-2.0-or-later
//! Ed25519: the one rule set for points and signatures (`cgeid/tests/data/ed25519-rules.json`). The keys have no private
//! half, so they go to the library.

use std::collections::BTreeMap;

use cgeid::{KeyError, PublicKey, SignatureAlgorithm};
use serde::Deserialize;

use super::{Fault, Judgement, Probe};
use crate::vectors::from_hex;

pub(super) const PROBES: &[Probe] = &[
    Probe { id: "ID-016.1", about: "the signatures of RFC 8032 7.1", judge: |_| taken("signed") },
    Probe {
        id: "ID-016.2",
        about: "signatures that only the equation with the cofactor takes",
        judge: |_| taken("mixed_r"),
    },
    Probe { id: "ID-016.3", about: "signatures whose S is not the smallest", judge: |_| refused("large_s") },
    Probe { id: "ID-016.4", about: "signatures whose R has small order", judge: |_| refused("small_r") },
    Probe { id: "ID-016.5", about: "keys of small order", judge: |_| keys_refused("small order") },
    Probe { id: "ID-016.6", about: "keys in a second encoding", judge: |_| keys_refused("second encoding") },
    Probe { id: "ID-016.7", about: "a key that is no point", judge: |_| keys_refused("no point") },
];

/// SubjectPublicKeyInfo of Ed25519 before the key.
const PREFIX: &str = "302a300506032b6570032100";

#[derive(Deserialize)]
struct Rules {
    keys_refused: BTreeMap<String, Vec<String>>,
    taken: BTreeMap<String, Vec<Signed>>,
    refused: BTreeMap<String, Vec<Signed>>,
}

#[derive(Deserialize)]
struct Signed {
    key: String,
    message: String,
    signature: String,
}

fn rules() -> Result<Rules, Fault> {
    let text = include_str!("../../../../cgeid/tests/data/ed25519-rules.json");
    serde_json::from_str(text).map_err(|error| Fault::Missing(format!("ed25519-rules.json: {error}")))
}

fn listed<T>(mut lists: BTreeMap<String, Vec<T>>, name: &str) -> Result<Vec<T>, Fault> {
    lists.remove(name).ok_or_else(|| Fault::Missing(format!("ed25519-rules.json has no list {name}")))
}

fn octets(text: &str) -> Result<Vec<u8>, Fault> {
    from_hex(text).ok_or_else(|| Fault::Missing(format!("{text} is not hexadecimal")))
}

fn key(point: &str) -> Result<Result<PublicKey, KeyError>, Fault> {
    Ok(PublicKey::from_spki(&[octets(PREFIX)?, octets(point)?].concat()))
}

fn holds(signed: &Signed) -> Result<bool, Fault> {
    let key = key(&signed.key)?.map_err(|error| Fault::Broken(format!("{}: {error}", signed.key)))?;
    let (message, signature) = (octets(&signed.message)?, octets(&signed.signature)?);
    Ok(key.verify(SignatureAlgorithm::Ed25519, &message, &signature).is_ok())
}

fn taken(name: &str) -> Judgement {
    let signatures = listed(rules()?.taken, name)?;
    for signed in &signatures {
        if !holds(signed)? {
            return Err(Fault::Broken(format!("to be taken; {} is refused", signed.signature)));
        }
    }
    Ok(format!("to be taken; {} taken", signatures.len()))
}

fn refused(name: &str) -> Judgement {
    let signatures = listed(rules()?.refused, name)?;
    for signed in &signatures {
        if holds(signed)? {
            return Err(Fault::Broken(format!("to be refused; {} is taken", signed.signature)));
        }
    }
    Ok(format!("to be refused; {} refused", signatures.len()))
}

fn keys_refused(name: &str) -> Judgement {
    let points = listed(rules()?.keys_refused, name)?;
    for point in &points {
        if key(point)?.is_ok() {
            return Err(Fault::Broken(format!("to be refused; {point} is taken")));
        }
    }
    Ok(format!("to be refused; {} refused", points.len()))
}
