// SPDX-License-Identifier: GPL-2.0-or-later
//! Keys of other tools: `openssl` and `keytool` as witnesses, and files that neither would write.

use std::path::Path;
use std::time::SystemTime;

use cgeid::container::{self, Accept, Content, Imported, KeyFile, Origin};
use cgeid::exchange::{self, Item};
use cgeid::{ContainerError, ExchangeError, Identity, KeyError, Network};
use pkcs5::pbes2;

use crate::common::{ED25519, hex, now, output, present, run, tlv};
use crate::openssl::{identities, openssl, workshop};

const PASSWORD: &str = "witness";

fn import(bytes: &[u8], accept: Accept) -> Result<Imported, ContainerError> {
    container::import(bytes, PASSWORD, accept, Network::LAB, SystemTime::now())
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

/// A file of ours that openssl takes apart again: what it asks for is of no account.
fn quick(ours: &Identity) -> Vec<u8> {
    container::save_identity_under(container::Password::Random, ours, PASSWORD).unwrap()
}

/// The identity of an import, and where its certificate is from.
fn identity(imported: Result<Imported, ContainerError>) -> (Identity, Origin) {
    let Imported { content, origin } = imported.unwrap();
    match content {
        Content::Identity(identity) => (identity, origin),
        Content::Operational(key) => panic!("operational: {key:?}"),
    }
}

fn key_of(bytes: &[u8]) -> Result<KeyFile, ExchangeError> {
    match exchange::recognise(bytes)? {
        Item::Key(key) => Ok(key),
        other => panic!("{other:?}"),
    }
}

fn open(key: &KeyFile, password: &str) -> Result<Imported, ContainerError> {
    key.open(password, Network::LAB, SystemTime::now())
}

#[test]
fn a_certificate_of_the_profile_is_kept_and_another_replaced() {
    let Some(folder) = workshop() else { return };
    let folder = folder.path();
    for ours in identities() {
        std::fs::write(folder.join("id.p12"), quick(&ours)).unwrap();
        openssl(folder, "pkcs12 -in id.p12 -passin pass:witness -nodes -out both.pem");
        openssl(folder, "pkcs12 -in id.p12 -passin pass:witness -nodes -nocerts -out key.pem");
        openssl(folder, "req -x509 -key key.pem -subj /CN=somebody/O=firm -days 3 -out foreign.pem");

        openssl(folder, "pkcs12 -export -in both.pem -out kept.p12 -passout pass:witness");
        let (kept, origin) = identity(import(&read(folder, "kept.p12"), Accept::Modern));
        assert_eq!((kept.certificate(), origin), (ours.certificate(), Origin::Kept));

        openssl(folder, "pkcs12 -export -inkey key.pem -in foreign.pem -out foreign.p12 -passout pass:witness");
        let (issued, origin) = identity(import(&read(folder, "foreign.p12"), Accept::Modern));
        assert_eq!((issued.cn(), origin), (ours.cn(), Origin::Foreign));

        openssl(folder, "pkcs12 -export -nocerts -inkey key.pem -out bare.p12 -passout pass:witness");
        let (issued, origin) = identity(import(&read(folder, "bare.p12"), Accept::Modern));
        assert_eq!((issued.cn(), origin), (ours.cn(), Origin::Bare));

        // A certificate of the profile that does not verify is not quietly replaced.
        let elsewhere = Network([0x20, 1, 0xd, 0xb8]);
        let bytes = read(folder, "kept.p12");
        let error = container::import(&bytes, PASSWORD, Accept::Modern, elsewhere, SystemTime::now()).unwrap_err();
        assert!(error.to_string().contains("another network prefix"), "{error}");
    }
}

#[test]
fn old_protection_is_read_only_when_asked_for() {
    let Some(folder) = workshop() else { return };
    let folder = folder.path();
    for ours in identities() {
        std::fs::write(folder.join("id.p12"), quick(&ours)).unwrap();
        openssl(folder, "pkcs12 -in id.p12 -passin pass:witness -nodes -out id.pem");
        for (options, told) in [
            ("-legacy", "SHA-1 MAC"),
            ("-legacy -macalg sha256", "3DES|RC2"),
            ("-keypbe PBE-SHA1-3DES", "3DES"),
            ("-certpbe PBE-SHA1-3DES", "3DES"),
            ("-macalg sha1", "SHA-1 MAC"),
        ] {
            openssl(folder, &format!("pkcs12 -export {options} -in id.pem -out old.p12 -passout pass:witness"));
            let bytes = read(folder, "old.p12");
            let ContainerError::Legacy { what } = import(&bytes, Accept::Modern).unwrap_err() else {
                panic!("{options}")
            };
            assert!(told.split('|').any(|told| what.contains(told)), "{options}: {what}");
            let error = container::load(&bytes, PASSWORD, Network::LAB, SystemTime::now()).unwrap_err();
            assert!(error.to_string().contains("--legacy"), "{error}");
            let (read, origin) = identity(import(&bytes, Accept::Legacy));
            assert_eq!((read.certificate(), origin), (ours.certificate(), Origin::Kept));
        }
        // Asked for or not: what is not bounded, or was never sound, stays out.
        for options in ["-keypbe NONE", "-nomac", "-keypbe PBE-SHA1-RC2-128 -legacy", "-keypbe DES-EDE3-CBC"] {
            openssl(folder, &format!("pkcs12 -export {options} -in id.pem -out bad.p12 -passout pass:witness"));
            let error = import(&read(folder, "bad.p12"), Accept::Legacy).unwrap_err();
            assert!(matches!(error, ContainerError::Encryption { .. } | ContainerError::NoMac), "{options}: {error}");
        }
        openssl(folder, "pkcs12 -export -legacy -iter 2000000 -in id.pem -out slow.p12 -passout pass:witness");
        let error = import(&read(folder, "slow.p12"), Accept::Legacy).unwrap_err();
        assert_eq!(error, ContainerError::Rounds { rounds: 2_000_000 });
    }
}

#[test]
fn a_private_key_alone_is_read_in_every_form_of_openssl() {
    let Some(folder) = workshop() else { return };
    let folder = folder.path();
    for ours in identities() {
        std::fs::write(folder.join("id.p12"), quick(&ours)).unwrap();
        openssl(folder, "pkcs12 -in id.p12 -passin pass:witness -nodes -nocerts -out key.pem");
        openssl(folder, "pkcs12 -in id.p12 -passin pass:witness -nodes -out both.pem");
        let mut made = vec!["key.pem"];
        for (name, command) in [
            ("p8.pem", "pkcs8 -topk8 -nocrypt -in key.pem"),
            ("p8.der", "pkcs8 -topk8 -nocrypt -in key.pem -outform DER"),
            ("e.pem", "pkcs8 -topk8 -v2 aes-256-cbc -in key.pem -passout pass:witness"),
            ("e.der", "pkcs8 -topk8 -v2 aes-128-cbc -in key.pem -passout pass:witness -outform DER"),
            ("p1.pem", "rsa -traditional -in key.pem"),
            ("p1.der", "rsa -traditional -in key.pem -outform DER"),
        ] {
            if ours.algorithm().to_string() == "ed25519" && name.starts_with("p1") {
                continue;
            }
            openssl(folder, &format!("{command} -out {name}"));
            made.push(name);
        }
        for name in made {
            let key = key_of(&read(folder, name)).unwrap();
            key.check_form().unwrap();
            assert_eq!(key.needs_password(), name.starts_with('e'), "{name}");
            let (read, origin) = identity(open(&key, PASSWORD));
            assert_eq!((read.cn(), origin), (ours.cn(), Origin::Bare), "{name}");
            if key.needs_password() {
                assert_eq!(open(&key, "wrong").unwrap_err(), ContainerError::Password);
            }
            assert!(format!("{key:?}").contains("secret"));
        }
        let (kept, origin) = identity(open(&key_of(&read(folder, "both.pem")).unwrap(), PASSWORD));
        assert_eq!((kept.certificate(), origin), (ours.certificate(), Origin::Kept));

        let twice = [read(folder, "key.pem"), read(folder, "key.pem")].concat();
        assert!(key_of(&twice).unwrap_err().to_string().contains("several private keys"));
        openssl(folder, "req -x509 -newkey ed25519 -nodes -keyout other.key -subj /CN=other -out other.pem");
        let mixed = [read(folder, "key.pem"), read(folder, "other.pem")].concat();
        assert_eq!(open(&key_of(&mixed).unwrap(), "").unwrap_err(), ContainerError::KeyMismatch);

        openssl(folder, "pkcs8 -topk8 -scrypt -in key.pem -passout pass:witness -out bad.pem");
        let key = key_of(&read(folder, "bad.pem")).unwrap();
        assert_eq!(key.check_form().unwrap_err(), ContainerError::Encryption { detail: "scrypt".to_owned() });
        openssl(folder, "pkcs8 -topk8 -iter 3000000 -in key.pem -passout pass:witness -out bad.pem");
        let key = key_of(&read(folder, "bad.pem")).unwrap();
        assert_eq!(open(&key, PASSWORD).unwrap_err(), ContainerError::Rounds { rounds: 3_000_000 });
    }
}

#[test]
fn keys_outside_the_profile_are_refused_by_name() {
    let Some(folder) = workshop() else { return };
    let folder = folder.path();
    openssl(folder, "genrsa -traditional -out short.pem 2048");
    let error = open(&key_of(&read(folder, "short.pem")).unwrap(), "").unwrap_err();
    assert_eq!(error, ContainerError::Key(KeyError::Bits { found: 2048 }));
    openssl(folder, "rsa -traditional -aes128 -in short.pem -passout pass:witness -out old.pem");
    assert!(key_of(&read(folder, "old.pem")).unwrap_err().to_string().contains("old way of OpenSSL"));
    openssl(folder, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem");
    let error = open(&key_of(&read(folder, "ec.pem")).unwrap(), "").unwrap_err();
    assert!(matches!(error, ContainerError::Key(KeyError::Algorithm { .. })), "{error}");
}

fn keytool(folder: &Path, arguments: &str) -> String {
    String::from_utf8(output(folder, "keytool", &format!("-J-Xshare:auto {arguments}"))).unwrap()
}

#[test]
fn keytool_reads_ours_and_we_read_what_it_writes() {
    if !present(&["keytool -help"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [rsa, ed25519] = identities();
    let operational = ed25519.delegate(SystemTime::now(), 0).unwrap();
    // What ours ask for as a rule keytool does once: it takes seconds.
    let files = [
        ("rsa", Ok(quick(&rsa)), rsa.certificate(), 1),
        ("ed25519", Ok(quick(&ed25519)), ed25519.certificate(), 1),
        ("op", container::save_operational(&operational, PASSWORD), ed25519.certificate(), 2),
    ];
    for (name, bytes, certificate, chain) in files {
        std::fs::write(folder.join(name), bytes.unwrap()).unwrap();
        let options = "-srcstorepass witness -deststorepass another -deststoretype PKCS12 -noprompt";
        keytool(folder, &format!("-importkeystore -srckeystore {name} -destkeystore {name}.copy {options}"));
        let listed = keytool(folder, &format!("-list -v -keystore {name}.copy -storepass another"));
        assert!(listed.contains("PrivateKeyEntry"), "{listed}");
        assert!(listed.contains(&format!("Certificate chain length: {chain}")), "{listed}");
        assert!(listed.contains(&format!("Owner: CN={}", certificate.cn())), "{listed}");
        let (bytes, now) = (read(folder, &format!("{name}.copy")), SystemTime::now());
        let read = container::import(&bytes, "another", Accept::Modern, Network::LAB, now).unwrap();
        assert_eq!(read.origin, Origin::Kept);
        match read.content {
            Content::Identity(read) => assert_eq!((read.certificate(), chain), (certificate, 1)),
            Content::Operational(read) => assert_eq!((read.certificate(), chain), (operational.certificate(), 2)),
        }
    }
    let listed = keytool(folder, "-list -v -keystore rsa -storepass witness");
    assert!(listed.contains("4096-bit RSA key"), "{listed}");
    assert!(!run(folder, "keytool", "-list -keystore op -storepass mistaken").status.success());
}

#[test]
fn keys_of_keytool_become_identities() {
    if !present(&["keytool -help"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let make = "-genkeypair -dname CN=x -storetype PKCS12 -storepass witness -validity 9 -keyalg Ed25519";
    keytool(folder, &format!("{make} -alias one -keystore new.p12"));
    let (_, origin) = identity(import(&read(folder, "new.p12"), Accept::Modern));
    assert_eq!(origin, Origin::Foreign);
    keytool(folder, &format!("{make} -alias two -keystore new.p12"));
    let error = import(&read(folder, "new.p12"), Accept::Modern).unwrap_err();
    assert_eq!(error, ContainerError::Keys { found: 2 });
    keytool(folder, &format!("-J-Dkeystore.pkcs12.legacy {make} -alias old -keystore old.p12"));
    let bytes = read(folder, "old.p12");
    assert!(matches!(import(&bytes, Accept::Modern), Err(ContainerError::Legacy { .. })));
    assert_eq!(identity(import(&bytes, Accept::Legacy)).1, Origin::Foreign);
}

/// Encrypts under AES-256 in three rounds: the AlgorithmIdentifier, and the octets.
fn encrypted(plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(3, &[1; 16], [2; 16]).unwrap();
    let algorithm = [hex("06092a864886f70d01050d"), der::Encode::to_der(&parameters).unwrap()].concat();
    (tlv(0x30, &algorithm), parameters.encrypt(PASSWORD, plain).unwrap())
}

/// SHA-256 and the word for no parameters.
const SHA256: &str = "06096086480165030402010500";

/// A PKCS#12 file of one part, with a MAC of one round (RFC 7292 B.2).
fn pfx(part: &[u8]) -> Vec<u8> {
    pfx_with_hash(part, SHA256)
}

fn pfx_with_hash(part: &[u8], algorithm: &str) -> Vec<u8> {
    let safe = tlv(0x30, part);
    let salt = [7; 8];
    let password: Vec<u8> = PASSWORD.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
    let filled = |octets: &[u8]| octets.iter().copied().cycle().take(64).collect::<Vec<_>>();
    let input = [vec![3; 64], filled(&salt), filled(&password)].concat();
    let key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &input);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.as_ref());
    let mac = aws_lc_rs::hmac::sign(&key, &safe);
    let digest = tlv(0x30, &[tlv(0x30, &hex(algorithm)), tlv(0x04, mac.as_ref())].concat());
    let content = [hex("06092a864886f70d010701"), tlv(0xa0, &tlv(0x04, &safe))].concat();
    tlv(0x30, &[hex("020103"), tlv(0x30, &content), tlv(0x30, &[digest, tlv(0x04, &salt)].concat())].concat())
}

/// A key in the open part of a file, encrypted by itself; and the bag that it lies in.
fn key_in_the_open() -> (Vec<u8>, Vec<u8>) {
    let pkcs8 = [hex("302e020100300506032b657004220420"), vec![7; 32]].concat();
    let (algorithm, octets) = encrypted(&pkcs8);
    let shrouded = tlv(0x30, &[algorithm, tlv(0x04, &octets)].concat());
    let bag = tlv(0x30, &[hex("060b2a864886f70d010c0a0102"), tlv(0xa0, &shrouded)].concat());
    let open = [hex("06092a864886f70d010701"), tlv(0xa0, &tlv(0x04, &tlv(0x30, &bag)))].concat();
    (tlv(0x30, &open), bag)
}

#[test]
fn the_hash_of_a_mac_has_no_parameters() {
    let (part, _) = key_in_the_open();
    let import = |algorithm: &str| {
        let file = pfx_with_hash(&part, algorithm);
        container::import(&file, PASSWORD, Accept::Modern, Network::LAB, now())
    };
    let bare = SHA256.strip_suffix("0500").unwrap();
    for none in [SHA256, bare] {
        assert_eq!(identity(import(none)).0.cn(), ED25519.cn());
    }
    for other in ["0401ff", "3000", "0501ff", "05000500", "020100"] {
        let error = import(&[bare, other].concat()).unwrap_err();
        assert!(matches!(error, ContainerError::Malformed { .. }), "{other}: {error}");
    }
}

#[test]
fn a_key_whose_own_protection_does_not_show_is_read_only_when_asked_for() {
    let (open, bag) = key_in_the_open();
    let import = |bytes: &[u8], accept| container::import(bytes, PASSWORD, accept, Network::LAB, now());
    // In the open, as every tool puts it: its protection is judged before it is used.
    let (read, origin) = identity(import(&pfx(&open), Accept::Modern));
    assert_eq!((read.cn(), origin), (ED25519.cn(), Origin::Bare));

    let (algorithm, octets) = encrypted(&tlv(0x30, &bag));
    let info = tlv(0x30, &[hex("06092a864886f70d010701"), algorithm, tlv(0x80, &octets)].concat());
    let data = tlv(0x30, &[hex("020100"), info].concat());
    let nested = pfx(&tlv(0x30, &[hex("06092a864886f70d010706"), tlv(0xa0, &data)].concat()));
    assert_eq!(import(&nested, Accept::Modern).unwrap_err(), ContainerError::HiddenKey);
    assert_eq!(identity(import(&nested, Accept::Legacy)).0.cn(), ED25519.cn());
    // Integrity comes first: with another octet inside, nothing is told but that.
    let mut changed = nested.clone();
    let last = nested.len() - 80;
    changed[last] ^= 1;
    assert_eq!(import(&changed, Accept::Legacy).unwrap_err(), ContainerError::Password);
}
