// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid show`.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use super::args::JsonTo;
use super::given::Given;
use super::{Failure, output, report};
use crate::certificate::{self, IdentityCertificate, Kind, OperationalCertificate};
use crate::cn::Network;
use crate::container::{self, Accept, Content};
use crate::error::date;
use crate::exchange::{Item, Part, fingerprint};
use crate::identity::KeyAlgorithm;

pub(super) const HELP: &str = "\
FILE is <CN>.p12, <CN>.op.p12, or a certificate in any form that `cgeid import`
reads. A PEM file may hold an operational certificate and, with it, the identity
certificate that issued it.

Examples:
  cgeid show keys/0f2c8a3454a468b75f32e76a.op.p12
  cgeid show --cn certificate.der
  dig +short friend.example CERT | cgeid show -";

#[derive(Args)]
pub(super) struct Show {
    /// A key container or a certificate; `-` is standard input
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
    let now = SystemTime::now();
    let given = Given::read(&show.file)?;
    let password = show.password_file.as_deref();
    let (identity, operational) = match &given.item {
        Item::Public(parts) => verify(parts, show, now).map_err(|error| given.refused(error))?,
        Item::Container => halves(
            given
                .open(Accept::Modern, password, |bytes, password| container::load(bytes, password, show.prefix, now))?,
        ),
        Item::Key(key) => halves(given.kept(given.open_key(key, password, show.prefix, now)?)?),
        Item::Fingerprint(_) | Item::Picture => return Err(given.unfit()),
    };
    if show.cn {
        return output::to_stdout(format!("{}\n", identity.cn()).as_bytes(), false);
    }
    report(&text(&identity, operational.as_ref()), &value(&identity, operational.as_ref()), json)
}

type Halves = (IdentityCertificate, Option<OperationalCertificate>);

/// The public halves in a key container.
fn halves(content: Content) -> Halves {
    match content {
        Content::Identity(identity) => (identity.certificate().clone(), None),
        Content::Operational(key) => (key.identity_certificate().clone(), Some(key.certificate().clone())),
    }
}

/// One identity certificate, with or without an operational one beside it.
fn verify(parts: &[Part], show: &Show, now: SystemTime) -> Result<Halves, anyhow::Error> {
    let (mut identity, mut operational) = (None, None);
    for part in parts {
        let Part::Certificate { der, .. } = part else {
            return Err(anyhow!("the file holds a signed statement; `cgeid verify` says whether it is true"));
        };
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
        "sha512": fingerprint::digits(identity.fingerprint()),
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
        fingerprint::digits(identity.fingerprint()),
        date(identity.not_before()),
        date(identity.not_after()),
        holds,
    )
}
