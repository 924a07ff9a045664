// SPDX-License-Identifier: GPL-2.0-or-later
//! How a PKCS#12 file is protected and how much work it asks for, read before any of it is done.

use der::asn1::{Any, OctetString};
use der::{Decode, Reader, Sequence, SliceReader};

use crate::error::ContainerError;
use crate::limits::{MAX_BAGS, MAX_ROUNDS};

/// RFC 7292 4, with the parts that matter here opened.
#[derive(Sequence)]
struct Pfx {
    version: u8,
    auth_safe: Any,
    mac_data: Option<MacData>,
}

#[derive(Sequence)]
struct MacData {
    mac: Any,
    salt: OctetString,
    #[asn1(default = "one")]
    iterations: i64,
}

fn one() -> i64 {
    1
}

/// id-PBKDF2 (RFC 8018 A.2), whole.
const PBKDF2: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// pkcs-12-keyBag (RFC 7292 4.2.1), whole: a private key that is not encrypted by itself.
const KEY_BAG: [u8; 13] = [0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x01];
/// id-scrypt (RFC 7914 7), whole. It may ask for a gigabyte of memory, which a border node does not have.
const SCRYPT: [u8; 11] = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b];

/// Refuses a file without a MAC, one with its key in the clear, and one that asks for more rounds than an honest writer
/// does.
pub(super) fn check(bytes: &[u8]) -> Result<(), ContainerError> {
    let pfx = Pfx::from_der(bytes).map_err(|error| ContainerError::Malformed { detail: error.to_string() })?;
    let mac = pfx.mac_data.ok_or(ContainerError::NoMac)?;
    if !(1..=i64::from(MAX_ROUNDS)).contains(&mac.iterations) {
        // A negative number is no round at all, and as unsigned an endless one.
        return Err(ContainerError::Rounds { rounds: mac.iterations.unsigned_abs() });
    }
    if bytes.windows(SCRYPT.len()).any(|window| window == SCRYPT) {
        return Err(ContainerError::Encryption { detail: "scrypt".to_owned() });
    }
    if bytes.windows(KEY_BAG.len()).any(|window| window == KEY_BAG) {
        return Err(ContainerError::Encryption { detail: "the private key is in the clear".to_owned() });
    }
    check_encryption(bytes)
}

/// Adds up the rounds of all PBKDF2 parameters in the clear. Those inside encrypted bags were put there by somebody
/// who knows the password; the parser bounds each of them.
fn check_encryption(bytes: &[u8]) -> Result<(), ContainerError> {
    let most = u64::from(MAX_ROUNDS);
    let mut sum = 0u64;
    for (position, window) in bytes.windows(PBKDF2.len()).enumerate() {
        if window != PBKDF2 {
            continue;
        }
        let rounds = rounds(&bytes[position + PBKDF2.len()..]).unwrap_or(u64::MAX);
        if rounds == 0 || rounds > most {
            return Err(ContainerError::Rounds { rounds });
        }
        sum += rounds;
        if sum > most * MAX_BAGS as u64 {
            return Err(ContainerError::Rounds { rounds: sum });
        }
    }
    Ok(())
}

/// The count in PBKDF2-params, which follow their identifier: SEQUENCE { salt OCTET STRING, iterationCount INTEGER ...
fn rounds(parameters: &[u8]) -> Option<u64> {
    let mut reader = SliceReader::new(parameters).ok()?;
    let parameters = reader.tlv_bytes().ok()?;
    let mut inner = SliceReader::new(parameters).ok()?;
    let header = der::Header::decode(&mut inner).ok()?;
    if header.tag() != der::Tag::Sequence {
        return None;
    }
    OctetString::decode(&mut inner).ok()?;
    u64::decode(&mut inner).ok()
}
