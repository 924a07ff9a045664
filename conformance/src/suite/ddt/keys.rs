// SPDX-License-Identifier: GPL-2.0-or-later
//! Keys of DDT nodes, made and used by `openssl`: what it signs, and says of signatures, has nothing in common with what is judged.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use wire::address::{Address, Lcaf};
use wire::control::{Referral, ReferralSignature, SignatureTime};

use crate::suite::probe::{Fault, broken, missing};

/// Of a signature with a key of 2,048 bits.
const SIGNATURE_OCTETS: usize = 256;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The trust anchor, two keys of one node, one more that it revokes in the course of the suite, and one that nobody names.
pub(super) const ROOT: &str = "root";
pub(super) const NODE: &str = "node";
pub(super) const NEWER: &str = "newer";
pub(super) const GONE: &str = "gone";
pub(super) const STRANGER: &str = "stranger";

/// When a signature holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Life {
    Now,
    Past,
    Future,
}

/// Files of keys.
pub(super) struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// Makes them.
    pub(super) fn make(folder: &Path) -> Result<Self, Fault> {
        let keys = Self { folder: folder.to_owned() };
        for name in [ROOT, NODE, NEWER, GONE, STRANGER] {
            keys.openssl(&format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {name}.pem"))?;
            keys.openssl(&format!("pkey -in {name}.pem -pubout -out {name}.pub.pem"))?;
            keys.openssl(&format!("pkey -in {name}.pem -pubout -outform DER -out {name}.der"))?;
        }
        Ok(keys)
    }

    /// The file of a private key.
    pub(super) fn private(&self, name: &str) -> String {
        self.folder.join(format!("{name}.pem")).display().to_string()
    }

    /// The file of a public key.
    pub(super) fn public(&self, name: &str) -> String {
        self.folder.join(format!("{name}.pub.pem")).display().to_string()
    }

    /// A SubjectPublicKeyInfo.
    pub(super) fn material(&self, name: &str) -> Result<Vec<u8>, Fault> {
        std::fs::read(self.folder.join(format!("{name}.der"))).map_err(missing)
    }

    /// A locator with keys (RFC 8060, section 4.7).
    pub(super) fn locator(&self, address: Address, names: &[&str], revoked: bool) -> Result<Address, Fault> {
        let keys = names.iter().map(|name| self.material(name)).collect::<Result<_, _>>()?;
        Ok(Lcaf::SecurityKey { algorithm: ReferralSignature::RSA_SHA256, revoked, keys, address }.into())
    }

    /// The record with one signature (RFC 8111, section 6.4.1).
    pub(super) fn sign(&self, name: &str, life: Life, referral: Referral) -> Result<Referral, Fault> {
        let now = SystemTime::now();
        let (inception, expiration) = match life {
            Life::Now => (now - DAY, now + DAY),
            Life::Past => (now - 2 * DAY, now - DAY),
            Life::Future => (now + DAY, now + 2 * DAY),
        };
        let blank = ReferralSignature {
            original_ttl: referral.ttl,
            expiration: SignatureTime::of(expiration),
            inception: SignatureTime::of(inception),
            key_tag: 1,
            algorithm: ReferralSignature::RSA_SHA256,
            octets: vec![0; SIGNATURE_OCTETS],
        };
        let mut signed = Referral { signatures: vec![blank], ..referral };
        // With zeros in the place of the signature it is what that covers.
        self.write("covered", &signed.encode().map_err(broken)?)?;
        self.openssl(&format!("dgst -sha256 -sign {name}.pem -out signature covered"))?;
        let octets = std::fs::read(self.folder.join("signature")).map_err(missing)?;
        signed.signatures.iter_mut().for_each(|signature| signature.octets.clone_from(&octets));
        Ok(signed)
    }

    /// Whether a signature of a record, which came as `octets`, was made with this key.
    pub(super) fn verifies(
        &self,
        name: &str,
        referral: &Referral,
        octets: &[u8],
        signature: &ReferralSignature,
    ) -> Result<bool, Fault> {
        self.write("covered", &referral.covered(octets, signature))?;
        self.write("signature", &signature.octets)?;
        let verify = format!("dgst -sha256 -verify {name}.pub.pem -signature signature covered");
        self.ask_openssl(&verify).map(|output| output.status.success())
    }

    fn write(&self, name: &str, octets: &[u8]) -> Result<(), Fault> {
        std::fs::write(self.folder.join(name), octets).map_err(missing)
    }

    fn openssl(&self, arguments: &str) -> Result<(), Fault> {
        let output = self.ask_openssl(arguments)?;
        let told = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(()) } else { Err(missing(format!("openssl {arguments}: {}", told()))) }
    }

    fn ask_openssl(&self, arguments: &str) -> Result<std::process::Output, Fault> {
        let absent = |error| missing(format!("there is no openssl to ask ({error}): install it"));
        Command::new("openssl").current_dir(&self.folder).args(arguments.split(' ')).output().map_err(absent)
    }
}
