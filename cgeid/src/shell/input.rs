// SPDX-License-Identifier: GPL-2.0-or-later
//! What a file holds, told from its octets: a key container, certificates, signed statements.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use zeroize::Zeroizing;

use super::{Failure, files, password};
use crate::certificate;
use crate::cn::Network;
use crate::container::{self, Content};
use crate::error::{CertificateError, ContainerError};
use crate::identity::Identity;
use crate::statement::{LinkProof, Revocation, armour};

/// The label of a certificate in PEM (RFC 7468 5.1).
const CERTIFICATE: &str = "CERTIFICATE";

/// What a file holds; nothing is verified yet.
pub(super) enum Input {
    /// A PKCS#12 file.
    Container(Vec<u8>),
    /// What anybody may read: one item, or those of a PEM file.
    Public(Vec<Item>),
}

/// One thing that can be verified, in its binary form.
pub(super) enum Item {
    /// A certificate of either kind.
    Certificate(Vec<u8>),
    /// A revocation.
    Revocation(Vec<u8>),
    /// A link proof.
    LinkProof(Vec<u8>),
}

/// Reads a file of any kind that we know.
pub(super) fn read(path: &Path) -> Result<Input, Failure> {
    let bytes = files::read(path)?;
    let shown = path.display();
    if is_armoured(&bytes) {
        let items = armoured(&bytes).with_context(|| shown.to_string()).map_err(Failure::refused)?;
        return Ok(Input::Public(items));
    }
    if let Some(item) = binary(&bytes) {
        return Ok(Input::Public(vec![item]));
    }
    // What cannot be a container is told before anybody types a password for it.
    match container::check_form(&bytes) {
        Ok(()) => Ok(Input::Container(bytes)),
        Err(error @ ContainerError::Malformed { .. }) => {
            let context = format!("{shown} is neither a certificate nor a PKCS#12 file, nor a statement of ours");
            Err(Failure::refused(anyhow::Error::new(error).context(context)))
        }
        Err(error) => Err(Failure::refused(anyhow::Error::new(error).context(shown.to_string()))),
    }
}

/// Opens a container, which takes a password.
pub(super) fn open(
    bytes: &[u8],
    shown: &str,
    password_file: Option<&Path>,
    prefix: Network,
    now: SystemTime,
) -> Result<Content, Failure> {
    let password = password::existing(password_file, shown)?;
    container::load(bytes, &password, prefix, now).with_context(|| shown.to_owned()).map_err(Failure::refused)
}

/// Reads the identity key that a verb signs with; `load` opens its container with the password, which comes back too.
pub(super) fn identity(
    path: &Path,
    password_file: Option<&Path>,
    load: impl FnOnce(&[u8], &str) -> Result<Identity, ContainerError>,
) -> Result<(Identity, Zeroizing<String>), Failure> {
    let shown = path.display().to_string();
    let Input::Container(bytes) = read(path)? else {
        let error = anyhow!("{shown} holds no private key; the identity key, <CN>.p12, is needed");
        return Err(Failure::refused(error));
    };
    let password = password::existing(password_file, &shown)?;
    let identity = load(&bytes, &password).with_context(|| shown).map_err(Failure::refused)?;
    Ok((identity, password))
}

/// Whether the octets look like PEM text rather than like something binary.
fn is_armoured(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    bytes.windows(BEGIN.len()).any(|window| window == BEGIN)
}

fn armoured(bytes: &[u8]) -> Result<Vec<Item>, anyhow::Error> {
    let text = std::str::from_utf8(bytes).context("the PEM file is not text")?;
    let blocks = armour::blocks(text, &[CERTIFICATE, Revocation::LABEL, LinkProof::LABEL])?;
    if blocks.is_empty() {
        return Err(anyhow!("the PEM file holds no certificate and no statement"));
    }
    Ok(blocks
        .into_iter()
        .map(|block| match block.label {
            Revocation::LABEL => Item::Revocation(block.bytes),
            LinkProof::LABEL => Item::LinkProof(block.bytes),
            _ => Item::Certificate(block.bytes),
        })
        .collect())
}

/// The one thing that binary octets are, unless they are something else.
fn binary(bytes: &[u8]) -> Option<Item> {
    if bytes.starts_with(&Revocation::MAGIC) {
        return Some(Item::Revocation(bytes.to_vec()));
    }
    if bytes.starts_with(&LinkProof::MAGIC) {
        return Some(Item::LinkProof(bytes.to_vec()));
    }
    match certificate::kind(bytes) {
        Err(CertificateError::Malformed { .. } | CertificateError::TooLong { .. }) => None,
        // What breaks the profile is a certificate all the same: its verification says what it breaks.
        Ok(_) | Err(_) => Some(Item::Certificate(bytes.to_vec())),
    }
}
