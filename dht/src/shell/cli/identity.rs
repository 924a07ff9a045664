// SPDX-License-Identifier: GPL-2.0-or-later
//! The operational key, from its file.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use cgeid::{Cn, ContainerError, Network, OperationalKey, container};
use program::files;
use zeroize::Zeroizing;

use super::settings::Settings;

/// Variable with the password.
const PASSWORD: &str = "CGEID_PASSWORD";
/// A certificate that ends within this is warned about.
const ENDS_SOON: Duration = Duration::from_secs(7 * 86_400);
/// What to do then.
const LATER: &str =
    "take the key of the next month, <CN>.op.<EPOCH>.p12; `cgeid delegate` makes it where it is missing";

/// Reads the key that the settings name.
pub(super) fn load(settings: &Settings, network: Network) -> anyhow::Result<OperationalKey> {
    let now = SystemTime::now();
    let key = open(named(settings)?, settings, network, now)?;
    warn_of_end(key.cn(), key.certificate().not_after(), now);
    Ok(key)
}

/// The file that the settings name.
pub(super) fn named(settings: &Settings) -> anyhow::Result<&Path> {
    settings.identity.as_deref().ok_or_else(|| {
        anyhow!("--identity is missing: name the operational key, <CN>.op.p12, which `cgeid new` writes")
    })
}

/// Reads the key in a file, with the password of the settings.
pub(super) fn open(
    file: &Path,
    settings: &Settings,
    network: Network,
    now: SystemTime,
) -> anyhow::Result<OperationalKey> {
    let most = cgeid::limits::MAX_CONTAINER;
    let bytes = files::read(file, most).with_context(|| format!("--identity {}", file.display()))?;
    container::check_form(&bytes).with_context(|| format!("--identity {}", file.display()))?;
    let password = password(settings.password_file.as_deref())?;
    container::load_operational(&bytes, &password, network, now).map_err(|error| explain(file, error))
}

/// Tells the operator when the last key of an identity ends soon; whether it does.
pub(super) fn warn_of_end(cn: Cn, end: SystemTime, now: SystemTime) -> bool {
    let left = end.duration_since(now).unwrap_or_default();
    if left < ENDS_SOON {
        let days = left.as_secs() / 86_400;
        tracing::warn!(%cn, days, "the operational certificate ends soon: {LATER}");
    }
    left < ENDS_SOON
}

fn explain(file: &Path, error: ContainerError) -> anyhow::Error {
    let advice = match &error {
        ContainerError::IsIdentity { .. } => "; `cgeid new` writes the operational key beside it",
        ContainerError::Password => ": check --password-file or CGEID_PASSWORD",
        _ => "",
    };
    anyhow!("--identity {}: {error}{advice}", file.display())
}

/// The first line of a file, as for `cgeid`, or the variable.
fn password(file: Option<&Path>) -> anyhow::Result<Zeroizing<String>> {
    if let Some(file) = file {
        let line = File::open(file).and_then(|file| files::first_line(file, program::limits::PASSWORD));
        return line.with_context(|| format!("--password-file {}", file.display()));
    }
    match std::env::var(PASSWORD) {
        Ok(password) => Ok(Zeroizing::new(password)),
        Err(_) => Err(anyhow!("the password of --identity is missing: give --password-file or set {PASSWORD}")),
    }
}
