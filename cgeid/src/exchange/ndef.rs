// SPDX-License-Identifier: GPL-2.0-or-later
//! A message for NFC tags (NFC Forum, NDEF 1.0): one record of the media type of certificates.
//!
//! ```text
//!   7  6  5  4  3  2 1 0
//! | MB ME CF SR IL TNF  | type length | payload length (1 or 4) | [ID length] | type | [ID] | payload |
//! ```

use super::{Form, MEDIA_TYPE, decode_der, malformed};
use crate::certificate::IdentityCertificate;
use crate::error::ExchangeError;
use crate::limits::MAX_RECORDS;

/// The first record of the message.
const MESSAGE_BEGIN: u8 = 0x80;
/// The last record of the message.
const MESSAGE_END: u8 = 0x40;
/// The payload goes on in the next record.
const CHUNK: u8 = 0x20;
/// The payload's length has one octet, not four.
const SHORT: u8 = 0x10;
/// The record has an identifier.
const ID_LENGTH: u8 = 0x08;
/// Type name format.
const TNF: u8 = 0x07;
/// TNF: nothing in it.
const TNF_EMPTY: u8 = 0;
/// TNF: the type is a media type.
const TNF_MEDIA: u8 = 2;
/// TNF: goes on with what the record before began.
const TNF_UNCHANGED: u8 = 6;
/// TNF: not used.
const TNF_RESERVED: u8 = 7;

/// The message of a certificate.
pub fn encode(certificate: &IdentityCertificate) -> Vec<u8> {
    let payload = certificate.der();
    let flags = MESSAGE_BEGIN | MESSAGE_END | TNF_MEDIA;
    let type_length = u8::try_from(MEDIA_TYPE.len()).expect("the media type is a short constant");
    let mut out = Vec::new();
    if let Ok(length) = u8::try_from(payload.len()) {
        out.extend([flags | SHORT, type_length, length]);
    } else {
        let length = u32::try_from(payload.len()).expect("a verified certificate has at most 4,096 octets");
        out.extend([flags, type_length]);
        out.extend(length.to_be_bytes());
    }
    out.extend(MEDIA_TYPE.as_bytes());
    out.extend(payload);
    out
}

/// The certificate of a message; records of other types beside it are passed over.
///
/// # Errors
/// [`ExchangeError`] for a message that is cut, chunked, out of order, or has no certificate or two.
pub fn decode(bytes: &[u8]) -> Result<Vec<u8>, ExchangeError> {
    let mut rest = bytes;
    let mut found = None;
    for index in 0..MAX_RECORDS {
        let record = Record::take(&mut rest)?;
        if record.begins != (index == 0) {
            return Err(malformed(Form::Ndef, "the first record, and only it, begins the message"));
        }
        if record.is_certificate()? && found.replace(record.payload).is_some() {
            return Err(ExchangeError::Several { form: Form::Ndef, what: "certificates" });
        }
        if record.ends {
            return if rest.is_empty() {
                decode_der(found.ok_or(ExchangeError::Missing { form: Form::Ndef })?)
            } else {
                Err(ExchangeError::Trailing { length: rest.len() })
            };
        }
    }
    Err(malformed(Form::Ndef, format!("more than {MAX_RECORDS} records")))
}

struct Record<'a> {
    begins: bool,
    ends: bool,
    format: u8,
    kind: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    fn take(rest: &mut &'a [u8]) -> Result<Record<'a>, ExchangeError> {
        let flags = octet(rest)?;
        let format = flags & TNF;
        if flags & CHUNK != 0 || format == TNF_UNCHANGED {
            return Err(malformed(Form::Ndef, "a record in chunks"));
        }
        if format == TNF_RESERVED {
            return Err(malformed(Form::Ndef, "a record of a reserved type name format"));
        }
        let kind_length = usize::from(octet(rest)?);
        let length = if flags & SHORT != 0 { usize::from(octet(rest)?) } else { long(rest)? };
        let id_length = if flags & ID_LENGTH != 0 { usize::from(octet(rest)?) } else { 0 };
        if format == TNF_EMPTY && (kind_length, length, id_length) != (0, 0, 0) {
            return Err(malformed(Form::Ndef, "an empty record with something in it"));
        }
        let kind = take(rest, kind_length)?;
        take(rest, id_length)?;
        let payload = take(rest, length)?;
        Ok(Record { begins: flags & MESSAGE_BEGIN != 0, ends: flags & MESSAGE_END != 0, format, kind, payload })
    }

    /// Media types are the same in either case (RFC 2045 5.1).
    fn is_certificate(&self) -> Result<bool, ExchangeError> {
        match (self.kind.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()), self.format) {
            (true, TNF_MEDIA) => Ok(true),
            (true, format) => Err(malformed(Form::Ndef, format!("a media type in a record of format {format}, not 2"))),
            (false, _) => Ok(false),
        }
    }
}

fn octet(rest: &mut &[u8]) -> Result<u8, ExchangeError> {
    take(rest, 1).map(|octets| octets[0])
}

fn long(rest: &mut &[u8]) -> Result<usize, ExchangeError> {
    let mut length = [0; 4];
    length.copy_from_slice(take(rest, 4)?);
    usize::try_from(u32::from_be_bytes(length)).map_err(|error| malformed(Form::Ndef, error))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], ExchangeError> {
    let cut = ExchangeError::Cut { expected: length, found: rest.len() };
    let (taken, after) = rest.split_at_checked(length).ok_or(cut)?;
    *rest = after;
    Ok(taken)
}
