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
use crate::container::{self, Accept, Imported};
use crate::error::ContainerError;
use crate::exchange::{self, Form, Item, picture};
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
        let (shown, bytes) = if path == Path::new("-") {
            ("standard input".to_owned(), bounded(std::io::stdin().lock()))
        } else {
            (path.display().to_string(), File::open(path).and_then(bounded))
        };
        let bytes = bytes.with_context(|| format!("cannot read {shown}")).map_err(Failure::usage)?;
        let recognised = exchange::recognise(&bytes).with_context(|| shown.clone());
        let item = match recognised.map_err(Failure::refused)? {
            Item::Picture => in_picture(&bytes).with_context(|| shown.clone()).map_err(Failure::refused)?,
            item => item,
        };
        Ok(Given { shown, item, bytes })
    }

    /// The PKCS#12 file that it is, opened with its password.
    pub(super) fn open_container(
        &self,
        accept: Accept,
        password_file: Option<&Path>,
        network: Network,
        now: SystemTime,
    ) -> Result<Imported, Failure> {
        // What cannot be opened is told before anybody types a password for it.
        container::check_form_of(&self.bytes, accept).map_err(|error| self.refused(error))?;
        let password = password::existing(password_file, &self.shown)?;
        container::import(&self.bytes, &password, accept, network, now).map_err(|error| self.refused(error))
    }

    /// Verifies a certificate that came in some form.
    pub(super) fn verify(&self, der: &[u8], network: Network, now: SystemTime) -> Result<IdentityCertificate, Failure> {
        if let Ok(Kind::Operational(cn)) = certificate::kind(der) {
            return Err(self.refused(anyhow!(
                "an operational certificate of {cn} proves nothing alone; the identity certificate is needed"
            )));
        }
        IdentityCertificate::verify(der, network, now).map_err(|error| self.refused(error))
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
        Item::Certificate { der, .. } => Ok(Item::Certificate { form: Form::Picture, der }),
        item @ Item::Fingerprint(_) => Ok(item),
        _ => Err(anyhow!("the QR code holds neither a certificate nor a fingerprint")),
    }
}
