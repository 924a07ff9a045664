// SPDX-License-Identifier: GPL-2.0-or-later
//! PKCS#12 files: what the program writes, and what it refuses to read. `openssl` makes the bad ones.

use cgeid::Identity;
use cgeid::container;

use super::workshop::{PASSWORD, Workshop};
use super::{Fault, Judgement, Probe};
use crate::vectors::from_hex;

pub(super) const PROBES: &[Probe] = &[
    Probe { id: "ID-012.1", about: "an identity's file as written", judge: as_written },
    Probe { id: "ID-012.2", about: "a wrong password", judge: wrong_password },
    Probe { id: "ID-012.3", about: "one octet changed: the MAC is checked before anything is opened", judge: changed },
    Probe { id: "ID-012.4", about: "no MAC", judge: |shop| exported(shop, "-nomac", &["MAC"]) },
    Probe {
        id: "ID-012.5",
        about: "PBES1 with 3DES",
        judge: |shop| exported(shop, "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES", &["too weak"]),
    },
    Probe {
        id: "ID-012.6",
        about: "the key in the clear",
        judge: |shop| exported(shop, "-keypbe NONE", &["in the clear"]),
    },
    Probe { id: "ID-012.7", about: "a key without its certificate", judge: no_certificate },
    Probe { id: "ID-012.8", about: "a certificate that names somebody else", judge: other_name },
    Probe {
        id: "ID-012.9",
        about: "eight million rounds, of the MAC and of a bag: told at once",
        judge: absurd_rounds,
    },
    Probe {
        id: "ID-013.1",
        about: "a new file asks for PBKDF2 with 600,000 rounds and AES-256-CBC, twice",
        judge: work,
    },
    Probe { id: "ID-013.2", about: "openssl says the same of a new file", judge: openssl_tells },
    Probe { id: "ID-013.3", about: "openssl opens a new file", judge: openssl_opens },
];

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::Broken(error.to_string())
}

fn saved(identity: &Identity) -> Result<Vec<u8>, Fault> {
    container::save_identity(identity, PASSWORD).map_err(broken)
}

/// A new identity that the program made: its file.
fn made(shop: &Workshop) -> Result<Vec<u8>, Fault> {
    if let Some(other) = shop.other() {
        let container = shop.made_by(other)?.container;
        let bytes = shop.get(&container.ok_or_else(|| broken("it made no container"))?)?;
        shop.put("made.p12", &bytes)?;
        return Ok(bytes);
    }
    let shown = shop.ask(&["new", "--algorithm", "ed25519", "--out", "made", "--json"])?;
    let value: serde_json::Value = serde_json::from_str(&shown.text).map_err(broken)?;
    let file = value["files"][0].as_str().ok_or_else(|| broken("`cgeid new --json` names no file"))?;
    let bytes = std::fs::read(shop.folder().join(file)).map_err(broken)?;
    std::fs::write(shop.folder().join("made.p12"), &bytes).map_err(broken)?;
    Ok(bytes)
}

fn as_written(shop: &Workshop) -> Judgement {
    shop.container("id.p12", &saved(&shop.ed25519)?)?.names(shop.ed25519.cn())
}

fn wrong_password(shop: &Workshop) -> Judgement {
    std::fs::write(shop.folder().join("wrong"), "a guess\n").map_err(broken)?;
    shop.put("id.p12", &saved(&shop.ed25519)?)?;
    shop.opened("id.p12", Some("wrong"))?.refuses(&["wrong password"])
}

fn changed(shop: &Workshop) -> Judgement {
    let mut file = saved(&shop.ed25519)?;
    let middle = file.len() / 2;
    file[middle] ^= 1;
    shop.container("changed.p12", &file)?.refuses(&["wrong password"])
}

/// The Ed25519 identity as openssl writes it with some options.
fn exported(shop: &Workshop, options: &str, words: &[&str]) -> Judgement {
    unlock(shop, &shop.ed25519, "id")?;
    shop.openssl(&format!("pkcs12 -export {options} -in id.pem -out exported.p12 -passout pass:{PASSWORD}"))?;
    shop.opened("exported.p12", None)?.refuses(words)
}

/// Key and certificate of an identity as a PEM file.
fn unlock(shop: &Workshop, identity: &Identity, name: &str) -> Result<(), Fault> {
    std::fs::write(shop.folder().join(format!("{name}.p12")), saved(identity)?).map_err(broken)?;
    shop.openssl(&format!("pkcs12 -in {name}.p12 -passin pass:{PASSWORD} -nodes -out {name}.pem")).map(drop)
}

fn no_certificate(shop: &Workshop) -> Judgement {
    unlock(shop, &shop.ed25519, "id")?;
    shop.openssl(&format!("pkcs12 -in id.p12 -passin pass:{PASSWORD} -nodes -nocerts -out key.pem"))?;
    shop.openssl(&format!("pkcs12 -export -nocerts -inkey key.pem -out bare.p12 -passout pass:{PASSWORD}"))?;
    shop.opened("bare.p12", None)?.refuses(&["no certificate"])
}

fn other_name(shop: &Workshop) -> Judgement {
    unlock(shop, &shop.ed25519, "id")?;
    shop.openssl(&format!("pkcs12 -in id.p12 -passin pass:{PASSWORD} -nodes -nocerts -out key.pem"))?;
    shop.openssl("req -x509 -new -key key.pem -subj /CN=000102030405060708090a0b -days 30 -out named.pem")?;
    shop.openssl(&format!("pkcs12 -export -inkey key.pem -in named.pem -out named.p12 -passout pass:{PASSWORD}"))?;
    shop.opened("named.p12", None)?.refuses(&["but its key gives"])
}

fn replaced(file: &[u8], from: &[u8], to: &[u8]) -> Result<Vec<u8>, Fault> {
    let at = file.windows(from.len()).position(|window| window == from);
    let at = at.ok_or_else(|| broken("the file does not ask for the rounds that are to be changed"))?;
    Ok([&file[..at], to, &file[at + from.len()..]].concat())
}

fn absurd_rounds(shop: &Workshop) -> Judgement {
    let file = saved(&shop.ed25519)?;
    let (mac, bag) = (octets("02030f4240"), octets("02030927c0"));
    let much = octets("02037fffff");
    let long = LONG + usual(shop, &file)?;
    let mut told = String::new();
    // A busy machine may be late once; work is late each time.
    for _ in 0..3 {
        let before = std::time::Instant::now();
        shop.container("mac.p12", &replaced(&file, &mac, &much)?)?.refuses(&["rounds"])?;
        told = shop.container("bag.p12", &replaced(&file, &bag, &much)?)?.refuses(&["rounds"])?;
        if before.elapsed() < long {
            return Ok(told);
        }
    }
    Err(broken(format!("refused, but late: {told}")))
}

/// Two runs of a program that does no work; the work would take ten times as long.
const LONG: std::time::Duration = std::time::Duration::from_secs(2);

/// What a program of others takes for two containers as written: it may be slow to start. Ours is not.
fn usual(shop: &Workshop, file: &[u8]) -> Result<std::time::Duration, Fault> {
    if shop.other().is_none() {
        return Ok(std::time::Duration::ZERO);
    }
    let before = std::time::Instant::now();
    for _ in 0..2 {
        shop.container("usual.p12", file)?.names(shop.ed25519.cn())?;
    }
    Ok(before.elapsed())
}

fn octets(text: &str) -> Vec<u8> {
    from_hex(text).unwrap_or_default()
}

/// What the file asks for, as it stands in it: id-PBKDF2, 600,000 as INTEGER, id-aes256-CBC.
fn work(shop: &Workshop) -> Judgement {
    let file = made(shop)?;
    let count = |pattern: &str| {
        let pattern = octets(pattern);
        file.windows(pattern.len()).filter(|window| **window == *pattern).count()
    };
    let found = (count("06092a864886f70d01050c"), count("02030927c0"), count("060960864801650304012a"));
    let said = format!("{} times PBKDF2, {} times 600,000 rounds, {} times AES-256-CBC", found.0, found.1, found.2);
    if found == (2, 2, 2) { Ok(said) } else { Err(broken(said)) }
}

/// openssl tells people what it decrypts with.
fn openssl_tells(shop: &Workshop) -> Judgement {
    made(shop)?;
    let output = shop.ask_openssl(&format!("pkcs12 -info -noout -in made.p12 -passin pass:{PASSWORD}"))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let encrypted: Vec<_> = told.lines().filter(|line| line.contains("PBES2")).map(str::trim).collect();
    let strong = |line: &&str| line.contains("AES-256-CBC") && line.contains("Iteration 600000");
    let said = encrypted.join("; ");
    if encrypted.len() == 2 && encrypted.iter().all(strong) { Ok(said) } else { Err(broken(said)) }
}

fn openssl_opens(shop: &Workshop) -> Judgement {
    made(shop)?;
    shop.openssl(&format!("pkcs12 -in made.p12 -passin pass:{PASSWORD} -nodes -out opened.pem"))?;
    let subject = shop.openssl("x509 -in opened.pem -noout -subject")?;
    Ok(String::from_utf8_lossy(&subject).trim().to_owned())
}
