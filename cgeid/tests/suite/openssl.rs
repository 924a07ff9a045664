// SPDX-License-Identifier: GPL-2.0-or-later
//! `openssl` as a witness: it derives the same names, verifies our chains, and reads and writes the same files.

use std::path::Path;
use std::time::SystemTime;

use cgeid::container::{self, Content, Password};
use cgeid::{ContainerError, Identity, KeyError, Network};
use tempfile::TempDir;

use crate::common::{RSA_KEY, output, present, run};

const PASSWORD: &str = "witness";

/// A folder to work in, or nothing where there is no openssl; CI must have one.
pub(crate) fn workshop() -> Option<TempDir> {
    present(&["openssl version"]).then(|| tempfile::tempdir().unwrap())
}

pub(crate) fn openssl(folder: &Path, arguments: &str) -> Vec<u8> {
    output(folder, "openssl", arguments)
}

/// One identity of each kind, valid today, for openssl asks the machine's clock.
pub(crate) fn identities() -> [Identity; 2] {
    let now = SystemTime::now();
    [
        Identity::from_pkcs8(RSA_KEY, Network::LAB, now).unwrap(),
        Identity::from_seed(&[9; 32], Network::LAB, now).unwrap(),
    ]
}

#[test]
fn openssl_derives_the_same_name() {
    let Some(folder) = workshop() else { return };
    let folder = folder.path();
    for identity in identities() {
        std::fs::write(
            folder.join("id.p12"),
            container::save_identity_under(Password::Random, &identity, PASSWORD).unwrap(),
        )
        .unwrap();
        openssl(folder, "pkcs12 -in id.p12 -passin pass:witness -nodes -nocerts -out k.pem");
        openssl(folder, "pkey -in k.pem -pubout -outform DER -out spki.der");
        let digest = openssl(folder, "dgst -sha512 -binary spki.der");
        assert_eq!(digest[..12], identity.cn().0);
        assert_eq!(digest[..], identity.certificate().fingerprint()[..]);
    }
}

#[test]
fn openssl_verifies_the_chain() {
    let Some(folder) = workshop() else { return };
    let folder = folder.path();
    for (identity, stranger) in identities().iter().zip(identities().iter().rev()) {
        let key = identity.delegate(SystemTime::now(), 0).unwrap();
        for (name, der) in [
            ("id", identity.certificate().der()),
            ("other", stranger.certificate().der()),
            ("op", key.certificate_der()),
        ] {
            std::fs::write(folder.join(format!("{name}.der")), der).unwrap();
            openssl(folder, &format!("x509 -inform DER -in {name}.der -out {name}.pem"));
        }
        openssl(folder, "verify -CAfile id.pem op.pem");
        openssl(folder, "verify -x509_strict -check_ss_sig -CAfile id.pem id.pem");
        assert!(!run(folder, "openssl", "verify -CAfile other.pem op.pem").status.success());
        let text = String::from_utf8(openssl(folder, "x509 -in op.pem -noout -text")).unwrap();
        assert!(text.contains(cgeid::certificate::OPERATIONAL_USAGE_OID), "{text}");
        assert!(text.contains(cgeid::certificate::EPOCH_OID), "{text}");
    }
}

#[test]
fn openssl_reads_our_operational_files() {
    let Some(folder) = workshop() else { return };
    let folder = folder.path();
    let [_, identity] = identities();
    let key = identity.delegate(SystemTime::now(), 0).unwrap();
    std::fs::write(folder.join("op.p12"), container::save_operational(&key, PASSWORD).unwrap()).unwrap();
    openssl(folder, "pkcs12 -in op.p12 -passin pass:witness -clcerts -nokeys -out op.pem");
    openssl(folder, "pkcs12 -in op.p12 -passin pass:witness -cacerts -nokeys -out id.pem");
    openssl(folder, "verify -CAfile id.pem op.pem");
    assert_eq!(openssl(folder, "x509 -in op.pem -outform DER"), key.certificate_der());
    assert_eq!(openssl(folder, "x509 -in id.pem -outform DER"), key.identity_certificate_der());
    assert!(!run(folder, "openssl", "pkcs12 -in op.p12 -passin pass:wrong -nokeys").status.success());
}

#[test]
fn we_read_files_of_openssl() {
    let Some(folder) = workshop() else { return };
    let folder = folder.path();
    for identity in identities() {
        let key = identity.delegate(SystemTime::now(), 0).unwrap();
        std::fs::write(
            folder.join("ours.id.p12"),
            container::save_identity_under(Password::Random, &identity, PASSWORD).unwrap(),
        )
        .unwrap();
        std::fs::write(
            folder.join("ours.op.p12"),
            container::save_operational_under(Password::Random, &key, PASSWORD).unwrap(),
        )
        .unwrap();
        for kind in ["id", "op"] {
            openssl(folder, &format!("pkcs12 -in ours.{kind}.p12 -passin pass:witness -nodes -out {kind}.pem"));
            openssl(folder, &format!("pkcs12 -export -in {kind}.pem -out {kind}.p12 -passout pass:witness"));
        }
        let load = |name: &str| {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            container::load(&bytes, PASSWORD, Network::LAB, SystemTime::now())
        };
        assert!(matches!(load("id.p12"), Ok(Content::Identity(read)) if read.cn() == identity.cn()));
        assert!(matches!(load("op.p12"), Ok(Content::Operational(read)) if read.certificate() == key.certificate()));

        openssl(folder, "pkcs12 -export -nomac -in id.pem -out nomac.p12 -passout pass:witness");
        assert_eq!(load("nomac.p12").unwrap_err(), ContainerError::NoMac);
        let old = "pkcs12 -export -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -in id.pem -out old.p12";
        openssl(folder, &format!("{old} -passout pass:witness"));
        assert!(matches!(load("old.p12").unwrap_err(), ContainerError::Legacy { .. }));
        for keys in ["DES-EDE3-CBC", "NONE"] {
            openssl(folder, &format!("pkcs12 -export -keypbe {keys} -in id.pem -out bad.p12 -passout pass:witness"));
            assert!(matches!(load("bad.p12").unwrap_err(), ContainerError::Encryption { .. }), "{keys}");
        }
    }
}

#[test]
fn weak_keys_of_openssl_are_refused() {
    let Some(folder) = workshop() else { return };
    let folder = folder.path();
    let refusal = |options: &str| {
        openssl(folder, &format!("genpkey -quiet -algorithm RSA {options} -outform DER -out weak.der"));
        openssl(folder, "pkcs8 -topk8 -nocrypt -inform DER -in weak.der -outform DER -out weak.pk8");
        let key = std::fs::read(folder.join("weak.pk8")).unwrap();
        Identity::from_pkcs8(&key, Network::LAB, SystemTime::now()).unwrap_err()
    };
    assert_eq!(refusal("-pkeyopt rsa_keygen_bits:2048"), KeyError::Bits { found: 2048 }.into());
    let small_exponent = refusal("-pkeyopt rsa_keygen_bits:4096 -pkeyopt rsa_keygen_pubexp:3");
    assert_eq!(small_exponent, KeyError::Exponent.into());
    // Programs print the chain of causes: each of them says something of its own.
    assert!(std::error::Error::source(&small_exponent).is_none());
}
