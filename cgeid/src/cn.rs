// SPDX-License-Identifier: GPL-2.0-or-later
//! The 96 bits that a key gives, the 32 bits that a network adds, and the address that they form.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};

use crate::error::{CnError, NetworkError};

/// The Common Name: the first 96 bits of SHA-512 over the DER SubjectPublicKeyInfo of an identity key.
///
/// Its only text form is 24 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cn(pub [u8; Cn::LENGTH]);

impl Cn {
    /// Octets of a CN.
    pub const LENGTH: usize = 12;
    /// Digits of its text.
    pub const DIGITS: usize = 24;

    /// The CN of a key, from its SubjectPublicKeyInfo exactly as DER encodes it. The encoding is not checked here:
    /// [`crate::PublicKey::from_spki`] does that.
    pub fn of_spki(spki: &[u8]) -> Cn {
        Cn::of_fingerprint(&Sha512::digest(spki).into())
    }

    /// The CN inside the full 512-bit hash of a SubjectPublicKeyInfo.
    pub fn of_fingerprint(fingerprint: &[u8; 64]) -> Cn {
        let mut cn = [0; Cn::LENGTH];
        cn.copy_from_slice(&fingerprint[..Cn::LENGTH]);
        Cn(cn)
    }

    /// The CGEID: the network's 32 bits, then these 96.
    pub fn address(&self, network: Network) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets[..4].copy_from_slice(&network.0);
        octets[4..].copy_from_slice(&self.0);
        Ipv6Addr::from(octets)
    }

    /// Whether the value is below 2¹⁶: those addresses are anycast services, and no key may own one.
    pub fn is_reserved(&self) -> bool {
        self.0[..Cn::LENGTH - 2].iter().all(|&octet| octet == 0)
    }
}

impl fmt::Display for Cn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Cn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cn({self})")
    }
}

impl FromStr for Cn {
    type Err = CnError;

    /// Reads 24 lower-case hexadecimal digits and nothing else: a second spelling of one name would let two
    /// certificates of one key look different.
    fn from_str(text: &str) -> Result<Cn, CnError> {
        let digits = text.as_bytes();
        if digits.len() != Cn::DIGITS {
            return Err(CnError::Length { found: digits.len() });
        }
        let mut cn = [0; Cn::LENGTH];
        for (position, &digit) in digits.iter().enumerate() {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return Err(CnError::Digit { position }),
            };
            cn[position / 2] = cn[position / 2] << 4 | value;
        }
        Ok(Cn(cn))
    }
}

impl TryFrom<String> for Cn {
    type Error = CnError;

    fn try_from(text: String) -> Result<Cn, CnError> {
        text.parse()
    }
}

impl From<Cn> for String {
    fn from(cn: Cn) -> String {
        cn.to_string()
    }
}

/// The 32-bit prefix that all addresses of one deployment share. It is not hashed into the CN, so every signature that
/// depends on it names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub [u8; 4]);

impl Network {
    /// `3fff:ce1::/32`, out of the documentation space of RFC 9637: for labs, never for the public Internet.
    pub const LAB: Network = Network([0x3f, 0xff, 0x0c, 0xe1]);

    /// The CN in an address of this network; `None` for a foreign address and for the reserved (anycast) values.
    pub fn cn_of(&self, address: Ipv6Addr) -> Option<Cn> {
        let octets = address.octets();
        let mut cn = [0; Cn::LENGTH];
        cn.copy_from_slice(&octets[4..]);
        let cn = Cn(cn);
        (octets[..4] == self.0 && !cn.is_reserved()).then_some(cn)
    }
}

impl Default for Network {
    fn default() -> Network {
        Network::LAB
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/32", Cn([0; Cn::LENGTH]).address(*self))
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({self})")
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let address = text.strip_suffix("/32").ok_or(NetworkError::Length)?;
        let octets = address.parse::<Ipv6Addr>().map_err(|_| NetworkError::Address)?.octets();
        if octets[4..].iter().any(|&octet| octet != 0) {
            return Err(NetworkError::HostBits);
        }
        Ok(Network([octets[0], octets[1], octets[2], octets[3]]))
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Network, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cn_has_one_text() {
        let text = "0f2c8a3454a468b75f32e76a";
        assert_eq!(text.parse::<Cn>().unwrap().to_string(), text);
        assert_eq!("0F2c8a3454a468b75f32e76a".parse::<Cn>(), Err(CnError::Digit { position: 1 }));
        assert_eq!("0f2c".parse::<Cn>(), Err(CnError::Length { found: 4 }));
        assert_eq!("é0f2c8a3454a468b75f32e7".parse::<Cn>(), Err(CnError::Digit { position: 0 }));
    }

    #[test]
    fn reserved_values_belong_to_no_key() {
        let anycast = "3fff:ce1::ffff".parse().unwrap();
        assert_eq!(Network::LAB.cn_of(anycast), None);
        let host = "3fff:ce1::1:0".parse().unwrap();
        assert_eq!(Network::LAB.cn_of(host).unwrap().address(Network::LAB), host);
        assert_eq!(Network::LAB.cn_of("2001:db8::1:0".parse().unwrap()), None);
    }

    #[test]
    fn a_network_is_exactly_32_bits() {
        assert_eq!("3fff:ce1::/32".parse(), Ok(Network::LAB));
        assert_eq!(Network::LAB.to_string(), "3fff:ce1::/32");
        assert_eq!("3fff:ce1::/48".parse::<Network>(), Err(NetworkError::Length));
        assert_eq!("3fff:ce1::1/32".parse::<Network>(), Err(NetworkError::HostBits));
        assert_eq!("::ffff:1.2.3/32".parse::<Network>(), Err(NetworkError::Address));
    }
}
