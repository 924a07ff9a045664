// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid verify`.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::args::JsonTo;
use super::given::{self, Given};
use super::judge::{Finding, Judge};
use super::{Failure, report};
use crate::cn::Network;
use crate::error::date;
use crate::exchange::{Item, Part};
use crate::pins::Fingerprint;
use crate::statement::Revocation;

pub(super) const HELP: &str = "\
FILE is <CN>.p12, <CN>.op.p12, a certificate in any form that `cgeid import`
reads, a revocation (<CN>.revoke) or a link proof; a PEM file may hold several.
An operational certificate is verified with the identity certificate of its CN,
which may stand in any of the files. A revocation among the FILEs is verified by
itself, for one is made with every identity; with --revocation it also counts.
A link proof that was made for an audience holds for that --audience only.
With --pin every identity must have the key of one of the fingerprints; of a
link proof, the static one.

An operational key that was signed ahead does not hold yet, and is said to be
\"not yet\": ask with --at whether it will.

With --json: {\"ok\",\"at\",\"findings\":[{\"file\",\"kind\",\"ok\",\"why\",\"cn\",\"address\",..}]};
the kinds are identity-key, operational-key, identity-certificate (these and the
next with \"not_before\",\"not_after\"), operational-certificate (\"epoch\"),
revocation (\"reason\",\"issued\"), link-proof (\"temporary\",\"audience\",\"issued\"),
fingerprint and unknown. \"why\" says what does not hold.

Examples:
  cgeid verify keys/0f2c8a3454a468b75f32e76a.p12 keys/0f2c8a3454a468b75f32e76a.op.p12
  cgeid verify keys/0f2c8a3454a468b75f32e76a.op.178176.p12 --at 2027-01-15T08:00:00Z
  cgeid verify friend.png --pin 0f2c8a3454a468b75f32e76a.pin
  cgeid verify certificate.pem --revocation 0f2c8a3454a468b75f32e76a.revoke";

#[derive(Args)]
pub(super) struct Verify {
    /// What to verify; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Network prefix for which all of it must have been made
    #[arg(long, default_value_t = Network::LAB)]
    pub(super) prefix: Network,
    /// Verify as of this time (UTC, as 2027-01-15T08:00:00Z or 2027-01-15) instead of now
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) at: Option<SystemTime>,
    /// For whom link proofs must have been made
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) audience: String,
    /// Revocation that has been published; what it revokes does not hold
    #[arg(long, value_name = "FILE")]
    pub(super) revocation: Vec<PathBuf>,
    /// Fingerprint that the key must have, <CN>.pin
    #[arg(long, value_name = "FILE")]
    pub(super) pin: Vec<PathBuf>,
    /// File whose first line is the password of the containers
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
}

pub(super) fn run(verify: &Verify, json: &Option<JsonTo>) -> Result<(), Failure> {
    let mut inputs = Vec::new();
    for path in &verify.files {
        match Given::read(path) {
            // A file of no kind that we know is a finding; one that cannot be read is a wrong path.
            Err(failure) if failure.code != 1 => return Err(failure),
            read => inputs.push((given::shown(path), read)),
        }
    }
    let judge = Judge {
        prefix: verify.prefix,
        at: verify.at.unwrap_or_else(SystemTime::now),
        audience: &verify.audience,
        password_file: verify.password_file.as_deref(),
        revocations: published(&verify.revocation, verify.prefix)?,
        pins: pinned(&verify.pin)?,
        issuers: Vec::new(),
    };
    let judge = judge.with_issuers(inputs.iter().filter_map(|(_, read)| read.as_ref().ok()));
    let mut findings = Vec::new();
    for (file, read) in inputs {
        findings.extend(judge.file(&file, read)?);
    }
    let text: String = findings.iter().map(Finding::text).collect();
    let values: Vec<_> = findings.iter().map(Finding::value).collect();
    let refused = findings.iter().filter(|finding| !finding.holds()).count();
    report(&text, &json!({ "ok": refused == 0, "at": date(judge.at), "findings": values }), json)?;
    match refused {
        0 => Ok(()),
        _ => Err(Failure::refused(anyhow!("{refused} of {} do not hold", findings.len()))),
    }
}

/// The revocations in the files of `--revocation`, each of which must hold: it is there to be relied on.
fn published(paths: &[PathBuf], prefix: Network) -> Result<Vec<Revocation>, Failure> {
    let mut revocations = Vec::new();
    for path in paths {
        let refused = |why: &str| Failure::refused(anyhow!("{} (--revocation): {why}", given::shown(path)));
        let Item::Public(parts) = Given::read(path)?.item else { return Err(refused("not a revocation")) };
        for part in parts {
            let Part::Revocation(bytes) = part else { return Err(refused("not a revocation")) };
            revocations.push(Revocation::verify(&bytes, prefix).map_err(|error| refused(&error.to_string()))?);
        }
    }
    Ok(revocations)
}

/// The fingerprints in the files of `--pin`.
fn pinned(paths: &[PathBuf]) -> Result<Vec<Fingerprint>, Failure> {
    let read = |path: &PathBuf| match Given::read(path)?.item {
        Item::Fingerprint(fingerprint) => Ok(*fingerprint),
        _ => Err(Failure::refused(anyhow!("{} (--pin): not a fingerprint", given::shown(path)))),
    };
    paths.iter().map(read).collect()
}

/// A time as people write it: RFC 3339 in UTC, or a day.
fn time(text: &str) -> Result<SystemTime, String> {
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let date = whole.parse::<der::DateTime>();
    date.map(|date| date.to_system_time()).map_err(|_| "a time is written as 2027-01-15T08:00:00Z (UTC)".to_owned())
}
