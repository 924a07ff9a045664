// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid delegate`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::args::JsonTo;
use super::given::Given;
use super::output::Existing;
use super::{Failure, clock, mining, output, password, report};
use crate::certificate::OperationalCertificate;
use crate::cn::Network;
use crate::container;
use crate::epoch;
use crate::error::{CertificateError, date};
use crate::identity::Identity;
use crate::limits::MAX_MONTHS;
use crate::puzzle::PuzzleBits;

pub(super) const HELP: &str = "\
Signs operational keys with the identity key, one a month, so that it can stay
offline for as long. The key of this month is <CN>.op.p12, those of later months
are <CN>.op.<EPOCH>.p12; no file is overwritten. A key of a higher epoch ends
those of lower ones: --revision makes one for this month that replaces a stolen
one. An operational key never outlives its identity's certificate.

The hash table lets a node in only if its key solves a puzzle; what it asks for is
a parameter of the network. Keys are drawn until one fits: with 16 bits, as public
networks have, that takes some seconds a key, with 4, as in a lab, none. Nothing is
written if the search is broken off.

Examples:
  cgeid delegate 0f2c8a3454a468b75f32e76a.p12 --months 12 --out keys
  cgeid delegate 0f2c8a3454a468b75f32e76a.p12 --from 178176 --months 12 --out keys
  cgeid delegate 0f2c8a3454a468b75f32e76a.p12 --revision 1 --out replacement
  cgeid delegate 0f2c8a3454a468b75f32e76a.p12 --puzzle-bits 16 --out keys";

#[derive(Args)]
pub(super) struct Delegate {
    /// The identity key, <CN>.p12
    pub(super) identity: PathBuf,
    /// Months for which to make keys
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_MONTHS)))]
    pub(super) months: u32,
    /// Folder for the files; it is made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Number of the keys within their months; a higher one replaces a lower one
    #[arg(long, default_value_t = 0)]
    pub(super) revision: u8,
    /// Epoch of the first key, to continue where the last call ended
    #[arg(long, value_name = "EPOCH", conflicts_with = "revision")]
    pub(super) from: Option<u32>,
    /// Zero bits that the network's puzzle asks of a key: 4 in labs, 16 in public networks
    #[arg(long, value_name = "N", default_value_t = PuzzleBits::LAB)]
    pub(super) puzzle_bits: PuzzleBits,
    /// Network prefix for which the identity was made
    #[arg(long, default_value_t = Network::LAB)]
    pub(super) prefix: Network,
    /// File whose first line is the password of the identity key, and of the new files
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// File whose first line is the password of the new files, if it is to be another
    #[arg(long, value_name = "FILE")]
    pub(super) new_password_file: Option<PathBuf>,
}

/// Which keys to make.
pub(super) struct Plan {
    /// Months from now to the first key.
    pub(super) first: u32,
    /// How many keys.
    pub(super) months: u32,
    /// Their number within their month.
    pub(super) revision: u8,
    /// What the network asks of them.
    pub(super) puzzle_bits: PuzzleBits,
}

/// A key that was signed, in its container.
pub(super) struct Made {
    /// Where it is to be written, and what.
    pub(super) file: (PathBuf, Vec<u8>),
    certificate: OperationalCertificate,
}

pub(super) fn run(delegate: &Delegate, json: &Option<JsonTo>) -> Result<(), Failure> {
    let now = clock::now()?;
    let (identity, password) = Given::read(&delegate.identity)?
        .identity(delegate.password_file.as_deref(), |bytes, password| {
            container::load_identity(bytes, password, delegate.prefix, now)
        })?;
    let plan = plan(delegate, &identity, now)?;
    let new_password = match &delegate.new_password_file {
        Some(file) => password::new(Some(file))?,
        None => password,
    };
    password::check(&new_password)?;
    output::make_folder(&delegate.out)?;
    let made = make(&identity, &plan, &delegate.out, &new_password, now)?;
    let (files, certificates): (Vec<_>, Vec<_>) = made.into_iter().map(|made| (made.file, made.certificate)).unzip();
    output::secrets(&files)?;

    let until = certificates.last().map(|certificate| date(certificate.not_after())).unwrap_or_default();
    let mut text = format!("cn          {}\naddress     {}\n", identity.cn(), identity.address());
    let mut keys = Vec::new();
    for ((path, _), certificate) in files.iter().zip(&certificates) {
        let (from, to) = (date(certificate.not_before()), date(certificate.not_after()));
        text += &format!("operational {}  (epoch {}, {from} to {to})\n", path.display(), certificate.epoch());
        keys.push(json!({
            "file": path.display().to_string(),
            "epoch": certificate.epoch(),
            "not_before": from,
            "not_after": to,
        }));
    }
    text += &format!("The daemons are provided for until {until}.\n");
    let value = json!({ "cn": identity.cn(), "address": identity.address(), "keys": keys, "until": until });
    report(&text, &value, json)
}

/// Signs the keys of a plan and puts them into containers; nothing is written yet.
pub(super) fn make(
    identity: &Identity,
    plan: &Plan,
    folder: &Path,
    password: &str,
    now: SystemTime,
) -> Result<Vec<Made>, Failure> {
    let mut wanted = Vec::new();
    for month in plan.first..plan.first + plan.months {
        let epoch = identity.epoch_ahead(now, month, plan.revision).map_err(unsigned)?;
        // The key for now has the name that daemons look for; later ones carry their epoch.
        let name = match month {
            0 => container::operational_file_name(identity.cn()),
            _ => format!("{}.op.{epoch}.p12", identity.cn()),
        };
        let path = folder.join(name);
        // Before the search and the password's hardening, which take most of the time.
        output::refuse_existing(&path, Existing::Stays)?;
        wanted.push((path, epoch));
    }
    let mut keys = Vec::new();
    for (path, epoch) in wanted {
        let mined = mining::mine(epoch, plan.puzzle_bits)?;
        keys.push((path, identity.delegate_mined(now, mined).map_err(unsigned)?));
    }
    let save = |(path, key)| {
        let bytes = container::save_operational(&key, password).map_err(Failure::machine)?;
        Ok(Made { file: (path, bytes), certificate: key.certificate().clone() })
    };
    keys.into_iter().map(save).collect()
}

fn plan(delegate: &Delegate, identity: &Identity, now: SystemTime) -> Result<Plan, Failure> {
    let current = epoch::period(identity.cn(), now);
    let [first, revision] = match delegate.from {
        Some(from) => {
            let first = (from / epoch::REVISIONS).checked_sub(current).ok_or_else(|| {
                let current = epoch::epoch(current, 0);
                Failure::usage(anyhow!("--from {from} is past: the current month begins with epoch {current}"))
            })?;
            [first, from % epoch::REVISIONS]
        }
        None => [0, delegate.revision.into()],
    };
    if first.saturating_add(delegate.months) > MAX_MONTHS {
        let error = anyhow!("--from and --months reach beyond {MAX_MONTHS} months from now, for which keys are made");
        return Err(Failure::usage(error));
    }
    let revision = u8::try_from(revision).expect("a remainder of REVISIONS, or an octet, is below 256");
    Ok(Plan { first, months: delegate.months, revision, puzzle_bits: delegate.puzzle_bits })
}

/// A machine without randomness is one thing, an identity that ends before the month begins another.
fn unsigned(error: CertificateError) -> Failure {
    match error {
        CertificateError::Key(_) => Failure::machine(error),
        CertificateError::Expired { not_after } => {
            let end = date(not_after);
            Failure::refused(anyhow!(
                "the identity ends at {end}, and its operational keys with it: ask for fewer months"
            ))
        }
        _ => Failure::refused(error),
    }
}
