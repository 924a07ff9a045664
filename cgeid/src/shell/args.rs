// SPDX-License-Identifier: GPL-2.0-or-later
//! The flags.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::cn::Network;
use crate::identity::KeyAlgorithm;
use crate::limits::MAX_MONTHS;

/// Make and inspect identities: keys that own an IPv6 address of the mesh.
#[derive(Parser)]
#[command(name = "cgeid", version, after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Report as JSON on standard output, or with `=FILE` into a file beside the text
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "-", value_name = "FILE")]
    pub(super) json: Option<JsonTo>,
}

const EXAMPLES: &str = "\
Examples:
  cgeid new --algorithm ed25519 --out keys        an identity and its first key
  cgeid show keys/0f2c8a3454a468b75f32e76a.p12    who is it, until when
  cgeid show --cn node.op.p12                     only its name, for scripts
  cgeid show --json certificate.pem               of a certificate, as JSON

Passwords come from --password-file, the variable CGEID_PASSWORD, or a prompt;
never from the command line.
Exit codes: 0 what was asked held, 1 it did not, 2 wrong usage, 3 the machine
lacks something.";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an identity and an operational key for it
    #[command(after_help = NEW_HELP)]
    New(New),
    /// Verify a key container or certificate and say whose it is
    #[command(after_help = SHOW_HELP)]
    Show(Show),
}

const NEW_HELP: &str = "\
Writes <CN>.p12 (the identity key: take it offline) and <CN>.op.p12 (the
operational key: give it to the daemons), both readable by their owner only.
With --months above 1, the keys of later months are <CN>.op.<EPOCH>.p12; each
becomes valid when its month begins, and then takes the place of <CN>.op.p12.

Examples:
  cgeid new --algorithm rsa4096 --out keys
  cgeid new --algorithm ed25519 --out keys --prefix 2001:db8::/32 --months 12";

const SHOW_HELP: &str = "\
FILE is <CN>.p12, <CN>.op.p12, or a certificate in PEM or DER. A PEM file may
hold an operational certificate and, with it, the identity certificate that
issued it.

Examples:
  cgeid show keys/0f2c8a3454a468b75f32e76a.op.p12
  cgeid show --cn certificate.der";

#[derive(ClapArgs)]
pub(super) struct New {
    /// Kind of identity key; RSA takes some seconds
    #[arg(long, value_enum)]
    pub(super) algorithm: Algorithm,
    /// Folder for the files; it is made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Network prefix of the address
    #[arg(long, default_value_t = Network::LAB)]
    pub(super) prefix: Network,
    /// Months for which to make operational keys
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_MONTHS)))]
    pub(super) months: u32,
    /// File whose first line is the password of the new files
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
}

#[derive(ClapArgs)]
pub(super) struct Show {
    /// A key container or certificate
    pub(super) file: PathBuf,
    /// Print the CN and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(super) cn: bool,
    /// Network prefix for which it must have been made
    #[arg(long, default_value_t = Network::LAB)]
    pub(super) prefix: Network,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Algorithm {
    /// RSA, 4096 bits
    Rsa4096,
    /// Ed25519
    Ed25519,
}

impl From<Algorithm> for KeyAlgorithm {
    fn from(algorithm: Algorithm) -> KeyAlgorithm {
        match algorithm {
            Algorithm::Rsa4096 => KeyAlgorithm::Rsa4096,
            Algorithm::Ed25519 => KeyAlgorithm::Ed25519,
        }
    }
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
