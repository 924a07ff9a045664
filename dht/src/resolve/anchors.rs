// SPDX-License-Identifier: GPL-2.0-or-later
//! Trust anchors: whose word about a prefix a resolver takes without anybody else's.

use std::fmt;
use std::str::FromStr;

use cgeid::{Cn, CnError};
use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};

use crate::limits;

/// An aggregate, and who delegates inside it. As text: `2001:db8::/32=0f2c8a3454a468b75f32e76a`, in another instance
/// `[7]10.0.0.0/8=...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustAnchor {
    /// The aggregate.
    pub aggregate: EidPrefix,
    /// The writer of its index page.
    pub cn: Cn,
}

/// A text that is no trust anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// No `=` between prefix and CN.
    #[error("a trust anchor is PREFIX=CN")]
    Form,
    /// The prefix cannot be read, or has host bits.
    #[error("{0:?} is not a prefix (host bits must be zero)")]
    Prefix(String),
    /// The instance in brackets cannot be read.
    #[error("{0:?} is not an instance ID")]
    Instance(String),
    /// The CN cannot be read.
    #[error(transparent)]
    Cn(#[from] CnError),
}

impl FromStr for TrustAnchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let (prefix, cn) = text.split_once('=').ok_or(AnchorError::Form)?;
        Ok(Self { aggregate: parse_prefix(prefix)?, cn: cn.parse()? })
    }
}

/// A prefix as [`EidPrefix`] is printed: in an instance other than 0 with that in brackets before it.
pub(crate) fn parse_prefix(text: &str) -> Result<EidPrefix, AnchorError> {
    let (iid, prefix) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((iid, rest)) => (iid.parse().map_err(|_| AnchorError::Instance(iid.to_owned()))?, rest),
        None => (0, text),
    };
    let net: IpNet = prefix.parse().map_err(|_| AnchorError::Prefix(prefix.to_owned()))?;
    if net != net.trunc() {
        return Err(AnchorError::Prefix(prefix.to_owned()));
    }
    Ok(EidPrefix { iid: InstanceId(iid), net })
}

impl fmt::Display for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.aggregate, self.cn)
    }
}

/// The trust anchors of a resolver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Anchors(Vec<TrustAnchor>);

impl Anchors {
    /// The anchors; several may have one aggregate. What is beyond [`limits::ANCHORS`] in all, or beyond
    /// [`limits::ANCHORS_OF_ONE`] for one aggregate, is left out.
    pub fn new(anchors: impl IntoIterator<Item = TrustAnchor>) -> Self {
        let mut kept = Self::default();
        for anchor in anchors {
            kept.add(anchor);
        }
        kept
    }

    /// Adds an anchor; whether it counts.
    pub fn add(&mut self, anchor: TrustAnchor) -> bool {
        let beside = self.0.iter().filter(|known| known.aggregate == anchor.aggregate).count();
        let room = self.0.len() < limits::ANCHORS && beside < limits::ANCHORS_OF_ONE;
        let counts = room && !self.0.contains(&anchor);
        if counts {
            self.0.push(anchor);
        }
        counts
    }

    /// The anchors with the longest aggregate that covers `eid`, in their order: each speaks for all of it.
    pub fn longest(&self, eid: &EidPrefix) -> impl Iterator<Item = &TrustAnchor> {
        let covering = self.0.iter().filter(|anchor| anchor.aggregate.covers(eid));
        let longest = covering.map(|anchor| anchor.aggregate).max_by_key(|aggregate| aggregate.net.prefix_len());
        self.0.iter().filter(move |anchor| Some(anchor.aggregate) == longest)
    }

    /// All anchors.
    pub fn iter(&self) -> impl Iterator<Item = &TrustAnchor> {
        self.0.iter()
    }
}
