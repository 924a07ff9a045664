// SPDX-License-Identifier: GPL-2.0-or-later
//! Ed25519: the one rule set for points and signatures. The keys have no private half, so they go to the library.

use cgeid::{PublicKey, SignatureAlgorithm};

use super::workshop::Workshop;
use super::{Fault, Judgement, Probe};
use crate::vectors::from_hex;

pub(super) const PROBES: &[Probe] = &[
    Probe { id: "ID-016.1", about: "the signatures of RFC 8032 7.1", judge: rfc_8032 },
    Probe { id: "ID-016.2", about: "keys of small order", judge: small_order },
    Probe { id: "ID-016.3", about: "keys in a second encoding", judge: not_canonical },
    Probe { id: "ID-016.4", about: "a key that is no point", judge: no_point },
    Probe { id: "ID-016.5", about: "a signature whose S is not the smallest", judge: large_s },
    Probe { id: "ID-016.6", about: "a signature whose R has small order", judge: small_r },
    Probe { id: "ID-016.7", about: "signatures that only the equation with the cofactor takes", judge: mixed_r },
];

/// SubjectPublicKeyInfo of Ed25519 before the key.
const PREFIX: &str = "302a300506032b6570032100";

/// The points of order 1, 2, 4, 4, 8, 8, 8 and 8, in their canonical encoding.
const SMALL_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

/// Encodings that only a lax reader takes: y = p and p + 1 and more, x = 0 with a sign.
const NOT_CANONICAL: [&str; 6] = [
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

/// S for each R of [`SMALL_ORDER`], by the private key of TEST 1 over the empty message, so that the equation holds: who does
/// not refuse R takes the signature.
const SMALL_R_S: [&str; 8] = [
    "756cf9b1d6f0d7a979b9d2af3dc2bc1294ec7cb6daa20eaff534c024fc57920f",
    "64073e4cf0b8e3145d567bd39bf5353929d142dae5caa79e632d41fa2a61eb07",
    "512501f3678fc6f0991904defc5c53868a7f122ef5525834ba9553618ee0bc04",
    "24558886204cb367c6b532e4be117972ff5c81773cc604b2de2ca4c1f2bb4608",
    "85916fc47e3fa71331429308b5e2bc149194d1bc96dab3bbc86e242a63400b0b",
    "15ccceeb4c599e701902b60f5089dd20e5beadc377bf195e30ddf1608a4d5505",
    "ffc26f32fcc9a23110f393c5676396a58e5f1fd817f4f4c179a523e7b466ed07",
    "dbfa13986d809dab7b388b0adff81db4330a04597366fc3e6d50c7c44f44210b",
];

/// Signatures by the same key whose R is off by each point of small order: only the equation with the cofactor takes them all.
const MIXED_R: [&str; 8] = [
    "ce1a32994e835c193e2bf33909f44373ae2cf94ddef0fd922035c483670637c2d2855000568c17fbe4365f66a1ec16e5\
         dceb4ddfe61be8b59012d89c2b36750a",
    "1fe5cd66b17ca3e6c1d40cc6f60bbc8c51d306b2210f026ddfca3b7c98f9c83d44092d231ee03c88a7c5fe442963a85f\
         f366479308667a8458fa599c3d62c40a",
    "082be9594fcde4fa33ab8c21e1d2d8b5fac3c0f5fd19cc25e9c5cf4eed249b2efdd4534eac2b9c499e9a4fad49911262\
         2e2cc065da9ed412458dfca8f690570b",
    "e5d416a6b0321b05cc5473de1e2d274a053c3f0a02e633da163a30b112db64d1ccc94ef3f39f6127ec2fb8b9542436e7\
         9b81689050106aefab89e165f2d0a500",
    "4649fbbf68c162d1d94e2f3c5698be66de4ed984501c27d8ed7ec147a070d85d45794766716a2abcaa2f8fd18869b148\
         bdaf41326831e22d913cb68190f3050b",
    "b6da3f6990d8ed19b017c1dfde745a580583832ab16ff383f7b751028050cf7b1adefdea7bc7e0b81581001ad49c1f8c\
         1ed6e9fe5bb064fd28ab9b43bf899f06",
    "3725c0966f2712e64fe83e20218ba5a7fa7c7cd54e900c7c0848aefd7faf30843021e0ac83108dcd918bd9a8e46c0672\
         ec40f87cb798663bbfc57fc2dc0b020f",
    "a7b60440973e9d2e26b1d0c3a967419921b1267bafe3d82712813eb85f8f27a243da8e7ce3f82b1fdd8eaa79808bede9\
         25b9fbe617dd96ace2ea8a7a02e84a09",
];

/// RFC 8032 7.1, TEST 1 to 3: key, message, signature.
const SIGNED: [[&str; 3]; 3] = [
    [
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
         d25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
         387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659\
         4a7c15e9716ed28dc027beceea1ec40a",
    ],
];

/// The order of the group, little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn octets(text: &str) -> Vec<u8> {
    from_hex(text).unwrap_or_default()
}

fn key(point: &str) -> Result<PublicKey, cgeid::KeyError> {
    PublicKey::from_spki(&[octets(PREFIX), octets(point)].concat())
}

fn holds(signer: &str, message: &str, signature: &[u8]) -> Result<bool, Fault> {
    let key = key(signer).map_err(|error| Fault::Broken(format!("{signer}: {error}")))?;
    Ok(key.verify(SignatureAlgorithm::Ed25519, &octets(message), signature).is_ok())
}

fn rfc_8032(_: &Workshop) -> Judgement {
    for [signer, message, signature] in SIGNED {
        let (signature, mut longer) = (octets(signature), octets(message));
        longer.push(0);
        let longer: String = longer.iter().map(|octet| format!("{octet:02x}")).collect();
        if !holds(signer, message, &signature)? || holds(signer, &longer, &signature)? {
            return Err(Fault::Broken(format!("the signature of {signer} is judged wrongly")));
        }
    }
    Ok("three hold, and none for a longer message".into())
}

fn refused(points: &[&str]) -> Judgement {
    match points.iter().find(|point| key(point).is_ok()) {
        Some(point) => Err(Fault::Broken(format!("{point} is taken"))),
        None => Ok(format!("{} refused", points.len())),
    }
}

fn small_order(_: &Workshop) -> Judgement {
    refused(&SMALL_ORDER)
}

fn not_canonical(_: &Workshop) -> Judgement {
    refused(&NOT_CANONICAL)
}

fn no_point(_: &Workshop) -> Judgement {
    // y = 2 has no x.
    refused(&["0200000000000000000000000000000000000000000000000000000000000000"])
}

fn large_s(_: &Workshop) -> Judgement {
    for [signer, message, signature] in SIGNED {
        let mut signature = octets(signature);
        let mut carry = 0u16;
        for (octet, order) in signature[32..].iter_mut().zip(octets(ORDER)) {
            carry += u16::from(*octet) + u16::from(order);
            *octet = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        if holds(signer, message, &signature)? {
            return Err(Fault::Broken(format!("S + L is taken for {signer}")));
        }
    }
    Ok("refused, where S alone holds".into())
}

fn small_r(_: &Workshop) -> Judgement {
    let [signer, message, _] = SIGNED[0];
    for (r, s) in SMALL_ORDER.into_iter().zip(SMALL_R_S) {
        if holds(signer, message, &octets(&[r, s].concat()))? {
            return Err(Fault::Broken(format!("R = {r} is taken")));
        }
    }
    Ok(format!("{} refused", SMALL_ORDER.len()))
}

fn mixed_r(_: &Workshop) -> Judgement {
    let [signer, message, _] = SIGNED[0];
    for signature in MIXED_R {
        if !holds(signer, message, &octets(signature))? {
            return Err(Fault::Broken(format!("{signature} is refused")));
        }
    }
    Ok(format!("{} taken", MIXED_R.len()))
}
