// SPDX-License-Identifier: GPL-2.0-or-later
//! What is kept of a message, and what a verdict rests on.

use serde::{Deserialize, Serialize};

/// On what kind of observation a verdict rests; the weakest that it needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sure {
    /// On what came over the network, or what a program did.
    Seen,
    /// Also on something that did not come: within a time, or before the answer to what was sent behind it.
    Absence,
    /// On what was read inside: a counter of the implementation, or what a codec or verifier in this process says.
    Inside,
}

impl Sure {
    /// In a sentence.
    pub fn told(self) -> &'static str {
        match self {
            Self::Seen => "seen: it rests on what came",
            Self::Absence => "absence: it also rests on what did not come, within a time or before what was sent later",
            Self::Inside => "inside: it rests on a counter of the implementation, or on a codec in this process",
        }
    }

    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Absence => "absence",
            Self::Inside => "inside",
        }
    }
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the implementation.
    Sent,
    /// From the implementation.
    Came,
    /// Nothing came, within a time.
    Silence,
    /// A command, and how it ended.
    Ran,
    /// What the implementation says of itself.
    Read,
    /// Octets given to a codec or a verifier.
    Given,
    /// So many messages are left out here.
    Omitted,
}

impl Direction {
    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Came => "came",
            Self::Silence => "silence",
            Self::Ran => "ran",
            Self::Read => "read",
            Self::Given => "given",
            Self::Omitted => "omitted",
        }
    }
}

/// One message of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Which way it went.
    pub direction: Direction,
    /// When, in milliseconds from the beginning of the check.
    pub at_ms: u64,
    /// Who sent it, or the command.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Whom it was sent to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// What it says.
    pub decoded: String,
    /// Its length in octets.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub octets: usize,
    /// Its octets, or the first of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hex: String,
    /// In which room it was, of a check that is held in several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub room: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
