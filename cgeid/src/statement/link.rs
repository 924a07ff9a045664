// SPDX-License-Identifier: GPL-2.0-or-later
//! The word of two identity keys that one owner holds both: who uses a temporary address says to one reader, and on
//! demand, who it is. Nothing publishes it.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------------------------------------------------------+
//! |                        magic "CGEL"                           |
//! +---------------+---------------+-------------------------------+
//! |  version (1)  | audience len. | length of static certificate  |
//! +---------------+---------------+-------------------------------+
//! | length of temporary certific. |                               |
//! +-------------------------------+                               +
//! |        issue time in milliseconds since 1970, 8 octets        |
//! +                               +-------------------------------+
//! |                               |  audience, UTF-8 ...          |
//! +-------------------------------+-------------------------------+
//! |  static certificate, DER ...  |  temporary certificate ...    |
//! +-------------------------------+-------------------------------+
//! |  signature of the static key  |  of the temporary key ...     |
//! +-------------------------------+-------------------------------+
//! ```
//! Both sign the context, the network's 4 octets, the static CN, the temporary CN, the issue time, and the audience.

use std::time::SystemTime;

use super::reader::{Reader, VERSION};
use super::{length, milliseconds, time};
use crate::armour;
use crate::certificate::IdentityCertificate;
use crate::cn::Network;
use crate::error::{Signer, StatementError};
use crate::identity::Identity;
use crate::limits::{CLOCK_SKEW, MAX_AUDIENCE};

const CONTEXT: &[u8] = b"IPv6MESH-link-v1\0";

/// A link proof that holds. The certificates need not be of different kinds: what is proved is one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkProof {
    parties: [IdentityCertificate; 2],
    issued: SystemTime,
    audience: String,
    signatures: [Vec<u8>; 2],
}

impl LinkProof {
    /// What the encoding begins with.
    pub const MAGIC: [u8; 4] = *b"CGEL";
    /// The label of its PEM armour.
    pub const LABEL: &'static str = "CGEID LINK PROOF";

    /// Has both identities sign. The audience names the reader, or is a challenge of it, so that the proof says nothing
    /// to the next reader; empty, it convinces anybody who sees it.
    ///
    /// # Errors
    /// [`StatementError::SameIdentity`], [`StatementError::OtherNetwork`], [`StatementError::Audience`];
    /// [`StatementError::Key`] if a key cannot sign.
    pub fn issue(
        of_static: &Identity,
        of_temporary: &Identity,
        audience: &str,
        now: SystemTime,
    ) -> Result<LinkProof, StatementError> {
        let parties = [of_static.certificate().clone(), of_temporary.certificate().clone()];
        let issued = time(milliseconds(now)?)?;
        check(&parties, audience)?;
        let message = message(&parties, issued, audience)?;
        let signatures = [of_static.sign(&message)?, of_temporary.sign(&message)?];
        Ok(LinkProof { parties, issued, audience: audience.to_owned(), signatures })
    }

    /// Verifies a proof, from wherever it came, for the reader that `audience` names; empty for a proof made for
    /// anybody. The certificates must have been valid when it was made, and may have expired since; how old a proof may
    /// be is for the reader to judge.
    ///
    /// # Errors
    /// [`StatementError`] names the first rule that is broken, and whose certificate or signature breaks it.
    pub fn verify(
        bytes: &[u8],
        network: Network,
        audience: &str,
        now: SystemTime,
    ) -> Result<LinkProof, StatementError> {
        let mut reader = Reader::new(bytes, LinkProof::MAGIC)?;
        let audience_length = reader.u8("length of the audience")?;
        let lengths = [reader.u16("length of a certificate")?, reader.u16("length of a certificate")?];
        let issued = reader.time("issue time")?;
        let text = std::str::from_utf8(reader.take("audience", audience_length.into())?);
        let text = text.map_err(|_| StatementError::Audience)?;
        let [of_static, of_temporary] =
            [reader.take("certificate", lengths[0].into())?, reader.take("certificate", lengths[1].into())?];
        let parties = [
            party(of_static, Signer::Static, network, issued)?,
            party(of_temporary, Signer::Temporary, network, issued)?,
        ];
        let signatures = [reader.signature(&parties[0])?.to_vec(), reader.signature(&parties[1])?.to_vec()];
        reader.finish()?;
        check(&parties, text)?;
        if text != audience {
            return Err(StatementError::OtherAudience { found: text.to_owned(), expected: audience.to_owned() });
        }
        if now.checked_add(CLOCK_SKEW).is_some_and(|latest| issued > latest) {
            return Err(StatementError::FromTheFuture { issued });
        }
        let proof = LinkProof { parties, issued, audience: text.to_owned(), signatures };
        proof.check_signatures()?;
        Ok(proof)
    }

    /// [`LinkProof::verify`] of the one block in PEM armour that `text` holds; text around it is passed over.
    ///
    /// # Errors
    /// As there, and [`StatementError::Armour`].
    pub fn from_pem(
        text: &str,
        network: Network,
        audience: &str,
        now: SystemTime,
    ) -> Result<LinkProof, StatementError> {
        LinkProof::verify(&armour::decode(text, LinkProof::LABEL)?, network, audience, now)
    }

    /// The proof's octets.
    pub fn encode(&self) -> Vec<u8> {
        let audience = u8::try_from(self.audience.len()).expect("MAX_AUDIENCE is what an octet can say");
        let issued = milliseconds(self.issued).expect("it came out of milliseconds");
        let [of_static, of_temporary] = &self.parties;
        [
            &LinkProof::MAGIC[..],
            &[VERSION, audience],
            &length(of_static),
            &length(of_temporary),
            &issued.to_be_bytes(),
            self.audience.as_bytes(),
            of_static.der(),
            of_temporary.der(),
            &self.signatures[0],
            &self.signatures[1],
        ]
        .concat()
    }

    /// The proof in PEM armour.
    ///
    /// # Errors
    /// [`StatementError::Armour`] if the library refuses.
    pub fn to_pem(&self) -> Result<String, StatementError> {
        Ok(armour::encode(LinkProof::LABEL, &self.encode())?)
    }

    /// The certificate of the static identity.
    pub fn of_static(&self) -> &IdentityCertificate {
        &self.parties[0]
    }

    /// The certificate of the temporary identity.
    pub fn of_temporary(&self) -> &IdentityCertificate {
        &self.parties[1]
    }

    /// When the owner says that it was made; a challenge as audience proves that it was made later than that.
    pub fn issued(&self) -> SystemTime {
        self.issued
    }

    /// For whom it was made; empty if for anybody.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    fn check_signatures(&self) -> Result<(), StatementError> {
        let message = message(&self.parties, self.issued, &self.audience)?;
        let signers = [Signer::Static, Signer::Temporary];
        for ((party, signature), signer) in self.parties.iter().zip(&self.signatures).zip(signers) {
            party
                .verify_signature(party.algorithm(), &message, signature)
                .map_err(|_| StatementError::Signature { signer })?;
        }
        Ok(())
    }
}

fn party(
    der: &[u8],
    signer: Signer,
    network: Network,
    issued: SystemTime,
) -> Result<IdentityCertificate, StatementError> {
    IdentityCertificate::verify(der, network, issued).map_err(|reason| StatementError::Certificate { signer, reason })
}

/// What must hold of a proof beside its signatures.
fn check([of_static, of_temporary]: &[IdentityCertificate; 2], audience: &str) -> Result<(), StatementError> {
    if of_static.network() != of_temporary.network() {
        return Err(StatementError::OtherNetwork { first: of_static.network(), second: of_temporary.network() });
    }
    if of_static.cn() == of_temporary.cn() {
        return Err(StatementError::SameIdentity { cn: of_static.cn() });
    }
    // It is shown on terminals, which obey control characters.
    if audience.len() > MAX_AUDIENCE || audience.chars().any(char::is_control) {
        return Err(StatementError::Audience);
    }
    Ok(())
}

fn message(
    [of_static, of_temporary]: &[IdentityCertificate; 2],
    issued: SystemTime,
    audience: &str,
) -> Result<Vec<u8>, StatementError> {
    let issued = milliseconds(issued)?.to_be_bytes();
    let names = [of_static.cn().0, of_temporary.cn().0].concat();
    Ok([CONTEXT, &of_static.network().0, &names, &issued, audience.as_bytes()].concat())
}
