// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid show`.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use clap::Args;
use der::pem;
use serde_json::{Value, json};

use super::args::JsonTo;
use super::{Failure, files, password, print, report};
use crate::certificate::{self, IdentityCertificate, Kind, OperationalCertificate};
use crate::cn::Network;
use crate::container::{self, Content};
use crate::error::{CertificateError, ContainerError, date};
use crate::identity::KeyAlgorithm;
use crate::limits::MAX_BAGS;

pub(super) const HELP: &str = "\
FILE is <CN>.p12, <CN>.op.p12, or a certificate in PEM or DER. A PEM file may
hold an operational certificate and, with it, the identity certificate that
issued it.

Examples:
  cgeid show keys/0f2c8a3454a468b75f32e76a.op.p12
  cgeid show --cn certificate.der";

#[derive(Args)]
pub(super) struct Show {
    /// A key container or certificate
    pub(super) file: PathBuf,
    /// Print the CN and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(super) cn: bool,
    /// Network prefix for which it must have been made
    #[arg(long, default_value_t = Network::LAB)]
    pub(super) prefix: Network,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
}

pub(super) fn run(show: &Show, json: &Option<JsonTo>) -> Result<(), Failure> {
    let bytes = files::read(&show.file)?;
    let now = SystemTime::now();
    let shown = show.file.display().to_string();
    let (identity, operational) = match certificates(&bytes) {
        Some(certificates) => verify(&certificates?, show, now).with_context(|| shown).map_err(Failure::refused)?,
        None => open(&bytes, &shown, show, now)?,
    };
    if show.cn {
        return print(&format!("{}\n", identity.cn()));
    }
    report(&text(&identity, operational.as_ref()), &value(&identity, operational.as_ref()), json)
}

type Halves = (IdentityCertificate, Option<OperationalCertificate>);

/// The public halves in a key container.
fn open(bytes: &[u8], shown: &str, show: &Show, now: SystemTime) -> Result<Halves, Failure> {
    // What cannot be a container is told before anybody types a password for it.
    container::check_form(bytes).map_err(|error| Failure::refused(unreadable(shown, error)))?;
    let password = password::existing(show.password_file.as_deref(), shown)?;
    let content = container::load(bytes, &password, show.prefix, now).with_context(|| shown.to_owned());
    Ok(match content.map_err(Failure::refused)? {
        Content::Identity(identity) => (identity.certificate().clone(), None),
        Content::Operational(key) => (key.identity_certificate().clone(), Some(key.certificate().clone())),
    })
}

/// A file of some other kind, or a container that is refused for what it is.
fn unreadable(shown: &str, error: ContainerError) -> anyhow::Error {
    let context = match error {
        ContainerError::Malformed { .. } => format!("{shown} is neither a certificate nor a PKCS#12 file"),
        _ => shown.to_owned(),
    };
    anyhow::Error::new(error).context(context)
}

/// The DER certificates of a PEM or DER file; `None` for a file of another kind.
fn certificates(bytes: &[u8]) -> Option<Result<Vec<Vec<u8>>, Failure>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    if bytes.windows(BEGIN.len()).any(|window| window == BEGIN) {
        return Some(pem_certificates(bytes).map_err(Failure::refused));
    }
    match certificate::kind(bytes) {
        Err(CertificateError::Malformed { .. } | CertificateError::TooLong { .. }) => None,
        // What breaks the profile is a certificate all the same: its verification says what it breaks.
        Ok(_) | Err(_) => Some(Ok(vec![bytes.to_vec()])),
    }
}

/// Each block of a PEM file by itself: text before, between and after them is allowed (RFC 7468 5.2).
fn pem_certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, anyhow::Error> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = std::str::from_utf8(bytes).context("the PEM file is not text")?;
    let mut certificates = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN CERTIFICATE-----") {
        let length = rest[begin..].find(END).context("the PEM file ends within a certificate")? + END.len();
        let block = &rest[begin..begin + length];
        let (_, der) = pem::decode_vec(block.as_bytes()).map_err(|error| anyhow!("damaged PEM: {error}"))?;
        certificates.push(der);
        rest = &rest[begin + length..];
        if certificates.len() > MAX_BAGS {
            return Err(anyhow!("the PEM file holds more than {MAX_BAGS} certificates"));
        }
    }
    if certificates.is_empty() { Err(anyhow!("the PEM file holds no certificate")) } else { Ok(certificates) }
}

/// One identity certificate, with or without an operational one beside it.
fn verify(certificates: &[Vec<u8>], show: &Show, now: SystemTime) -> Result<Halves, anyhow::Error> {
    let (mut identity, mut operational) = (None, None);
    for der in certificates {
        let slot = match certificate::kind(der)? {
            Kind::Identity(_) => &mut identity,
            Kind::Operational(_) => &mut operational,
        };
        if slot.replace(der).is_some() {
            return Err(anyhow!("the file holds two certificates of one kind; show them one by one"));
        }
    }
    let identity = identity.ok_or_else(|| {
        anyhow!("an operational certificate proves nothing alone; put the identity certificate into the same PEM file")
    })?;
    let identity = IdentityCertificate::verify(identity, show.prefix, now)?;
    let operational = operational.map(|der| OperationalCertificate::verify(der, &identity, now)).transpose()?;
    Ok((identity, operational))
}

fn value(identity: &IdentityCertificate, operational: Option<&OperationalCertificate>) -> Value {
    json!({
        "cn": identity.cn(),
        "address": identity.address(),
        "algorithm": KeyAlgorithm::from(identity.algorithm()).to_string(),
        "sha512": fingerprint(identity),
        "not_before": date(identity.not_before()),
        "not_after": date(identity.not_after()),
        "operational": operational.map(|certificate| json!({
            "cn": certificate.cn(),
            "epoch": certificate.epoch(),
            "not_after": date(certificate.not_after()),
        })),
    })
}

fn text(identity: &IdentityCertificate, operational: Option<&OperationalCertificate>) -> String {
    let holds = operational.map_or("none here".to_owned(), |certificate| {
        format!("epoch {}, until {}", certificate.epoch(), date(certificate.not_after()))
    });
    format!(
        "cn          {}\naddress     {}\nalgorithm   {}\nsha512      {}\nnot before  {}\nnot after   {}\noperational {}\n",
        identity.cn(),
        identity.address(),
        KeyAlgorithm::from(identity.algorithm()),
        fingerprint(identity),
        date(identity.not_before()),
        date(identity.not_after()),
        holds,
    )
}

fn fingerprint(identity: &IdentityCertificate) -> String {
    identity.fingerprint().iter().map(|octet| format!("{octet:02x}")).collect()
}
