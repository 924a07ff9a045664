// SPDX-License-Identifier: GPL-2.0-or-later
//! PKCS#12 files (RFC 7292): `<CN>.p12` holds the identity key and its certificate, `<CN>.op.p12` the operational key,
//! its certificate and the identity's. Stock tools read both.
//!
//! Reading trusts nothing: the MAC is demanded and checked first, the names are computed again from the keys, and a
//! file that asks for absurd work is refused before any is done. [`import`] takes files of other tools as well.

mod import;
mod private;
mod work;

use std::time::SystemTime;

use der::ErrorKind;
use p12_keystore::error::Error;
use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, Pkcs12Archive, PrivateKeyChain,
};

use crate::certificate::{self, IdentityCertificate, Kind, OperationalCertificate};
use crate::cn::{Cn, Network};
use crate::error::ContainerError;
use crate::identity::Identity;
use crate::key::PrivateKey;
use crate::limits::{ENCRYPTION_ROUNDS, MAC_ROUNDS, MAX_BAGS, MAX_CONTAINER, QUICK_ROUNDS};
use crate::operational::OperationalKey;

pub use import::{Imported, Origin, import};
pub use private::KeyFile;

/// Which protection of a file is good enough to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// PBES2 with AES, and a MAC by a hash of the SHA-2 family. All that daemons read.
    Modern,
    /// Also what is too weak to be written today: RC2 with 40 bits, 3DES, MACs by SHA-1. For importing an old file.
    Legacy,
}

/// How a password came about, and so what one guess of it has to cost: whoever opens the file pays it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Password {
    /// A person has chosen it.
    Chosen,
    /// It has 128 random bits or more, which nobody guesses, or guards nothing.
    Random,
}

/// The name of an identity's file.
pub fn identity_file_name(cn: Cn) -> String {
    format!("{cn}.p12")
}

/// The name of an operational key's file.
pub fn operational_file_name(cn: Cn) -> String {
    format!("{cn}.op.p12")
}

/// What a file holds.
#[derive(Debug)]
pub enum Content {
    /// An identity key.
    Identity(Identity),
    /// An operational key.
    Operational(OperationalKey),
}

/// Writes an identity key with its certificate, under a password that a person has chosen.
///
/// # Errors
/// [`ContainerError::PasswordCharacter`]; [`ContainerError::Write`] if the file cannot be composed.
pub fn save_identity(identity: &Identity, password: &str) -> Result<Vec<u8>, ContainerError> {
    save_identity_under(Password::Chosen, identity, password)
}

/// [`save_identity`], under a password of either kind.
///
/// # Errors
/// As there.
pub fn save_identity_under(kind: Password, identity: &Identity, password: &str) -> Result<Vec<u8>, ContainerError> {
    let chain = [identity.certificate().der()];
    save(identity.cn(), &identity.cn().to_string(), &identity.pkcs8(), &chain, (kind, password))
}

/// Writes an operational key with its certificate and, as its issuer, the certificate of the identity, under a password that a
/// person has chosen.
///
/// # Errors
/// [`ContainerError::PasswordCharacter`]; [`ContainerError::Write`] if the file cannot be composed.
pub fn save_operational(key: &OperationalKey, password: &str) -> Result<Vec<u8>, ContainerError> {
    save_operational_under(Password::Chosen, key, password)
}

/// [`save_operational`], under a password of either kind.
///
/// # Errors
/// As there.
pub fn save_operational_under(kind: Password, key: &OperationalKey, password: &str) -> Result<Vec<u8>, ContainerError> {
    let chain = [key.certificate_der(), key.identity_certificate_der()];
    save(key.cn(), &format!("{} operational", key.cn()), &key.pkcs8(), &chain, (kind, password))
}

/// Reads a file that must hold an identity key.
///
/// # Errors
/// [`ContainerError::IsOperational`] if it is an operational key; otherwise as [`load`].
pub fn load_identity(
    bytes: &[u8],
    password: &str,
    network: Network,
    now: SystemTime,
) -> Result<Identity, ContainerError> {
    load(bytes, password, network, now).and_then(identity)
}

/// [`load_identity`] but for the dates of the certificate: an identity that expired can be revoked all the same.
///
/// # Errors
/// As there.
pub fn load_identity_undated(bytes: &[u8], password: &str, network: Network) -> Result<Identity, ContainerError> {
    load_undated(bytes, password, network).and_then(identity)
}

fn identity(content: Content) -> Result<Identity, ContainerError> {
    match content {
        Content::Identity(identity) => Ok(identity),
        Content::Operational(key) => Err(ContainerError::IsOperational { cn: key.cn() }),
    }
}

/// Reads a file that must hold an operational key, as daemons do.
///
/// # Errors
/// [`ContainerError::IsIdentity`] if it is an identity key; otherwise as [`load`].
pub fn load_operational(
    bytes: &[u8],
    password: &str,
    network: Network,
    now: SystemTime,
) -> Result<OperationalKey, ContainerError> {
    match load(bytes, password, network, now)? {
        Content::Operational(key) => Ok(key),
        Content::Identity(identity) => Err(ContainerError::IsIdentity { cn: identity.cn() }),
    }
}

/// Reads a file of either kind and verifies everything in it: exactly one private key, the certificates that belong to
/// it and no others, names, profile, dates, signatures.
///
/// # Errors
/// [`ContainerError`]: [`ContainerError::Password`] for a wrong password (which cannot be told from a file that was
/// changed inside), [`ContainerError::Malformed`] for what is no PKCS#12 file.
pub fn load(bytes: &[u8], password: &str, network: Network, now: SystemTime) -> Result<Content, ContainerError> {
    let (key, certificates) = open(bytes, password, Accept::Modern)?;
    assemble(key, &certificates, network, Some(now))
}

/// [`load`] but for the dates of the certificates: to tell what a file holds that is for another month.
///
/// # Errors
/// As there.
pub fn load_undated(bytes: &[u8], password: &str, network: Network) -> Result<Content, ContainerError> {
    let (key, certificates) = open(bytes, password, Accept::Modern)?;
    assemble(key, &certificates, network, None)
}

/// A key and the certificates that lie beside it, verified; without a time their dates do not matter.
fn assemble(
    key: PrivateKey,
    certificates: &[Vec<u8>],
    network: Network,
    now: Option<SystemTime>,
) -> Result<Content, ContainerError> {
    let Opened { key, matching, others } = Opened::of(key, certificates)?;
    match (certificate::kind(&matching)?, others.as_slice()) {
        (Kind::Identity(_), []) => {
            let certificate = IdentityCertificate::check(&matching, network, now)?;
            Ok(Content::Identity(Identity::from_parts(key, certificate)?))
        }
        (Kind::Operational(_), [issuer]) => {
            let identity = IdentityCertificate::check(issuer, network, now)?;
            let certificate = OperationalCertificate::check(&matching, &identity, now)?;
            Ok(Content::Operational(OperationalKey::new(key, certificate, identity)?))
        }
        (Kind::Identity(_), _) => Err(ContainerError::Certificates { found: others.len() + 1, expected: 1 }),
        (Kind::Operational(_), _) => Err(ContainerError::Certificates { found: others.len() + 1, expected: 2 }),
    }
}

/// Whether the octets have the form of a PKCS#12 file that we would open, before a password is asked for.
///
/// # Errors
/// [`ContainerError`] as for [`load`], as far as it can be told without a password.
pub fn check_form(bytes: &[u8]) -> Result<(), ContainerError> {
    check_form_of(bytes, Accept::Modern)
}

/// [`check_form`], of a file that may also have an old protection.
///
/// # Errors
/// As there.
pub fn check_form_of(bytes: &[u8], accept: Accept) -> Result<(), ContainerError> {
    look(bytes, accept).map(drop)
}

fn look(bytes: &[u8], accept: Accept) -> Result<work::Outside, ContainerError> {
    if bytes.len() > MAX_CONTAINER {
        return Err(ContainerError::TooLong { length: bytes.len() });
    }
    work::check(bytes, accept)
}

/// Whether a password can be written into a PKCS#12 file: all its characters are below U+10000.
///
/// # Errors
/// [`ContainerError::PasswordCharacter`].
pub fn check_password(password: &str) -> Result<(), ContainerError> {
    let fits = password.chars().all(|character| u16::try_from(u32::from(character)).is_ok());
    fits.then_some(()).ok_or(ContainerError::PasswordCharacter)
}

/// A file, decrypted: its one private key, the certificate of that key, and the others.
struct Opened {
    key: PrivateKey,
    matching: Vec<u8>,
    others: Vec<Vec<u8>>,
}

impl Opened {
    fn of(key: PrivateKey, certificates: &[Vec<u8>]) -> Result<Opened, ContainerError> {
        let own = key.public_key()?;
        let mut matching = None;
        let mut others = Vec::new();
        for certificate in certificates {
            if matching.is_none() && certificate::unverified_spki(certificate)? == own.spki() {
                matching = Some(certificate.clone());
            } else {
                others.push(certificate.clone());
            }
        }
        Ok(Opened { key, matching: matching.ok_or(ContainerError::KeyMismatch)?, others })
    }
}

/// Decrypts a file into its one private key and its certificates.
fn open(bytes: &[u8], password: &str, accept: Accept) -> Result<(PrivateKey, Vec<Vec<u8>>), ContainerError> {
    let outside = look(bytes, accept)?;
    check_password(password)?;
    let archive = Pkcs12Archive::from_pkcs12(bytes, password).map_err(refusal)?;
    let [key] = archive.keys.as_slice() else {
        return Err(ContainerError::Keys { found: archive.keys.len() });
    };
    // A key inside an encrypted part brings a scheme of its own, which shows only after it was used.
    if outside.keys != 1 && accept == Accept::Modern {
        return Err(ContainerError::HiddenKey);
    }
    if archive.certs.len() > MAX_BAGS {
        return Err(ContainerError::Certificates { found: archive.certs.len(), expected: 2 });
    }
    let certificates = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect();
    Ok((PrivateKey::from_pkcs8(key.key.as_der())?, certificates))
}

/// The MAC is checked before anything is decrypted, so it alone speaks about the password.
fn refusal(error: Error) -> ContainerError {
    match error {
        Error::MacError(_) => ContainerError::Password,
        Error::DerError(reason) if matches!(reason.kind(), ErrorKind::OidUnknown { .. }) => {
            ContainerError::Encryption { detail: reason.to_string() }
        }
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => {
            ContainerError::Encryption { detail: error.to_string() }
        }
        other => ContainerError::Malformed { detail: other.to_string() },
    }
}

fn save(
    cn: Cn,
    alias: &str,
    pkcs8: &[u8],
    chain: &[&[u8]],
    (kind, password): (Password, &str),
) -> Result<Vec<u8>, ContainerError> {
    check_password(password)?;
    let (encryption, mac) = match kind {
        Password::Chosen => (ENCRYPTION_ROUNDS, MAC_ROUNDS),
        Password::Random => (QUICK_ROUNDS, QUICK_ROUNDS),
    };
    let key = p12_keystore::PrivateKey::from_der(pkcs8).map_err(unwritten)?;
    let certificates = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>();
    let chain = PrivateKeyChain::new(&cn.0[..], key, certificates.map_err(unwritten)?);
    let mut store = KeyStore::new();
    store.add_entry(alias, KeyStoreEntry::PrivateKeyChain(chain));
    store
        .writer(password)
        .encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256)
        .encryption_iterations(encryption)
        .mac_algorithm(MacAlgorithm::HmacSha256)
        .mac_iterations(mac)
        .write()
        .map_err(unwritten)
}

fn unwritten(error: Error) -> ContainerError {
    ContainerError::Write { detail: error.to_string() }
}
