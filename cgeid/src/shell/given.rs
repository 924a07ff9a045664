// SPDX-License-Identifier: GPL-2.0-or-later
//! What a verb was given to read: a file or standard input, recognised by its content.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use zeroize::Zeroizing;

use super::{Failure, password};
use crate::certificate::{self, IdentityCertificate, Kind};
use crate::cn::Network;
use crate::container::{self, Accept, Content, Imported, KeyFile, Origin};
use crate::error::ContainerError;
use crate::exchange::{self, Form, Item, Part, picture};
use crate::identity::Identity;
use crate::limits::MAX_PICTURE;

/// A file that was read and recognised; nothing in it is verified yet.
pub(super) struct Given {
    /// Its name in messages.
    pub(super) shown: String,
    /// What it seems to be.
    pub(super) item: Item,
    bytes: Zeroizing<Vec<u8>>,
}

impl Given {
    /// Reads a file, or standard input for `-`.
    pub(super) fn read(path: &Path) -> Result<Given, Failure> {
        Given::of(path, octets(path)?)
    }

    /// Recognises what was read from `path`.
    pub(super) fn of(path: &Path, bytes: Zeroizing<Vec<u8>>) -> Result<Given, Failure> {
        let shown = shown(path);
        let recognised = exchange::recognise(&bytes).with_context(|| shown.clone());
        let item = match recognised.map_err(Failure::refused)? {
            Item::Picture => in_picture(&bytes).with_context(|| shown.clone()).map_err(Failure::refused)?,
            item => item,
        };
        Ok(Given { shown, item, bytes })
    }

    /// Verifies the one identity certificate of what anybody may read.
    pub(super) fn certificate(
        &self,
        parts: &[Part],
        network: Network,
        now: SystemTime,
    ) -> Result<(Form, IdentityCertificate), Failure> {
        let (form, der) = exchange::only_certificate(parts).map_err(|error| self.refused(error))?;
        if let Ok(Kind::Operational(cn)) = certificate::kind(der) {
            return Err(self.refused(anyhow!(
                "an operational certificate of {cn} proves nothing alone; the identity certificate is needed"
            )));
        }
        let certificate = IdentityCertificate::verify(der, network, now).map_err(|error| self.refused(error))?;
        Ok((form, certificate))
    }

    /// Opens the PKCS#12 file that it is: `load` gets its octets and the password.
    pub(super) fn open<T>(
        &self,
        accept: Accept,
        password_file: Option<&Path>,
        load: impl FnOnce(&[u8], &str) -> Result<T, ContainerError>,
    ) -> Result<T, Failure> {
        // What cannot be opened is told before anybody types a password for it.
        container::check_form_of(&self.bytes, accept).map_err(|error| self.refused(error))?;
        let password = password::existing(password_file, &self.shown)?;
        load(&self.bytes, &password).map_err(|error| self.refused(error))
    }

    /// Opens the private key that it is.
    pub(super) fn open_key(
        &self,
        key: &KeyFile,
        password_file: Option<&Path>,
        network: Network,
        now: SystemTime,
    ) -> Result<Imported, Failure> {
        key.check_form().map_err(|error| self.refused(error))?;
        let password = match key.needs_password() {
            true => password::existing(password_file, &self.shown)?,
            false => Zeroizing::default(),
        };
        key.open(&password, network, now).map_err(|error| self.refused(error))
    }

    /// A key with the certificate that it came with. One that was issued a moment ago is nobody's word yet.
    pub(super) fn kept(&self, imported: Imported) -> Result<Content, Failure> {
        match imported.origin {
            Origin::Kept => Ok(imported.content),
            Origin::Bare | Origin::Foreign => Err(self.unfit()),
        }
    }

    /// The identity key that a verb signs with, and the password of its container.
    pub(super) fn identity(
        &self,
        password_file: Option<&Path>,
        load: impl FnOnce(&[u8], &str) -> Result<Identity, ContainerError>,
    ) -> Result<(Identity, Zeroizing<String>), Failure> {
        match &self.item {
            Item::Container => self.open(Accept::Modern, password_file, |bytes, password| {
                Ok((load(bytes, password)?, Zeroizing::new(password.to_owned())))
            }),
            Item::Key(_) => Err(self.unfit()),
            _ => {
                let shown = &self.shown;
                Err(Failure::refused(anyhow!("{shown} holds no private key; the identity key, <CN>.p12, is needed")))
            }
        }
    }

    /// A refusal that names the file.
    pub(super) fn refused(&self, error: impl Into<anyhow::Error>) -> Failure {
        let error = error.into();
        let context = match error.downcast_ref() {
            Some(ContainerError::Malformed { .. }) => format!("{} is no file that is known here", self.shown),
            _ => self.shown.clone(),
        };
        Failure::refused(error.context(context))
    }

    /// The refusal of what has no certificate for the verb.
    pub(super) fn unfit(&self) -> Failure {
        self.refused(match self.item {
            Item::Fingerprint(_) => anyhow!("a fingerprint has no certificate in it"),
            Item::Key(_) => anyhow!("a private key by itself: run `cgeid import` on it first"),
            Item::Picture => anyhow!("a picture in a picture"),
            Item::Public(_) | Item::Container => anyhow!("no certificate of this profile is in it"),
        })
    }
}

/// Reads a file, or standard input for `-`.
pub(super) fn octets(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let bytes =
        if is_standard_input(path) { bounded(std::io::stdin().lock()) } else { File::open(path).and_then(bounded) };
    bytes.with_context(|| format!("cannot read {}", shown(path))).map_err(Failure::usage)
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// The name of a file in messages.
pub(super) fn shown(path: &Path) -> String {
    if is_standard_input(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// No more than a picture can have: `/dev/zero` is a file too. A private key may be in it, so it is wiped.
fn bounded(source: impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    source.take(MAX_PICTURE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What the text of a QR code is.
fn in_picture(bytes: &[u8]) -> Result<Item, anyhow::Error> {
    let text = picture::decode_png(bytes)?;
    match exchange::recognise(text.as_bytes()).context("the text of the QR code")? {
        Item::Public(parts) => {
            let (_, der) = exchange::only_certificate(&parts)?;
            Ok(Item::Public(vec![Part::Certificate { form: Form::Picture, der: der.to_vec() }]))
        }
        item @ Item::Fingerprint(_) => Ok(item),
        _ => Err(anyhow!("the QR code holds neither a certificate nor a fingerprint")),
    }
}
