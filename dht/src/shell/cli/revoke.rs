// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht put --revocation`: what an owner signed for this day goes out.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use cgeid::{Network, Revocation};

use super::flags::PutFlags;
use super::settings::Settings;
use super::{Failure, Outcome, publish};
use crate::publish::revocation;
use crate::shell::limits;

/// Publishes the revocation in a file, once its meaning is known and accepted.
pub(super) async fn put(settings: Settings, flags: &PutFlags, file: &Path) -> Result<Outcome, Failure> {
    let network = settings.network()?;
    let statement = read(file, network).with_context(|| format!("--revocation {}", file.display()))?;
    let publication = revocation(&statement).map_err(anyhow::Error::from)?;
    settings.client()?;
    eprint!("{}", meaning(&statement));
    if !flags.yes && !is_wanted()? {
        eprintln!("Nothing was published.");
        return Ok(Outcome::DidNot);
    }
    let address = statement.address().to_string();
    publish::send(&settings, network, &address, publication, &flags.file.json).await
}

/// Reads and verifies a statement, in PEM armour or not.
fn read(file: &Path, network: Network) -> anyhow::Result<Revocation> {
    let mut bytes = Vec::new();
    File::open(file)?.take(limits::STATEMENT_FILE + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limits::STATEMENT_FILE) {
        bail!("more than {} octets are no revocation", limits::STATEMENT_FILE);
    }
    if bytes.starts_with(&Revocation::MAGIC) {
        return Ok(Revocation::verify(&bytes, network)?);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| anyhow!("not a revocation"))?;
    Ok(Revocation::from_pem(text, network)?)
}

fn meaning(statement: &Revocation) -> String {
    format!(
        "This revokes the identity {}, address {} ({}).\n\
         It cannot be taken back: nodes drop what the identity has published and take nothing of it any more,\n\
         and whoever asks for the address is told not to use it.\n\
         It is kept for 30 days after it was last put. Put it again each month while the address must stay dead.\n",
        statement.cn(),
        statement.address(),
        statement.reason(),
    )
}

/// Asks whoever sits at the terminal.
fn is_wanted() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("--yes is missing: there is no terminal at which to ask whether to publish this");
    }
    eprint!("Publish it? Type yes: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
