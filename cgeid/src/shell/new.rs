// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid new`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::args::JsonTo;
use super::delegate::{self, Plan};
use super::{Failure, clock, output, password, report, revoke};
use crate::cn::Network;
use crate::container;
use crate::error::{CertificateError, KeyError};
use crate::identity::{Identity, KeyAlgorithm};
use crate::limits::MAX_MONTHS;
use crate::puzzle::PuzzleBits;
use crate::statement::{Reason, revocation_file_name};

pub(super) const HELP: &str = "\
Writes <CN>.p12 (the identity key: take it offline), <CN>.op.p12 (the
operational key: give it to the daemons) and <CN>.revoke (a revocation, made
while the key is at hand: whoever publishes it ends the identity for ever, so
keep it safe, and apart from the key), all readable by their owner only.
With --months above 1, the keys of later months are <CN>.op.<EPOCH>.p12; each
becomes valid when its month begins, and then takes the place of <CN>.op.p12.
The hash table of a public network asks for --puzzle-bits 16: that takes some
seconds for each month.

Examples:
  cgeid new --algorithm rsa4096 --out keys
  cgeid new --algorithm ed25519 --out keys --prefix 2001:db8::/32 --months 12";

#[derive(Args)]
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
    /// Zero bits that the network's puzzle asks of a key: 4 in labs, 16 in public networks
    #[arg(long, value_name = "N", default_value_t = PuzzleBits::LAB)]
    pub(super) puzzle_bits: PuzzleBits,
    /// File whose first line is the password of the new files
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

/// How often the progress sign moves.
const TICK: Duration = Duration::from_millis(200);

pub(super) fn run(new: &New, json: &Option<JsonTo>) -> Result<(), Failure> {
    let now = clock::now()?;
    let password = password::new(new.password_file.as_deref())?;
    output::make_folder(&new.out)?;
    let identity = generate(new.algorithm.into(), new.prefix, now).map_err(Failure::machine)?;
    let identity_path = new.out.join(container::identity_file_name(identity.cn()));
    let mut written = vec![(identity_path, container::save_identity(&identity, &password).map_err(Failure::machine)?)];
    let plan = Plan { first: 0, months: new.months, revision: 0, puzzle_bits: new.puzzle_bits };
    written.extend(delegate::make(&identity, &plan, &new.out, &password, now)?.into_iter().map(|made| made.file));
    let paths: Vec<_> = written.iter().map(|(path, _)| path.display().to_string()).collect();
    let (_, revocation) = revoke::file(&identity, Reason::UNSPECIFIED, now)?;
    let revocation_path = new.out.join(revocation_file_name(identity.cn()));
    let revocation_shown = revocation_path.display().to_string();
    written.push((revocation_path, revocation));
    output::secrets(&written)?;
    let value = json!({
        "cn": identity.cn(),
        "address": identity.address(),
        "algorithm": identity.algorithm().to_string(),
        "files": paths,
        "revocation": revocation_shown,
    });
    let text = format!(
        "cn          {}\naddress     {}\nidentity    {}  (take it offline)\noperational {}  (for the daemons)\n\
         revocation  {revocation_shown}  (keep it safe, apart from the key)\n",
        identity.cn(),
        identity.address(),
        paths[0],
        paths[1..].join("\n            "),
    );
    report(&text, &value, json)
}

/// Makes the identity; shows that something is going on while that is an RSA key and somebody watches.
fn generate(algorithm: KeyAlgorithm, network: Network, now: SystemTime) -> Result<Identity, CertificateError> {
    let work = move || Identity::generate(algorithm, network, now);
    if algorithm != KeyAlgorithm::Rsa4096 || !std::io::stderr().is_terminal() {
        return work();
    }
    let (done, waiting) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Only a watcher that is gone cannot be told.
            let _ = done.send(work());
        });
        eprint!("making an RSA-4096 key ");
        let made = loop {
            match waiting.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => eprint!("."),
                Ok(made) => break made,
                // The maker ended without a word; the scope carries its panic on.
                Err(RecvTimeoutError::Disconnected) => break Err(CertificateError::Key(KeyError::Randomness)),
            }
            let _ = std::io::stderr().flush();
        };
        eprintln!();
        made
    })
}
