// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid import`.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use super::args::JsonTo;
use super::given::Given;
use super::{Failure, output, password, report};
use crate::certificate::IdentityCertificate;
use crate::cn::{Cn, Network};
use crate::container::{self, Accept, Content, Imported, Origin};
use crate::exchange::{Form, Item, fingerprint, pem};
use crate::identity::KeyAlgorithm;

pub(super) const HELP: &str = "\
FILE is told by its content:
  a certificate    PEM, DER, the text of a QR code or a PNG picture of one, an
                   NDEF message, a vCard 4.0, a DNS CERT record (zone file or
                   dig): verified, and kept as <CN>.pem
  a fingerprint    CGEID1-SHA512:... or 128 digits: kept as <CN>.pin. It proves
                   nothing by itself: only the key does (`cgeid verify --pin`)
  a PKCS#12 file   of ours or another tool, with one key: kept as <CN>.p12 or
                   <CN>.op.p12 under AES-256
  a private key    PKCS#8 or PKCS#1, PEM or DER: kept as <CN>.p12
Without --out nothing is written: what FILE holds is verified and shown. Files
are readable by their owner only, and one that exists is not overwritten.

A key that comes with no certificate of this profile gets a new one.
--json: cn, address, algorithm, sha512, form, kind (certificate, pin, identity,
operational), certificate (kept, issued; null for a pin), files.

Examples:
  cgeid import photo-of-a-qr-code.png --out friends
  dig +short friend.example CERT | cgeid import -
  cgeid import old-rsa4096.p12 --legacy --out keys
  cgeid import key.pem --out keys --new-password-file secret";

#[derive(Args)]
pub(super) struct Import {
    /// What to read; `-` is standard input
    pub(super) file: PathBuf,
    /// Folder in which to keep it; it is made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Network prefix of the address
    #[arg(long, default_value_t = Network::LAB)]
    pub(super) prefix: Network,
    /// Read also a PKCS#12 file protected by 3DES, RC2 or SHA-1
    #[arg(long)]
    pub(super) legacy: bool,
    /// File whose first line is the password of FILE
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// File whose first line is the password of the key file that is written
    #[arg(long, value_name = "FILE")]
    pub(super) new_password_file: Option<PathBuf>,
}

pub(super) fn run(import: &Import, json: &Option<JsonTo>) -> Result<(), Failure> {
    let given = Given::read(&import.file)?;
    let now = SystemTime::now();
    let (password, network) = (import.password_file.as_deref(), import.prefix);
    match &given.item {
        Item::Public(parts) => {
            let (form, certificate) = given.certificate(parts, network, now)?;
            let file = (format!("{}.pem", certificate.cn()), pem::encode(&certificate).into_bytes());
            let paths = keep(import, file)?;
            tell(&certificate, &form.to_string(), "certificate", "kept", paths, json)
        }
        Item::Fingerprint(fingerprint) => pin(import, &given, fingerprint, json),
        Item::Key(key) => key_file(import, given.open_key(key, password, network, now)?, "private key", json),
        Item::Container => {
            let accept = if import.legacy { Accept::Legacy } else { Accept::Modern };
            let imported = given
                .open(accept, password, |bytes, password| container::import(bytes, password, accept, network, now))?;
            key_file(import, imported, "PKCS#12", json)
        }
        Item::Picture => Err(given.unfit()),
    }
}

/// Writes the one file if there is a folder for it.
fn keep(import: &Import, (name, bytes): (String, Vec<u8>)) -> Result<Vec<String>, Failure> {
    let Some(folder) = &import.out else {
        return Ok(Vec::new());
    };
    output::make_folder(folder)?;
    let path = folder.join(name);
    output::secrets(&[(path.clone(), bytes)])?;
    Ok(vec![path.display().to_string()])
}

fn key_file(import: &Import, imported: Imported, form: &str, json: &Option<JsonTo>) -> Result<(), Failure> {
    let Imported { content, origin } = imported;
    let paths = match &import.out {
        None => Vec::new(),
        Some(_) => {
            let password = password::another(import.new_password_file.as_deref())?;
            keep(import, saved(&content, &password)?)?
        }
    };
    let certificate = if origin == Origin::Kept { "kept" } else { "issued" };
    match origin {
        Origin::Kept => {}
        Origin::Bare => output::say("the key came without a certificate; a new one was issued for it"),
        Origin::Foreign => output::say(
            "the certificate that came with the key is of another profile; a new one was issued for the key",
        ),
    }
    match &content {
        Content::Identity(identity) => tell(identity.certificate(), form, "identity", certificate, paths, json),
        Content::Operational(key) => tell(key.identity_certificate(), form, "operational", certificate, paths, json),
    }
}

/// Name and octets of a key's file.
pub(super) fn saved(content: &Content, password: &str) -> Result<(String, Vec<u8>), Failure> {
    let (name, bytes) = match content {
        Content::Identity(key) => (container::identity_file_name(key.cn()), container::save_identity(key, password)),
        Content::Operational(key) => {
            (container::operational_file_name(key.cn()), container::save_operational(key, password))
        }
    };
    Ok((name, bytes.map_err(Failure::machine)?))
}

fn tell(
    certificate: &IdentityCertificate,
    form: &str,
    kind: &str,
    origin: &str,
    files: Vec<String>,
    json: &Option<JsonTo>,
) -> Result<(), Failure> {
    let algorithm = KeyAlgorithm::from(certificate.algorithm()).to_string();
    let (cn, address) = (certificate.cn(), certificate.address());
    let about = if kind == "certificate" { String::new() } else { format!(", certificate {origin}") };
    let text = format!(
        "cn          {cn}\naddress     {address}\nalgorithm   {algorithm}\nread from   {form}\nkind        \
         {kind}{about}\nwritten     {}\n",
        written(&files),
    );
    let value = json!({
        "cn": cn,
        "address": address,
        "algorithm": algorithm,
        "sha512": fingerprint::digits(certificate.fingerprint()),
        "form": form,
        "kind": kind,
        "certificate": origin,
        "files": files,
    });
    report(&text, &value, json)
}

/// A fingerprint is kept to be compared: it says which key an address has, not who holds it.
fn pin(import: &Import, given: &Given, hash: &[u8; 64], json: &Option<JsonTo>) -> Result<(), Failure> {
    let cn = Cn::of_fingerprint(hash);
    if cn.is_reserved() {
        return Err(given.refused(anyhow!("{cn} is reserved for anycast services; no key may have it")));
    }
    let address = cn.address(import.prefix);
    let files = keep(import, (format!("{cn}.pin"), fingerprint::format_line(hash).into_bytes()))?;
    let text = format!(
        "cn          {cn}\naddress     {address}\nread from   {}\nkind        pin: only the key itself proves who owns \
         the address\nwritten     {}\n",
        Form::Fingerprint,
        written(&files),
    );
    let value = json!({
        "cn": cn,
        "address": address,
        "algorithm": Value::Null,
        "sha512": fingerprint::digits(hash),
        "form": Form::Fingerprint.to_string(),
        "kind": "pin",
        "certificate": Value::Null,
        "files": files,
    });
    report(&text, &value, json)
}

fn written(files: &[String]) -> &str {
    files.first().map_or("nothing (give --out)", String::as_str)
}
