// SPDX-License-Identifier: GPL-2.0-or-later
//! A bundle: the value under a key. The writer's IDENTITY comes first, then at most one section of each other class. A
//! REVOCATION stands alone: it brings its own certificate, and says that nothing else of the writer's holds.

use wire::EncodeError;

use super::reader::Reader;
use super::section::{Body, Class, Section};
use super::{Identity, Index, Mapping, Prefix, Revocation, Service, Topology};
use crate::error::Malformed;
use crate::limits;

/// The sections under one key, ascending by class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    sections: Vec<Section>,
}

impl Bundle {
    /// A bundle of these sections, in any order.
    ///
    /// # Errors
    /// Without an IDENTITY, with two sections of one class, or with something beside a REVOCATION.
    pub fn new(mut sections: Vec<Section>) -> Result<Self, Malformed> {
        sections.sort_by_key(Section::class);
        if sections.windows(2).any(|pair| pair[0].class() == pair[1].class()) {
            return Err(Malformed::TooMany("section of one class"));
        }
        let revokes = sections.iter().any(|section| section.class() == Class::Revocation);
        match sections.first().map(Section::class) {
            _ if revokes && sections.len() > 1 => Err(Malformed::TooMany("section beside a REVOCATION")),
            Some(Class::Identity | Class::Revocation) => Ok(Self { sections }),
            _ => Err(Malformed::Missing("IDENTITY section")),
        }
    }

    /// The sections, IDENTITY first, or a REVOCATION alone.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The sections, to keep them.
    pub fn into_sections(self) -> Vec<Section> {
        self.sections
    }

    /// The section of a class.
    pub fn section(&self, class: Class) -> Option<&Section> {
        self.sections.iter().find(|section| section.class() == class)
    }

    /// The IDENTITY body.
    pub fn identity(&self) -> Option<&Identity> {
        match self.section(Class::Identity).map(|section| &section.body) {
            Some(Body::Identity(body)) => Some(body),
            _ => None,
        }
    }

    /// The REVOCATION, if it is one: the section and its body.
    pub fn revocation(&self) -> Option<(&Section, &Revocation)> {
        let section = self.section(Class::Revocation)?;
        match &section.body {
            Body::Revocation(body) => Some((section, body)),
            _ => None,
        }
    }

    /// The MAPPING body, unless withdrawn.
    pub fn mapping(&self) -> Option<&Mapping> {
        match self.live(Class::Mapping) {
            Some(Body::Mapping(body)) => Some(body),
            _ => None,
        }
    }

    /// The TOPOLOGY body, unless withdrawn.
    pub fn topology(&self) -> Option<&Topology> {
        match self.live(Class::Topology) {
            Some(Body::Topology(body)) => Some(body),
            _ => None,
        }
    }

    /// The SERVICE body, unless withdrawn.
    pub fn service(&self) -> Option<&Service> {
        match self.live(Class::Service) {
            Some(Body::Service(body)) => Some(body),
            _ => None,
        }
    }

    /// The PREFIX body, unless withdrawn.
    pub fn prefix(&self) -> Option<&Prefix> {
        match self.live(Class::Prefix) {
            Some(Body::Prefix(body)) => Some(body),
            _ => None,
        }
    }

    /// The INDEX body, unless withdrawn.
    pub fn index(&self) -> Option<&Index> {
        match self.live(Class::Index) {
            Some(Body::Index(body)) => Some(body),
            _ => None,
        }
    }

    fn live(&self, class: Class) -> Option<&Body> {
        self.section(class).filter(|section| !section.flags.withdrawn).map(|section| &section.body)
    }

    /// The octets of the value.
    ///
    /// # Errors
    /// When a section has no encoding, or all together are more than a bundle may have.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        for section in &self.sections {
            out.extend(section.encode()?);
        }
        let (count, limit) = (out.len(), limits::BUNDLE_SIZE);
        if count > limit { Err(EncodeError { field: "bundle", count, limit }) } else { Ok(out) }
    }

    /// Reads a bundle; any bytes are either one bundle or an error.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`Bundle::encode`] gives.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Form::read(bytes).map(|form| form.bundle)
    }
}

/// A bundle as it was read: each section beside its octets, which are its one encoding.
#[derive(Debug)]
pub(crate) struct Form<'a> {
    pub(crate) bundle: Bundle,
    octets: Vec<&'a [u8]>,
}

impl<'a> Form<'a> {
    /// Reads a bundle; any bytes are either one bundle or an error.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > limits::BUNDLE_SIZE {
            return Err(Malformed::Length("bundle", bytes.len()));
        }
        let mut reader = Reader(bytes);
        let (mut sections, mut all): (Vec<Section>, Vec<&[u8]>) = (Vec::new(), Vec::new());
        while !reader.is_empty() {
            let (section, octets) = Section::read(&mut reader)?;
            if sections.last().is_some_and(|last| last.class() >= section.class()) {
                return Err(Malformed::NotCanonical("order of sections"));
            }
            sections.push(section);
            all.push(octets);
        }
        // They ascend already: the order stays.
        Ok(Self { bundle: Bundle::new(sections)?, octets: all })
    }

    /// The sections, each with its octets.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (&Section, &'a [u8])> {
        self.bundle.sections.iter().zip(self.octets.iter().copied())
    }

    /// Octets of all sections.
    pub(crate) fn size(&self) -> usize {
        self.octets.iter().map(|octets| octets.len()).sum()
    }
}
