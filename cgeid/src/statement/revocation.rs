// SPDX-License-Identifier: GPL-2.0-or-later
//! The word of an identity key that it must not be trusted any more. It is made at birth and kept, for when the key is
//! stolen or lost; nothing takes it back.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------------------------------------------------------+
//! |                        magic "CGER"                           |
//! +---------------+---------------+-------------------------------+
//! |  version (1)  |    reason     |    length of certificate      |
//! +---------------+---------------+-------------------------------+
//! |        issue time in milliseconds since 1970, 8 octets        |
//! +---------------------------------------------------------------+
//! |  identity certificate, DER ...                                |
//! +---------------------------------------------------------------+
//! |  signature, as long as the key's algorithm says ...           |
//! +---------------------------------------------------------------+
//! ```
//! Signed are the context, the network's 4 octets, the CN, the issue time, and the reason.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::SystemTime;

use super::reader::{Reader, VERSION};
use super::{length, milliseconds, time};
use crate::armour;
use crate::certificate::IdentityCertificate;
use crate::cn::{Cn, Network};
use crate::error::{Signer, StatementError};
use crate::identity::Identity;

const CONTEXT: &[u8] = b"IPv6MESH-revoke-v1\0";

/// The name of the file of an identity's revocation.
pub fn file_name(cn: Cn) -> String {
    format!("{cn}.revoke")
}

/// Why an identity is revoked, by its number in RFC 5280 5.3.1. Every number revokes, also one that a reader does not
/// know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reason(pub u8);

impl Reason {
    /// Nothing is said; what the statement made at birth says.
    pub const UNSPECIFIED: Reason = Reason(0);
    /// Somebody else has, or may have, the private key.
    pub const KEY_COMPROMISE: Reason = Reason(1);
    /// The owner has another identity instead.
    pub const SUPERSEDED: Reason = Reason(4);
    /// The owner no longer uses it.
    pub const CESSATION: Reason = Reason(5);
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Reason::UNSPECIFIED => f.write_str("unspecified"),
            Reason::KEY_COMPROMISE => f.write_str("key-compromise"),
            Reason::SUPERSEDED => f.write_str("superseded"),
            Reason::CESSATION => f.write_str("cessation"),
            Reason(number) => write!(f, "reason {number}"),
        }
    }
}

/// A revocation whose signature holds. Whether it was published is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    certificate: IdentityCertificate,
    issued: SystemTime,
    reason: Reason,
    signature: Vec<u8>,
}

impl Revocation {
    /// What the encoding begins with.
    pub const MAGIC: [u8; 4] = *b"CGER";
    /// The label of its PEM armour.
    pub const LABEL: &'static str = "CGEID REVOCATION";

    /// Has `identity` revoke itself.
    ///
    /// # Errors
    /// [`StatementError::Time`] if `now` is before 1970, [`StatementError::Key`] if the key cannot sign.
    pub fn issue(identity: &Identity, reason: Reason, now: SystemTime) -> Result<Revocation, StatementError> {
        let signature = identity.sign(&message(identity.certificate(), now, reason)?)?;
        Revocation::from_parts(identity.certificate().clone(), now, reason, &signature)
    }

    /// Verifies a statement, from wherever it came. The dates of the certificate in it do not matter: an identity that
    /// expired is revoked all the same.
    ///
    /// # Errors
    /// [`StatementError`] names the first rule that is broken.
    pub fn verify(bytes: &[u8], network: Network) -> Result<Revocation, StatementError> {
        let mut reader = Reader::new(bytes, Revocation::MAGIC)?;
        let reason = Reason(reader.u8("reason")?);
        let length = reader.u16("length of the certificate")?;
        let issued = reader.time("issue time")?;
        let certificate = IdentityCertificate::verify_undated(reader.take("certificate", length.into())?, network)
            .map_err(|reason| StatementError::Certificate { signer: Signer::Identity, reason })?;
        let signature = reader.signature(&certificate)?;
        reader.finish()?;
        Revocation::from_parts(certificate, issued, reason, signature)
    }

    /// [`Revocation::verify`] of the one block in PEM armour that `text` holds; text around it is passed over.
    ///
    /// # Errors
    /// As there, and [`StatementError::Armour`].
    pub fn from_pem(text: &str, network: Network) -> Result<Revocation, StatementError> {
        Revocation::verify(&armour::decode(text, Revocation::LABEL)?, network)
    }

    /// Verifies a statement whose parts came apart, as they do in a record of the hash table. Of the time whole
    /// milliseconds count.
    ///
    /// # Errors
    /// [`StatementError::Signature`]; [`StatementError::Time`] for a time that has no encoding.
    pub fn from_parts(
        certificate: IdentityCertificate,
        issued: SystemTime,
        reason: Reason,
        signature: &[u8],
    ) -> Result<Revocation, StatementError> {
        let message = message(&certificate, issued, reason)?;
        certificate
            .verify_signature(certificate.algorithm(), &message, signature)
            .map_err(|_| StatementError::Signature { signer: Signer::Identity })?;
        let issued = time(milliseconds(issued)?)?;
        Ok(Revocation { certificate, issued, reason, signature: signature.to_vec() })
    }

    /// The statement's octets.
    pub fn encode(&self) -> Vec<u8> {
        let issued = milliseconds(self.issued).expect("it came out of milliseconds");
        [
            &Revocation::MAGIC[..],
            &[VERSION, self.reason.0],
            &length(&self.certificate),
            &issued.to_be_bytes(),
            self.certificate.der(),
            &self.signature,
        ]
        .concat()
    }

    /// The statement in PEM armour.
    ///
    /// # Errors
    /// [`StatementError::Armour`] if the library refuses.
    pub fn to_pem(&self) -> Result<String, StatementError> {
        Ok(armour::encode(Revocation::LABEL, &self.encode())?)
    }

    /// Whether it revokes this identity: the key counts, all of it, and neither the name alone nor the certificate.
    pub fn covers(&self, identity: &IdentityCertificate) -> bool {
        self.certificate.network() == identity.network() && self.certificate.fingerprint() == identity.fingerprint()
    }

    /// The name of the identity.
    pub fn cn(&self) -> Cn {
        self.certificate.cn()
    }

    /// The address of the identity.
    pub fn address(&self) -> Ipv6Addr {
        self.certificate.address()
    }

    /// The certificate of the identity; it may have expired.
    pub fn certificate(&self) -> &IdentityCertificate {
        &self.certificate
    }

    /// When the owner says that it was made, which nothing proves.
    pub fn issued(&self) -> SystemTime {
        self.issued
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The identity key's signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

fn message(certificate: &IdentityCertificate, issued: SystemTime, reason: Reason) -> Result<Vec<u8>, StatementError> {
    let issued = milliseconds(issued)?.to_be_bytes();
    Ok([CONTEXT, &certificate.network().0, &certificate.cn().0, &issued, &[reason.0]].concat())
}
