// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid new`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::args::{JsonTo, New};
use super::{Failure, files, password, report};
use crate::cn::Network;
use crate::container;
use crate::error::{CertificateError, KeyError};
use crate::identity::{Identity, KeyAlgorithm};
use crate::operational::OperationalKey;

/// How often the progress sign moves.
const TICK: Duration = Duration::from_millis(200);

pub(super) fn run(new: &New, json: &Option<JsonTo>) -> Result<(), Failure> {
    let password = password::new(new.password_file.as_deref())?;
    files::make_folder(&new.out)?;
    let now = SystemTime::now();
    let identity = generate(new.algorithm.into(), new.prefix, now).map_err(Failure::machine)?;
    let mut written = vec![(
        new.out.join(container::identity_file_name(identity.cn())),
        container::save_identity(&identity, &password).map_err(Failure::machine)?,
    )];
    for month in 0..new.months {
        let key = identity.delegate(now, month).map_err(Failure::machine)?;
        let bytes = container::save_operational(&key, &password).map_err(Failure::machine)?;
        written.push((operational_path(&new.out, &key, month), bytes));
    }
    files::write_secrets(&written)?;
    let paths: Vec<_> = written.iter().map(|(path, _)| path.display().to_string()).collect();
    let value = json!({
        "cn": identity.cn(),
        "address": identity.address(),
        "algorithm": identity.algorithm().to_string(),
        "files": paths,
    });
    let text = format!(
        "cn          {}\naddress     {}\nidentity    {}  (take it offline)\noperational {}  (for the daemons)\n",
        identity.cn(),
        identity.address(),
        paths[0],
        paths[1..].join("\n            "),
    );
    report(&text, &value, json)
}

/// The key for now has the name that daemons look for; later ones carry their epoch.
fn operational_path(folder: &Path, key: &OperationalKey, month: u32) -> PathBuf {
    folder.join(match month {
        0 => container::operational_file_name(key.cn()),
        _ => format!("{}.op.{}.p12", key.cn(), key.epoch()),
    })
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
