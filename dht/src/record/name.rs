// SPDX-License-Identifier: GPL-2.0-or-later
//! A host name as DNS writes it: labels with their length before them, the root's empty one last (RFC 1035, section 3.1).

use std::fmt;
use std::str::FromStr;

use crate::error::Malformed;

/// Octets of a label (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;
/// Octets of a name with all its length octets (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 255;

/// The name of a host: letters, digits and hyphens (RFC 1123, section 2.1), so that it can be printed and served as it is.
/// Small letters only: DNS does not tell them from capitals, and one name has one encoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Box<[u8]>);

impl HostName {
    /// The octets of a name that fills `wire`, uncompressed.
    ///
    /// # Errors
    /// When it is not one, or longer than RFC 1035 allows.
    pub fn from_wire(wire: &[u8]) -> Result<Self, Malformed> {
        const FIELD: &str = "host name";
        if wire.len() > NAME_MAX {
            return Err(Malformed::Length(FIELD, wire.len()));
        }
        let mut rest = wire;
        loop {
            let (&length, after) = rest.split_first().ok_or(Malformed::Truncated(FIELD))?;
            let length = usize::from(length);
            match length {
                // The root alone is no host.
                0 if !after.is_empty() => return Err(Malformed::Trailing(FIELD)),
                0 if wire.len() == 1 => return Err(Malformed::Missing("label")),
                0 => return Ok(Self(wire.into())),
                // The two upper bits mark a pointer (RFC 1035, section 4.1.4).
                _ if length > LABEL_MAX => return Err(Malformed::Length("label", length)),
                _ => {}
            }
            let (label, after) = after.split_at_checked(length).ok_or(Malformed::Truncated(FIELD))?;
            check_label(label)?;
            rest = after;
        }
    }

    /// Its octets.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }
}

fn check_label(label: &[u8]) -> Result<(), Malformed> {
    if label.iter().any(u8::is_ascii_uppercase) {
        return Err(Malformed::NotCanonical("host name"));
    }
    let foreign = label.iter().find(|octet| !(octet.is_ascii_alphanumeric() || **octet == b'-'));
    let ends = [label.first(), label.last()].into_iter().flatten().find(|octet| **octet == b'-');
    foreign.or(ends).map_or(Ok(()), |octet| Err(Malformed::Value("octet of a host name", (*octet).into())))
}

impl FromStr for HostName {
    type Err = Malformed;

    /// Reads labels between dots, in any case, with or without the root's dot.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut wire = Vec::new();
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            let length = u8::try_from(label.len()).map_err(|_| Malformed::Length("label", label.len()))?;
            if length == 0 {
                return Err(Malformed::Missing("label"));
            }
            wire.push(length);
            wire.extend(label.bytes().map(|octet| octet.to_ascii_lowercase()));
        }
        wire.push(0);
        Self::from_wire(&wire)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &self.0[..];
        while let Some((&length, after)) = rest.split_first() {
            let (label, after) = after.split_at_checked(usize::from(length)).unwrap_or((after, &[]));
            for octet in label {
                write!(f, "{}", char::from(*octet))?;
            }
            if length != 0 {
                f.write_str(".")?;
            }
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_and_written() {
        let name: HostName = "Host-7.Example.NET".parse().unwrap();
        assert_eq!(name.wire(), b"\x06host-7\x07example\x03net\x00");
        assert_eq!(name.to_string(), "host-7.example.net.");
        assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn the_limits_of_rfc_1035_hold() {
        let label = |length| "a".repeat(length);
        let of = |lengths: &[usize]| lengths.iter().map(|length| label(*length)).collect::<Vec<_>>().join(".");
        assert!(of(&[63, 63, 63, 61]).parse::<HostName>().is_ok());
        assert_eq!(of(&[63, 63, 63, 62]).parse::<HostName>(), Err(Malformed::Length("host name", 256)));
        assert_eq!(of(&[64]).parse::<HostName>(), Err(Malformed::Length("label", 64)));
        assert_eq!(of(&[300]).parse::<HostName>(), Err(Malformed::Length("label", 300)));
        for bad in ["", ".", "a..b", ".a", "-a", "a-", "a b", "a_b", "a\u{e4}", "a\0"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_one_whole_uncompressed_name_is_read() {
        let of = HostName::from_wire;
        assert!(of(b"\x01a\x00").is_ok());
        assert_eq!(of(b""), Err(Malformed::Truncated("host name")));
        assert_eq!(of(b"\x00"), Err(Malformed::Missing("label")));
        assert_eq!(of(b"\x01a"), Err(Malformed::Truncated("host name")));
        assert_eq!(of(b"\x02a\x00"), Err(Malformed::Value("octet of a host name", 0)));
        assert_eq!(of(b"\x01a\x00\x00"), Err(Malformed::Trailing("host name")));
        assert_eq!(of(b"\x01a\xc0\x00"), Err(Malformed::Length("label", 0xc0)));
        assert_eq!(of(b"\x01A\x00"), Err(Malformed::NotCanonical("host name")));
    }
}
