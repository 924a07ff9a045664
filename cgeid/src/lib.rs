// SPDX-License-Identifier: GPL-2.0-or-later
//! Who may speak for an EID.
//!
//! An address of the mesh (a *CGEID*) is a 32-bit network prefix followed by the first 96 bits of the SHA-512 of a
//! public key. Whoever holds the private key owns the address; nobody hands addresses out, and a verifier needs no
//! authority but the hash. This crate makes those keys, derives the addresses, and checks every statement about them:
//!
//! * [`Cn`] and [`Network`]: the 96 bits, the 32 bits, and the address that they form;
//! * [`Identity`]: the long-lived key (RSA-4096 or Ed25519) with its self-signed certificate. It can stay on a stick;
//! * [`OperationalKey`]: the Ed25519 key that daemons hold, certified by the identity key for about a month, so a
//!   stolen machine loses an address for weeks at worst, not for ever;
//! * [`IdentityCertificate`], [`OperationalCertificate`]: the public halves, which exist only verified;
//! * [`container`]: PKCS#12 files that stock tools read;
//! * [`puzzle`]: the work that an operational key must show before its node is let into the hash table;
//! * [`Revocation`], [`LinkProof`]: what identity keys sign beside certificates;
//! * [`Pins`]: the full hash of every key met, so that a second key under one name is noticed.
//! * [`months`]: which of the operational keys that were signed ahead is to be used now;
//! * [`exchange`]: the public half as people hand it on: QR codes, NFC tags, vCards, DNS records.
//! * [`temporary`]: addresses for a day, with keys of their own, and when they change.
//!
//! The library does no I/O and reads no clock; keys are made from the system's randomness. Bytes given to the `verify`
//! functions may come from anybody: they are bounded by [`limits`], parsed as strict DER, and no input panics.
//! Web PKI plays no part: no trust store, no names, no revocation lists.

mod armour;
pub mod certificate;
pub mod cn;
pub mod container;
pub mod epoch;
pub mod error;
pub mod exchange;
pub mod identity;
pub mod key;
pub mod limits;
pub mod months;
pub mod operational;
pub mod pins;
pub mod puzzle;
#[cfg(feature = "shell")]
pub mod shell;
pub mod statement;
pub mod temporary;

pub use certificate::{IdentityCertificate, OperationalCertificate};
pub use cn::{Cn, Network};
pub use error::{
    CertificateError, CnError, ContainerError, ExchangeError, KeyError, NetworkError, PuzzleError, SignatureError,
    StatementError,
};
pub use identity::{Identity, KeyAlgorithm};
pub use key::{PublicKey, SignatureAlgorithm};
pub use operational::OperationalKey;
pub use pins::Pins;
pub use puzzle::PuzzleBits;
pub use statement::{LinkProof, Reason, Revocation};
