// SPDX-License-Identifier: GPL-2.0-or-later
//! Builds a message; lengths that precede what they count are patched in afterwards.

use crate::error::EncodeError;
use crate::limits::LCAF_NESTING;

/// Octets of most messages, for which there is room from the start.
const USUAL: usize = 128;

/// A message under construction.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    lcaf_depth: usize,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::with_capacity(USUAL), lcaf_depth: 0 }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    /// A 16-bit length in front of what `body` writes.
    pub(crate) fn counted_u16(
        &mut self,
        field: &'static str,
        body: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let at = self.bytes.len();
        self.u16(0);
        body(self)?;
        let length = to_u16(field, self.bytes.len() - at - 2)?;
        self.bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// A 16-bit length and the octets that it counts.
    pub(crate) fn counted_octets(&mut self, field: &'static str, octets: &[u8]) -> Result<(), EncodeError> {
        self.u16(to_u16(field, octets.len())?);
        self.put(octets);
        Ok(())
    }

    /// The Length and the body of an LCAF: counts the nesting, as the reader does.
    pub(crate) fn lcaf_body(
        &mut self,
        field: &'static str,
        body: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        if self.lcaf_depth == LCAF_NESTING {
            return Err(EncodeError { field, count: self.lcaf_depth + 1, limit: LCAF_NESTING });
        }
        self.lcaf_depth += 1;
        let written = self.counted_u16(field, body);
        self.lcaf_depth -= 1;
        written
    }
}

/// `count` as an 8-bit field.
pub(crate) fn to_u8(field: &'static str, count: usize) -> Result<u8, EncodeError> {
    u8::try_from(count).map_err(|_| EncodeError { field, count, limit: usize::from(u8::MAX) })
}

/// `count` as a 16-bit field.
pub(crate) fn to_u16(field: &'static str, count: usize) -> Result<u16, EncodeError> {
    u16::try_from(count).map_err(|_| EncodeError { field, count, limit: usize::from(u16::MAX) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_length_is_patched_in_front_of_what_it_counts() {
        let mut writer = Writer::new();
        writer.u8(9);
        let inner = |w: &mut Writer| {
            w.u8(7);
            w.counted_u16("inner", |w| {
                w.put(&[1, 2, 3]);
                Ok(())
            })
        };
        writer.counted_u16("outer", inner).unwrap();
        assert_eq!(writer.finish(), [9, 0, 6, 7, 0, 3, 1, 2, 3]);
    }

    #[test]
    fn a_body_too_long_for_its_length_is_our_callers_fault() {
        let mut writer = Writer::new();
        let body = |w: &mut Writer| {
            w.put(&vec![0; 65_536]);
            Ok(())
        };
        let error = writer.counted_u16("body", body).unwrap_err();
        assert_eq!((error.count, error.limit), (65_536, 65_535));
    }
}
