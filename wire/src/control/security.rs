// SPDX-License-Identifier: GPL-2.0-or-later
//! Finding the end of LISP-SEC authentication data, which is kept whole (RFC 9303, section 6); [`lispsec`](super::lispsec) reads it.

use crate::error::{DecodeError, EncodeError, Problem};
use crate::reader::Reader;

/// Skips a part whose 16-bit length counts itself and the 16 bits behind it, too (RFC 9303, sections 6.1 and 6.2).
pub(super) fn skip_counted(field: &'static str, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    const OWN_OCTETS: usize = 4;
    let length = usize::from(reader.u16(field)?);
    reader.u16(field)?;
    let rest = length
        .checked_sub(OWN_OCTETS)
        .ok_or_else(|| reader.error_behind(field, OWN_OCTETS, Problem::Length(length)))?;
    reader.take(field, rest)?;
    Ok(())
}

/// Whether `read` would take exactly `bytes`: otherwise what follows them would be read as part of them.
pub(super) fn check_kept_whole(
    field: &'static str,
    bytes: &[u8],
    read: impl Fn(&mut Reader<'_>) -> Result<Vec<u8>, DecodeError>,
) -> Result<(), EncodeError> {
    let mut reader = Reader::new(bytes);
    match read(&mut reader) {
        Ok(whole) if whole.len() == bytes.len() => Ok(()),
        Ok(whole) => Err(EncodeError { field, count: bytes.len(), limit: whole.len() }),
        Err(error) => Err(EncodeError { field: error.field, count: bytes.len(), limit: error.offset }),
    }
}
