// SPDX-License-Identifier: GPL-2.0-or-later
//! Revocations: made with every identity, and what they end.

use cgeid::{Identity, Network, Reason, Revocation};

use super::workshop::{Workshop, at, dates};
use super::{Fault, Judgement, Probe};

pub(super) const PROBES: &[Probe] = &[
    Probe { id: "ID-014.1", about: "a new identity comes with its revocation", judge: at_birth },
    Probe { id: "ID-014.2", about: "the certificate of a revoked identity", judge: ends_identity },
    Probe { id: "ID-014.3", about: "the operational certificate of a revoked identity", judge: ends_operational },
    Probe { id: "ID-014.4", about: "one bit flipped: of reason, time and signature", judge: flipped },
    Probe { id: "ID-014.5", about: "the revocation of the same key in another network", judge: other_network },
    Probe { id: "ID-014.6", about: "the revocation of another identity", judge: other_identity },
    Probe { id: "ID-014.7", about: "another's revocation with the certificate exchanged", judge: exchanged },
    Probe { id: "ID-014.8", about: "an identity that has expired is revoked all the same", judge: expired },
    Probe { id: "ID-014.9", about: "openssl verifies the signature", judge: openssl_verifies },
];

/// Octets before the certificate: magic, version, reason, length of the certificate, time in milliseconds.
const HEADER: usize = 16;
const REASON: usize = 5;
const TIME: std::ops::Range<usize> = 8..16;
/// What a revocation signs begins with this.
const CONTEXT: &[u8] = b"IPv6MESH-revoke-v1\0";
const ELSEWHERE: Network = Network([0x20, 0x01, 0x0d, 0xb8]);

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::Broken(error.to_string())
}

/// The revocation of an identity, by its key.
pub(super) fn of(identity: &Identity, shop: &Workshop) -> Result<Vec<u8>, Fault> {
    Ok(Revocation::issue(identity, Reason::KEY_COMPROMISE, shop.now).map_err(broken)?.encode())
}

/// Another certificate in the same statement.
fn with_certificate(statement: &[u8], old: &[u8], new: &[u8]) -> Result<Vec<u8>, Fault> {
    let length = u16::try_from(new.len()).map_err(broken)?.to_be_bytes();
    let signature = &statement[HEADER + old.len()..];
    Ok([&statement[..6], &length, &statement[TIME], new, signature].concat())
}

fn at_birth(shop: &Workshop) -> Judgement {
    let made = shop.report("new --algorithm ed25519 --out born")?;
    let file = made["revocation"].as_str().ok_or_else(|| broken(format!("no revocation: {made}")))?;
    let identity = made["files"][0].as_str().ok_or_else(|| broken(format!("no files: {made}")))?;
    let found = shop.verify(&[file, identity])?;
    let revocation = found.holds(0, "revocation")?;
    if revocation["cn"] != made["cn"] {
        return Err(broken(format!("a revocation of {}, not of {}", revocation["cn"], made["cn"])));
    }
    // Made, not published: the identity holds until somebody counts it.
    found.holds(1, "identity-key")?;
    shop.verify(&[identity, "--revocation", file])?.refuses(0, "identity-key", &["revoked"])
}

/// What `verify` says of the files beside a revocation.
fn revoked(shop: &Workshop, identity: &Identity, revocation: &[u8]) -> Result<super::workshop::Findings, Fault> {
    let operational = identity.delegate(shop.now, 0).map_err(broken)?;
    shop.put("identity.der", identity.certificate().der())?;
    shop.put("operational.der", operational.certificate_der())?;
    shop.put("published", revocation)?;
    shop.verify(&["identity.der", "operational.der", "--revocation", "published"])
}

fn ends_identity(shop: &Workshop) -> Judgement {
    revoked(shop, &shop.rsa, &of(&shop.rsa, shop)?)?.refuses(0, "identity-certificate", &["revoked"])?;
    revoked(shop, &shop.ed25519, &of(&shop.ed25519, shop)?)?.refuses(0, "identity-certificate", &["revoked"])
}

fn ends_operational(shop: &Workshop) -> Judgement {
    revoked(shop, &shop.ed25519, &of(&shop.ed25519, shop)?)?.refuses(1, "operational-certificate", &["revoked"])
}

fn statement(shop: &Workshop, bytes: &[u8], flags: &[&str]) -> Result<super::workshop::Findings, Fault> {
    shop.put("statement", bytes)?;
    shop.verify(&[&["statement"], flags].concat())
}

fn flipped(shop: &Workshop) -> Judgement {
    let whole = of(&shop.ed25519, shop)?;
    statement(shop, &whole, &[])?.holds(0, "revocation")?;
    let mut told = String::new();
    for position in [REASON, TIME.end - 1, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        told = statement(shop, &bytes, &[])?.refuses(0, "revocation", &["signature"])?;
        let arguments = ["verify", "identity.der", "--revocation", "statement"];
        shop.put("identity.der", shop.ed25519.certificate().der())?;
        shop.ask(&arguments)?.refuses(&["signature"])?;
    }
    Ok(told)
}

fn other_network(shop: &Workshop) -> Judgement {
    let twin = Identity::from_seed(&[7; 32], ELSEWHERE, shop.now).map_err(broken)?;
    let there = of(&twin, shop)?;
    let prefix = ["--prefix", "2001:db8::/32"];
    statement(shop, &there, &prefix)?.holds(0, "revocation")?;
    statement(shop, &there, &[])?.refuses(0, "revocation", &["network", "subjectAltName"])?;
    statement(shop, &of(&shop.ed25519, shop)?, &prefix)?.refuses(0, "revocation", &["network", "subjectAltName"])?;
    // The key is the same, the network is signed too.
    let own = shop.ed25519.certificate().der();
    let moved = with_certificate(&there, twin.certificate().der(), own)?;
    statement(shop, &moved, &[])?.refuses(0, "revocation", &["signature"])
}

fn other_identity(shop: &Workshop) -> Judgement {
    let found = revoked(shop, &shop.ed25519, &of(&shop.stranger, shop)?)?;
    found.holds(0, "identity-certificate")?;
    found.holds(1, "operational-certificate")?;
    Ok(format!("to end nothing; {} holds", shop.ed25519.cn()))
}

fn exchanged(shop: &Workshop) -> Judgement {
    let stranger = shop.stranger.certificate().der();
    let bytes = with_certificate(&of(&shop.stranger, shop)?, stranger, shop.ed25519.certificate().der())?;
    statement(shop, &bytes, &[])?.refuses(0, "revocation", &["signature"])
}

fn expired(shop: &Workshop) -> Judgement {
    let old = shop.forge(&shop.ed25519, |fields| fields[at::VALIDITY] = dates("200101000000Z", "200201000000Z"))?;
    let bytes = with_certificate(&of(&shop.ed25519, shop)?, shop.ed25519.certificate().der(), &old)?;
    let found = statement(shop, &bytes, &[])?;
    Ok(format!("to be taken; revokes {}", found.holds(0, "revocation")?["cn"]))
}

/// Whether `openssl` takes a signature of the Ed25519 identity.
pub(super) fn openssl_takes(
    shop: &Workshop,
    identity: &Identity,
    message: &[u8],
    signature: &[u8],
) -> Result<(), Fault> {
    shop.put("signer.der", identity.certificate().der())?;
    shop.put("message", message)?;
    shop.put("signature", signature)?;
    shop.openssl("x509 -inform DER -in signer.der -pubkey -noout -out signer.pem")?;
    shop.openssl("pkeyutl -verify -pubin -inkey signer.pem -rawin -in message -sigfile signature").map(drop)
}

fn openssl_verifies(shop: &Workshop) -> Judgement {
    let (bytes, identity) = (of(&shop.ed25519, shop)?, &shop.ed25519);
    let signature = &bytes[HEADER + identity.certificate().der().len()..];
    let message = [CONTEXT, &Network::LAB.0, &identity.cn().0, &bytes[TIME], &bytes[REASON..=REASON]].concat();
    openssl_takes(shop, identity, &message, signature)?;
    Ok(format!("{} octets of context, network, name, time and reason", message.len()))
}
