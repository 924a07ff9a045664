// SPDX-License-Identifier: GPL-2.0-or-later
//! Private keys outside a PKCS#12 file: PKCS#8 (RFC 5958), encrypted or not, and PKCS#1 (RFC 8017 A.1.2).

use std::fmt;
use std::time::SystemTime;

use der::asn1::{AnyRef, OctetStringRef};
use der::oid::db::rfc5912::RSA_ENCRYPTION;
use der::{Decode, Encode, Tag, Tagged};
use pkcs5::pbes2;
use rsa::pkcs8::{AlgorithmIdentifierRef, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use super::import::{Imported, adopt};
use super::work;
use crate::cn::Network;
use crate::error::{ContainerError, KeyError};
use crate::key::PrivateKey;
use crate::limits::MAX_CONTAINER;

/// A private key as a file holds it, perhaps still encrypted, and the certificates that lie beside it.
pub struct KeyFile {
    der: Zeroizing<Vec<u8>>,
    form: Form,
    certificates: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Pkcs1,
    Pkcs8,
    Encrypted,
}

impl KeyFile {
    /// Takes the octets if they have the outer form of a private key; what is inside, [`KeyFile::open`] finds out.
    pub fn from_der(der: &[u8]) -> Option<KeyFile> {
        if der.len() > MAX_CONTAINER {
            return None;
        }
        let parts = work::sequence(AnyRef::from_der(der).ok()?).ok()?;
        let form = match parts.iter().map(Tagged::tag).collect::<Vec<_>>().as_slice() {
            [Tag::Integer, Tag::Sequence, Tag::OctetString, ..] => Form::Pkcs8,
            [Tag::Integer, Tag::Integer, Tag::Integer, ..] => Form::Pkcs1,
            [Tag::Sequence, Tag::OctetString] => Form::Encrypted,
            _ => return None,
        };
        Some(KeyFile { der: Zeroizing::new(der.to_vec()), form, certificates: Vec::new() })
    }

    /// The same key with the certificates that were found beside it.
    pub fn with_certificates(self, certificates: Vec<Vec<u8>>) -> KeyFile {
        KeyFile { certificates, ..self }
    }

    /// Whether it is encrypted.
    pub fn needs_password(&self) -> bool {
        self.form == Form::Encrypted
    }

    /// Whether it would be opened with the right password, as far as that shows before one is asked for.
    ///
    /// # Errors
    /// [`ContainerError::Encryption`], [`ContainerError::Rounds`].
    pub fn check_form(&self) -> Result<(), ContainerError> {
        match self.form {
            Form::Encrypted => self.encryption().map(drop),
            Form::Pkcs1 | Form::Pkcs8 => Ok(()),
        }
    }

    /// The identity of the key, as for [`super::import()`]. The password is not looked at where none is needed.
    ///
    /// # Errors
    /// [`ContainerError::Password`] for a wrong password, which cannot be told from a changed file;
    /// [`ContainerError::Key`] if the key breaks the profile; otherwise as for [`super::import()`].
    pub fn open(&self, password: &str, network: Network, now: SystemTime) -> Result<Imported, ContainerError> {
        let key = match self.form {
            Form::Pkcs8 => PrivateKey::from_pkcs8(&self.der)?,
            Form::Pkcs1 => PrivateKey::from_pkcs8(&wrapped(&self.der)?)?,
            Form::Encrypted => self.decrypted(password)?,
        };
        adopt(key, &self.certificates, network, now)
    }

    /// EncryptedPrivateKeyInfo ::= SEQUENCE { encryptionAlgorithm, encryptedData OCTET STRING } (RFC 5958 3)
    fn encryption(&self) -> Result<(pbes2::Parameters, &[u8]), ContainerError> {
        let parts = AnyRef::from_der(&self.der).and_then(work::sequence).map_err(malformed)?;
        let [algorithm, encrypted] = parts.as_slice() else {
            return Err(malformed("an encrypted key has two parts"));
        };
        work::check_scheme(*algorithm).map_err(|error| match error {
            ContainerError::Legacy { what } => ContainerError::Encryption { detail: what },
            other => other,
        })?;
        let parts = work::sequence(*algorithm).map_err(malformed)?;
        let parameters = parts.get(1).ok_or_else(|| malformed("PBES2 without parameters"))?;
        let parameters = parameters.to_der().and_then(|der| pbes2::Parameters::from_der(&der)).map_err(malformed)?;
        Ok((parameters, encrypted.value()))
    }

    /// There is no MAC: what decrypts to a key that contradicts itself was decrypted wrongly.
    fn decrypted(&self, password: &str) -> Result<PrivateKey, ContainerError> {
        let (parameters, encrypted) = self.encryption()?;
        let plain = parameters.decrypt(password, encrypted).map(Zeroizing::new);
        match PrivateKey::from_pkcs8(&plain.map_err(|_| ContainerError::Password)?) {
            Err(KeyError::Private) => Err(ContainerError::Password),
            read => Ok(read?),
        }
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({:?}, {} certificates, secret)", self.form, self.certificates.len())
    }
}

/// A PKCS#1 key as PKCS#8.
fn wrapped(pkcs1: &[u8]) -> Result<Zeroizing<Vec<u8>>, ContainerError> {
    let algorithm = AlgorithmIdentifierRef { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) };
    let key = OctetStringRef::new(pkcs1).map_err(malformed)?;
    PrivateKeyInfoRef::new(algorithm, key).to_der().map(Zeroizing::new).map_err(malformed)
}

fn malformed(error: impl ToString) -> ContainerError {
    ContainerError::Malformed { detail: error.to_string() }
}
