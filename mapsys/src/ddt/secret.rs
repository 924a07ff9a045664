// SPDX-License-Identifier: GPL-2.0-or-later
//! What nonces of our own are drawn with.

use std::fmt;

use sha2::{Digest as _, Sha256};
use wire::control::Nonce;

/// Makes nonces that nobody can guess; whoever knew it could answer in the name of every DDT node, so it is never printed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct NonceSecret([u8; 32]);

impl From<[u8; 32]> for NonceSecret {
    fn from(octets: [u8; 32]) -> Self {
        Self(octets)
    }
}

impl fmt::Debug for NonceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceSecret(..)")
    }
}

impl NonceSecret {
    /// A nonce that nobody else can tell before it is sent.
    pub(super) fn draw(&self, count: u64) -> Nonce {
        let digest = Sha256::new().chain_update(self.0).chain_update(count.to_be_bytes()).finalize();
        Nonce(digest.iter().take(8).fold(0, |nonce, octet| nonce << 8 | u64::from(*octet)))
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn what_nonces_are_drawn_with_is_not_printed() {
        let config = super::super::Config { secret: [0xab; 32].into(), ..Default::default() };
        let told = format!("{config:?}");
        assert!(told.contains("NonceSecret(..)") && !told.contains("171") && !told.contains("ab"), "{told}");
        assert_ne!(config.secret.draw(1), config.secret.draw(2));
    }
}
