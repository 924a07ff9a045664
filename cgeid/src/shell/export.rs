// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid export`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::args::JsonTo;
use super::given::Given;
use super::output::Existing;
use super::{Failure, import, output, password, report};
use crate::certificate::IdentityCertificate;
use crate::cn::Network;
use crate::container::{self, Accept, Content};
use crate::error::ExchangeError;
use crate::exchange::{self, Item, dns, fingerprint, ndef, pem, picture, text, vcard};

pub(super) const HELP: &str = "\
FILE is <CN>.p12, <CN>.op.p12, or a certificate in any form that `cgeid import`
reads. All forms but p12 hold the public half only. p12 is a backup: the same
key and certificate under a password of its own.

Without -o the result goes to standard output. A file is readable by its owner
only; one that exists is replaced only with --force.
--json (with -o, or =FILE): cn, address, format, file, octets.

Examples:
  cgeid export keys/0f2c8a3454a468b75f32e76a.op.p12 --format qr
  cgeid export friend.pem --format qr --qr png -o friend.png
  cgeid export friend.pem --format dns --owner friend.example.
  cgeid export node.p12 --format p12 -o /media/stick/backup.p12";

#[derive(Args)]
pub(super) struct Export {
    /// A key container or a certificate; `-` is standard input
    pub(super) file: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    pub(super) format: Format,
    /// Where to write it; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Picture of the QR code: png with -o, terminal without, unless given
    #[arg(long, value_enum, value_name = "KIND")]
    pub(super) qr: Option<Qr>,
    /// Owner of the DNS record, relative to the zone or with a final dot: the CN unless given
    #[arg(long, value_name = "NAME")]
    pub(super) owner: Option<String>,
    /// Replace a file that exists
    #[arg(long)]
    pub(super) force: bool,
    /// Network prefix for which it must have been made
    #[arg(long, default_value_t = Network::LAB)]
    pub(super) prefix: Network,
    /// File whose first line is the password of FILE
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// File whose first line is the password of the backup
    #[arg(long, value_name = "FILE")]
    pub(super) new_password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The certificate as text (RFC 7468)
    Pem,
    /// The certificate's octets
    Der,
    /// The key under a new password (PKCS#12)
    P12,
    /// The certificate as a QR code
    Qr,
    /// The certificate as a message for an NFC tag
    Ndef,
    /// The certificate as an address-book entry (RFC 6350)
    Vcard,
    /// The certificate as a CERT record of a zone file (RFC 4398)
    Dns,
    /// SHA-512 of the key
    Fingerprint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Qr {
    /// A picture of pixels
    Png,
    /// A picture of lines
    Svg,
    /// Blocks of text
    Terminal,
    /// What the code says, for another program to draw
    Text,
}

/// What was made, and whether a terminal can show it.
struct Made {
    bytes: Vec<u8>,
    binary: bool,
}

pub(super) fn run(export: &Export, json: &Option<JsonTo>) -> Result<(), Failure> {
    check(export, json)?;
    let given = Given::read(&export.file)?;
    let now = SystemTime::now();
    let (certificate, made) = match &given.item {
        Item::Public(_) if export.format == Format::P12 => {
            return Err(given.refused(anyhow!("a certificate has no private key; p12 needs a file with one")));
        }
        Item::Public(parts) => {
            let (_, certificate) = given.certificate(parts, export.prefix, now)?;
            let made = public(export, &certificate)?;
            (certificate, made)
        }
        Item::Container => {
            let load = |bytes: &[u8], password: &str| container::load(bytes, password, export.prefix, now);
            of_key(export, &given.open(Accept::Modern, export.password_file.as_deref(), load)?)?
        }
        Item::Key(_) | Item::Fingerprint(_) | Item::Picture => return Err(given.unfit()),
    };
    deliver(export, &certificate, &made, json)
}

/// What can be told before anything is read.
fn check(export: &Export, json: &Option<JsonTo>) -> Result<(), Failure> {
    let misplaced = |flag: &str, format: &str| Failure::usage(anyhow!("{flag} is for --format {format}"));
    if export.qr.is_some() && export.format != Format::Qr {
        return Err(misplaced("--qr", "qr"));
    }
    if export.owner.is_some() && export.format != Format::Dns {
        return Err(misplaced("--owner", "dns"));
    }
    if export.new_password_file.is_some() && export.format != Format::P12 {
        return Err(misplaced("--new-password-file", "p12"));
    }
    match (file(export), json) {
        (None, Some(JsonTo::Output)) => {
            Err(Failure::usage(anyhow!("standard output has room for one: give -o FILE, or --json=FILE")))
        }
        // What would be refused in the end needs no password.
        (Some(path), _) => output::refuse_existing(path, Existing::forced(export.force)),
        _ => Ok(()),
    }
}

/// The file to write, if it is one.
fn file(export: &Export) -> Option<&Path> {
    export.output.as_deref().filter(|path| *path != Path::new("-"))
}

fn of_key(export: &Export, content: &Content) -> Result<(IdentityCertificate, Made), Failure> {
    let certificate = match content {
        Content::Identity(identity) => identity.certificate(),
        Content::Operational(key) => key.identity_certificate(),
    };
    let made = if export.format == Format::P12 {
        let password = password::another(export.new_password_file.as_deref())?;
        Made { bytes: import::saved(content, &password)?.1, binary: true }
    } else {
        public(export, certificate)?
    };
    Ok((certificate.clone(), made))
}

/// The public half in one of its forms.
fn public(export: &Export, certificate: &IdentityCertificate) -> Result<Made, Failure> {
    let text = |text: String| Ok(Made { bytes: text.into_bytes(), binary: false });
    let binary = |bytes| Ok(Made { bytes, binary: true });
    match export.format {
        Format::Pem => text(pem::encode(certificate)),
        Format::Der => binary(exchange::encode_der(certificate)),
        Format::Ndef => binary(ndef::encode(certificate)),
        Format::Vcard => text(vcard::encode(certificate)),
        Format::Fingerprint => text(fingerprint::encode(certificate)),
        Format::Dns => {
            let owner = export.owner.clone().unwrap_or_else(|| certificate.cn().to_string());
            text(dns::encode(certificate, &owner).map_err(Failure::usage)?)
        }
        Format::Qr => qr(export, certificate).map_err(Failure::refused),
        Format::P12 => Err(Failure::refused(anyhow!("p12 needs the private key"))),
    }
}

fn qr(export: &Export, certificate: &IdentityCertificate) -> Result<Made, ExchangeError> {
    let said = text::encode(certificate);
    let kind = export.qr.unwrap_or(if file(export).is_some() { Qr::Png } else { Qr::Terminal });
    Ok(match kind {
        Qr::Png => Made { bytes: picture::encode_png(&said)?, binary: true },
        Qr::Svg => Made { bytes: picture::encode_svg(&said)?.into_bytes(), binary: false },
        Qr::Terminal => Made { bytes: picture::encode_terminal(&said)?.into_bytes(), binary: false },
        Qr::Text => Made { bytes: (said + "\n").into_bytes(), binary: false },
    })
}

fn deliver(
    export: &Export,
    certificate: &IdentityCertificate,
    made: &Made,
    json: &Option<JsonTo>,
) -> Result<(), Failure> {
    let path = file(export);
    let format = export.format.to_possible_value().map(|value| value.get_name().to_owned());
    let value = json!({
        "cn": certificate.cn(),
        "address": certificate.address(),
        "format": format,
        "file": path.map(|path| path.display().to_string()),
        "octets": made.bytes.len(),
    });
    match path {
        None => {
            output::to_stdout(&made.bytes, made.binary)?;
            report("", &value, json)
        }
        Some(path) => {
            output::to_file(path, &made.bytes, output::PRIVATE, Existing::forced(export.force))?;
            let text = format!("cn          {}\nwritten     {}\n", certificate.cn(), path.display());
            report(&text, &value, json)
        }
    }
}
