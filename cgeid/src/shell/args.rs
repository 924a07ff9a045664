// SPDX-License-Identifier: GPL-2.0-or-later
//! The flags that all verbs share; each verb has its own beside what it does.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use program::{Completions, Man};

use super::delegate::{self, Delegate};
use super::export::{self, Export};
use super::import::{self, Import};
use super::new::{self, New};
use super::prove_link::{self, ProveLink};
use super::revoke::{self, Revoke};
use super::show::{self, Show};
use super::verify::{self, Verify};

/// Make and inspect identities: keys that own an IPv6 address of the mesh.
#[derive(Parser)]
#[command(name = "cgeid", version, after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Report as JSON on standard output, or with `=FILE` into a file beside the text, where only an
    /// earlier report is replaced
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "-", value_name = "FILE")]
    pub(super) json: Option<JsonTo>,
}

const EXAMPLES: &str = "\
Examples:
  cgeid new --algorithm ed25519 --out keys        an identity and its first key
  cgeid show keys/0f2c8a3454a468b75f32e76a.p12    who is it, until when
  cgeid show --cn node.op.p12                     only its name, for scripts
  cgeid show --json certificate.pem               of a certificate, as JSON
  cgeid verify keys/*                             does all of it hold now?
  cgeid delegate 0f2c8a3454a468b75f32e76a.p12 --months 12 --out keys
  cgeid export node.op.p12 --format qr            its certificate, to be scanned
  cgeid import photo.png --out friends            and read on the other side

Passwords come from --password-file, the variable CGEID_PASSWORD, or a prompt;
never from the command line.
Exit codes: 0 what was asked held, 1 it did not, 2 wrong usage, 3 the machine
lacks something.";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an identity and an operational key for it
    #[command(after_help = new::HELP)]
    New(New),
    /// Verify a key container or certificate and say whose it is
    #[command(after_help = show::HELP)]
    Show(Show),
    /// Verify key containers, certificates, revocations and link proofs
    #[command(after_help = verify::HELP)]
    Verify(Verify),
    /// Sign operational keys ahead
    #[command(after_help = delegate::HELP)]
    Delegate(Delegate),
    /// Make the statement that revokes an identity
    #[command(after_help = revoke::HELP)]
    Revoke(Revoke),
    /// Prove to one reader that two identities have one owner
    #[command(after_help = prove_link::HELP)]
    ProveLink(ProveLink),
    /// Read a certificate, fingerprint or private key in any form, verify it, and keep it
    #[command(after_help = import::HELP)]
    Import(Import),
    /// Write a certificate in a form for others, or a backup of a key
    #[command(after_help = export::HELP)]
    Export(Export),
    /// Print what a shell needs to complete the flags
    #[command(after_help = program::completions_help!("cgeid"))]
    Completions(Completions),
    /// Print or write the manual pages
    #[command(after_help = program::man_help!("cgeid", "export"))]
    Man(Man),
}

/// Where `--json` puts the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JsonTo {
    /// On standard output, instead of the text.
    Output,
    /// In a file, beside the text.
    File(PathBuf),
}

impl FromStr for JsonTo {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<JsonTo, Infallible> {
        Ok(if text == "-" { JsonTo::Output } else { JsonTo::File(text.into()) })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }
}
