// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether what `cgeid verify` was given holds, and what it says.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::given::Given;
use super::{Failure, output};
use crate::certificate::{self, IdentityCertificate, Kind, OperationalCertificate};
use crate::cn::{Cn, Network};
use crate::container::{self, Accept, Content};
use crate::error::{CertificateError, date};
use crate::exchange::{Item, Part};
use crate::identity::KeyAlgorithm;
use crate::pins::Fingerprint;
use crate::statement::{LinkProof, Revocation};

/// What became of one item.
pub(super) struct Finding {
    file: String,
    judgement: Judgement,
}

struct Judgement {
    kind: &'static str,
    /// Known if the signatures are right, also of what does not hold for another reason.
    says: Option<Says>,
    outcome: Result<(), Why>,
}

/// What an item says.
struct Says {
    /// For people.
    text: String,
    /// For programs; an object.
    value: Value,
}

/// Why an item does not hold.
enum Why {
    /// It is not to be believed.
    Refused(String),
    /// It is for a later month.
    NotYet(String),
}

/// What all items are judged by.
pub(super) struct Judge<'a> {
    pub(super) prefix: Network,
    pub(super) at: SystemTime,
    pub(super) audience: &'a str,
    pub(super) password_file: Option<&'a Path>,
    pub(super) revocations: Vec<Revocation>,
    /// Keys of which each identity must have one, unless there are none.
    pub(super) pins: Vec<Fingerprint>,
    /// The identity certificates in all files, for the operational ones.
    pub(super) issuers: Vec<IdentityCertificate>,
}

impl Judge<'_> {
    /// Adds the identity certificates that hold.
    pub(super) fn with_issuers<'g>(mut self, files: impl Iterator<Item = &'g Given>) -> Self {
        for given in files {
            let Item::Public(parts) = &given.item else { continue };
            let certificates = parts.iter().filter_map(|part| match part {
                Part::Certificate { der, .. } => IdentityCertificate::verify(der, self.prefix, self.at).ok(),
                Part::Revocation(_) | Part::LinkProof(_) => None,
            });
            self.issuers.extend(certificates);
        }
        self
    }

    /// One finding for each thing in a file.
    pub(super) fn file(&self, file: &str, read: Result<Given, Failure>) -> Result<Vec<Finding>, Failure> {
        let judgements = match read {
            Err(failure) => vec![Judgement::refused("unknown", format!("{:#}", failure.error))],
            Ok(given) => match &given.item {
                Item::Public(parts) => parts.iter().map(|part| self.part(part)).collect(),
                Item::Fingerprint(_) => {
                    vec![Judgement::refused("fingerprint", "it proves nothing by itself; give it with --pin")]
                }
                Item::Key(_) | Item::Container | Item::Picture => vec![self.key(&given)?],
            },
        };
        Ok(judgements.into_iter().map(|judgement| Finding { file: file.to_owned(), judgement }).collect())
    }

    fn key(&self, given: &Given) -> Result<Judgement, Failure> {
        let opened = match &given.item {
            Item::Key(key) => {
                given.open_key(key, self.password_file, self.prefix, self.at).and_then(|imported| given.kept(imported))
            }
            _ => given.open(Accept::Modern, self.password_file, |bytes, password| {
                container::load_undated(bytes, password, self.prefix)
            }),
        };
        Ok(match opened {
            Ok(Content::Identity(identity)) => self.identity("identity-key", identity.certificate()),
            Ok(Content::Operational(key)) => {
                self.operational("operational-key", key.certificate(), key.identity_certificate())
            }
            // Without a password nothing can be said of the file; a wrong one is a finding.
            Err(failure) if failure.code != 1 => return Err(failure),
            Err(failure) => Judgement::refused("unknown", failure.error.root_cause()),
        })
    }

    fn part(&self, part: &Part) -> Judgement {
        match part {
            Part::Certificate { der, .. } => self.certificate(der),
            Part::Revocation(bytes) => self.revocation(bytes),
            Part::LinkProof(bytes) => self.link_proof(bytes),
        }
    }

    fn certificate(&self, der: &[u8]) -> Judgement {
        let kind = match certificate::kind(der) {
            Ok(kind) => kind,
            Err(error) => return Judgement::refused("unknown", error),
        };
        match kind {
            Kind::Identity(_) => match IdentityCertificate::verify_undated(der, self.prefix) {
                Ok(certificate) => self.identity("identity-certificate", &certificate),
                Err(error) => Judgement::refused("identity-certificate", error),
            },
            Kind::Operational(cn) => self.operational_certificate(der, cn),
        }
    }

    fn operational_certificate(&self, der: &[u8], cn: Cn) -> Judgement {
        let kind = "operational-certificate";
        // Two keys can share a name, so the first issuer need not be the right one.
        let mut judgement =
            Judgement::refused(kind, format!("no identity certificate of {cn} that holds is among the files"));
        for issuer in self.issuers.iter().filter(|issuer| issuer.cn() == cn) {
            match OperationalCertificate::verify_undated(der, issuer) {
                Ok(certificate) => return self.operational(kind, &certificate, issuer),
                Err(error) => judgement = Judgement::refused(kind, error),
            }
        }
        judgement
    }

    fn identity(&self, kind: &'static str, identity: &IdentityCertificate) -> Judgement {
        let (from, to) = (date(identity.not_before()), date(identity.not_after()));
        let says = Says {
            text: format!("{}, {}, until {to}", identity.cn(), identity.address()),
            value: json!({
                "cn": identity.cn(),
                "address": identity.address(),
                "algorithm": KeyAlgorithm::from(identity.algorithm()).to_string(),
                "not_before": from,
                "not_after": to,
            }),
        };
        Judgement { kind, says: Some(says), outcome: self.check_identity(identity) }
    }

    fn operational(
        &self,
        kind: &'static str,
        operational: &OperationalCertificate,
        identity: &IdentityCertificate,
    ) -> Judgement {
        let (from, to) = (date(operational.not_before()), date(operational.not_after()));
        let says = Says {
            text: format!("{}, epoch {}, from {from} until {to}", identity.cn(), operational.epoch()),
            value: json!({
                "cn": identity.cn(),
                "address": identity.address(),
                "epoch": operational.epoch(),
                "not_before": from,
                "not_after": to,
            }),
        };
        let outcome = self.check_identity(identity).and_then(|()| match operational.check_dates(self.at) {
            Err(CertificateError::NotYetValid { .. }) => {
                Err(Why::NotYet(format!("it is for a later month: not valid before {from}")))
            }
            checked => checked.map_err(refused),
        });
        Judgement { kind, says: Some(says), outcome }
    }

    fn revocation(&self, bytes: &[u8]) -> Judgement {
        let kind = "revocation";
        let revocation = match Revocation::verify(bytes, self.prefix) {
            Ok(revocation) => revocation,
            Err(error) => return Judgement::refused(kind, error),
        };
        let says = Says {
            text: format!("revokes {}, {}, once it is published", revocation.cn(), revocation.address()),
            value: json!({
                "cn": revocation.cn(),
                "address": revocation.address(),
                "reason": revocation.reason().to_string(),
                "issued": date(revocation.issued()),
            }),
        };
        Judgement { kind, says: Some(says), outcome: self.check_pins(revocation.certificate()) }
    }

    fn link_proof(&self, bytes: &[u8]) -> Judgement {
        let kind = "link-proof";
        let proof = match LinkProof::verify(bytes, self.prefix, self.audience, self.at) {
            Ok(proof) => proof,
            Err(error) => return Judgement::refused(kind, error),
        };
        let (of_static, of_temporary) = (proof.of_static(), proof.of_temporary());
        let issued = date(proof.issued());
        let says = Says {
            text: format!("{} and {} have one owner, says it at {issued}", of_static.address(), of_temporary.address()),
            value: json!({
                "cn": of_static.cn(),
                "address": of_static.address(),
                "temporary": { "cn": of_temporary.cn(), "address": of_temporary.address() },
                "audience": proof.audience(),
                "issued": issued,
            }),
        };
        let outcome = self
            .check_revoked(of_static)
            .and_then(|()| self.check_revoked(of_temporary))
            .and_then(|()| self.check_pins(of_static));
        Judgement { kind, says: Some(says), outcome }
    }

    fn check_identity(&self, identity: &IdentityCertificate) -> Result<(), Why> {
        self.check_revoked(identity)?;
        self.check_pins(identity)?;
        identity.check_dates(self.at).map_err(refused)
    }

    fn check_revoked(&self, identity: &IdentityCertificate) -> Result<(), Why> {
        match self.revocations.iter().find(|revocation| revocation.covers(identity)) {
            Some(revocation) => Err(refused(format!("{} is revoked ({})", identity.cn(), revocation.reason()))),
            None => Ok(()),
        }
    }

    fn check_pins(&self, identity: &IdentityCertificate) -> Result<(), Why> {
        if self.pins.is_empty() || self.pins.contains(identity.fingerprint()) {
            return Ok(());
        }
        let cn = identity.cn();
        Err(refused(if self.pins.iter().any(|pin| Cn::of_fingerprint(pin) == cn) {
            format!("the fingerprint (--pin) is of another key with the name {cn}: its owner made two")
        } else {
            format!("no fingerprint (--pin) is of {cn}")
        }))
    }
}

fn refused(why: impl ToString) -> Why {
    Why::Refused(why.to_string())
}

impl Judgement {
    fn refused(kind: &'static str, why: impl ToString) -> Judgement {
        Judgement { kind, says: None, outcome: Err(refused(why)) }
    }
}

impl Finding {
    pub(super) fn holds(&self) -> bool {
        self.judgement.outcome.is_ok()
    }

    /// A line for people.
    pub(super) fn text(&self) -> String {
        let Judgement { kind, says, outcome } = &self.judgement;
        let (word, why) = match outcome {
            Ok(()) => ("holds", None),
            Err(Why::NotYet(_)) => ("not yet", None),
            Err(Why::Refused(why)) => ("REFUSED", Some(why.as_str())),
        };
        let said: Vec<_> = says.iter().map(|says| says.text.as_str()).chain(why).collect();
        let line = format!("{word:8} {}: {kind}: {}", self.file, said.join(": "));
        // A name with a line end in it must not pass for a finding of its own.
        output::printable_line(&line) + "\n"
    }

    /// An object for programs.
    pub(super) fn value(&self) -> Value {
        let Judgement { kind, says, outcome } = &self.judgement;
        let said = says.as_ref().and_then(|says| says.value.as_object().cloned());
        let mut object = said.unwrap_or_else(Map::new);
        let why = match outcome {
            Ok(()) => Value::Null,
            Err(Why::NotYet(why) | Why::Refused(why)) => Value::from(why.as_str()),
        };
        object.insert("file".to_owned(), self.file.as_str().into());
        object.insert("kind".to_owned(), Value::from(*kind));
        object.insert("ok".to_owned(), self.holds().into());
        object.insert("why".to_owned(), why);
        Value::Object(object)
    }
}
