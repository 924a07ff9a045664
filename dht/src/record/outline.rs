// SPDX-License-Identifier: GPL-2.0-or-later
//! What the headers of a value say, read without its bodies: what a store needs to keep a value that is proven later.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::reader::Reader;
use super::section::{Class, Version};
use crate::error::Malformed;
use crate::limits;

/// Octets of a section before its class: magic and version.
const BEFORE_CLASS: usize = 5;
/// Octets between the class and the epoch: flags and CN.
const BEFORE_EPOCH: usize = 14;
/// Octets of the signature algorithm.
const ALGORITHM: usize = 2;

/// The header of a section, and all its octets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outline<'a> {
    pub(crate) class: Class,
    pub(crate) version: Version,
    pub(crate) lifetime: Duration,
    pub(crate) octets: &'a [u8],
}

impl<'a> Outline<'a> {
    /// The outlines of a value whose classes ascend. That they are those of a bundle is not said.
    pub(crate) fn of(value: &'a [u8]) -> Result<Vec<Self>, Malformed> {
        if value.len() > limits::BUNDLE_SIZE {
            return Err(Malformed::Length("bundle", value.len()));
        }
        let mut reader = Reader(value);
        let mut outlines: Vec<Self> = Vec::new();
        while !reader.is_empty() {
            let outline = Self::read(&mut reader)?;
            if outlines.last().is_some_and(|last| last.class >= outline.class) {
                return Err(Malformed::NotCanonical("order of sections"));
            }
            outlines.push(outline);
        }
        Ok(outlines)
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let start = reader.0;
        reader.take("magic", BEFORE_CLASS)?;
        let number = reader.u8("class")?;
        let class = Class::from_number(number).ok_or(Malformed::Value("class", number.into()))?;
        reader.take("CN", BEFORE_EPOCH)?;
        let version = Version { epoch: reader.u32("epoch")?, sequence: reader.u64("sequence")? };
        let lifetime = Duration::from_secs(reader.u32("lifetime")?.into());
        reader.take("signature algorithm", ALGORITHM)?;
        let body = reader.u16("body length")?;
        reader.take("body", body.into())?;
        let signature = reader.u16("signature length")?;
        reader.take("signature", signature.into())?;
        let octets = start.get(..start.len() - reader.0.len()).unwrap_or_default();
        Ok(Self { class, version, lifetime, octets })
    }

    /// When the section ceases to hold.
    pub(crate) fn expires_at(&self) -> SystemTime {
        self.version.signed_at().checked_add(self.lifetime).unwrap_or(UNIX_EPOCH)
    }
}
