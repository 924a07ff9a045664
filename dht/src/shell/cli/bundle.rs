// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht put --bundle`: what was signed elsewhere goes out by whoever carries it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow, bail};
use cgeid::Network;

use super::flags::PutFlags;
use super::publish::{self, Carried};
use super::settings::Settings;
use super::{Failure, Outcome};
use crate::record::{Body, Bundle, CertificateCache, RecordKey, Subject, verify};
use crate::shell::limits;
use crate::shell::node::{Multiaddr, PeerId, identity_in};

/// Publishes the bundle in a file under the key that follows from it, or under the one that is given.
pub(super) async fn put(settings: Settings, flags: &PutFlags, file: &Path) -> Result<Outcome, Failure> {
    let network = settings.network()?;
    let carried = read(file, flags, network).with_context(|| format!("--bundle {}", file.display()))?;
    let bootstrap = settings.client()?.bootstrap;
    let at = if flags.direct { named(&bootstrap)? } else { Vec::new() };
    publish::carry(&settings, network, Carried { at, ..carried }, &flags.file.json).await
}

/// The identities in addresses.
fn named(addresses: &[Multiaddr]) -> anyhow::Result<Vec<PeerId>> {
    let identity = |address: &Multiaddr| {
        identity_in(address)
            .with_context(|| format!("--direct: --bootstrap {address} does not end in /p2p/ and an identity"))
    };
    addresses.iter().map(identity).collect()
}

fn read(file: &Path, flags: &PutFlags, network: Network) -> anyhow::Result<Carried> {
    let mut value = Vec::new();
    File::open(file)?.take(limits::BUNDLE_FILE + 1).read_to_end(&mut value)?;
    if u64::try_from(value.len()).is_ok_and(|length| length > limits::BUNDLE_FILE) {
        bail!("more than {} octets fit no message", limits::BUNDLE_FILE);
    }
    let bundle = Bundle::decode(&value);
    let own = bundle.as_ref().ok().and_then(|bundle| key_of(bundle, network));
    let key = match (&flags.key, &own) {
        (Some(text), _) => octets(text).with_context(|| format!("--key {text}"))?,
        (None, Some(own)) => own.encode(),
        (None, None) => {
            let why = bundle.as_ref().err().map_or_else(|| "no section".to_owned(), ToString::to_string);
            bail!("this is no bundle ({why}); to send it all the same give --unchecked, and --key");
        }
    };
    if !flags.unchecked {
        check(network, &key, &value)?;
    }
    let named = RecordKey::decode(&key).ok().or(own);
    let name = named.map_or_else(|| "a key that is none".to_owned(), |key| name(&key));
    let versions = bundle.iter().flat_map(Bundle::sections).map(|section| section.version.sequence);
    Ok(Carried { key, value, name, sequence: versions.max().unwrap_or_default(), at: Vec::new() })
}

/// What a store would ask of it, but for what only the store knows.
fn check(network: Network, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
    let hint = "nodes would refuse it; --unchecked sends it all the same";
    let key = RecordKey::decode(key).map_err(|error| anyhow!("key: {error}; {hint}"))?;
    let verified = verify(network, &key, value, SystemTime::now(), &mut CertificateCache::new());
    verified.map(drop).map_err(|refusal| anyhow!("{refusal} ({}); {hint}", refusal.name()))
}

/// The key under which a bundle belongs: that of its prefix or page, else its writer's.
fn key_of(bundle: &Bundle, network: Network) -> Option<RecordKey> {
    let last = bundle.sections().last()?;
    Some(match &last.body {
        Body::Prefix(prefix) => RecordKey::prefix(network, last.cn, prefix.prefix),
        Body::Index(index) => RecordKey::index(network, last.cn, index.covering()),
        _ => RecordKey::node(network, last.cn),
    })
}

fn name(key: &RecordKey) -> String {
    match key.subject {
        Subject::Node => key.writer.address(key.network).to_string(),
        Subject::Prefix(prefix) | Subject::Index(prefix) => prefix.to_string(),
    }
}

/// The octets of an even number of hexadecimal digits.
fn octets(text: &str) -> anyhow::Result<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        bail!("hexadecimal digits, two for each octet");
    }
    let pairs = text.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| Ok(u8::from_str_radix(pair, 16)?)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_whole_octets_in_hexadecimal() {
        assert_eq!(octets("3fFf00").unwrap(), [0x3f, 0xff, 0]);
        for wrong in ["3", "3f f", "+f", "é"] {
            assert!(octets(wrong).is_err(), "{wrong}");
        }
    }
}
