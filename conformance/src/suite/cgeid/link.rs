// SPDX-License-Identifier: GPL-2.0-or-later
//! Link proofs: the word of two identities that they have one owner, for one reader.

use cgeid::{Identity, LinkProof};

use super::workshop::{Findings, Workshop};
use super::{Fault, Judgement, Probe, revocation};

pub(super) const PROBES: &[Probe] = &[
    Probe { id: "CG-002.1", about: "a proof that the program made, for its reader", judge: as_made },
    Probe { id: "CG-002.2", about: "the same for another reader, and for none", judge: other_reader },
    Probe { id: "CG-002.3", about: "another reader written into it", judge: rewritten },
    Probe { id: "CG-002.4", about: "static and temporary exchanged, certificates and signatures", judge: exchanged },
    Probe { id: "CG-002.5", about: "one signature missing", judge: one_missing },
    Probe { id: "CG-002.6", about: "one signature in the place of both", judge: one_for_both },
    Probe { id: "CG-002.7", about: "one identity linked with itself", judge: with_itself },
    Probe { id: "CG-002.8", about: "a proof of an identity that is revoked", judge: revoked },
    Probe { id: "CG-002.9", about: "openssl verifies both signatures", judge: openssl_verifies },
];

/// What a link proof signs begins with this.
const CONTEXT: &[u8] = b"IPv6MESH-link-v1\0";
const READER: &str = "Bob, 4711";
const ED25519: usize = 64;

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::Broken(error.to_string())
}

/// The octets of a proof by two Ed25519 identities.
struct Proof {
    time: [u8; 8],
    audience: Vec<u8>,
    certificates: [Vec<u8>; 2],
    signatures: Vec<Vec<u8>>,
}

impl Proof {
    fn new(shop: &Workshop) -> Result<Proof, Fault> {
        let bytes = LinkProof::issue(&shop.ed25519, &shop.stranger, READER, shop.now).map_err(broken)?.encode();
        let time = *bytes.get(10..).and_then(<[u8]>::first_chunk).ok_or_else(|| broken("a proof without a time"))?;
        let signatures = bytes[bytes.len() - 2 * ED25519..].chunks(ED25519).map(<[u8]>::to_vec).collect();
        let certificates = [&shop.ed25519, &shop.stranger].map(|identity| identity.certificate().der().to_vec());
        let proof = Proof { time, audience: READER.into(), certificates, signatures };
        // What is changed below is changed in what the program's own library wrote.
        if proof.encode()? == bytes { Ok(proof) } else { Err(broken("the proof has another form")) }
    }

    fn encode(&self) -> Result<Vec<u8>, Fault> {
        let length = |certificate: &Vec<u8>| u16::try_from(certificate.len()).map(u16::to_be_bytes).map_err(broken);
        let [first, second] = &self.certificates;
        let audience = u8::try_from(self.audience.len()).map_err(broken)?;
        let head = [&b"CGEL\x01"[..], &[audience], &length(first)?, &length(second)?, &self.time].concat();
        Ok([&head, &self.audience, first, second, &self.signatures.concat()].map(Vec::as_slice).concat())
    }

    fn verify(&self, shop: &Workshop, flags: &[&str]) -> Result<Findings, Fault> {
        shop.put("proof", &self.encode()?)?;
        shop.verify(&[&["proof"], flags].concat())
    }
}

fn made(shop: &Workshop) -> Result<(), Fault> {
    for (name, identity) in [("static.p12", &shop.rsa), ("temporary.p12", &shop.stranger)] {
        shop.keep(name, identity)?;
    }
    let report = shop.ask(&["prove-link", "static.p12", "temporary.p12", "--audience", READER, "--json"])?;
    let report: serde_json::Value = serde_json::from_str(&report.text).map_err(broken)?;
    shop.put("proof.pem", report["proof"].as_str().unwrap_or_default().as_bytes())
}

fn as_made(shop: &Workshop) -> Judgement {
    made(shop)?;
    let found = shop.verify(&["proof.pem", "--audience", READER])?;
    let proof = found.holds(0, "link-proof")?;
    let named = [&proof["cn"], &proof["temporary"]["cn"]].map(|cn| cn.as_str().unwrap_or_default().to_owned());
    let expected = [&shop.rsa, &shop.stranger].map(|identity: &Identity| identity.cn().to_string());
    if named == expected { Ok(format!("to be taken; {} and {}", named[0], named[1])) } else { Err(broken(proof)) }
}

fn other_reader(shop: &Workshop) -> Judgement {
    made(shop)?;
    shop.verify(&["proof.pem"])?.refuses(0, "link-proof", &["made for"])?;
    shop.verify(&["proof.pem", "--audience", "Carol"])?.refuses(0, "link-proof", &["made for"])
}

fn rewritten(shop: &Workshop) -> Judgement {
    let mut proof = Proof::new(shop)?;
    proof.verify(shop, &["--audience", READER])?.holds(0, "link-proof")?;
    proof.audience = b"Carol, 471".to_vec();
    proof.verify(shop, &["--audience", "Carol, 471"])?.refuses(0, "link-proof", &["signature"])
}

fn exchanged(shop: &Workshop) -> Judgement {
    let mut proof = Proof::new(shop)?;
    proof.certificates.swap(0, 1);
    proof.verify(shop, &["--audience", READER])?.refuses(0, "link-proof", &["signature"])?;
    proof.signatures.swap(0, 1);
    proof.verify(shop, &["--audience", READER])?.refuses(0, "link-proof", &["signature"])
}

fn one_missing(shop: &Workshop) -> Judgement {
    let mut proof = Proof::new(shop)?;
    proof.signatures.pop();
    proof.verify(shop, &["--audience", READER])?.refuses(0, "link-proof", &["ends within"])
}

fn one_for_both(shop: &Workshop) -> Judgement {
    let mut told = String::new();
    for kept in [0, 1] {
        let mut proof = Proof::new(shop)?;
        proof.signatures[1 - kept] = proof.signatures[kept].clone();
        told = proof.verify(shop, &["--audience", READER])?.refuses(0, "link-proof", &["signature"])?;
    }
    Ok(told)
}

fn with_itself(shop: &Workshop) -> Judgement {
    made(shop)?;
    shop.ask(&["prove-link", "temporary.p12", "temporary.p12"])?.refuses(&["two different"])?;
    let mut proof = Proof::new(shop)?;
    proof.certificates[1] = proof.certificates[0].clone();
    proof.verify(shop, &["--audience", READER])?.refuses(0, "link-proof", &["two different"])
}

fn revoked(shop: &Workshop) -> Judgement {
    let proof = Proof::new(shop)?;
    let mut told = String::new();
    for identity in [&shop.ed25519, &shop.stranger] {
        shop.put("ended", &revocation::of(identity, shop)?)?;
        let found = proof.verify(shop, &["--audience", READER, "--revocation", "ended"])?;
        told = found.refuses(0, "link-proof", &["revoked"])?;
    }
    Ok(told)
}

fn openssl_verifies(shop: &Workshop) -> Judgement {
    let proof = Proof::new(shop)?;
    let names = [shop.ed25519.cn().0, shop.stranger.cn().0].concat();
    let message = [CONTEXT, &cgeid::Network::LAB.0, &names, &proof.time, &proof.audience].concat();
    for (identity, signature) in [&shop.ed25519, &shop.stranger].into_iter().zip(&proof.signatures) {
        revocation::openssl_takes(shop, identity, &message, signature)?;
    }
    Ok(format!("{} octets of context, network, names, time and reader", message.len()))
}
