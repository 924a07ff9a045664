// SPDX-License-Identifier: GPL-2.0-or-later
//! A bounded cursor over the octets of a statement.

use std::time::SystemTime;

use super::time;
use crate::certificate::IdentityCertificate;
use crate::error::StatementError;
use crate::limits::MAX_STATEMENT;

/// The version of both encodings.
pub(super) const VERSION: u8 = 1;

/// The octets that are left to read.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins after the magic number and the version, which must be ours.
    pub(super) fn new(bytes: &'a [u8], magic: [u8; 4]) -> Result<Reader<'a>, StatementError> {
        if bytes.len() > MAX_STATEMENT {
            return Err(StatementError::TooLong { length: bytes.len() });
        }
        let rest = bytes.strip_prefix(&magic).ok_or(StatementError::Magic)?;
        let mut reader = Reader(rest);
        match reader.u8("version")? {
            VERSION => Ok(reader),
            found => Err(StatementError::Version { found }),
        }
    }

    pub(super) fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], StatementError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(StatementError::Truncated { field })?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, StatementError> {
        self.array(field).map(|[octet]| octet)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, StatementError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(super) fn time(&mut self, field: &'static str) -> Result<SystemTime, StatementError> {
        time(self.array(field).map(u64::from_be_bytes)?)
    }

    /// A signature of the key in `certificate`, which decides how long it is.
    pub(super) fn signature(&mut self, certificate: &IdentityCertificate) -> Result<&'a [u8], StatementError> {
        self.take("signature", certificate.algorithm().signature_length())
    }

    /// The end must be here.
    pub(super) fn finish(self) -> Result<(), StatementError> {
        if self.0.is_empty() { Ok(()) } else { Err(StatementError::Trailing { length: self.0.len() }) }
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], StatementError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(StatementError::Truncated { field })?;
        self.0 = rest;
        Ok(*taken)
    }
}
