// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid verify`.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Map, Value, json};

use super::args::JsonTo;
use super::input::{self, Input, Item};
use super::{Failure, report};
use crate::certificate::{self, IdentityCertificate, Kind, OperationalCertificate};
use crate::cn::Network;
use crate::container::Content;
use crate::error::date;
use crate::identity::KeyAlgorithm;
use crate::statement::{LinkProof, Revocation};

pub(super) const HELP: &str = "\
A FILE is a key container (<CN>.p12, <CN>.op.p12), a certificate in PEM or DER, a
revocation (<CN>.revoke) or a link proof; a PEM file may hold several. An
operational certificate is verified with the identity certificate of its CN,
which may stand in any of the files. A revocation among the FILEs is verified by
itself, for one is made with every identity; with --revocation it also counts.
A link proof that was made for an audience holds for that --audience only.

With --json: {\"ok\",\"at\",\"findings\":[{\"file\",\"kind\",\"ok\",\"why\",\"cn\",\"address\",..}]};
the kinds are identity-key, operational-key, identity-certificate (these and the
next with \"not_before\",\"not_after\"), operational-certificate (\"epoch\"),
revocation (\"reason\",\"issued\"), link-proof (\"temporary\",\"audience\",\"issued\") and
unknown. \"why\" says what does not hold.

Examples:
  cgeid verify keys/*
  cgeid verify --revocation 0f2c8a3454a468b75f32e76a.revoke certificate.pem
  cgeid verify --at 2027-01-15T08:00:00Z keys/0f2c8a3454a468b75f32e76a.op.178176.p12";

#[derive(Args)]
pub(super) struct Verify {
    /// What to verify
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
    /// File whose first line is the password of the containers
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
}

/// What became of one item.
struct Finding {
    file: String,
    judgement: Judgement,
}

/// The kind of an item, and what it says or why it is not to be believed.
type Judgement = (&'static str, Result<Holds, String>);

/// What an item that holds says.
struct Holds {
    /// For people.
    text: String,
    /// For programs; an object.
    value: Value,
}

/// What all items are judged by.
struct Judge<'a> {
    verify: &'a Verify,
    at: SystemTime,
    revocations: Vec<Revocation>,
    /// The identity certificates in all files, for the operational ones.
    issuers: Vec<IdentityCertificate>,
}

pub(super) fn run(verify: &Verify, json: &Option<JsonTo>) -> Result<(), Failure> {
    let mut inputs = Vec::new();
    for path in &verify.files {
        match input::read(path) {
            // A file of no kind that we know is a finding; one that cannot be read is a wrong path.
            Err(failure) if failure.code != 1 => return Err(failure),
            read => inputs.push((path.display().to_string(), read)),
        }
    }
    let mut judge = Judge {
        verify,
        at: verify.at.unwrap_or_else(SystemTime::now),
        revocations: published(&verify.revocation, verify.prefix)?,
        issuers: Vec::new(),
    };
    judge.issuers = judge.issuers(&inputs);
    let mut findings = Vec::new();
    for (file, input) in inputs {
        findings.extend(judge.file(&file, input)?);
    }
    let refused = findings.iter().filter(|finding| finding.judgement.1.is_err()).count();
    let text: String = findings.iter().map(Finding::text).collect();
    let values: Vec<_> = findings.iter().map(Finding::value).collect();
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
        let refused = |why: &str| Failure::refused(anyhow!("{} (--revocation): {why}", path.display()));
        let Input::Public(items) = input::read(path)? else { return Err(refused("not a revocation")) };
        for item in items {
            let Item::Revocation(bytes) = item else { return Err(refused("not a revocation")) };
            revocations.push(Revocation::verify(&bytes, prefix).map_err(|error| refused(&error.to_string()))?);
        }
    }
    Ok(revocations)
}

impl Judge<'_> {
    fn issuers(&self, inputs: &[(String, Result<Input, Failure>)]) -> Vec<IdentityCertificate> {
        let items = inputs.iter().filter_map(|(_, input)| match input {
            Ok(Input::Public(items)) => Some(items),
            _ => None,
        });
        let certificates = items.flatten().filter_map(|item| match item {
            Item::Certificate(der) => IdentityCertificate::verify(der, self.verify.prefix, self.at).ok(),
            _ => None,
        });
        certificates.collect()
    }

    /// One finding for each thing in a file.
    fn file(&self, file: &str, input: Result<Input, Failure>) -> Result<Vec<Finding>, Failure> {
        let judgements = match input {
            Err(failure) => vec![("unknown", Err(format!("{:#}", failure.error)))],
            Ok(Input::Public(items)) => items.iter().map(|item| self.item(item)).collect(),
            Ok(Input::Container(bytes)) => vec![self.container(file, &bytes)?],
        };
        Ok(judgements.into_iter().map(|judgement| Finding { file: file.to_owned(), judgement }).collect())
    }

    fn container(&self, file: &str, bytes: &[u8]) -> Result<Judgement, Failure> {
        let password_file = self.verify.password_file.as_deref();
        Ok(match input::open(bytes, file, password_file, self.verify.prefix, self.at) {
            Ok(Content::Identity(identity)) => ("identity-key", self.identity(identity.certificate())),
            Ok(Content::Operational(key)) => {
                ("operational-key", self.operational(key.certificate(), key.identity_certificate()))
            }
            // Without a password nothing can be said of the file; a wrong one is a finding.
            Err(failure) if failure.code != 1 => return Err(failure),
            Err(failure) => ("unknown", Err(failure.error.root_cause().to_string())),
        })
    }

    fn item(&self, item: &Item) -> Judgement {
        match item {
            Item::Certificate(der) => self.certificate(der),
            Item::Revocation(bytes) => ("revocation", self.revocation(bytes)),
            Item::LinkProof(bytes) => ("link-proof", self.link_proof(bytes)),
        }
    }

    fn certificate(&self, der: &[u8]) -> Judgement {
        match certificate::kind(der) {
            Err(error) => ("unknown", Err(error.to_string())),
            Ok(Kind::Identity(_)) => {
                let verified = IdentityCertificate::verify(der, self.verify.prefix, self.at);
                let outcome = verified.map_err(|error| error.to_string());
                ("identity-certificate", outcome.and_then(|certificate| self.identity(&certificate)))
            }
            Ok(Kind::Operational(cn)) => {
                // Two keys can share a name, so the first issuer need not be the right one.
                let mut outcome = Err(format!("no identity certificate of {cn} that holds is among the files"));
                for issuer in self.issuers.iter().filter(|issuer| issuer.cn() == cn) {
                    outcome = OperationalCertificate::verify(der, issuer, self.at)
                        .map_err(|error| error.to_string())
                        .and_then(|certificate| self.operational(&certificate, issuer));
                    if outcome.is_ok() {
                        break;
                    }
                }
                ("operational-certificate", outcome)
            }
        }
    }

    fn identity(&self, identity: &IdentityCertificate) -> Result<Holds, String> {
        self.check_revoked(identity)?;
        let (from, to) = (date(identity.not_before()), date(identity.not_after()));
        Ok(Holds {
            text: format!("{}, {}, until {to}", identity.cn(), identity.address()),
            value: json!({
                "cn": identity.cn(),
                "address": identity.address(),
                "algorithm": KeyAlgorithm::from(identity.algorithm()).to_string(),
                "not_before": from,
                "not_after": to,
            }),
        })
    }

    fn operational(
        &self,
        operational: &OperationalCertificate,
        identity: &IdentityCertificate,
    ) -> Result<Holds, String> {
        self.check_revoked(identity)?;
        let (from, to) = (date(operational.not_before()), date(operational.not_after()));
        Ok(Holds {
            text: format!("{}, epoch {}, until {to}", identity.cn(), operational.epoch()),
            value: json!({
                "cn": identity.cn(),
                "address": identity.address(),
                "epoch": operational.epoch(),
                "not_before": from,
                "not_after": to,
            }),
        })
    }

    fn revocation(&self, bytes: &[u8]) -> Result<Holds, String> {
        let revocation = Revocation::verify(bytes, self.verify.prefix).map_err(|error| error.to_string())?;
        let issued = date(revocation.issued());
        Ok(Holds {
            text: format!("revokes {}, {}, once it is published", revocation.cn(), revocation.address()),
            value: json!({
                "cn": revocation.cn(),
                "address": revocation.address(),
                "reason": revocation.reason().to_string(),
                "issued": issued,
            }),
        })
    }

    fn link_proof(&self, bytes: &[u8]) -> Result<Holds, String> {
        let proof = LinkProof::verify(bytes, self.verify.prefix, &self.verify.audience, self.at)
            .map_err(|error| error.to_string())?;
        let (of_static, of_temporary) = (proof.of_static(), proof.of_temporary());
        self.check_revoked(of_static)?;
        self.check_revoked(of_temporary)?;
        let issued = date(proof.issued());
        Ok(Holds {
            text: format!("{} and {} have one owner, says it at {issued}", of_static.address(), of_temporary.address()),
            value: json!({
                "cn": of_static.cn(),
                "address": of_static.address(),
                "temporary": { "cn": of_temporary.cn(), "address": of_temporary.address() },
                "audience": proof.audience(),
                "issued": issued,
            }),
        })
    }

    fn check_revoked(&self, identity: &IdentityCertificate) -> Result<(), String> {
        match self.revocations.iter().find(|revocation| revocation.covers(identity)) {
            Some(revocation) => Err(format!("{} is revoked ({})", identity.cn(), revocation.reason())),
            None => Ok(()),
        }
    }
}

impl Finding {
    fn text(&self) -> String {
        let (kind, outcome) = &self.judgement;
        match outcome {
            Ok(holds) => format!("holds    {}: {kind}: {}\n", self.file, holds.text),
            Err(why) => format!("REFUSED  {}: {kind}: {why}\n", self.file),
        }
    }

    fn value(&self) -> Value {
        let (kind, outcome) = &self.judgement;
        let (mut object, why) = match outcome {
            Ok(holds) => (holds.value.as_object().cloned().unwrap_or_default(), Value::Null),
            Err(why) => (Map::new(), Value::from(why.as_str())),
        };
        object.insert("file".to_owned(), self.file.as_str().into());
        object.insert("kind".to_owned(), Value::from(*kind));
        object.insert("ok".to_owned(), outcome.is_ok().into());
        object.insert("why".to_owned(), why);
        Value::Object(object)
    }
}

/// A time as people write it: RFC 3339 in UTC, or a day.
fn time(text: &str) -> Result<SystemTime, String> {
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let date = whole.parse::<der::DateTime>();
    date.map(|date| date.to_system_time()).map_err(|_| "a time is written as 2027-01-15T08:00:00Z (UTC)".to_owned())
}
