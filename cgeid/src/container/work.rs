// SPDX-License-Identifier: GPL-2.0-or-later
//! How a PKCS#12 file is protected and how much work it asks for, read before any of it is done.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};

use super::Accept;
use crate::error::ContainerError;
use crate::limits::{MAX_BAGS, MAX_ROUNDS};

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");
const KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.1");
const SHROUDED_KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");
const SECRET_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.5");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
/// It may ask for a gigabyte of memory, which a border node does not have.
const SCRYPT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11591.4.11");
/// AES in CBC mode, with keys of 128, 192 and 256 bits.
const AES: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2"),
    ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.22"),
    ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42"),
];
/// The schemes of RFC 7292 C that can be read when asked for.
const LEGACY: [(ObjectIdentifier, &str); 2] = [
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3"), "3DES and SHA-1"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.6"), "40-bit RC2 and SHA-1"),
];

/// What can be seen of a file from outside.
pub(super) struct Outside {
    /// Private keys whose own encryption was judged.
    pub(super) keys: usize,
    rounds: u64,
    accept: Accept,
}

/// Refuses a file without a MAC, one with its key in the clear, one that asks for more rounds than an honest writer
/// does, and one that is protected by something old unless that is accepted.
pub(super) fn check(bytes: &[u8], accept: Accept) -> Result<Outside, ContainerError> {
    let mut outside = Outside { keys: 0, rounds: 0, accept };
    let pfx = AnyRef::from_der(bytes).and_then(sequence).map_err(malformed)?;
    let [version, auth_safe, mac @ ..] = pfx.as_slice() else {
        return Err(malformed("no PFX"));
    };
    if u8::try_from(*version) != Ok(3) {
        return Err(malformed("not of version 3"));
    }
    let [mac] = mac else {
        return Err(if mac.is_empty() { ContainerError::NoMac } else { malformed("more than one MAC") });
    };
    outside.mac(*mac)?;
    let (kind, content) = content_info(*auth_safe).map_err(malformed)?;
    if kind != DATA {
        return Err(ContainerError::Encryption { detail: "integrity by a signature, not a password".to_owned() });
    }
    for part in octets(content).and_then(AnyRef::from_der).and_then(sequence).map_err(malformed)? {
        outside.part(part)?;
    }
    Ok(outside)
}

/// The scheme that encrypts one private key outside a container: how many rounds it asks for is bounded too.
pub(super) fn check_scheme(algorithm: AnyRef<'_>) -> Result<(), ContainerError> {
    Outside { keys: 0, rounds: 0, accept: Accept::Modern }.scheme(algorithm)
}

impl Outside {
    /// MacData ::= SEQUENCE { mac DigestInfo, macSalt OCTET STRING, iterations INTEGER DEFAULT 1 }
    fn mac(&mut self, mac: AnyRef<'_>) -> Result<(), ContainerError> {
        let (algorithm, rounds) = mac_data(mac).map_err(malformed)?;
        self.bound(rounds)?;
        // The MAC is no part of the sum: the library bounds it alone, and it is done once.
        self.rounds = 0;
        if algorithm == SHA1 { self.old("a SHA-1 MAC") } else { Ok(()) }
    }

    /// One ContentInfo of the AuthenticatedSafe.
    fn part(&mut self, part: AnyRef<'_>) -> Result<(), ContainerError> {
        let (kind, content) = content_info(part).map_err(malformed)?;
        if kind == ENCRYPTED_DATA {
            return self.scheme(encrypted_data(content).map_err(malformed)?);
        }
        if kind != DATA {
            return Err(ContainerError::Encryption { detail: format!("content of type {kind}") });
        }
        for bag in octets(content).and_then(AnyRef::from_der).and_then(sequence).map_err(malformed)? {
            self.bag(bag)?;
        }
        Ok(())
    }

    /// A SafeBag that lies open: a key in it must be encrypted by itself.
    fn bag(&mut self, bag: AnyRef<'_>) -> Result<(), ContainerError> {
        let (kind, value) = content_info(bag).map_err(malformed)?;
        match kind {
            KEY_BAG => Err(ContainerError::Encryption { detail: "the private key is in the clear".to_owned() }),
            SECRET_BAG => Err(ContainerError::Encryption { detail: "a secret that is no private key".to_owned() }),
            SHROUDED_KEY_BAG => {
                self.keys += 1;
                let parts = sequence(value).map_err(malformed)?;
                self.scheme(*parts.first().ok_or_else(|| malformed("an empty key bag"))?)
            }
            _ => Ok(()),
        }
    }

    /// AlgorithmIdentifier of something encrypted with the password.
    fn scheme(&mut self, algorithm: AnyRef<'_>) -> Result<(), ContainerError> {
        let (scheme, parameters) = algorithm_identifier(algorithm).map_err(malformed)?;
        if scheme == PBES2 {
            return self.pbes2(parameters);
        }
        let Some((_, name)) = LEGACY.iter().find(|(known, _)| *known == scheme) else {
            return Err(ContainerError::Encryption { detail: format!("scheme {scheme}") });
        };
        self.bound(second_integer(parameters).unwrap_or(i64::MAX))?;
        self.old(name)
    }

    /// PBES2-params ::= SEQUENCE { keyDerivationFunc, encryptionScheme } (RFC 8018 A.4)
    fn pbes2(&mut self, parameters: AnyRef<'_>) -> Result<(), ContainerError> {
        let parts = sequence(parameters).map_err(malformed)?;
        let [derivation, encryption] = parts.as_slice() else {
            return Err(malformed("PBES2 without its two parts"));
        };
        let (derivation, parameters) = algorithm_identifier(*derivation).map_err(malformed)?;
        let (encryption, _) = algorithm_identifier(*encryption).map_err(malformed)?;
        if derivation != PBKDF2 {
            let name = if derivation == SCRYPT { "scrypt".to_owned() } else { format!("derivation {derivation}") };
            return Err(ContainerError::Encryption { detail: name });
        }
        if !AES.contains(&encryption) {
            return Err(ContainerError::Encryption { detail: format!("cipher {encryption}") });
        }
        // What cannot be read asks for no bounded work.
        self.bound(second_integer(parameters).unwrap_or(i64::MAX))
    }

    /// Those of encrypted bags inside others were put there by somebody who knows the password; the parser bounds each.
    fn bound(&mut self, rounds: i64) -> Result<(), ContainerError> {
        // A negative number is no round at all, and as unsigned an endless one.
        if !(1..=i64::from(MAX_ROUNDS)).contains(&rounds) {
            return Err(ContainerError::Rounds { rounds: rounds.unsigned_abs() });
        }
        self.rounds += rounds.unsigned_abs();
        if self.rounds > u64::from(MAX_ROUNDS) * MAX_BAGS as u64 {
            return Err(ContainerError::Rounds { rounds: self.rounds });
        }
        Ok(())
    }

    fn old(&self, what: &str) -> Result<(), ContainerError> {
        match self.accept {
            Accept::Modern => Err(ContainerError::Legacy { what: what.to_owned() }),
            Accept::Legacy => Ok(()),
        }
    }
}

/// The elements in a SEQUENCE.
pub(super) fn sequence(element: AnyRef<'_>) -> Result<Vec<AnyRef<'_>>, der::Error> {
    element.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(element.value())?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(AnyRef::decode(&mut reader)?);
    }
    Ok(elements)
}

fn octets(element: AnyRef<'_>) -> Result<&[u8], der::Error> {
    element.tag().assert_eq(Tag::OctetString)?;
    Ok(element.value())
}

/// SEQUENCE { type OBJECT IDENTIFIER, content [0] EXPLICIT ANY, ... }: ContentInfo, and SafeBag as well.
fn content_info(element: AnyRef<'_>) -> Result<(ObjectIdentifier, AnyRef<'_>), der::Error> {
    let parts = sequence(element)?;
    let [kind, content, ..] = parts.as_slice() else {
        return Err(Tag::Sequence.value_error().into());
    };
    content.tag().assert_eq(Tag::ContextSpecific { constructed: true, number: TagNumber(0) })?;
    Ok((ObjectIdentifier::try_from(*kind)?, AnyRef::from_der(content.value())?))
}

fn mac_data(element: AnyRef<'_>) -> Result<(ObjectIdentifier, i64), der::Error> {
    let parts = sequence(element)?;
    let (digest, rounds) = match parts.as_slice() {
        [digest, _] => (digest, 1),
        [digest, _, rounds] => (digest, i64::try_from(*rounds)?),
        _ => return Err(Tag::Sequence.value_error().into()),
    };
    let algorithm = sequence(*digest)?.first().copied().ok_or_else(|| Tag::Sequence.value_error())?;
    // A hash has no parameters, and writers say that in two ways (RFC 5754 2).
    match sequence(algorithm)?.as_slice() {
        [kind] => Ok((ObjectIdentifier::try_from(*kind)?, rounds)),
        [kind, none] if *none == AnyRef::NULL => Ok((ObjectIdentifier::try_from(*kind)?, rounds)),
        _ => Err(Tag::Sequence.value_error().into()),
    }
}

/// EncryptedData ::= SEQUENCE { version, SEQUENCE { contentType, algorithm, content }, ... }: the algorithm.
fn encrypted_data(element: AnyRef<'_>) -> Result<AnyRef<'_>, der::Error> {
    let parts = sequence(element)?;
    let content = parts.get(1).copied().ok_or_else(|| Tag::Sequence.value_error())?;
    sequence(content)?.get(1).copied().ok_or_else(|| Tag::Sequence.value_error().into())
}

fn algorithm_identifier(element: AnyRef<'_>) -> Result<(ObjectIdentifier, AnyRef<'_>), der::Error> {
    let parts = sequence(element)?;
    let kind = parts.first().copied().ok_or_else(|| Tag::Sequence.value_error())?;
    Ok((ObjectIdentifier::try_from(kind)?, parts.get(1).copied().unwrap_or(AnyRef::NULL)))
}

/// The count in PBKDF2-params and in those of PBES1: SEQUENCE { salt OCTET STRING, iterationCount INTEGER ...
fn second_integer(parameters: AnyRef<'_>) -> Option<i64> {
    let parts = sequence(parameters).ok()?;
    octets(*parts.first()?).ok()?;
    i64::try_from(*parts.get(1)?).ok()
}

fn malformed(error: impl ToString) -> ContainerError {
    ContainerError::Malformed { detail: error.to_string() }
}
