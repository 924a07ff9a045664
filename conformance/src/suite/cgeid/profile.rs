// SPDX-License-Identifier: GPL-2.0-or-later
//! Certificates: the ones that must be taken, and those with one thing wrong that must not.

use cgeid::Network;

use super::workshop::{Findings, Workshop, at, dates, edit_extensions, forge, name};
use super::{Fault, Judgement, Probe};
use crate::der::{elements, inside, tlv};
use crate::vectors::from_hex;

pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "ID-003.04",
        about: "an RSA key of 2048 bits",
        judge: |shop| weak(shop, 256, 0xc5, &[1, 0, 1], "2048"),
    },
    Probe {
        id: "ID-003.05",
        about: "an RSA key of 4095 bits",
        judge: |shop| weak(shop, 512, 0x45, &[1, 0, 1], "4095"),
    },
    Probe {
        id: "ID-003.06",
        about: "an RSA key of 4097 bits",
        judge: |shop| weak(shop, 513, 0x01, &[1, 0, 1], "4097"),
    },
    Probe { id: "ID-003.07", about: "an RSA key with e = 3", judge: |shop| weak(shop, 512, 0xc5, &[3], "65537") },
    Probe { id: "ID-003.08", about: "an even modulus", judge: even_modulus },
    Probe { id: "ID-004.1", about: "the CN in upper case", judge: upper_case },
    Probe { id: "ID-004.2", about: "a second relative name", judge: second_relative_name },
    Probe { id: "ID-004.3", about: "the issuer is another", judge: other_issuer },
    Probe { id: "ID-004.4", about: "the CN as PrintableString", judge: printable_string },
    Probe { id: "ID-004.5", about: "no name at all", judge: no_name },
    Probe { id: "ID-005.1", about: "an RSA certificate as issued", judge: rsa_is_taken },
    Probe { id: "ID-005.2", about: "an Ed25519 certificate as issued", judge: ed25519_is_taken },
    Probe {
        id: "ID-005.3",
        about: "one bit of an RSA signature flipped",
        judge: |shop| flipped(shop, shop.rsa.certificate().der()),
    },
    Probe {
        id: "ID-005.4",
        about: "one bit of an Ed25519 signature flipped",
        judge: |shop| flipped(shop, shop.ed25519.certificate().der()),
    },
    Probe { id: "ID-005.5", about: "signed by another key", judge: signed_by_another },
    Probe { id: "ID-005.6", about: "openssl verifies the self-signature and the chain", judge: openssl_verifies },
    Probe { id: "ID-005.7", about: "an unknown critical extension", judge: unknown_critical },
    Probe { id: "ID-005.8", about: "an unknown extension that is not critical", judge: unknown_ignored },
    Probe { id: "ID-006.1", about: "a subjectAltName of another address", judge: other_address },
    Probe { id: "ID-006.2", about: "the certificate of another network", judge: other_network },
    Probe { id: "ID-011.1", about: "an Ed25519 key whose certificate says RSA", judge: confused_algorithm },
    Probe {
        id: "CG-038.1",
        about: "an operational certificate for 35 days, and the same for a second more",
        judge: longest_life,
    },
    Probe { id: "ID-019.1", about: "an expired certificate", judge: expired },
    Probe { id: "ID-019.2", about: "a certificate of the future", judge: future },
];

fn show(shop: &Workshop, file: Result<Vec<u8>, Fault>, words: &[&str]) -> Judgement {
    shop.certificate("certificate.der", &file?, Network::LAB)?.refuses(words)
}

/// An RSA key of some octets and exponent in a certificate that is otherwise right.
fn weak(shop: &Workshop, octets: usize, top: u8, exponent: &[u8], word: &str) -> Judgement {
    let mut modulus = vec![0xc5; octets];
    modulus[0] = top;
    if top & 0x80 != 0 {
        modulus.insert(0, 0);
    }
    show(shop, with_key(shop, &modulus, exponent), &[word])
}

fn even_modulus(shop: &Workshop) -> Judgement {
    let modulus = [&[0][..], &[0xc4; 512]].concat();
    show(shop, with_key(shop, &modulus, &[1, 0, 1]), &["modulus"])
}

fn with_key(shop: &Workshop, modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>, Fault> {
    let key = tlv(0x30, &[tlv(0x02, modulus), tlv(0x02, exponent)].concat());
    let algorithm = tlv(0x30, &from_hex("06092a864886f70d0101010500").unwrap_or_default());
    let spki = tlv(0x30, &[algorithm, tlv(0x03, &[&[0][..], &key].concat())].concat());
    shop.forge(&shop.rsa, |fields| fields[at::KEY] = spki)
}

/// The Ed25519 certificate under other names.
fn with_names(shop: &Workshop, subject: Vec<u8>, issuer: Vec<u8>) -> Result<Vec<u8>, Fault> {
    shop.forge(&shop.ed25519, |fields| {
        fields[at::SUBJECT] = subject;
        fields[at::ISSUER] = issuer;
    })
}

fn upper_case(shop: &Workshop) -> Judgement {
    let text = shop.ed25519.cn().to_string().to_uppercase();
    let named = name(0x0c, &[&text]);
    show(shop, with_names(shop, named.clone(), named), &["lower case"])
}

fn second_relative_name(shop: &Workshop) -> Judgement {
    let text = shop.ed25519.cn().to_string();
    let named = name(0x0c, &[&text, &text]);
    show(shop, with_names(shop, named.clone(), named), &["one relative name"])
}

fn other_issuer(shop: &Workshop) -> Judgement {
    let (own, other) = (shop.ed25519.cn().to_string(), shop.stranger.cn().to_string());
    show(shop, with_names(shop, name(0x0c, &[&own]), name(0x0c, &[&other])), &["differ"])
}

fn printable_string(shop: &Workshop) -> Judgement {
    let named = name(0x13, &[&shop.ed25519.cn().to_string()]);
    show(shop, with_names(shop, named.clone(), named), &["UTF8String"])
}

fn no_name(shop: &Workshop) -> Judgement {
    show(shop, with_names(shop, name(0x0c, &[]), name(0x0c, &[])), &["one relative name"])
}

fn rsa_is_taken(shop: &Workshop) -> Judgement {
    shop.certificate("rsa.der", shop.rsa.certificate().der(), Network::LAB)?.names(shop.rsa.cn())
}

fn ed25519_is_taken(shop: &Workshop) -> Judgement {
    shop.certificate("ed25519.der", shop.ed25519.certificate().der(), Network::LAB)?.names(shop.ed25519.cn())
}

fn flipped(shop: &Workshop, der: &[u8]) -> Judgement {
    let mut file = der.to_vec();
    if let Some(last) = file.last_mut() {
        *last ^= 0x10;
    }
    show(shop, Ok(file), &["signature"])
}

fn signed_by_another(shop: &Workshop) -> Judgement {
    show(shop, forge(shop.ed25519.certificate().der(), &shop.stranger, |_| ()), &["signature"])
}

fn openssl_verifies(shop: &Workshop) -> Judgement {
    if let Some(other) = shop.other() {
        return other.is_signed(shop);
    }
    for (name, identity) in [("rsa", &shop.rsa), ("ed25519", &shop.ed25519)] {
        let key = identity.delegate(shop.now, 0).map_err(|error| Fault::Broken(error.to_string()))?;
        for (kind, der) in [("id", identity.certificate().der()), ("op", key.certificate_der())] {
            let file = format!("{name}-{kind}");
            std::fs::write(shop.folder().join(format!("{file}.der")), der)
                .map_err(|error| Fault::Missing(error.to_string()))?;
            shop.openssl(&format!("x509 -inform DER -in {file}.der -out {file}.pem"))?;
        }
        shop.openssl(&format!("verify -x509_strict -check_ss_sig -CAfile {name}-id.pem {name}-id.pem"))?;
        shop.openssl(&format!("verify -CAfile {name}-id.pem {name}-op.pem"))?;
    }
    Ok("both kinds of key, identity and operational certificate".into())
}

fn with_extension(shop: &Workshop, extension: &str) -> Result<Vec<u8>, Fault> {
    let extension = tlv(0x30, &from_hex(extension).unwrap_or_default());
    shop.forge(&shop.ed25519, |fields| edit_extensions(fields, |extensions| extensions.push(extension)))
}

fn unknown_critical(shop: &Workshop) -> Judgement {
    show(shop, with_extension(shop, "060355ee010101ff04020500"), &["unknown critical"])
}

fn unknown_ignored(shop: &Workshop) -> Judgement {
    shop.certificate("unknown.der", &with_extension(shop, "060355ee0104020500")?, Network::LAB)?
        .names(shop.ed25519.cn())
}

fn other_address(shop: &Workshop) -> Judgement {
    let file = shop.forge(&shop.ed25519, |fields| {
        edit_extensions(fields, |extensions| {
            // The names are the last extension, and end in the address.
            if let Some(last) = extensions.last_mut().and_then(|names| names.last_mut()) {
                *last ^= 1;
            }
        });
    });
    show(shop, file, &["subjectAltName"])
}

fn other_network(shop: &Workshop) -> Judgement {
    let elsewhere = Network([0x20, 0x01, 0x0d, 0xb8]);
    shop.certificate("ed25519.der", shop.ed25519.certificate().der(), elsewhere)?.refuses(&["subjectAltName"])
}

fn confused_algorithm(shop: &Workshop) -> Judgement {
    let sha512_with_rsa = from_hex("300d06092a864886f70d01010d0500").unwrap_or_default();
    let file = shop.forge(&shop.ed25519, |fields| fields[at::ALGORITHM] = sha512_with_rsa.clone());
    let inner = show(shop, file, &["algorithm"])?;
    // The same outside of what is signed only.
    let mut parts = elements(inside(shop.ed25519.certificate().der()));
    parts[1] = sha512_with_rsa;
    show(shop, Ok(tlv(0x30, &parts.concat())), &["algorithm"])?;
    Ok(inner)
}

fn expired(shop: &Workshop) -> Judgement {
    let file = shop.forge(&shop.ed25519, |fields| fields[at::VALIDITY] = dates("200101000000Z", "200201000000Z"));
    show(shop, file, &["expired"])
}

/// The operational certificate of this month, with other dates.
fn month(shop: &Workshop, edit: impl FnOnce(&mut [u8], &mut [u8])) -> Result<Findings, Fault> {
    let key = shop.ed25519.delegate(shop.now, 0).map_err(|error| Fault::Broken(error.to_string()))?;
    let der = forge(key.certificate_der(), &shop.ed25519, |fields| {
        let mut dates = elements(inside(&fields[at::VALIDITY]));
        if let [from, until] = dates.as_mut_slice() {
            edit(from, until);
        }
        fields[at::VALIDITY] = tlv(0x30, &dates.concat());
    })?;
    shop.put("issuer.der", shop.ed25519.certificate().der())?;
    shop.put("month.der", &der)?;
    shop.verify(&["issuer.der", "month.der"])
}

/// A certificate as issued lives as long as one may.
fn longest_life(shop: &Workshop) -> Judgement {
    const KIND: &str = "operational-certificate";
    let taken = month(shop, |_, _| ())?.holds(1, KIND)?["not_after"].clone();
    let refused = month(shop, |from, until| {
        // The last octets of a date are the digit of a second and a Z.
        let digit = until.len().saturating_sub(2);
        match until.get_mut(digit) {
            Some(second) if *second < b'9' => *second += 1,
            // Then it begins with the same digit, for both are the same second of a minute.
            _ => from[digit] -= 1,
        }
    })?;
    let told = refused.refuses(1, KIND, &["35 days", "longer"])?;
    Ok(format!("taken until {taken}; {told}"))
}

fn future(shop: &Workshop) -> Judgement {
    let file = shop.forge(&shop.ed25519, |fields| fields[at::VALIDITY] = dates("490101000000Z", "490201000000Z"));
    show(shop, file, &["not valid before"])
}
