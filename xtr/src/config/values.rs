// SPDX-License-Identifier: GPL-2.0-or-later
//! Values of a configuration, from the text in which they are written.

use std::fmt;
use std::str::FromStr;

use cgeid::Cn;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use super::{LONGEST_INTERFACE_NAME, Tier};
use crate::database::{OwnLocator, Preference};

/// `ADDR[,priority=1,weight=100,mpriority=255,mweight=0]`, or an interface in the place of the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RlocValue {
    /// This address.
    Address(OwnLocator),
    /// Whatever addresses this interface has.
    Interface(InterfaceLocator),
}

/// An interface whose addresses are locators, one of each family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceLocator {
    /// Its name.
    pub name: String,
    /// What a locator has beside its address.
    pub preference: Preference,
}

impl fmt::Display for InterfaceLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the addresses of {} ({})", self.name, self.preference)
    }
}

/// `PREFIX=CN`: whom to believe about an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustAnchor {
    /// The aggregate.
    pub prefix: IpNet,
    /// Who speaks for it.
    pub cn: Cn,
}

impl fmt::Display for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.prefix, self.cn)
    }
}

/// A prefix that is written without host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixValue(pub IpNet);

impl FromStr for PrefixValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let net: IpNet = text.parse().map_err(|_| format!("{text:?} is not ADDRESS/LENGTH"))?;
        if net == net.trunc() {
            Ok(Self(net))
        } else {
            Err(format!("{text} has bits beyond its length; did you mean {}?", net.trunc()))
        }
    }
}

impl FromStr for RlocValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',').map(str::trim);
        let place = parts.next().unwrap_or_default();
        let mut preference = Preference::default();
        parts.try_for_each(|part| set(&mut preference, part))?;
        if let Ok(address) = place.parse() {
            return Ok(Self::Address(preference.at(address)));
        }
        // What begins with a digit or has a colon is an address with a slip in it.
        let is_name = place.starts_with(|first: char| first.is_ascii_alphabetic())
            && place.len() <= LONGEST_INTERFACE_NAME
            && !place.contains(|letter: char| matches!(letter, '/' | ':') || letter.is_whitespace());
        if is_name {
            Ok(Self::Interface(InterfaceLocator { name: place.to_owned(), preference }))
        } else {
            Err(format!("{place:?} is neither an address nor an interface"))
        }
    }
}

/// Takes `NAME=VALUE`.
fn set(preference: &mut Preference, part: &str) -> Result<(), String> {
    let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not NAME=VALUE"))?;
    let field = match name {
        "priority" => &mut preference.priority,
        "weight" => &mut preference.weight,
        "mpriority" => &mut preference.mpriority,
        "mweight" => &mut preference.mweight,
        _ => return Err(format!("{name:?} is none of priority, weight, mpriority and mweight")),
    };
    *field = value.parse().map_err(|_| format!("{name}: {value:?} is not a number from 0 to 255"))?;
    Ok(())
}

impl FromStr for TrustAnchor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (prefix, cn) = text.split_once('=').ok_or_else(|| format!("{text:?} is not PREFIX=CN"))?;
        let PrefixValue(prefix) = prefix.parse()?;
        let cn = cn.parse().map_err(|_| format!("{cn:?} is not a CN of 24 hexadecimal digits"))?;
        Ok(Self { prefix, cn })
    }
}

/// A list, written as a TOML array or, in the environment, as one string with blanks between its values.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list of strings expected, such as [\"A\", \"B\"]")]
    enum Written {
        One(String),
        Many(Vec<String>),
    }
    let texts = match Written::deserialize(deserializer)? {
        Written::One(text) => text.split_whitespace().map(str::to_owned).collect(),
        Written::Many(texts) => texts,
    };
    texts.iter().map(|text| text.parse().map_err(|error| de::Error::custom(format!("{text}: {error}")))).collect()
}

/// One value, written as a string.
pub(super) fn text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

/// A tier, written as a number or as a string.
pub(super) fn tier<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tier, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "auto, 0 or 1 expected")]
    enum Written {
        Number(u64),
        Text(String),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    };
    <Tier as clap::ValueEnum>::from_str(&text, false)
        .map_err(|_| de::Error::custom(format!("{text:?} is neither auto, 0 nor 1")))
}

/// An xTR-ID, as it is written. What an environment variable gives as a number has too few digits to be one.
pub(super) fn xtr_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "32 hexadecimal digits expected")]
    enum Written {
        Text(String),
    }
    let Written::Text(text) = Written::deserialize(deserializer)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_locator_has_defaults() {
        let parse = |text: &str| match text.parse()? {
            RlocValue::Address(locator) => Ok((locator.priority, locator.weight)),
            RlocValue::Interface(_) => Err("an interface".to_owned()),
        };
        assert_eq!(parse("192.0.2.1"), Ok((1, 100)));
        assert_eq!(parse("2001:db8::1,priority=2,weight=50"), Ok((2, 50)));
        for bad in ["192.0.2", "192.0.2.1,prio=1", "192.0.2.1,priority", "192.0.2.1,weight=256"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let preference = Preference { priority: 2, ..Preference::default() };
        let interface = InterfaceLocator { name: "eth0.7".into(), preference };
        assert_eq!("eth0.7,priority=2".parse(), Ok(RlocValue::Interface(interface)));
        for bad in ["", "fe80:1", "192.0.2.300", "a-name-that-is-too-long"] {
            assert!(bad.parse::<RlocValue>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_locator_is_for_multicast_if_it_is_said() {
        let parse = |text: &str| text.parse::<RlocValue>();
        let preference = Preference { mpriority: 2, mweight: 30, ..Preference::default() };
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(parse("192.0.2.1,mpriority=2,mweight=30"), Ok(RlocValue::Address(preference.at(address))));
        let interface = InterfaceLocator { name: "eth0".into(), preference };
        assert_eq!(parse("eth0,mweight=30,mpriority=2"), Ok(RlocValue::Interface(interface.clone())));
        let said = "the addresses of eth0 (priority 1, weight 100, multicast priority 2, multicast weight 30)";
        assert_eq!(interface.to_string(), said);
        assert_eq!(parse("192.0.2.1"), Ok(RlocValue::Address(OwnLocator::new(address, 1, 100))), "never, by default");
        for bad in ["192.0.2.1,mpriority=256", "eth0,mweight=", "192.0.2.1,mprio=1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_bits_are_refused_with_the_prefix_that_was_meant() {
        let error = "2001:db8:a::1/48".parse::<PrefixValue>().unwrap_err();
        assert!(error.contains("did you mean 2001:db8:a::/48?"), "{error}");
    }

    #[test]
    fn a_tier_is_a_number_or_a_word() {
        let parse = |value: serde_json::Value| tier(value).map_err(|error| error.to_string());
        assert_eq!(parse(1.into()), Ok(Tier::One));
        assert_eq!(parse("0".into()), Ok(Tier::Zero));
        assert_eq!(parse("auto".into()), Ok(Tier::Auto));
        assert!(parse(2.into()).unwrap_err().contains("neither auto, 0 nor 1"));
    }
}
