// SPDX-License-Identifier: GPL-2.0-or-later
//! The key of a closed network, from its file, and with it what the network asks of its nodes.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use cgeid::{Network, PuzzleBits};
use zeroize::Zeroizing;

use super::limits;
use crate::admit::{NetworkKey, Rules};

/// The rules of a network as flags name them.
///
/// # Errors
/// Names the setting and what is wrong with it.
pub fn rules(network: Network, puzzle_bits: Option<u8>, network_key: Option<&Path>) -> anyhow::Result<Rules> {
    let puzzle = match puzzle_bits {
        Some(bits) => PuzzleBits::new(bits)
            .with_context(|| format!("puzzle-bits {bits}: a number from 0 to {}", cgeid::limits::MAX_PUZZLE_BITS))?,
        None => PuzzleBits::default(),
    };
    Ok(Rules { network, puzzle, key: network_key.map(read).transpose()? })
}

/// Reads the key: 32 octets in hexadecimal or Base64.
fn read(path: &Path) -> anyhow::Result<NetworkKey> {
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).with_context(|| format!("network-key {}", path.display()))?;
    file.take(limits::NETWORK_KEY_FILE + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("network-key {}", path.display()))?;
    if text.len() as u64 > limits::NETWORK_KEY_FILE {
        bail!("network-key {}: more than a key", path.display());
    }
    text.parse().with_context(|| format!("network-key {}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_key_closes_the_network() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let named = |content: &str| {
            std::fs::write(&path, content).unwrap();
            rules(Network::LAB, None, Some(&path))
        };
        let hex: String = (0..32).map(|octet| format!("{octet:02x}")).collect();
        assert!(named(&format!("{hex}\n")).unwrap().key.is_some());
        for wrong in ["", "secret", &hex[1..], &hex.repeat(9)] {
            let error = format!("{:#}", named(wrong).unwrap_err());
            assert!(error.contains("network-key") && error.contains("key"), "{error}");
        }
        let missing = rules(Network::LAB, None, Some(&folder.path().join("none"))).unwrap_err();
        assert!(missing.to_string().contains("none"));
    }

    #[test]
    fn the_bits_of_the_puzzle_have_a_bound() {
        assert_eq!(rules(Network::LAB, None, None).unwrap(), Rules::default());
        assert_eq!(rules(Network::LAB, Some(16), None).unwrap().puzzle, PuzzleBits::PUBLIC);
        assert!(rules(Network::LAB, Some(33), None).unwrap_err().to_string().contains("puzzle-bits"));
    }
}
