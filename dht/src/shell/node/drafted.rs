// SPDX-License-Identifier: GPL-2.0-or-later
//! Messages as the draft of the mapping system prints them, to be read by what reads those of others.
#![allow(clippy::unwrap_used)]

/// The octets of a vector of the draft.
pub(super) fn value(id: &str) -> Vec<u8> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/vectors/signed-dht.json");
    let groups: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut vectors = groups.as_array().unwrap().iter().flat_map(|group| group["vectors"].as_array().unwrap());
    let digits = vectors.find(|vector| vector["id"] == id).unwrap()["value"].as_str().unwrap();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}
