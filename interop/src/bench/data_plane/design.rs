// SPDX-License-Identifier: GPL-2.0-or-later
//! What is compared, on what, and by what; and whether it is at hand.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use crate::demo::binaries::Binaries;
use crate::peers::Peer;

/// What is between the two sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Design {
    /// Routers that know the way, without a tunnel
    Plain,
    /// The kernel's VXLAN device
    Vxlan,
    /// The least that carries packets through a TUN device, one a system call: no router
    Bare,
    /// lisp-xtr, one packet a system call
    Tier0,
    /// lisp-xtr with the kernel's offloads
    Tier1,
    /// OpenOverlayRouter, whose path INTEROP_OOR names
    Oor,
}

/// What packets of tunnels cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Underlay {
    /// No segmentation by hardware at the outer ports: frames as a wire has them
    WireLike,
    /// As the kernel makes virtual cables: 64 KiB cross at once
    SuperPackets,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
pub enum Test {
    /// One TCP flow
    #[serde(rename = "tcp1")]
    Tcp1,
    /// Four TCP flows
    #[serde(rename = "tcp4")]
    Tcp4,
    /// 64 octets of payload, as many datagrams as the sender can
    #[serde(rename = "udp64")]
    Udp64,
    /// What is lost of 100,000 such datagrams a second
    #[value(name = "loss-100k")]
    #[serde(rename = "loss-100k")]
    Loss100k,
    /// What the routers add to a round-trip time
    #[value(name = "added-rtt")]
    #[serde(rename = "added-rtt")]
    AddedRtt,
    /// What routers take of the processors while nothing crosses
    #[serde(rename = "idle")]
    Idle,
    /// How long nothing crosses when a locator of lisp-xtr fails, and when an EID-prefix moves; three rounds at most
    #[serde(rename = "convergence")]
    Convergence,
}

impl Design {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 6] = [Self::Plain, Self::Vxlan, Self::Bare, Self::Tier0, Self::Tier1, Self::Oor];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Vxlan => "vxlan",
            Self::Bare => "bare",
            Self::Tier0 => "tier0",
            Self::Tier1 => "tier1",
            Self::Oor => "oor",
        }
    }
}

impl Underlay {
    /// Both.
    pub const ALL: [Self; 2] = [Self::WireLike, Self::SuperPackets];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::WireLike => "wire-like",
            Self::SuperPackets => "super-packets",
        }
    }
}

impl Test {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Tcp1, Self::Tcp4, Self::Udp64, Self::Loss100k, Self::AddedRtt, Self::Idle, Self::Convergence];
    /// Those whose figures are rates.
    pub const RATES: [Self; 3] = [Self::Tcp1, Self::Tcp4, Self::Udp64];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp1 => "tcp1",
            Self::Tcp4 => "tcp4",
            Self::Udp64 => "udp64",
            Self::Loss100k => "loss-100k",
            Self::AddedRtt => "added-rtt",
            Self::Idle => "idle",
            Self::Convergence => "convergence",
        }
    }

    /// What a rate counts.
    pub fn unit(self) -> &'static str {
        if self == Self::Udp64 { "packets/s" } else { "Mbit/s" }
    }
}

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Underlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A design, and what it takes.
#[derive(Debug, Clone)]
pub(super) struct Kit {
    pub(super) design: Design,
    /// What lisp-xtr is told beside what every xTR is.
    pub(super) flags: Vec<String>,
    /// A program of others.
    pub(super) program: Option<PathBuf>,
}

/// A design that is not measured.
#[derive(Debug, Clone, Serialize)]
pub struct Skipped {
    /// Which.
    pub design: Design,
    /// What is not at hand.
    pub why: String,
}

/// The flag of lisp-xtr that says how packets are moved.
const TIER: &str = "--tier";

/// Which of these designs are at hand, and why the others are not.
pub(super) fn at_hand(wanted: Vec<Design>, binaries: &Binaries) -> anyhow::Result<(Vec<Kit>, Vec<Skipped>)> {
    let (mut kits, mut skipped) = (Vec::new(), Vec::new());
    let has_tiers = wanted.contains(&Design::Tier0) || wanted.contains(&Design::Tier1);
    let has_tiers = has_tiers && knows_tiers(binaries.command("lisp-xtr"))?;
    for design in wanted {
        let tier = |tier: &str| if has_tiers { vec![TIER.to_owned(), tier.to_owned()] } else { Vec::new() };
        let (flags, program, lacks) = match design {
            Design::Plain | Design::Vxlan | Design::Bare => (Vec::new(), None, None),
            // A program without the flag has one tier.
            Design::Tier0 => (tier("0"), None, None),
            Design::Tier1 => (tier("1"), None, (!has_tiers).then(|| format!("this lisp-xtr has no flag {TIER}"))),
            Design::Oor => match Peer::Oor.program()? {
                Some(program) => (Vec::new(), Some(program), None),
                None => (Vec::new(), None, Some("INTEROP_OOR is not set to the path of a built program".to_owned())),
            },
        };
        match lacks {
            Some(why) => skipped.push(Skipped { design, why }),
            None => kits.push(Kit { design, flags, program }),
        }
    }
    Ok((kits, skipped))
}

fn knows_tiers(mut program: Command) -> anyhow::Result<bool> {
    let output = program.arg("--help").output().context("lisp-xtr --help")?;
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().any(|word| word == TIER))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn is_written_as_it_is_named<T: ValueEnum + Serialize + fmt::Display>(values: &[T]) {
        for value in values {
            let written = value.to_possible_value().unwrap();
            assert_eq!(written.get_name(), value.to_string());
            assert_eq!(serde_json::to_value(value).unwrap(), value.to_string());
        }
        assert_eq!(values.len(), T::value_variants().len());
    }

    #[test]
    fn names_are_the_same_on_the_command_line_and_in_reports() {
        is_written_as_it_is_named(&Design::ALL);
        is_written_as_it_is_named(&Underlay::ALL);
        is_written_as_it_is_named(&Test::ALL);
    }

    #[test]
    fn a_program_without_the_flag_has_one_tier() {
        let echo = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("echo '{text}'")]);
            command
        };
        assert!(knows_tiers(echo("      --tier <TIER>  how packets are moved")).unwrap());
        assert!(!knows_tiers(echo("      --tiers-are-none")).unwrap());
    }
}
