// SPDX-License-Identifier: GPL-2.0-or-later
//! A bounded cursor over received bytes: every read names its field, no read passes the end.

use crate::error::{DecodeError, Problem};
use crate::limits::LCAF_NESTING;

/// Reads a message, or the part of one that a length field delimits.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Where `bytes` begins in the message, so that errors in a sub-cursor name the offset in the whole.
    base: usize,
    lcaf_depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, base: 0, lcaf_depth: 0 }
    }

    /// Octets from the start of the message.
    pub(crate) fn offset(&self) -> usize {
        self.base + self.position
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    pub(crate) fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        let available = self.remaining();
        if count > available {
            return Err(self.error(field, Problem::Truncated { needed: count, available }));
        }
        let taken = &self.bytes[self.position..self.position + count];
        self.position += count;
        Ok(taken)
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.position..];
        self.position = self.bytes.len();
        rest
    }

    /// What is left, without consuming it.
    pub(crate) fn peek(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    /// What `later`, a clone of this cursor, has read since.
    pub(crate) fn until(&self, later: &Self) -> &'a [u8] {
        &self.bytes[self.position..later.position]
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A cursor over the next `count` octets, which this one skips.
    pub(crate) fn sub(&mut self, field: &'static str, count: usize) -> Result<Self, DecodeError> {
        let base = self.offset();
        let bytes = self.take(field, count)?;
        Ok(Self { bytes, position: 0, base, lcaf_depth: self.lcaf_depth })
    }

    /// Like [`Reader::sub`], for the body of an LCAF: counts the nesting.
    pub(crate) fn lcaf_body(&mut self, field: &'static str, count: usize) -> Result<Self, DecodeError> {
        if self.lcaf_depth == LCAF_NESTING {
            return Err(self.error(field, Problem::Nesting));
        }
        let mut body = self.sub(field, count)?;
        body.lcaf_depth += 1;
        Ok(body)
    }

    /// An error at the field that comes next.
    pub(crate) fn error(&self, field: &'static str, problem: Problem) -> DecodeError {
        DecodeError { field, offset: self.offset(), problem }
    }

    /// An error at the field of `size` octets that was read last.
    pub(crate) fn error_behind(&self, field: &'static str, size: usize, problem: Problem) -> DecodeError {
        DecodeError { field, offset: self.offset().saturating_sub(size), problem }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_error_in_a_sub_cursor_names_the_offset_in_the_message() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5]);
        reader.u16("head").unwrap();
        let mut body = reader.sub("body", 2).unwrap();
        assert_eq!(body.u8("first").unwrap(), 3);
        let error = body.u16("second").unwrap_err();
        assert_eq!((error.field, error.offset), ("second", 3));
        assert_eq!(error.problem, Problem::Truncated { needed: 2, available: 1 });
        assert_eq!(reader.rest(), [5], "the outer cursor has skipped the body");
    }

    #[test]
    fn a_sub_cursor_cannot_be_longer_than_its_parent() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert!(reader.sub("body", 4).is_err());
        assert_eq!(reader.remaining(), 3, "a failed read consumes nothing");
    }
}
